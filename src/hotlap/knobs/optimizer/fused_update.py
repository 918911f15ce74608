"""Fused optimizer update."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from hotlap.knobs.knob import Knob, When
from hotlap.records import Contract, Facts, Goal, Skip, Value

if TYPE_CHECKING:
    from hotlap.inside.host import Host

_FUSED = ("Adam", "AdamW", "SGD", "Adagrad")
_CLASSES = tuple(f"torch.optim.{name.lower()}:{name}" for name in _FUSED)
_CPU_ONLY = "torch.optim.adagrad:Adagrad"
_OPTIONS = {"fused": True, "foreach": False}


class FusedUpdate(Knob):
    """Update all parameters in one kernel instead of one small operation after another.

    ## What it changes
    The optimizer's `fused` option, from its first step on. Checkpoints keep the option that the script gave.
    ## Why it can help
    On a CPU torch loops over parameters and operations; the fused kernel reads and writes each tensor once.
    ## When it cannot
    Other optimizers than Adam, AdamW, SGD and Adagrad; sparse gradients; an update that is a small part of the step.
    ## Source
    torch.optim documentation, "fused"; pytorch#123074 (5.1x on the kernel, 56 cores).
    """

    id: ClassVar[str] = "fused-update"
    area: ClassVar[str] = "optimizer"
    contract: ClassVar[Contract] = Contract.ROUNDING
    when: ClassVar[When] = When.FIRST_STEP
    goals: ClassVar[tuple[Goal, ...]] = (Goal.SPEED, Goal.MEMORY)
    phase: ClassVar[str] = "optimizer"
    conflicts: ClassVar[tuple[str, ...]] = ("optimizer-rule",)

    def choices(self, facts: Facts) -> tuple[Value, ...] | Skip:
        """On for scripts with an optimizer that has a fused kernel and does not use it."""
        if facts.manual_update:
            return Skip("the script updates its weights by hand, without an optimizer")
        fitting = [o for o in facts.optimizers if o.name in _CLASSES and not (facts.is_cuda and o.name == _CPU_ONLY)]
        if not fitting:
            return Skip("no optimizer of the script has a fused update (Adam, AdamW, SGD and, on a CPU, Adagrad have)")
        fitting = [o for o in fitting if not o.fused]
        if not fitting:
            return Skip("every optimizer already updates fused")
        if not any(o.floating and not o.sparse for o in fitting):
            return Skip("parameters are not all floating, or gradients are sparse")
        return (True,)

    def install(self, value: Value, host: Host) -> None:
        """Switch each optimizer over right before its first step."""
        from hotlap.inside import fuse

        host.before_first_step(lambda optimizer: fuse.switch(optimizer, _CLASSES, _OPTIONS, host))

    def switches(self, facts: Facts) -> bool:
        """The optimizer's state is the same for both kernels."""
        return True
