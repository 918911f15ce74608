"""The price of cuDNN's determinism."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from hotlap.knobs.knob import Knob, When
from hotlap.records import Contract, Facts, Skip, Value

if TYPE_CHECKING:
    from hotlap.inside.host import Host


class CudnnDeterministic(Knob):
    """Measure what `cudnn.deterministic = True` costs; it is taken off only by `--set cudnn-deterministic=false`.

    ## What it changes
    `torch.backends.cudnn.deterministic`, after the script has set it: from its second training step on, cuDNN may
    use algorithms whose sums are in no fixed order, so two runs with one seed no longer agree to the bit. Beside
    `cudnn.benchmark` they need not anyway: there the clock chooses among algorithms that each repeat themselves.
    ## Why it can help
    Some of the fastest backward convolutions add atomically.
    ## When it cannot
    No CUDA device, a script that does not ask for determinism, or `torch.use_deterministic_algorithms(True)`, which
    governs cuDNN too.
    ## Source
    torch.backends.cudnn documentation, "deterministic".
    """

    id: ClassVar[str] = "cudnn-deterministic"
    area: ClassVar[str] = "hardware"
    contract: ClassVar[Contract] = Contract.ROUNDING
    when: ClassVar[When] = When.FIRST_STEP
    allowed: ClassVar[tuple[Value, ...] | range] = (False,)
    conflicts: ClassVar[tuple[str, ...]] = ("reproducible",)
    suggested_only: ClassVar[bool] = True

    def choices(self, facts: Facts) -> tuple[Value, ...] | Skip:
        """Off, for scripts that set it on CUDA."""
        if not facts.is_cuda:
            return Skip("there is no CUDA device, and cuDNN is for those")
        if facts.precision.deterministic_algorithms:
            return Skip("the script asks for deterministic algorithms everywhere, which governs cuDNN too")
        if not facts.precision.cudnn_deterministic:
            return Skip("the script does not ask cuDNN for determinism")
        return (False,)

    def install(self, value: Value, host: Host) -> None:
        """Set it before the first update: by then the script has said what it wants."""
        import torch

        set_to = torch._C._set_cudnn_deterministic  # the call behind the attribute; cudnn.set_flags changes others too

        def turn() -> None:
            written = torch.backends.cudnn.deterministic
            if written != value:
                host.call(lambda: set_to(bool(value)), lambda: set_to(written))

        host.before_first_step(lambda _: turn())

    def switches(self, facts: Facts) -> bool:
        """Torch reads it at each convolution."""
        return True
