"""Which files a fetch reads, and whether they are still the same.

Python's own audit events tell of every file that it opens. What a library opens in C raises none: there the kernel's
count of the thread's reads tells that something was read, and such a fetch is refused. Beside files that are seen, it
is refused where more was read than these hold.
"""

# Plain system calls here: each is made for every sample.
# ruff: noqa: PTH116

from __future__ import annotations

import os
import stat
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from functools import lru_cache
from threading import get_ident, local
from typing import Any

from hotlap.loader.tree import UnfitError

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_OUTSIDE = {"os", "socket", "subprocess", "sqlite3", "mmap", "urllib", "http", "ftplib", "shutil", "tempfile", "glob"}
"""Events of these families ask the world for more than a file's content, or change it."""
_MOST = 8
"""Files of one sample: more are modules being imported, or an index that is searched."""
_SLACK_BYTES = 32_768
"""So much more than a file holds may be read of it: libraries read parts of some formats twice, up to 18 KB in all."""
_YOUNG_NS = 100_000_000
"""A file that was written just now could be written again within one tick of its clock."""

Version = tuple[str, int, int, int]
"""A file's path as it was opened, its inode, its size in bytes and its time of change [ns]."""


def version(path: str) -> Version | None:
    """What a file is now; None when it is gone."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return (path, found.st_ino, found.st_size, found.st_mtime_ns)


def unchanged(files: tuple[Version, ...]) -> bool:
    """Whether each is still what it was."""
    return all(version(file[0]) == file for file in files)


class Reads:
    """What one fetch asked of the world.

    Args:
        outer: Of a fetch that this one is a part of.
    """

    def __init__(self, outer: Reads | None = None) -> None:
        self._outer = outer
        self._before = _reads()
        self._opened: dict[str, Version | None] = {}
        self._bytes = _SLACK_BYTES
        self._refused = ""

    def note(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Called by the interpreter at an audit event while this is watched."""
        if self._outer is not None:
            self._outer.note(event, arguments)
        if event.partition(".")[0] in _OUTSIDE:
            self._refused = f"it does more than read files ({event})"
        elif event == "open":
            path, _, flags = arguments
            if isinstance(path, int) or flags & _WRITES:
                self._refused = "it writes to a file, or reads an open one"
            else:
                name = os.fsdecode(path)
                self._opened.setdefault(name, version(name))
                self._bytes += (self._opened[name] or ("", 0, 0, 0))[2]

    def files(self) -> tuple[Version, ...]:
        """The files that the fetch read, once it is over.

        Raises:
            UnfitError: It did something else, or a file is not what it was when it was opened.
        """
        if self._refused:
            raise UnfitError(self._refused)
        if len(self._opened) > _MOST:
            raise UnfitError(f"it opens {len(self._opened)} files for one sample")
        found = tuple(file for file in self._opened.values() if file is not None)
        if len(found) < len(self._opened) or not unchanged(found) or not all(_is_settled(file) for file in found):
            raise UnfitError("its files are special, or are being written")
        calls, read = _reads()
        unseen = read - self._before[1] > self._bytes if found else calls != self._before[0] + 1  # the count is a read
        if unseen or calls < 0:
            raise UnfitError("it reads files in a way that is not seen")
        return found


def _is_settled(file: Version) -> bool:
    regular = file[2] > 0 and stat.S_ISREG(os.stat(file[0]).st_mode)
    return regular and time.time_ns() - file[3] > _YOUNG_NS


def _reads() -> tuple[int, int]:
    """Read calls of this thread so far, and how many bytes they gave; -1 where the kernel does not say."""
    try:
        said = dict(line.split(b": ") for line in os.pread(_counter(os.getpid(), get_ident()), 512, 0).splitlines())
        return int(said[b"syscr"]), int(said[b"rchar"])
    except (OSError, KeyError, ValueError):
        return -1, -1


@lru_cache(maxsize=16)
def _counter(process: int, thread: int) -> int:
    """Descriptor of the kernel's counts for this thread, open for good: opening it takes longer than reading it."""
    return os.open("/proc/thread-self/io", os.O_RDONLY)


_here = local()
_hooked = False


@contextmanager
def watched() -> Generator[Reads, None, None]:
    """Watch what this thread reads."""
    global _hooked
    if not _hooked:
        _hooked = True
        sys.addaudithook(_hook)
    outer = getattr(_here, "reads", None)
    _here.reads = reads = Reads(outer)
    try:
        yield reads
    finally:
        _here.reads = outer


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    reads = getattr(_here, "reads", None)
    if reads is not None:
        reads.note(event, arguments)
