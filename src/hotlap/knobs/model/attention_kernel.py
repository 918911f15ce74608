"""The kernel of scaled dot-product attention on CUDA."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, ClassVar

from hotlap.knobs.knob import Knob, When
from hotlap.records import Contract, Facts, Goal, Skip, Value

if TYPE_CHECKING:
    from hotlap.inside.host import Host

_KERNELS = ("flash", "mem_efficient", "cudnn")


class AttentionKernel(Knob):
    """Let one kernel serve scaled dot-product attention, wherever it can.

    ## What it changes
    Which of torch's CUDA kernels `scaled_dot_product_attention` may take; calls that the chosen one cannot serve go to
    the plain formula. Sums are taken in another order.
    ## Why it can help
    Which kernel is fastest depends on device, length, head size and mask, and torch chooses by fixed rules.
    ## When it cannot
    No CUDA device, or no such call in the steps. cuDNN's kernel is never tried by itself: with a mask it returned NaN
    gradients on Hopper.
    ## Source
    torch.nn.attention documentation; pytorch#196678 (NaN gradients), pocket-tts#264 (no difference in one case).
    """

    id: ClassVar[str] = "attention-kernel"
    area: ClassVar[str] = "model"
    contract: ClassVar[Contract] = Contract.ROUNDING
    when: ClassVar[When] = When.ANY
    goals: ClassVar[tuple[Goal, ...]] = (Goal.SPEED, Goal.MEMORY)
    allowed: ClassVar[tuple[Value, ...] | range] = _KERNELS

    def choices(self, facts: Facts) -> tuple[Value, ...] | Skip:
        """The two that are safe everywhere, for scripts that attend on CUDA."""
        if not facts.is_cuda:
            return Skip("there is no CUDA device, and on a CPU torch has one kernel")
        if not facts.habits.get("attention") and any(root.compiled for root in facts.roots):
            return Skip("the compiled model hides whether it attends")
        if not facts.habits.get("attention"):
            return Skip("the script calls no scaled_dot_product_attention in its steps")
        return ("flash", "mem_efficient")

    def install(self, value: Value, host: Host) -> None:
        """Forbid the others; the plain formula stays, for what the chosen one cannot serve."""
        import torch

        for kernel in _KERNELS:
            written = getattr(torch.backends.cuda, f"{kernel}_sdp_enabled")()
            enable = getattr(torch.backends.cuda, f"enable_{kernel}_sdp")
            if written != (kernel == value):
                host.call(partial(enable, kernel == value), partial(enable, written))

    def switches(self, facts: Facts) -> bool:
        """Torch asks at each call."""
        return True
