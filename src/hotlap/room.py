"""How much memory a training may take here: what is free on the machine, or what its control group still allows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

HEADROOM = 0.10  # of the limit, which a training should leave free
_ROOT = Path("/sys/fs/cgroup")
_NONE = 1 << 60  # version 1 writes a number near 2^63 where there is no limit


def room() -> tuple[int, str]:
    """Bytes, and what limits them; (0, ...) where the kernel does not say."""
    free = _field(Path("/proc/meminfo"), "MemAvailable:") * 1024
    allowed = min((left for left in map(_left, _groups()) if left is not None), default=None)
    if allowed is not None and (not free or allowed < free):
        return allowed, "what the memory limit of its control group leaves"
    return free, "the free memory of this machine" if free else "not known here"


def _groups() -> Iterator[tuple[Path, str, str]]:
    """This process's memory control groups and those above, with the files of limit and usage."""
    try:
        rows = [line.split(":", 2) for line in Path("/proc/self/cgroup").read_text("utf-8").splitlines()]
    except OSError:
        return
    for _, controllers, path in rows:
        if "memory" in controllers.split(","):
            tops, names = [_ROOT / "memory"], ("memory.limit_in_bytes", "memory.usage_in_bytes")
        elif not controllers:
            tops, names = [_ROOT, _ROOT / "unified"], ("memory.max", "memory.current")
        else:
            continue
        for top in tops:
            below = top / path.lstrip("/")
            for group in (below, *below.parents):
                if group.is_relative_to(top):
                    yield group, *names


def _left(group: tuple[Path, str, str]) -> int | None:
    """What a group still allows, file caches not counted; None where it has no limit."""
    folder, limit, usage = group
    try:
        most = (folder / limit).read_text().strip()
        if most == "max" or int(most) >= _NONE:
            return None
        used = int((folder / usage).read_text())
        cached = _field(folder / "memory.stat", "file") or _field(folder / "memory.stat", "cache")
        cached -= _field(folder / "memory.stat", "shmem")  # which both count, and which cannot be let go
    except (OSError, ValueError):
        return None
    return max(0, int(most) - max(0, used - cached))


def _field(path: Path, name: str) -> int:
    try:
        lines = path.read_text("ascii", "replace").splitlines()
    except OSError:
        return 0
    return next((int(parts[1]) for parts in map(str.split, lines) if len(parts) > 1 and parts[0] == name), 0)
