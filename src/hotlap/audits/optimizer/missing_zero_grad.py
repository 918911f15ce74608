"""Gradients that are never cleared."""

from __future__ import annotations

from typing import ClassVar

from hotlap.audits.audit import Audit
from hotlap.records import Finding
from hotlap.records.seen import Seen


class MissingZeroGrad(Audit):
    """Gradients that are never cleared.

    ## What it finds
    Steps with a backward and no `zero_grad`.
    ## Why it costs
    Every step adds to the sum of all gradients so far: it learns like momentum 1, until it does not.
    ## When it is right
    Scripts that set gradients to None themselves, or that never read `.grad` of the step before.
    ## Source
    torch accumulates gradients by design.
    """

    id: ClassVar[str] = "missing-zero-grad"
    area: ClassVar[str] = "optimizer"
    misleads: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("habits",)

    def judge(self, seen: Seen) -> Finding:
        """By counting calls per step."""
        assert seen.habits is not None
        counts = seen.habits.per_step
        if seen.facts.manual_update or not counts.get("backward"):
            return self.not_applicable("no optimizer makes the update, or no backward was counted")
        if cleared := counts.get("zero_grad", 0.0) + counts.get("zero_grad to zeros", 0.0):
            return self.passes("gradients are cleared", calls=cleared)
        return self.informs(
            "gradients are never cleared by zero_grad, so they may add up over steps",
            "call optimizer.zero_grad() once in each step, unless the script clears them itself",
        )
