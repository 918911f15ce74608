"""What the machine did besides a trial: other processes, a hypervisor that took its share, a quota that was spent."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import psutil

OTHERS, STOLEN, THROTTLED = "others", "stolen", "throttled"
_CPU_STATS = ("/sys/fs/cgroup/cpu.stat", "/sys/fs/cgroup/cpu/cpu.stat")  # cgroup versions 2 and 1


@dataclass(frozen=True)
class Counters:
    """Seconds since the machine or this process started."""

    busy_s: float
    """CPU time of everything on the machine."""
    stolen_s: float
    own_s: float
    """CPU time of this process and of its children that have ended."""
    periods: int
    """Of the quota of this process's control group, so far; 0 where there is none."""
    throttled: int
    """Periods among them whose quota was spent before they were over."""
    cores: int

    @classmethod
    def read(cls) -> Counters:
        """As they are now."""
        every, own = psutil.cpu_times(), os.times()
        stolen: float = getattr(every, "steal", 0.0)
        busy: float = sum(getattr(every, name, 0.0) for name in ("user", "nice", "system", "irq", "softirq"))
        return cls(busy, stolen, sum(own[:4]), *_periods(), psutil.cpu_count() or 1)


def load(before: Counters, after: Counters, wall_s: float) -> dict[str, float]:
    """What was taken from a trial that ran in between, as shares of the machine's CPU time; what was not is left out.

    Of a quota it is the share of its periods, where any were counted: the time that the kernel counts is a sum over
    processors.

    Args:
        before: Read right before the trial.
        after: Read when its processes had ended.
        wall_s: In between.
    """
    others_s = (after.busy_s - before.busy_s) - (after.own_s - before.own_s)
    shares = {
        OTHERS: others_s / (wall_s * after.cores),
        STOLEN: (after.stolen_s - before.stolen_s) / (wall_s * after.cores),
    }
    shares = {name: share for name, share in shares.items() if share > 0.0}
    if (periods := after.periods - before.periods) > 0:
        shares[THROTTLED] = (after.throttled - before.throttled) / periods
    return shares


def _periods() -> tuple[int, int]:
    """Periods of the quota of this process's control group, and those in which it was spent too soon."""
    for path in _CPU_STATS:
        try:
            rows = dict(line.split() for line in Path(path).read_text().splitlines())
            return int(rows["nr_periods"]), int(rows["nr_throttled"])
        except (OSError, ValueError, KeyError):
            continue
    return 0, 0
