"""An embedding's gradient that is nearly all zeros."""

from __future__ import annotations

from math import prod
from typing import ClassVar

from hotlap.audits.audit import Audit
from hotlap.records import Finding
from hotlap.records.seen import Seen

_MUCH = 0.10  # of the bytes that a step reads and writes
_RARE = 8


class DenseEmbedding(Audit):
    """An embedding's gradient that is nearly all zeros.

    ## What it finds
    An embedding with eight times more rows than a step looks up, whose dense gradient is a tenth of all bytes that the
    step reads and writes.
    ## Why it costs
    The whole table is filled with zeros in each step, and the update goes through all of it.
    ## When it is right
    Momentum, averages and weight decay act on rows that were not looked up: only a dense gradient lets them. A table
    that is the weight of the last layer, too, has a dense gradient anyway, and is not told of.
    ## Source
    torch.nn.Embedding, "sparse"; torch.optim.SparseAdam.
    """

    id: ClassVar[str] = "dense-embedding"
    area: ClassVar[str] = "model"
    needs: ClassVar[tuple[str, ...]] = ("operations",)

    def judge(self, seen: Seen) -> Finding:
        """By the bytes of one step's operations."""
        assert seen.operations is not None
        calls = seen.operations.calls
        backwards = [call for call in calls if call.name == "embedding_dense_backward"]
        if not backwards:
            return self.not_applicable("no embedding has a dense gradient")
        products = {size for call in calls if call.name in ("mm", "addmm") for shape in call.inputs for size in shape}
        rows = {call.outputs[0][0] for call in backwards} - products  # else it may be the weight of the last layer, too
        rare = [c for c in backwards if c.outputs[0][0] in rows and c.outputs[0][0] > _RARE * prod(c.inputs[1])]
        every = sum(call.moved_bytes for call in calls)
        share = sum(call.moved_bytes for call in rare) / every if every else 0.0
        if share < _MUCH:
            return self.passes(f"gradients of rows not looked up are {share:.0%} of the bytes of a step", share=share)
        largest = max(rare, key=lambda call: call.moved_bytes)
        return self.informs(
            f"a step looks up {prod(largest.inputs[1]):,} of {largest.outputs[0][0]:,} rows, "
            f"and the gradient of all is {share:.0%} of what it reads and writes",
            "build the embedding with sparse=True and give it an optimizer that takes it: SparseAdam, SGD, Adagrad",
            share=share,
        )
