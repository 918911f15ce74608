"""Gradients that are let go instead of filled with zeros."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar
from weakref import ref

from hotlap.knobs.knob import Knob, When
from hotlap.records import Contract, Facts, Goal, Skip, Value

if TYPE_CHECKING:
    from hotlap.inside.host import Host


class GradsToNone(Knob):
    """Let `zero_grad(set_to_none=False)` let the gradients go.

    ## What it changes
    `zero_grad` of optimizers and modules sets gradients to None. A parameter that has had a gradient and gets none in a
    step is given zeros before the optimizer's step, as it would have had, so that momentum and decay still move it.
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
        import torch
        from torch.optim.optimizer import register_optimizer_step_pre_hook

        zeros = _Zeros()

        def letting_go(original: Callable[..., Any]) -> Callable[..., Any]:
            def zero_grad(owner: Any, set_to_none: bool = True) -> None:
                zeros.note(owner, kept=not set_to_none)
                original(owner, set_to_none=True)

            return zero_grad

        for owner in (torch.optim.Optimizer, torch.nn.Module):
            host.wrap(owner, "zero_grad", letting_go)
        host.call(lambda: None, register_optimizer_step_pre_hook(zeros.fill).remove)

    def switches(self, facts: Facts) -> bool:
        """Each call decides for itself."""
        return True


class _Zeros:
    """Knows which parameters would have kept a gradient of zeros."""

    def __init__(self) -> None:
        self._had: dict[int, ref[Any]] = {}

    def note(self, owner: Any, *, kept: bool) -> None:
        """Look at the gradients that are about to be let go; `kept` where the script asked for zeros."""
        for p in owner.parameters() if hasattr(owner, "parameters") else _owned(owner):
            if not kept:
                self._had.pop(id(p), None)
            elif p.grad is not None:
                self._had[id(p)] = ref(p)

    def fill(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        """Give those their zeros that got nothing since, for the step that is about to be made."""
        for p in _owned(optimizer):
            if p.grad is None and id(p) in self._had and self._had[id(p)]() is p:
                p.grad = p.detach().clone().zero_()


def _owned(optimizer: Any) -> list[Any]:
    return [p for group in optimizer.param_groups for p in group["params"]]
