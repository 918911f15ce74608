"""What the fetching of a loader reads, held fast so that a change by anyone can be told."""

from __future__ import annotations

import operator
import sys
import zlib
from collections import deque
from types import FunctionType
from typing import Any

import torch

from hotlap.loader.movable import globals_used, named_within, reachable

_ITEMS = 4096
"""A container with more items is compared by its length, unless thoroughly."""
_BYTES = 1 << 18
"""An array of numpy, which counts no writes as torch does, is compared by its shape if larger, unless thoroughly."""
_MOST_BYTES = 1 << 26
"""Thoroughly as well, for a larger one would take too long."""
_LIBRARIES = ("torch", "numpy", *sys.stdlib_module_names)


class Snapshot:
    """Everything that the roots hold, as it is now.

    Items are compared by identity, and held so that no address comes to be used again; tensors by torch's count of
    writes; arrays by their bytes.

    Args:
        roots: Where to begin.
        thorough: Look also at what is too large to be looked at for every batch.
    """

    def __init__(self, *roots: Any, thorough: bool = False) -> None:
        self._items = sys.maxsize if thorough else _ITEMS
        self._bytes = _MOST_BYTES if thorough else _BYTES
        parts = [(thing, self._mark(thing), self._held_by(thing)) for thing in reachable(*roots)]
        self._parts = [part for part in parts if part[1] is not None or part[2]]

    def changed(self) -> bool:
        """Whether anything has been written, added, taken away or exchanged since."""
        return any(
            self._mark(thing) != mark or _differ(self._held_by(thing), held) for thing, mark, held in self._parts
        )

    def _mark(self, thing: Any) -> Any:
        """What a change of its contents would show in, where those are no objects."""
        if isinstance(thing, torch.Tensor):
            version = None if thing.is_inference() else thing._version
            return (thing.data_ptr() if thing.layout is torch.strided else 0), version, thing.shape
        numpy = sys.modules.get("numpy")
        if numpy is not None and isinstance(thing, numpy.ndarray):
            looked_at = thing.nbytes <= self._bytes and not thing.dtype.hasobject
            return thing.ctypes.data, thing.shape, thing.strides, zlib.crc32(thing.tobytes()) if looked_at else 0
        if isinstance(thing, bytearray):
            return zlib.crc32(thing)
        return len(thing) if isinstance(thing, (list, tuple, set, frozenset, dict, deque)) else None

    def _held_by(self, thing: Any) -> list[Any]:
        """The objects in it."""
        if isinstance(thing, torch.Tensor) or type(thing).__module__ == "numpy":
            return []
        if isinstance(thing, (list, tuple, set, frozenset, dict, deque)):
            if len(thing) > self._items:
                return []
            return [*thing, *thing.values()] if isinstance(thing, dict) else list(thing)
        if isinstance(thing, FunctionType):
            named = [thing.__globals__.get(name) for name in globals_used(thing.__code__)]
            return [thing.__code__, *named, *named_within(thing)]
        held = getattr(thing, "__dict__", {})
        of_class = [kind for kind in type(thing).__mro__ if kind.__module__.split(".")[0] not in _LIBRARIES]
        return [*held, *held.values(), *(value for kind in of_class for value in vars(kind).values())]


def _differ(now: list[Any], before: list[Any]) -> bool:
    return len(now) != len(before) or any(map(operator.is_not, now, before))
