"""Changing the tensors in a nest: what a model is given or gives back, and what an optimizer keeps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def mapped(value: Any, change: Callable[[Any], Any]) -> Any:
    """The same nest of lists, tuples and dicts with `change` applied to its tensors; other objects are passed on."""
    if hasattr(value, "is_floating_point"):
        return change(value)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(mapped(item, change) for item in value))
    if type(value) in (list, tuple):
        return type(value)(mapped(item, change) for item in value)
    if isinstance(value, dict):
        if type(value) is dict:
            return {key: mapped(item, change) for key, item in value.items()}
        for key in value:  # a library's own class of outputs, which only it knows how to build
            value[key] = mapped(value[key], change)
    return value


def follow_layout(*optimizers: Any) -> None:
    """Lay state out as its parameters lie: the CPU's fused update kernels walk both in memory order, unchecked."""
    for parameter, state in (pair for optimizer in optimizers for pair in optimizer.state.items()):
        for key, old in state.items() if isinstance(state, dict) else ():
            if hasattr(old, "stride") and old.shape == parameter.shape and old.stride() != parameter.stride():
                state[key] = parameter.detach().to(old.dtype, copy=True).copy_(old)
