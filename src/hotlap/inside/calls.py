"""Calls of a root: the tensors in them, and what of a call decides which operations are done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from hotlap.records import OPAQUE

Signed = tuple[tuple[tuple[int, ...], ...], tuple[str, ...], tuple[str, ...]]
_PLAIN = (bool, int, float, str, type(None))
_DEEPEST = 3  # batches within batches


def tensors_in(value: Any) -> list[torch.Tensor]:
    """Every tensor in a nest of lists, tuples, mappings and batches of a class of their own, in order."""
    return [leaf for leaf in _leaves(value) if isinstance(leaf, torch.Tensor)]


def signature(args: tuple[Any, ...], kwargs: dict[str, Any], frozen: str = "") -> Signed:
    """What is known of a call: shapes and dtypes of its tensors, and its manner.

    The manner holds what else decides which operations are done: the arguments that are None, true, false or a word,
    and `frozen`, see `frozen_of`. Numbers are not in it, for scripts pass on the step and such, nor are the words in a
    batch. A call whose arguments hold no tensor that was found is `OPAQUE`.
    """
    leaves = _leaves(args) + _leaves(kwargs) if kwargs else _leaves(args)
    tensors = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]
    manner = [str(arg) for arg in (*args, *kwargs.values()) if arg is None or isinstance(arg, (bool, str))]
    manner += [frozen] * bool(frozen) + [OPAQUE] * (bool(leaves) and not tensors)
    return tuple(tuple(t.shape) for t in tensors), tuple(str(t.dtype)[6:] for t in tensors), tuple(manner)


def frozen_of(trained: Sequence[bool]) -> str:
    """The parameters of a root that get no gradient, by place; "" for none."""
    frozen = {place for place, is_trained in enumerate(trained) if not is_trained}
    begins = sorted(place for place in frozen if place - 1 not in frozen)
    ends = sorted(place for place in frozen if place + 1 not in frozen)
    return "frozen " + " ".join(f"{a}-{b}" for a, b in zip(begins, ends, strict=True)) if frozen else ""


class Frozen:
    """Which parameters of a root are frozen, at the cost of a look at each."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._parameters: list[nn.Parameter] | None = None
        self._trained: list[bool] = []
        self._words = ""

    def __call__(self) -> str:
        """See `frozen_of`."""
        if self._parameters is None:
            self._parameters = list(self._module.parameters())
        trained = [parameter.requires_grad for parameter in self._parameters]
        if trained != self._trained:
            self._trained, self._words = trained, frozen_of(trained)
        return self._words


def _leaves(value: Any, depth: int = 0) -> list[Any]:
    if isinstance(value, torch.Tensor):
        return [value]
    if not isinstance(value, (list, tuple)):
        if isinstance(value, _PLAIN):
            return [value]
        if isinstance(value, (dict, Mapping)):
            value = value.values()
        elif depth < _DEEPEST and _is_batch(value):
            value, depth = vars(value).values(), depth + 1
        else:
            return [value]
    return [leaf for item in value for leaf in _leaves(item, depth)]


def _is_batch(value: Any) -> bool:
    """An object that can be moved to a device or is a dataclass, and keeps what it holds as attributes."""
    if isinstance(value, (list, tuple, type, nn.Module)) or not hasattr(value, "__dict__"):
        return False
    return hasattr(value, "to") or hasattr(value, "__dataclass_fields__")
