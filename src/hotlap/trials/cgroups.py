"""What the kernel says of processes that it killed for want of memory."""

# Plain system calls here: file names of any bytes, and a start in milliseconds.
# ruff: noqa: PTH118, PTH123

from __future__ import annotations

import os
from collections.abc import Iterator

_ROOT = "/sys/fs/cgroup"


def oom_kills() -> int:
    """Processes killed so far in this process's memory cgroup; where there is none, on the whole machine."""
    for path in _candidates():
        found = _counter(path, "oom_kill")
        if found is not None:
            return found
    return _counter("/proc/vmstat", "oom_kill") or 0


def _candidates() -> Iterator[str]:
    try:
        with open("/proc/self/cgroup", encoding="utf-8", errors="surrogateescape") as file:
            rows = [line.rstrip("\n").split(":", 2) for line in file]
    except OSError:
        return
    for _, controllers, path in rows:
        if "memory" in controllers.split(","):  # version 1
            for below in (path, ""):  # in a container its own group is the root of what it sees
                yield f"{_ROOT}/memory{below}/memory.oom_control"
    for _, controllers, path in rows:
        if not controllers:
            for mount in (_ROOT, f"{_ROOT}/unified"):
                yield os.path.join(mount + path, "memory.events")
                yield os.path.join(mount, "memory.events")


def _counter(path: str, name: str) -> int | None:
    try:
        with open(path, encoding="ascii") as file:
            for line in file:
                key, _, value = line.partition(" ")
                if key == name:
                    return int(value)
    except (OSError, ValueError):
        pass
    return None
