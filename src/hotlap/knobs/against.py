"""Another version of the script, as `hotlap verify --against` judges it: in no list, and in no plan."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hotlap.knobs.knob import Knob, When
from hotlap.records import Contract, Facts, Skip, Value

if TYPE_CHECKING:
    from hotlap.inside.host import Host


class Against(Knob):
    """Run another version of the script in place of the script.

    ## What it changes
    Whatever that version changes. It is given the same arguments, seeds and data.
    ## Why it can help
    Somebody, or something, made it faster by hand.
    ## When it cannot
    Always, until it is judged.
    ## Source
    The user's.
    """

    id, area, contract, when = "against", "data", Contract.ROUNDING, When.PROCESS

    def choices(self, facts: Facts) -> tuple[Value, ...] | Skip:
        """Nothing that a tune could try."""
        return Skip("only `hotlap verify` asks for another version of the script")

    def refuses(self, value: Value) -> str | None:
        """A path is as good as any other."""
        return None if isinstance(value, str) else "it takes the path of a script"

    def install(self, value: Value, host: Host) -> None:
        """Nothing: it is the process that is another."""
