"""Parameters that an optimizer owns and that never get a gradient."""

from __future__ import annotations

from typing import ClassVar

from hotlap.audits.audit import Audit
from hotlap.audits.judge import few
from hotlap.records import Finding
from hotlap.records.seen import Seen


class NeverAGradient(Audit):
    """Parameters that an optimizer owns and that never get a gradient.

    ## What it finds
    Parameters without a gradient in every step that was seen.
    ## Why it costs
    They do not learn; a branch that is not used, or a `detach` too many.
    ## When it is right
    Experts and branches that are used now and then.
    ## Source
    `p.grad is None` after the backward.
    """

    id: ClassVar[str] = "never-a-gradient"
    area: ClassVar[str] = "optimizer"
    misleads: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("structure",)

    def judge(self, seen: Seen) -> Finding:
        """By looking before each update."""
        assert seen.structure is not None
        names = seen.structure.never_a_gradient
        if not names:
            return self.passes("every parameter that an optimizer owns got a gradient")
        return self.informs(
            f"{few(names)} had no gradient in any step that was seen",
            "look for a detach, a no_grad or a branch that is never taken; else freeze them",
            parameters=len(names),
        )
