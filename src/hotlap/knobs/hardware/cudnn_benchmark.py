"""cuDNN's choice of algorithms by trial."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from hotlap.knobs.knob import Knob, When
from hotlap.records import Contract, Facts, Skip, Value

if TYPE_CHECKING:
    from hotlap.inside.host import Host


class CudnnBenchmark(Knob):
    """Let cuDNN try its convolution algorithms on every new shape and keep the fastest.

    ## What it changes
    `torch.backends.cudnn.benchmark`. Another algorithm may add in another order, and as the clock chooses, the choice
    may differ from run to run. With `cudnn.deterministic` beside it, the choice is among algorithms that each repeat
    themselves, and it may differ all the same: two runs are sure to agree only with this off and that on.
    ## Why it can help
    The choice is otherwise a guess from the shape alone.
    ## When it cannot
    No CUDA device, no convolutions, shapes that keep changing (each is tried anew), or a script that asks for
    deterministic algorithms: that wish comes first.
    ## Source
    torch.backends.cudnn documentation; PyTorch's notes on reproducibility; pytorch#2759 and #4392 (changing shapes).
    """

    id: ClassVar[str] = "cudnn-benchmark"
    area: ClassVar[str] = "hardware"
    contract: ClassVar[Contract] = Contract.ROUNDING
    when: ClassVar[When] = When.ANY
    conflicts: ClassVar[tuple[str, ...]] = ("reproducible",)

    def choices(self, facts: Facts) -> tuple[Value, ...] | Skip:
        """On for convolutions on CUDA, unless the script wants determinism."""
        if not facts.is_cuda:
            return Skip("there is no CUDA device, and cuDNN is for those")
        if facts.precision.cudnn_deterministic or facts.precision.deterministic_algorithms:
            return Skip("the script asks for deterministic algorithms, and that wish comes first")
        if facts.precision.cudnn_benchmark:
            return Skip("the script already switches it on")
        if facts.roots and not any("Conv" in name for root in facts.roots for name in root.modules):
            return Skip("the model has no convolution")
        return (True,)

    def install(self, value: Value, host: Host) -> None:
        """Set it now, and again before the first update in case the script set its own."""
        import torch

        set_to = torch._C._set_cudnn_benchmark  # the call behind the attribute; cudnn.set_flags changes others too

        def turn() -> None:
            written = torch.backends.cudnn.benchmark
            if written != value:
                host.call(lambda: set_to(bool(value)), lambda: set_to(written))

        turn()
        host.before_first_step(lambda _: turn())
