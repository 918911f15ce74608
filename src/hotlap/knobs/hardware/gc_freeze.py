"""Python's garbage collector, told what will stay."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from hotlap.knobs.knob import Knob, When
from hotlap.records import Contract, Facts, Skip, Value

if TYPE_CHECKING:
    from hotlap.inside.host import Host

_WORTH_TRYING = 1e-4  # seconds per step


class GcFreeze(Knob):
    """Leave everything that exists at the first step out of garbage collection.

    ## What it changes
    `gc.freeze()` right before the first update. Cycles among what is frozen are never collected.
    ## Why it can help
    Every full collection walks through all objects that Python holds; a dataset of many samples is many of them.
    ## When it cannot
    Few objects, or a script that builds anew what it had before the first step, again and again.
    ## Source
    gc.freeze documentation; nanochat#477 (a collection doubled every few steps).
    """

    id: ClassVar[str] = "gc-freeze"
    area: ClassVar[str] = "hardware"
    contract: ClassVar[Contract] = Contract.EXACT
    when: ClassVar[When] = When.FIRST_STEP

    def choices(self, facts: Facts) -> tuple[Value, ...] | Skip:
        """On where the collector was seen to take time in the steps."""
        if facts.collecting_s < _WORTH_TRYING:
            return Skip(f"garbage collection takes {facts.collecting_s * 1e6:.0f} microseconds of a step")
        return (True,)

    def saves_s(self, facts: Facts) -> float:
        """Every collection."""
        return facts.collecting_s

    def install(self, value: Value, host: Host) -> None:
        """Collect once, so that no garbage is kept for ever, and freeze the rest."""
        import gc

        frozen: list[bool] = []
        collect = gc.collect  # as it is before forced-collection takes its place

        def freeze() -> None:
            collect()
            gc.freeze()

        def before_first_step(_: object) -> None:
            if not frozen:
                frozen.append(True)
                host.call(freeze, gc.unfreeze)

        host.before_first_step(before_first_step)
