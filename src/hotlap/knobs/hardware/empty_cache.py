"""Device memory that the script gives back."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from hotlap.knobs.knob import Knob, When
from hotlap.knobs.spared import spare
from hotlap.records import Contract, Facts, Skip, Value

if TYPE_CHECKING:
    from hotlap.inside.host import Host

_HABIT = 0.5  # calls per step


class EmptyCache(Knob):
    """Answer the script's `torch.cuda.empty_cache()` without doing it.

    ## What it changes
    The call returns at once; the memory stays in torch's cache, which the next step takes it from.
    ## Why it can help
    Giving memory back waits for the device, and the next step must ask the driver for it again.
    ## When it cannot
    Scripts that do not ask for it while they train, or that share the device with others who need the memory.
    ## Source
    torch.cuda.empty_cache documentation; OneTrainer#1459 (half of the training time).
    """

    id: ClassVar[str] = "empty-cache"
    area: ClassVar[str] = "hardware"
    contract: ClassVar[Contract] = Contract.EXACT
    when: ClassVar[When] = When.ANY
    allowed: ClassVar[tuple[Value, ...] | range] = (False,)

    def choices(self, facts: Facts) -> tuple[Value, ...] | Skip:
        """Off for scripts that call it while they train on CUDA."""
        asks = facts.is_cuda and facts.habits.get("torch.cuda.empty_cache", 0.0) >= _HABIT
        return (False,) if asks else Skip("the script does not give cached device memory back in its steps")

    def install(self, value: Value, host: Host) -> None:
        """Take the work out of the call."""
        import torch

        spare(host, torch.cuda, "empty_cache")

    def switches(self, facts: Facts) -> bool:
        """Each call decides for itself."""
        return True
