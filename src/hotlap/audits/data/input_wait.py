"""Time in which the training waits for its data."""

from __future__ import annotations

from typing import ClassVar

from hotlap.audits.audit import Audit
from hotlap.audits.judge import per_step
from hotlap.records import Finding
from hotlap.records.seen import Seen

_MUCH = 0.10  # of the step


class InputWait(Audit):
    """Time in which the training waits for its data.

    ## What it finds
    A data phase of more than a tenth of the step.
    ## Why it costs
    The device, or the processor's arithmetic, has nothing to do meanwhile.
    ## When it is right
    Where the data cannot come faster: a stream, a simulation.
    ## Source
    PyTorch performance tuning guide, "Enable asynchronous data loading".
    """

    id: ClassVar[str] = "input-wait"
    area: ClassVar[str] = "data"
    knobs: ClassVar[tuple[str, ...]] = ("whole-batch-fetch", "sample-cache", "fetch-ahead", "loader-workers")

    def judge(self, seen: Seen) -> Finding:
        """By the share of the data phase."""
        share = seen.phases.phases_s["data"] / seen.phases.total_s
        if not any(loader.trains for loader in seen.facts.loaders):
            return self.not_applicable("no DataLoader feeds the training")
        if share < _MUCH:
            return self.passes(f"waiting for data is {share:.1%} of the step", share=share)
        advice = (
            "see `hotlap check --data`; fetch in more workers, cache what every epoch decodes, or index whole batches"
        )
        return self.fails(f"{share:.0%} of the step is waiting for data", advice, per_step(seen.steps.phases_s["data"]))
