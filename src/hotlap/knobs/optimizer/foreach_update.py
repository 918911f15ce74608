"""Optimizer update in lists of tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from hotlap.knobs.knob import Knob, When
from hotlap.records import Contract, Facts, Skip, Value

if TYPE_CHECKING:
    from hotlap.inside.host import Host

_SMALL = 20_000  # elements of a tensor, on average; larger ones take longer in lists, for they leave the caches
_FOREACH = ("RMSprop", "NAdam", "RAdam", "Adadelta", "Adamax", "ASGD", "Rprop")
_CLASSES = tuple(f"torch.optim.{name.lower()}:{name}" for name in _FOREACH)
_OPTIONS = {"foreach": True}


class ForeachUpdate(Knob):
    """Update all parameters together, one operation after another, instead of one parameter after another.

    ## What it changes
    The optimizer's `foreach` option, from its first step on. Checkpoints keep the option that the script gave.
    ## Why it can help
    On a CPU torch takes each operation of each parameter by itself, in Python; a list of tensors is one call.
    ## When it cannot
    Optimizers with a fused kernel, which is better; large parameters, whose numbers would leave the caches between two
    operations; sparse gradients; CUDA, where torch does so by itself.
    ## Source
    torch.optim documentation, "foreach".
    """

    id: ClassVar[str] = "foreach-update"
    area: ClassVar[str] = "optimizer"
    contract: ClassVar[Contract] = Contract.ROUNDING
    when: ClassVar[When] = When.FIRST_STEP
    phase: ClassVar[str] = "optimizer"
    conflicts: ClassVar[tuple[str, ...]] = ("optimizer-rule",)

    def choices(self, facts: Facts) -> tuple[Value, ...] | Skip:
        """On for such optimizers of many small parameters on a CPU."""
        if facts.is_cuda:
            return Skip("on CUDA torch updates in lists by itself")
        fitting = [o for o in facts.optimizers if o.name in _CLASSES and o.floating and not o.sparse]
        if not fitting:
            return Skip("no optimizer of the script updates in lists and has no fused kernel")
        if all(o.foreach for o in fitting):
            return Skip("the optimizer already updates in lists")
        tensors = sum(len(root.parameter_shapes) for root in facts.roots)
        elements = sum(root.parameters for root in facts.roots)
        if not tensors or elements / tensors > _SMALL:
            return Skip("the parameters are large, and would be slower to update in lists")
        return (True,)

    def install(self, value: Value, host: Host) -> None:
        """Switch each optimizer over right before its first step."""
        from hotlap.inside import fuse

        host.before_first_step(lambda optimizer: fuse.switch(optimizer, _CLASSES, _OPTIONS, host))

    def switches(self, facts: Facts) -> bool:
        """The optimizer's state is the same either way."""
        return True
