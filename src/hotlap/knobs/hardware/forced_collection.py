"""Garbage collections that the script asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from hotlap.knobs.knob import Knob, When
from hotlap.knobs.spared import spare
from hotlap.records import Contract, Facts, Skip, Value

if TYPE_CHECKING:
    from hotlap.inside.host import Host

_HABIT = 0.5  # calls per step


class ForcedCollection(Knob):
    """Answer the script's `gc.collect()` without collecting.

    ## What it changes
    `gc.collect()` returns 0 at once. Python's own collections go on, whenever enough objects are new.
    ## Why it can help
    A full collection walks through every object that Python holds, in every step.
    ## When it cannot
    Scripts that do not ask for it in their steps. Where cycles hold large tensors, memory grows until Python collects.
    ## Source
    gc documentation; OneTrainer#1459 (half of the training time).
    """

    id: ClassVar[str] = "forced-collection"
    area: ClassVar[str] = "hardware"
    contract: ClassVar[Contract] = Contract.EXACT
    when: ClassVar[When] = When.ANY
    allowed: ClassVar[tuple[Value, ...] | range] = (False,)

    def choices(self, facts: Facts) -> tuple[Value, ...] | Skip:
        """Off for scripts that collect while they train."""
        asks = facts.habits.get("gc.collect", 0.0) >= _HABIT
        return (False,) if asks else Skip("the script does not collect garbage in its steps")

    def install(self, value: Value, host: Host) -> None:
        """Take the work out of the call."""
        import gc

        spare(host, gc, "collect", 0)

    def switches(self, facts: Facts) -> bool:
        """Each call decides for itself."""
        return True
