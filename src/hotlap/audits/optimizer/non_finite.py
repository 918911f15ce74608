"""Losses and gradients that are no numbers, and a loss that never moves."""

from __future__ import annotations

from math import isfinite
from typing import ClassVar

from hotlap.audits.audit import Audit
from hotlap.records import Finding
from hotlap.records.seen import Seen

_FEW = 10  # steps in which a loss may well stand still, by a learning rate that starts at nothing


class NonFinite(Audit):
    """Losses and gradients that are no numbers, and a loss that never moves.

    ## What it finds
    NaN or infinity among the losses of the run or the gradients of one step; the very same loss in every step.
    ## Why it costs
    One NaN spreads to all weights with the next update, and nothing is learnt from then on; nor is it where the loss
    is the same whatever the batch and the weights.
    ## When it is right
    A scaler of float16 gradients leaves out the first few updates, until it has found its scale.
    ## Source
    torch.autograd.set_detect_anomaly names the operation that gave the first NaN.
    """

    id: ClassVar[str] = "non-finite"
    area: ClassVar[str] = "optimizer"
    misleads: ClassVar[bool] = True

    def judge(self, seen: Seen) -> Finding:
        """By the recorded losses, and the gradients before one update."""
        losses = [loss for loss in seen.steps.losses if loss is not None]
        bad = [loss for loss in losses if not isfinite(loss)]
        advice = (
            "lower the learning rate, clip gradients, look for log(0) and 0/0 with torch.autograd.set_detect_anomaly"
        )
        if bad:
            return self.fails(f"the loss is no number in {len(bad)} of {len(losses)} steps", advice, steps=len(bad))
        if seen.gradients and seen.gradients.non_finite:
            share = seen.gradients.non_finite / seen.gradients.numbers
            return self.fails(f"{share:.1%} of the gradients are no numbers", advice, share=share)
        if len(losses) > _FEW and len(set(losses)) == 1:
            return self.fails(
                f"the loss is {losses[0]:.6g} in each of {len(losses)} steps",
                "look for a detach, a learning rate of zero, or an activation that is dead for every sample",
                loss=losses[0],
            )
        numbers = [*(["losses"] if losses else []), *(["gradients"] if seen.gradients else [])]
        if not numbers:
            return self.error("neither losses nor gradients were seen")
        moves = ", and the loss moves" if len(set(losses)) > 1 else ""
        return self.passes(f"the {' and '.join(numbers)} seen are numbers{moves}")
