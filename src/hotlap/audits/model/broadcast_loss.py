"""A loss of shapes that do not match."""

from __future__ import annotations

from typing import ClassVar

from hotlap.audits.audit import Audit
from hotlap.records import Finding
from hotlap.records.seen import Seen


class BroadcastLoss(Audit):
    """A loss of shapes that do not match.

    ## What it finds
    A loss whose input and target were broadcast, (N, 1) against (N,) say.
    ## Why it costs
    Every answer is compared with every target, N squared times, and the model learns their mean.
    ## When it is right
    Hardly ever; then expand the smaller one in the open.
    ## Source
    torch.nn.functional warns: this will likely lead to incorrect results due to broadcasting.
    """

    id: ClassVar[str] = "broadcast-loss"
    area: ClassVar[str] = "model"
    misleads: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("loss",)

    def judge(self, seen: Seen) -> Finding:
        """By torch's own warning."""
        assert seen.loss is not None
        if seen.loss.broadcasts:
            advice = "give both the same shape, with squeeze(1) on the answer or unsqueeze(1) on the target"
            return self.fails("the loss compares every answer with every target", advice, torch=seen.loss.broadcasts)
        return self.passes("the loss is given shapes that match")
