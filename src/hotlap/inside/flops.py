"""Floating-point operations of one training step, counted as torch dispatches them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch.utils import flop_counter
from torch.utils._python_dispatch import TorchDispatchMode, _get_current_dispatch_mode_stack

if TYPE_CHECKING:
    from hotlap.inside.steps import Recorder

_COUNTED_STEP = 5  # one of the warm-up, for counting makes it slow


def _attention(query: Any, key: Any, value: Any, *args: Any, **kwargs: Any) -> int:
    return flop_counter.sdpa_flop_count(query.shape, key.shape, value.shape)


def _attention_backward(grad_out: Any, query: Any, key: Any, value: Any, *args: Any, **kwargs: Any) -> int:
    return flop_counter.sdpa_backward_flop_count(grad_out.shape, query.shape, key.shape, value.shape)


def _recurrent(input: Any, w_input: Any, w_hidden: Any, *args: Any, **kwargs: Any) -> int:
    steps = input.numel() // input.shape[-1]  # of all sequences together
    return 2 * steps * (w_input.numel() + w_hidden.numel())


def _recurrent_backward(*args: Any, **kwargs: Any) -> int:
    return 2 * _recurrent(*args)


_MISSING: dict[str, Callable[..., int]] = {
    "_scaled_dot_product_flash_attention_for_cpu": _attention,
    "_scaled_dot_product_flash_attention_for_cpu_backward": _attention_backward,
    "mkldnn_rnn_layer": _recurrent,
    "mkldnn_rnn_layer_backward": _recurrent_backward,
}
"""What torch's own counter has no formula for, by the name of the operation."""


class _Counting(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.flops = 0
        self.failed = ""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        try:
            self.flops += flops_of(func, args, kwargs or {}, out)
        except Exception as error:
            self.failed = f"{func._overloadpacket.__name__}: {error}"
        return out


def flops_of(func: Any, args: Any, kwargs: Any, out: Any) -> int:
    """Floating-point operations of one call, as torch dispatches it: matrix products, convolutions and the like."""
    operation = func._overloadpacket
    if operation.__name__ in _MISSING:
        return _MISSING[operation.__name__](*args, **kwargs)
    formula = flop_counter.flop_registry.get(operation)
    return formula(*args, **kwargs, out_val=out) if formula else 0


class Flops:
    """Counts one step of the observed run.

    Attributes:
        per_step: The operations of that step; None where they could not be counted.
    """

    def __init__(self, recorder: Recorder) -> None:
        self.per_step: int | None = None
        self._recorder = recorder
        self._counting: _Counting | None = None

    def install(self) -> None:
        """Count between the ends of two steps."""
        self._recorder.on_end.append(self._next_step)

    def _next_step(self, done: int) -> None:
        if self._counting is not None:
            self._stop(self._counting)
        elif done == _COUNTED_STEP - 1 and can_count():
            self._counting = _Counting()
            self._counting.__enter__()

    def _stop(self, counting: _Counting) -> None:
        self._recorder.on_end.remove(self._next_step)
        self._counting = None
        modes = _get_current_dispatch_mode_stack()
        if modes and modes[-1] is counting:
            counting.__exit__(None, None, None)
            self.per_step = None if counting.failed else counting.flops


def can_count() -> bool:
    """Compiled graphs hide their operations, and a mode of the script's own is not to be reordered."""
    dynamo = sys.modules.get("torch._dynamo.utils")
    compiled = dynamo is not None and dynamo.counters["stats"]["unique_graphs"] > 0
    return not compiled and not torch._C._len_torch_dispatch_stack()
