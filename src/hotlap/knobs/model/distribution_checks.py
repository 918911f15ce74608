"""Checks in torch.distributions."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from hotlap.knobs.knob import Knob, When
from hotlap.records import Contract, Facts, Skip, Value

if TYPE_CHECKING:
    from hotlap.inside.host import Host


class DistributionChecks(Knob):
    """Build distributions without checking their arguments.

    ## What it changes
    `Distribution.set_default_validate_args(False)`. No number changes; a NaN among the arguments is no longer an error
    where the distribution is built, but shows in the loss.
    ## Why it can help
    Each check is several small operations, and on an accelerator a wait for it.
    ## When it cannot
    Scripts that build no distribution in their steps, or that ask for checks one by one.
    ## Source
    torch.distributions documentation, "validate_args".
    """

    id: ClassVar[str] = "distribution-checks"
    area: ClassVar[str] = "model"
    contract: ClassVar[Contract] = Contract.EXACT
    when: ClassVar[When] = When.ANY
    allowed: ClassVar[tuple[Value, ...] | range] = (False,)

    def choices(self, facts: Facts) -> tuple[Value, ...] | Skip:
        """Off for scripts that build distributions while they train."""
        builds = facts.habits.get("distribution")
        return (False,) if builds else Skip("the script builds no torch distribution in its steps")

    def install(self, value: Value, host: Host) -> None:
        """Set the class's default, which each new distribution reads."""
        from torch.distributions import Distribution

        written = Distribution._validate_args
        if written:
            turn = Distribution.set_default_validate_args
            host.call(lambda: turn(False), lambda: turn(written))

    def switches(self, facts: Facts) -> bool:
        """It is read when a distribution is built."""
        return True
