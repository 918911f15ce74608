"""Memory for samples that a process shares with the loader workers that it forks."""

from __future__ import annotations

import fcntl
import mmap
import os
import weakref
from threading import Lock

from hotlap.loader.samples import Memory
from hotlap.room import room

_SHARE = 0.5
"""Of the memory that is free when the store is made, for it; and as much again is left to the training."""
_HEAD = 4096
_ENTRY = 8
_ALIGN = 64
_LOOK_BYTES = 32 << 20
"""So much is filled between two looks at the free memory."""
_NEXT, _OFF, _LOOKED = range(3)


class Store:
    """Samples by index: filled, never evicted.

    Its pages take memory only once they are filled. Where a sample lies is written after the sample itself, so a reader
    in another process finds all of it or nothing.

    Args:
        length: Indices run from 0 to this.
        capacity: Bytes for samples; by default a share of the memory that is free now.
    """

    def __init__(self, length: int, capacity: int | None = None) -> None:
        free, ranks = room()[0], max(1, int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
        self.length = length
        self._left_free = int(free * (1 - _SHARE))
        self._start = _HEAD + -(-_ENTRY * length // mmap.PAGESIZE) * mmap.PAGESIZE
        self._end = self._start + (int(free * _SHARE) // ranks if capacity is None else capacity)
        self._descriptor = os.memfd_create("hotlap-samples")
        os.ftruncate(self._descriptor, self._end)
        weakref.finalize(self, os.close, self._descriptor)
        self._map = mmap.mmap(self._descriptor, self._end)
        self.memory = Memory(self._map)
        self._head = self.memory.view[:_HEAD].cast("q")
        self._table = self.memory.view[_HEAD : self._start].cast("q")
        self._lock = Lock()
        self._head[_NEXT] = self._start

    @property
    def off(self) -> bool:
        """Nothing in it may be served any more, in any process."""
        return bool(self._head[_OFF])

    def turn_off(self) -> None:
        """For all processes."""
        self._head[_OFF] = 1

    @property
    def used(self) -> int:
        """Bytes taken by samples."""
        return self._head[_NEXT] - self._start

    def find(self, index: int) -> int:
        """Where the sample of an index lies; 0 when it is not there."""
        return self._table[index]

    @property
    def count(self) -> int:
        """Samples in it."""
        return sum(map(bool, self._table[: self.length]))

    def put(self, index: int, parts: list[bytes]) -> int:
        """Keep a sample; where it lies, or 0 when the store is full."""
        size = sum(map(len, parts))
        at = self._take(-(-size // _ALIGN) * _ALIGN)
        if not at:
            return 0
        try:
            # Through the map, a lack of memory would be a fatal signal.
            if os.pwritev(self._descriptor, parts, at) < size:
                return 0
        except OSError:
            return 0
        self._table[index] = at
        return at

    def _take(self, size: int) -> int:
        with self._lock:
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX)  # freed by the kernel when its holder is killed
            try:
                at = self._head[_NEXT]
                if at + size > self._end:
                    return 0
                if at - self._head[_LOOKED] >= _LOOK_BYTES:
                    if room()[0] < self._left_free:
                        self._end = 0
                        return 0
                    self._head[_LOOKED] = at
                self._head[_NEXT] = at + size
                return at
            finally:
                fcntl.lockf(self._descriptor, fcntl.LOCK_UN)
