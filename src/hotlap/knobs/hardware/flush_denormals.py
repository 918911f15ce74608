"""Numbers too small to matter."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from hotlap.knobs.knob import Knob, When
from hotlap.records import Contract, Facts, Skip, Value

if TYPE_CHECKING:
    from hotlap.inside.host import Host

_WORTH_TRYING = 1e-4  # of the numbers looked at


class FlushDenormals(Knob):
    """Take numbers below 1e-38 for zero.

    ## What it changes
    `torch.set_flush_denormal(True)`, in the training process: denormal results and inputs become zero.
    ## Why it can help
    Many processors compute with denormals in microcode, a hundred times slower; gradients that vanish and averages
    that decay are made of them.
    ## When it cannot
    No denormals among weights, gradients and the optimizer's state, or a processor that does not mind them.
    ## Source
    torch.set_flush_denormal documentation; pytorch#4737.
    """

    id: ClassVar[str] = "flush-denormals"
    area: ClassVar[str] = "hardware"
    contract: ClassVar[Contract] = Contract.ROUNDING
    when: ClassVar[When] = When.IMPORT

    def choices(self, facts: Facts) -> tuple[Value, ...] | Skip:
        """On for CPU trainings in which denormals were seen."""
        if facts.is_cuda:
            return Skip("the training runs on an accelerator, where denormals cost nothing")
        if facts.denormals < _WORTH_TRYING:
            return Skip(f"denormals are {facts.denormals:.2%} of its weights, gradients and optimizer state")
        return (True,)

    def install(self, value: Value, host: Host) -> None:
        """Before torch has started its threads, which take the mode over from the one that starts them."""
        import torch

        host.call(lambda: torch.set_flush_denormal(True), lambda: torch.set_flush_denormal(False))
