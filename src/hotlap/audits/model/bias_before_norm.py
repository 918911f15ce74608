"""A convolution's bias that BatchNorm takes away again."""

from __future__ import annotations

from typing import ClassVar

from hotlap.audits.audit import Audit
from hotlap.audits.judge import few
from hotlap.records import Finding
from hotlap.records.seen import Seen


class BiasBeforeNorm(Audit):
    """A convolution's bias that BatchNorm takes away again.

    ## What it finds
    A convolution with a bias whose output goes into a BatchNorm in training mode and nowhere else.
    ## Why it costs
    The bias is added, its gradient summed and the update computed for nothing: the norm subtracts the mean.
    ## When it is right
    Where the norm's statistics are frozen for good.
    ## Source
    PyTorch performance tuning guide, "Disable bias for convolutions directly followed by a batch norm".
    """

    id: ClassVar[str] = "bias-before-norm"
    area: ClassVar[str] = "model"
    needs: ClassVar[tuple[str, ...]] = ("structure",)

    def judge(self, seen: Seen) -> Finding:
        """By following outputs from module to module."""
        assert seen.structure is not None
        names = seen.structure.biased_before_norm
        if not names:
            return self.passes("no convolution adds a bias that a BatchNorm takes away")
        return self.informs(
            f"{few(names)}: a bias that the BatchNorm behind it takes away",
            "build these convolutions with bias=False; checkpoints then lack the biases",
            layers=len(names),
        )
