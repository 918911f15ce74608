"""The optimizer's step does nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from hotlap.knobs.knob import Knob, When
from hotlap.records import Contract, Facts, Skip, Value

if TYPE_CHECKING:
    import torch

    from hotlap.inside.host import Host


class NoUpdate(Knob):
    """Let a twin of the optimizer that owns no parameters take its steps.

    ## What it changes
    The weights stay as they are, so only the times count: they show what the update costs, page faults included.
    ## Why it can help
    It cannot; it bounds what the knobs of the optimizer area can.
    ## When it cannot
    Scripts that update their weights by hand, and optimizers that take a closure.
    ## Source
    torch hands the arguments of a step, the optimizer among them, to hooks that may replace them.
    """

    id: ClassVar[str] = "no-update"
    area: ClassVar[str] = "optimizer"
    contract: ClassVar[Contract] = Contract.RECIPE
    when: ClassVar[When] = When.ANY
    suggested_only: ClassVar[bool] = True

    def choices(self, facts: Facts) -> tuple[Value, ...] | Skip:
        """Where an optimizer object makes the update."""
        return (True,) if facts.optimizers and not facts.manual_update else Skip("no optimizer makes the update")

    def switches(self, facts: Facts) -> bool:
        """The optimizer itself is not touched."""
        return True

    def install(self, value: Value, host: Host) -> None:
        """Steps with a closure compute gradients of their own and are left alone."""
        from torch.optim.optimizer import register_optimizer_step_pre_hook

        from hotlap.inside.idle import idle, takes_closure

        def without_update(optimizer: torch.optim.Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            return None if takes_closure(args, kwargs) else idle(optimizer, args, kwargs)

        handle = register_optimizer_step_pre_hook(without_update)
        host.call(lambda: None, handle.remove)
