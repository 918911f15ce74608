"""Refuses writes outside some folders to a process and all that it starts, in the kernel and without namespaces.

It stands behind the guard inside, which sees only what Python does: C++ code and other programs are stopped here. It
denies instead of redirecting, so a script sees "Permission denied".
"""

# ruff: noqa: PTH112

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable

_CREATE, _ADD, _RESTRICT = 444, 445, 446  # the same numbers on every architecture
_NO_NEW_PRIVILEGES = 38  # of prctl(2); the kernel asks for it
_VERSION = 1
_WRITE_FILE = 1 << 1
_FOLDER_RIGHTS = _WRITE_FILE | sum(1 << bit for bit in range(4, 14))  # remove, make, and move between folders
_TRUNCATE = 1 << 14
_OLDEST = 2  # the first one that lets files move between folders
_libc = ctypes.CDLL(None, use_errno=True)


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("folder", ctypes.c_int32))


def confine(folders: Iterable[str]) -> bool:
    """Allow writes in these folders only, for ever; False where the kernel cannot."""
    version = _libc.syscall(_CREATE, None, ctypes.c_size_t(0), ctypes.c_uint32(_VERSION))
    if version < _OLDEST:
        return False
    rights = ctypes.c_uint64(_FOLDER_RIGHTS | (_TRUNCATE if version > _OLDEST else 0))
    rules = _libc.syscall(_CREATE, ctypes.byref(rights), ctypes.c_size_t(8), ctypes.c_uint32(0))
    if rules < 0:
        return False
    try:
        for folder in {os.path.realpath(folder) for folder in folders}:
            if os.path.isdir(folder):
                _allow(rules, folder, rights.value)
        _libc.prctl(_NO_NEW_PRIVILEGES, ctypes.c_ulong(1), 0, 0, 0)
        return _libc.syscall(_RESTRICT, rules, ctypes.c_uint32(0)) == 0
    finally:
        os.close(rules)


def _allow(rules: int, folder: str, rights: int) -> None:
    descriptor = os.open(folder, os.O_PATH)
    try:
        rule = _Beneath(allowed=rights, folder=descriptor)
        _libc.syscall(_ADD, rules, 1, ctypes.byref(rule), ctypes.c_uint32(0))
    finally:
        os.close(descriptor)
