"""Changing the tensors in whatever a model is given or gives back."""

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
