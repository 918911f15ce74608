"""The search for parameters that had no part in the loss."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from hotlap.knobs import ddp
from hotlap.knobs.knob import Knob, When
from hotlap.records import Contract, Facts, Skip, Value

if TYPE_CHECKING:
    from hotlap.inside.host import Host


class DdpUnusedParameters(Knob):
    """Do not search the graph for parameters without a gradient.

    ## What it changes
    `find_unused_parameters=False`, whatever the script passes. No number changes as long as all parameters are used.
    ## Why it can help
    The search walks through the whole graph in every step.
    ## When it cannot
    One process, or a model that leaves parameters out: torch then stops the run with an error. A tune sees too few
    steps to know that none ever will, so `--set` alone turns it.
    ## Source
    DistributedDataParallel documentation, "find_unused_parameters"; torch warns where the search found nothing.
    """

    id: ClassVar[str] = "ddp-unused-parameters"
    area: ClassVar[str] = "hardware"
    contract: ClassVar[Contract] = Contract.EXACT
    when: ClassVar[When] = When.BUILD
    allowed: ClassVar[tuple[Value, ...] | range] = (False,)
    suggested_only: ClassVar[bool] = True

    def choices(self, facts: Facts) -> tuple[Value, ...] | Skip:
        """For trainings that several processes share."""
        return ddp.not_used(facts) or (False,)

    def install(self, value: Value, host: Host) -> None:
        """Pass it to the constructor."""
        ddp.construct(host, find_unused_parameters=bool(value))
