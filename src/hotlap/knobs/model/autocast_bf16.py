"""Mixed precision with bfloat16."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from hotlap.knobs.knob import Knob, When
from hotlap.knobs.nest import mapped
from hotlap.processor import BFLOAT16
from hotlap.records import Contract, Facts, Goal, Skip, Value

if TYPE_CHECKING:
    from hotlap.inside.host import Host

BF16_CAPABILITY = 8.0
"""Ampere; earlier GPUs compute bfloat16 by detours."""


class AutocastBf16(Knob):
    """Run the model's forward under autocast to bfloat16.

    ## What it changes
    Matrix products and convolutions of the training forward, and so of its backward, run in bfloat16; weights, loss
    and update stay float32; the model's outputs are handed over in float32. Evaluation runs as written.
    ## Why it can help
    Half the memory traffic, and the hardware's matrix units.
    ## When it cannot
    A processor without bfloat16 arithmetic, models whose time is not in matrix products, weights that are not float32.
    ## Source
    torch.amp documentation; Accelerate runs the forward the same way and casts its outputs to float32.
    """

    id: ClassVar[str] = "autocast-bf16"
    area: ClassVar[str] = "model"
    contract: ClassVar[Contract] = Contract.REDUCED
    when: ClassVar[When] = When.FIRST_STEP
    goals: ClassVar[tuple[Goal, ...]] = (Goal.SPEED, Goal.MEMORY)
    unit: ClassVar[float] = 2.0**-9
    conflicts: ClassVar[tuple[str, ...]] = ("autocast-fp16", "matmul-precision")

    def choices(self, facts: Facts) -> tuple[Value, ...] | Skip:
        """On for float32 models where the hardware multiplies bfloat16."""
        if not facts.roots:
            return Skip("the script calls no module that could be found again")
        if facts.precision.autocast:
            return Skip("the script already runs under autocast")
        if not any("float32" in root.dtypes for root in facts.roots):
            return Skip("no model has float32 weights")
        if not facts.is_cuda and not BFLOAT16 & set(facts.machine.flags):
            return Skip("this processor has no bfloat16 arithmetic")
        if facts.is_cuda and facts.capability < BF16_CAPABILITY:
            return Skip("this GPU has no bfloat16 arithmetic")
        return (True,)

    def install(self, value: Value, host: Host) -> None:
        """Put the autocast around every root's training forward."""
        import torch

        host.rewrite_roots(lambda root, call: autocast(root, call, torch.bfloat16), order=10)

    def switches(self, facts: Facts) -> bool:
        """Each call decides for itself."""
        return True


def autocast(root: Any, call: Callable[..., Any], dtype: Any) -> Callable[..., Any]:
    """The call under autocast to `dtype`, with its outputs in float32."""
    import torch

    device = next((p.device.type for p in root.parameters()), "cpu")

    def autocasted(*args: Any, **kwargs: Any) -> Any:
        with torch.autocast(device, dtype=dtype):
            out = call(*args, **kwargs)
        return mapped(out, lambda tensor: tensor.float() if tensor.dtype == dtype else tensor)

    return autocasted
