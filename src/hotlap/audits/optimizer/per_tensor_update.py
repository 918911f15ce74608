"""An update that goes through the parameters one by one."""

from __future__ import annotations

from typing import ClassVar

from hotlap.audits.audit import Audit
from hotlap.audits.judge import per_step
from hotlap.records import Finding
from hotlap.records.seen import Seen

_MUCH = 0.05  # of the step


class PerTensorUpdate(Audit):
    """An update that goes through the parameters one by one.

    ## What it finds
    An optimizer of torch's with neither `fused` nor `foreach`, whose update takes more than a twentieth of the step.
    ## Why it costs
    Each operation of the rule is a call of its own for each parameter, and reads and writes all of it.
    ## When it is right
    Sparse gradients, and very few parameters.
    ## Source
    torch.optim, "Algorithms": fused is fastest where there is one.
    """

    id: ClassVar[str] = "per-tensor-update"
    area: ClassVar[str] = "optimizer"
    knobs: ClassVar[tuple[str, ...]] = ("fused-update", "foreach-update")

    def judge(self, seen: Seen) -> Finding:
        """By the main optimizer's options and the phase it takes."""
        main = next((one for one in seen.facts.optimizers if one.main), None)
        if main is None or not main.name.startswith("torch.optim."):
            return self.not_applicable("torch's own optimizers do not make the update")
        share = seen.phases.phases_s["optimizer"] / seen.phases.total_s
        in_lists = seen.facts.is_cuda if main.foreach is None else main.foreach
        looped = not main.fused and not in_lists
        if not looped or share < _MUCH:
            return self.passes(f"the update takes {share:.1%} of the step", share=share)
        return self.fails(
            f"the update takes {share:.0%} of the step, one parameter after the other",
            f"pass fused=True to {main.name.split(':')[-1]}, where it has it",
            per_step(seen.steps.phases_s["optimizer"]),
        )
