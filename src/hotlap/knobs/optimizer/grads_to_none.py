"""Gradients that are let go instead of filled with zeros."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from hotlap.knobs.knob import Knob, When
from hotlap.records import Contract, Facts, Goal, Skip, Value

if TYPE_CHECKING:
    from hotlap.inside.host import Host


class GradsToNone(Knob):
    """Let `zero_grad(set_to_none=False)` let the gradients go.

    ## What it changes
    `zero_grad` of optimizers and modules sets gradients to None. A parameter that has had a gradient and gets none in a
    step is given zeros before the optimizer's step, as it would have had, so that momentum and decay still move it.
    What the script itself lets go stays so.
    ## Why it can help
    Nothing is filled with zeros, and the backward writes its gradients where it would have added them.
    ## When it cannot
    Scripts that let gradients go already, which is torch's default since 2.0.
    ## Source
    torch.optim.Optimizer.zero_grad documentation, "set_to_none".
    """

    id: ClassVar[str] = "grads-to-none"
    area: ClassVar[str] = "optimizer"
    contract: ClassVar[Contract] = Contract.ROUNDING
    when: ClassVar[When] = When.IMPORT
    goals: ClassVar[tuple[Goal, ...]] = (Goal.SPEED, Goal.MEMORY)

    def choices(self, facts: Facts) -> tuple[Value, ...] | Skip:
        """On for scripts that ask for zeros."""
        zeroes = facts.habits.get("zero_grad to zeros")
        return (True,) if zeroes else Skip("the script does not fill its gradients with zeros")

    def install(self, value: Value, host: Host) -> None:
        """Take the argument for its opposite."""
        from hotlap.inside.let_go import LetGo

        LetGo(host).install()

    def switches(self, facts: Facts) -> bool:
        """Each call decides for itself."""
        return True
