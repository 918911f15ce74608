"""A learning rate scheduler that steps before the optimizer."""

from __future__ import annotations

from typing import ClassVar

from hotlap.audits.audit import Audit
from hotlap.records import Finding
from hotlap.records.seen import Seen


class SchedulerFirst(Audit):
    """A learning rate scheduler that steps before the optimizer.

    ## What it finds
    `scheduler.step()` before the first `optimizer.step()`.
    ## Why it costs
    The first value of the schedule is skipped; with one step per epoch that is the whole first epoch.
    ## When it is right
    Never since torch 1.1.
    ## Source
    torch.optim: how to adjust learning rate.
    """

    id: ClassVar[str] = "scheduler-first"
    area: ClassVar[str] = "optimizer"
    misleads: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("habits",)

    def judge(self, seen: Seen) -> Finding:
        """By the order of the first calls."""
        assert seen.habits is not None
        if seen.habits.scheduler_first:
            return self.fails(
                "the learning rate scheduler steps before the optimizer, so its first value is skipped",
                "call scheduler.step() after optimizer.step()",
            )
        return self.passes("no scheduler steps before the optimizer")
