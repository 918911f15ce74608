"""Gradients that live in the buckets they are sent in."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from hotlap.knobs import ddp
from hotlap.knobs.knob import Knob, When
from hotlap.records import Contract, Facts, Goal, Skip, Value

if TYPE_CHECKING:
    from hotlap.inside.host import Host


class DdpBucketView(Knob):
    """Keep gradients in DistributedDataParallel's buckets instead of copying them there and back.

    ## What it changes
    `gradient_as_bucket_view=True`, whatever the script passes. Each `.grad` is a view of a bucket; values are the same.
    ## Why it can help
    A copy of every gradient less per step, and a gradient's worth of memory less.
    ## When it cannot
    One process, or scripts that detach or replace gradients in place.
    ## Source
    DistributedDataParallel documentation; pytorch#41954 (8 % on RoBERTa, nothing on ResNet).
    """

    id: ClassVar[str] = "ddp-bucket-view"
    area: ClassVar[str] = "hardware"
    contract: ClassVar[Contract] = Contract.EXACT
    when: ClassVar[When] = When.BUILD
    goals: ClassVar[tuple[Goal, ...]] = (Goal.SPEED, Goal.MEMORY)
    allowed: ClassVar[tuple[Value, ...] | range] = (True,)

    def choices(self, facts: Facts) -> tuple[Value, ...] | Skip:
        """For trainings that several processes share."""
        return ddp.not_used(facts) or (True,)

    def install(self, value: Value, host: Host) -> None:
        """Pass it to the constructor."""
        ddp.construct(host, gradient_as_bucket_view=bool(value))
