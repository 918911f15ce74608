"""The processor: its name, what it can do, and the cores of it that this process may use. Both worlds read it."""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Collection
from pathlib import Path

BFLOAT16 = frozenset(("avx512_bf16", "amx_bf16", "bf16"))
"""Flags of processors that multiply bfloat16; on others a product in it takes a hundred times as long as in float32."""


def processor() -> tuple[str, set[str]]:
    """Name and feature flags, as Linux tells them; elsewhere no flags."""
    name, flags = platform.processor() or platform.machine(), set[str]()
    for line in _read("/proc/cpuinfo").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            name = value.strip()
        elif key.strip() in ("flags", "Features"):
            flags = set(value.split())
            break
    return name, flags


def usable() -> list[int]:
    """Logical cores that this process may run on."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))


def physical(threads: Collection[int]) -> int:
    """Physical cores among logical ones; those that share one have the same list of siblings."""
    path = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"
    return len({_read(path.format(thread)) or str(thread) for thread in threads})


def _read(path: str) -> str:
    with contextlib.suppress(OSError):
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    return ""
