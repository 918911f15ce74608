"""Randomness inside the model, taken out of the way for the exact gates.

One compiled dropout step moves the global generator differently from an eager one, so later shuffles would differ
honestly; each root's forward therefore runs on generators of its own and leaves the global ones as it found them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional

if TYPE_CHECKING:
    from hotlap.inside.host import Host
    from hotlap.inside.steps import Recorder

_DROPOUTS = ("dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout")


def switch_off(host: Host) -> None:
    """Make dropout the identity, in modules and in functional calls, without touching what the script set."""
    for name in _DROPOUTS:
        host.set(functional, name, _identity)
    host.set(torch, "dropout", _identity)
    host.wrap(functional, "scaled_dot_product_attention", _without_dropout)
    host.roots.observe(lambda root, call: _without_recurrent_dropout(host, root, call))


def _identity(input: torch.Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> torch.Tensor:
    return input


def _without_dropout(original: Callable[..., Any]) -> Callable[..., Any]:
    def scaled_dot_product_attention(
        query: Any, key: Any, value: Any, attn_mask: Any = None, dropout_p: float = 0.0, *rest: Any, **kwargs: Any
    ) -> Any:
        return original(query, key, value, attn_mask, 0.0, *rest, **kwargs)

    return scaled_dot_product_attention


def _without_recurrent_dropout(host: Host, root: nn.Module, call: Callable[..., Any]) -> Callable[..., Any]:
    done: list[bool] = []

    def quiet(*args: Any, **kwargs: Any) -> Any:
        if not done:  # the dropout between the layers of an RNN is inside its kernel
            done.append(True)
            for module in root.modules():
                if isinstance(module, nn.RNNBase) and module.dropout:
                    host.set(module, "dropout", 0.0)
        return call(*args, **kwargs)

    return quiet


def scope_generators(host: Host, recorder: Recorder, seed: int) -> None:
    """Seed every root call by (seed, step, call), and restore the global generators after it."""
    seed_all, calls = torch.Generator, [0, 0]

    def layer(root: nn.Module, call: Callable[..., Any]) -> Callable[..., Any]:
        def scoped(*args: Any, **kwargs: Any) -> Any:
            calls[1] = calls[1] + 1 if calls[0] == recorder.index else 0
            calls[0] = recorder.index
            cpu = torch.get_rng_state()
            cuda = torch.cuda.get_rng_state() if torch.cuda.is_initialized() else None
            state = seed_all().manual_seed(seed * 1_000_003 + recorder.index * 1009 + calls[1]).get_state()
            torch.set_rng_state(state)
            if cuda is not None:
                torch.cuda.default_generators[torch.cuda.current_device()].manual_seed(seed + recorder.index)
            try:
                return call(*args, **kwargs)
            finally:
                torch.set_rng_state(cpu)
                if cuda is not None:
                    torch.cuda.set_rng_state(cuda)

        return scoped

    host.roots.observe(layer)
