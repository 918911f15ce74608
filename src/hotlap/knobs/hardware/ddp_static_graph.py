"""A graph that is the same in every step."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from hotlap.knobs import ddp
from hotlap.knobs.knob import Knob, When
from hotlap.records import Contract, Facts, Skip, Value

if TYPE_CHECKING:
    from hotlap.inside.host import Host


class DdpStaticGraph(Knob):
    """Tell DistributedDataParallel that the same parameters take part in every step.

    ## What it changes
    `static_graph=True`, whatever the script passes. Buckets are laid out anew after the first step, in the order in
    which gradients became ready, so sums may be taken in another order.
    ## Why it can help
    Nobody searches the graph for unused parameters, and buckets are sent in the order in which they fill.
    ## When it cannot
    One process, or a model that uses other parameters from step to step: its gradients would be wrong, or the run hang.
    A tune sees too few steps to know that it never will, so `--set` alone turns it.
    ## Source
    DistributedDataParallel documentation, "static_graph".
    """

    id: ClassVar[str] = "ddp-static-graph"
    area: ClassVar[str] = "hardware"
    contract: ClassVar[Contract] = Contract.ROUNDING
    when: ClassVar[When] = When.BUILD
    allowed: ClassVar[tuple[Value, ...] | range] = (True,)
    suggested_only: ClassVar[bool] = True

    def choices(self, facts: Facts) -> tuple[Value, ...] | Skip:
        """For trainings that several processes share."""
        return ddp.not_used(facts) or (True,)

    def install(self, value: Value, host: Host) -> None:
        """Pass it to the constructor."""
        ddp.construct(host, static_graph=bool(value))
