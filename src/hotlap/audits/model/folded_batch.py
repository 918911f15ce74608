"""A `view` or `reshape` that mixes the samples of a batch."""

from __future__ import annotations

from typing import ClassVar

from hotlap.audits.audit import Audit
from hotlap.records import Finding
from hotlap.records.seen import Seen


class FoldedBatch(Audit):
    """A `view` or `reshape` that mixes the samples of a batch.

    ## What it finds
    A model whose answer has another number of rows than its batch has samples, and where one sample changes rows
    that are not its own: `x.view(-1, k)` with a k that fits another image size.
    ## Why it costs
    Nothing fails when the rows happen to come out even: it trains on rows that are made of several samples.
    ## When it is right
    Never with a fixed k; a model that compares the samples of a batch with each other is told apart and named.
    ## Source
    A flatten that is right for 28x28 images and silently wrong for 32x32 ones.
    """

    id: ClassVar[str] = "folded-batch"
    area: ClassVar[str] = "model"
    looks_at: ClassVar[tuple[str, ...]] = ("rows",)
    misleads: ClassVar[bool] = True

    def judge(self, seen: Seen) -> Finding:
        """By changing one sample and looking at the rows."""
        rows = seen.rows
        if rows is None:
            return self.not_applicable("the model is given no loader's batch as it is, or answers with other than rows")
        if not rows.mixed:
            return self.passes(f"each of {rows.samples} samples changes its own rows only")
        if rows.rows == rows.samples:
            return self.informs("samples of a batch change each other's answers in evaluation, which may be meant so")
        return self.fails(
            f"{rows.samples} samples come out as {rows.rows} rows, and a row is made of several samples",
            "flatten with x.flatten(1) or x.view(x.shape[0], -1), and size the next layer for the image",
            samples=rows.samples,
            rows=rows.rows,
        )
