"""A lookup that is written as a product with ones and zeros."""

from __future__ import annotations

from math import prod
from typing import ClassVar

from hotlap.audits.audit import Audit
from hotlap.records import Finding
from hotlap.records.seen import Operation, Seen

_WIDE = 256
_MUCH = 0.10  # of the bytes that a step reads and writes


class OneHotProduct(Audit):
    """A lookup that is written as a product with ones and zeros.

    ## What it finds
    A product with a matrix that one `scatter_` of a number has filled, as `one_hot` does, 256 or more wide, and a tenth
    of all bytes of the step in tensors of that size.
    ## Why it costs
    Every zero is written, read and multiplied; an embedding reads the one row that is wanted.
    ## When it is right
    Rows that are not quite one-hot: smoothed, or mixed.
    ## Source
    torch.nn.functional.embedding is the product with one_hot, without the zeros.
    """

    id: ClassVar[str] = "one-hot-product"
    area: ClassVar[str] = "model"
    needs: ClassVar[tuple[str, ...]] = ("operations",)

    def judge(self, seen: Seen) -> Finding:
        """By the sizes of one step's tensors."""
        assert seen.operations is not None
        calls = seen.operations.calls
        filled = [call.outputs[0] for call in calls if call.name == "scatter_" and len(call.inputs) == 2]
        wide = {(prod(shape), shape[-1]) for shape in filled if len(shape) > 1 and shape[-1] >= _WIDE}
        multiplied = {
            size
            for size, width in wide
            for call in calls
            if call.name in ("mm", "addmm", "bmm") and _has(call, size, width)
        }
        if not multiplied:
            return self.passes("no product with a matrix of ones and zeros")
        touching = [call for call in calls if any(prod(shape) in multiplied for shape in (*call.inputs, *call.outputs))]
        every = sum(call.moved_bytes for call in calls)
        share = sum(call.moved_bytes for call in touching) / every
        if share < _MUCH:
            return self.passes(f"products with ones and zeros are {share:.0%} of the bytes of a step", share=share)
        return self.informs(
            f"products with a matrix of ones and zeros are {share:.0%} of what a step reads and writes",
            "index the weight, or call torch.nn.functional.embedding, in place of one_hot and the product",
            share=share,
        )


def _has(call: Operation, size: int, width: int) -> bool:
    return any(prod(shape) == size and width in shape for shape in call.inputs[-2:])
