"""What the machine did besides a trial: other processes, a hypervisor that took its share, a quota that was spent."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import psutil

OTHERS, STOLEN, THROTTLED = "others", "stolen", "throttled"
_CPU_STATS = ("/sys/fs/cgroup/cpu.stat", "/sys/fs/cgroup/cpu/cpu.stat")  # cgroup versions 2 and 1
_THROTTLED_S = {"throttled_usec": 1e-6, "throttled_time": 1e-9}


@dataclass(frozen=True)
class Counters:
    """Seconds since the machine or this process started."""

    busy_s: float
    """CPU time of everything on the machine."""
    stolen_s: float
    own_s: float
    """CPU time of this process and of its children that have ended."""
    throttled_s: float
    cores: int

    @classmethod
    def read(cls) -> Counters:
        """As they are now."""
        every, own = psutil.cpu_times(), os.times()
        stolen: float = getattr(every, "steal", 0.0)
        busy: float = sum(getattr(every, name, 0.0) for name in ("user", "nice", "system", "irq", "softirq"))
        return cls(busy, stolen, sum(own[:4]), _throttled_s(), psutil.cpu_count() or 1)


def load(before: Counters, after: Counters, wall_s: float) -> dict[str, float]:
    """What was taken from a trial that ran in between, as shares of the machine's CPU time; what was not is left out.

    Args:
        before: Read right before the trial.
        after: Read when its processes had ended.
        wall_s: In between.
    """
    others_s = (after.busy_s - before.busy_s) - (after.own_s - before.own_s)
    shares = {
        OTHERS: others_s / (wall_s * after.cores),
        STOLEN: (after.stolen_s - before.stolen_s) / (wall_s * after.cores),
        THROTTLED: (after.throttled_s - before.throttled_s) / wall_s,
    }
    return {name: share for name, share in shares.items() if share > 0.0}


def _throttled_s() -> float:
    """How long this process's control group was kept from running; 0 where there is no quota."""
    for path in _CPU_STATS:
        try:
            rows = dict(line.split() for line in Path(path).read_text().splitlines())
        except (OSError, ValueError):
            continue
        return sum(float(rows[name]) * unit for name, unit in _THROTTLED_S.items() if name in rows)
    return 0.0
