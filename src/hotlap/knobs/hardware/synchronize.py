"""Waits for the device that the script asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from hotlap.knobs.knob import Knob, When
from hotlap.knobs.spared import spare
from hotlap.records import Contract, Facts, Skip, Value

if TYPE_CHECKING:
    from hotlap.inside.host import Host

_HABIT = 0.5  # calls per step


class Synchronize(Knob):
    """Answer the script's `torch.cuda.synchronize()` without doing it.

    ## What it changes
    The call returns at once. Whoever reads a value from the device still waits for it.
    ## Why it can help
    While the host waits it prepares nothing, so the device runs dry at the start of every step.
    ## When it cannot
    Scripts that do not wait in their steps. Times that the script takes itself leave out what the device has yet to do.
    ## Source
    torch.cuda.synchronize documentation; PyTorch tuning guide.
    """

    id: ClassVar[str] = "synchronize"
    area: ClassVar[str] = "hardware"
    contract: ClassVar[Contract] = Contract.EXACT
    when: ClassVar[When] = When.ANY
    allowed: ClassVar[tuple[Value, ...] | range] = (False,)

    def choices(self, facts: Facts) -> tuple[Value, ...] | Skip:
        """Off for scripts that call it while they train on CUDA."""
        asks = facts.is_cuda and facts.habits.get("torch.cuda.synchronize", 0.0) >= _HABIT
        return (False,) if asks else Skip("the script does not wait for the device in its steps")

    def install(self, value: Value, host: Host) -> None:
        """Take the work out of the call."""
        import torch

        spare(host, torch.cuda, "synchronize")

    def switches(self, facts: Facts) -> bool:
        """Each call decides for itself."""
        return True
