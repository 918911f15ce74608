"""Gradients of several batches added up where their mean was meant."""

from __future__ import annotations

from typing import ClassVar

from hotlap.audits.audit import Audit
from hotlap.records import Finding
from hotlap.records.seen import Seen


class UndividedAccumulation(Audit):
    """Gradients of several batches added up where their mean was meant.

    ## What it finds
    Several backwards of one mean loss for each update, a loader's batch for each, and nothing on the way from the loss
    to its backward that divides it by their number.
    ## Why it costs
    The gradient is that many times larger than that of the one large batch it stands for, and so is every step of SGD;
    a limit for clipping and an epsilon mean something else, and the learning rate has to be found anew.
    ## When it is right
    A learning rate that was chosen for the sum, gradients that are divided later, a loss that is a sum over samples.
    ## Source
    PyTorch automatic mixed precision examples, "Gradient accumulation"; transformers#34191.
    """

    id: ClassVar[str] = "undivided-accumulation"
    area: ClassVar[str] = "optimizer"
    misleads: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("loss",)

    def judge(self, seen: Seen) -> Finding:
        """By one step's backwards."""
        assert seen.loss is not None
        count = seen.loss.accumulated
        if count < 2:
            return self.not_applicable("no update adds up the same loss of several batches")
        if seen.loss.summed:
            return self.passes(f"{count} batches are added up, of a loss that is a sum itself", batches=count)
        if seen.loss.scaled:
            return self.passes(f"{count} batches are added up, of a loss that is scaled before", batches=count)
        return self.informs(
            f"each update adds up the mean losses of {count} batches and divides by nothing",
            f"call (loss / {count}).backward(), unless the learning rate was chosen for the sum",
            batches=count,
        )
