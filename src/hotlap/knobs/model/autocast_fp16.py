"""Mixed precision with float16."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from hotlap.knobs.knob import Knob, When
from hotlap.knobs.model.autocast_bf16 import BF16_CAPABILITY, autocast
from hotlap.records import Contract, Facts, Goal, Skip, Value

if TYPE_CHECKING:
    from hotlap.inside.host import Host

_CAPABILITY = 7.0
"""Volta, the first with units that multiply float16 matrices."""


class AutocastFp16(Knob):
    """Run the model's forward under autocast to float16, with scaled gradients.

    ## What it changes
    Matrix products and convolutions of the training forward, and so of its backward, run in float16; weights, loss and
    update stay float32. The backward starts from a power of two instead of from one, every gradient is divided by it
    before it reaches its parameter, and an update whose gradients overflowed is left out.
    ## Why it can help
    On Volta and Turing only float16 reaches the matrix units, at several times the rate of float32.
    ## When it cannot
    Newer GPUs: bfloat16 is as fast there and needs no scale. A script that scales its gradients itself, updates by hand
    or steps with a closure. Hooks of the script's own on activations see the scaled gradients.
    ## Source
    torch.amp documentation, "Gradient Scaling"; pytorch#40497 (a scale that collapses).
    """

    id: ClassVar[str] = "autocast-fp16"
    area: ClassVar[str] = "model"
    contract: ClassVar[Contract] = Contract.REDUCED
    when: ClassVar[When] = When.IMPORT
    goals: ClassVar[tuple[Goal, ...]] = (Goal.SPEED, Goal.MEMORY)
    unit: ClassVar[float] = 2.0**-11
    conflicts: ClassVar[tuple[str, ...]] = ("autocast-bf16", "matmul-precision")

    def choices(self, facts: Facts) -> tuple[Value, ...] | Skip:
        """On for float32 models on a GPU that multiplies float16 but not bfloat16."""
        if not _CAPABILITY <= facts.capability < BF16_CAPABILITY:
            return Skip("only GPUs with float16 and without bfloat16 units need it")
        if not any("float32" in root.dtypes for root in facts.roots):
            return Skip("the script calls no module with float32 weights that could be found again")
        if facts.precision.autocast or facts.precision.grad_scaler:
            return Skip("the script already runs under autocast or scales its gradients")
        if facts.manual_update:
            return Skip("the script updates its weights by hand, without an optimizer")
        return (True,)

    def install(self, value: Value, host: Host) -> None:
        """Put the autocast around every root's training forward, and the scale around the backward."""
        import torch

        from hotlap.inside.loss_scale import LossScale

        LossScale(host, self.id).install()
        host.rewrite_roots(lambda root, call: autocast(root, call, torch.float16), order=10)
