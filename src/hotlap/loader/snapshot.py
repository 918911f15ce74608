"""What the fetching of a loader reads, held fast so that a change by anyone can be told."""

from __future__ import annotations

import operator
import sys
import zlib
from types import FunctionType
from typing import Any

import torch

from hotlap.loader.movable import names_used, reachable

_ITEMS = 4096
"""A container with more items is compared by its length."""
_BYTES = 1 << 18
"""An array of numpy with more bytes is compared by its shape: numpy does not count writes as torch does."""
_LIBRARIES = ("builtins", "torch", "numpy", "typing", "abc")


class Snapshot:
    """Everything that the roots hold, as it is now.

    Items are compared by identity, and held so that no address comes to be used again; tensors by torch's count of
    writes; small arrays by their bytes.
    """

    def __init__(self, *roots: Any) -> None:
        self._parts = [(thing, _mark(thing), _items(thing)) for thing in reachable(*roots)]

    def changed(self) -> bool:
        """Whether anything has been written, added, taken away or exchanged since."""
        return any(_mark(thing) != mark or _differ(_items(thing), items) for thing, mark, items in self._parts)


def _differ(now: list[Any], before: list[Any]) -> bool:
    return len(now) != len(before) or any(map(operator.is_not, now, before))


def _mark(thing: Any) -> Any:
    """What a change of its contents would show in, where those are no objects."""
    if isinstance(thing, torch.Tensor):
        return (thing.data_ptr() if thing.layout is torch.strided else 0), thing._version, thing.shape
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(thing, numpy.ndarray):
        small = thing.nbytes <= _BYTES and not thing.dtype.hasobject
        return thing.ctypes.data, thing.shape, thing.strides, zlib.crc32(thing.tobytes()) if small else 0
    return len(thing) if isinstance(thing, (list, tuple, set, frozenset, dict)) else None


def _items(thing: Any) -> list[Any]:
    """The objects that it holds."""
    if isinstance(thing, torch.Tensor) or type(thing).__module__ == "numpy":
        return []
    if isinstance(thing, (list, tuple, set, frozenset, dict)):
        if len(thing) > _ITEMS:
            return []
        return [*thing, *thing.values()] if isinstance(thing, dict) else list(thing)
    if isinstance(thing, FunctionType):
        return [thing.__code__, *(thing.__globals__.get(name) for name in names_used(thing.__code__))]
    held = getattr(thing, "__dict__", {})
    of_class = [kind for kind in type(thing).__mro__ if kind.__module__.split(".")[0] not in _LIBRARIES]
    return [*held, *held.values(), *(value for kind in of_class for value in vars(kind).values())]
