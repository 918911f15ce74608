"""A quota of CPU time that is spent before its period is over."""

from __future__ import annotations

from typing import ClassVar

from hotlap.audits.audit import Audit
from hotlap.records import Finding
from hotlap.records.seen import Seen

_MUCH = 0.05  # of the periods
_THROTTLED = "throttled"


class CpuThrottled(Audit):
    """A quota of CPU time that is spent before its period is over.

    ## What it finds
    A control group (a container's CPU limit) whose quota was spent too soon in more than a twentieth of its periods,
    from the start of the process to its end.
    ## Why it costs
    All threads stand still until the next period of, usually, 100 ms: steps of very different length.
    ## When it is right
    Never; either the threads are too many or the limit is too low.
    ## Source
    Linux kernel documentation, "CFS Bandwidth Control"; kubernetes#67577.
    """

    id: ClassVar[str] = "cpu-throttled"
    area: ClassVar[str] = "hardware"
    knobs: ClassVar[tuple[str, ...]] = ("threads",)

    def judge(self, seen: Seen) -> Finding:
        """By the control group's own count."""
        share, quota = seen.load.get(_THROTTLED), seen.facts.machine.quota
        if quota is None:
            return self.not_applicable("no quota limits the CPU time")
        if share is None:
            return self.error("the control group does not tell of its periods")
        told = f"the quota of {quota:g} cores was spent too soon in {share:.0%} of its periods"
        if share < _MUCH:
            return self.passes(told)
        return self.fails(
            told,
            f"run {max(1, int(quota))} threads (OMP_NUM_THREADS) and fewer loader workers, or raise the limit",
            share=share,
        )
