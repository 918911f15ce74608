"""Python's garbage collector in the step."""

from __future__ import annotations

from typing import ClassVar

from hotlap.audits.audit import Audit
from hotlap.audits.judge import per_step
from hotlap.records import Finding
from hotlap.records.seen import Seen

_MUCH = 0.01  # of the step


class GarbageCollection(Audit):
    """Python's garbage collector in the step.

    ## What it finds
    More than a hundredth of the step in the collector.
    ## Why it costs
    It goes through every object that Python holds, and a dataset of many small objects is many.
    ## When it is right
    Where cycles hold tensors that must go.
    ## Source
    nanochat#477: a collection doubled every few steps.
    """

    id: ClassVar[str] = "garbage-collection"
    area: ClassVar[str] = "hardware"
    needs: ClassVar[tuple[str, ...]] = ("collector",)
    knobs: ClassVar[tuple[str, ...]] = ("gc-freeze", "forced-collection")

    def judge(self, seen: Seen) -> Finding:
        """By the collector's own callbacks."""
        assert seen.collector is not None
        share = seen.collector.per_step_s / seen.phases.total_s
        if share < _MUCH:
            return self.passes(f"garbage collection takes {share:.2%} of the step", share=share)
        return self.fails(
            f"garbage collection takes {share:.1%} of the step, {seen.collector.per_step_s * 1e3:.2f} ms",
            "call gc.freeze() once the data and the model are there, or gc.disable() and collect between epochs",
            per_step(seen.collector.spent_s),
            share=share,
        )
