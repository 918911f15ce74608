"""Scores for every word of a large vocabulary, for every position at once."""

from __future__ import annotations

from math import prod
from typing import ClassVar

from hotlap.audits.audit import Audit
from hotlap.records import Finding
from hotlap.records.seen import Operation, Seen

_MUCH = 0.25  # of the bytes that a step reads and writes
_LARGE_BYTES = 1 << 24
_BYTES = {"float64": 8, "float32": 4, "bfloat16": 2, "float16": 2}


class LargeLogits(Audit):
    """Scores for every word of a large vocabulary, for every position at once.

    ## What it finds
    A matrix of scores, rows by vocabulary, of 16 MiB or more into a softmax with which a quarter of all bytes go that a
    step reads and writes.
    ## Why it costs
    Scores, their softmax and both gradients are each as large as this matrix: often the largest piece of memory by far,
    and what limits the batch.
    ## When it is right
    Wherever memory is no trouble; it is arithmetic that the model asks for.
    ## Source
    pytorch#124480; torch.nn.functional.linear_cross_entropy (torch 2.13), Liger's fused linear cross entropy.
    """

    id: ClassVar[str] = "large-logits"
    area: ClassVar[str] = "model"
    needs: ClassVar[tuple[str, ...]] = ("operations",)

    def judge(self, seen: Seen) -> Finding:
        """By the bytes of one step's tensors of that size."""
        assert seen.operations is not None
        calls = seen.operations.calls
        soft = [call for call in calls if call.name == "_log_softmax"]
        if not soft:
            return self.not_applicable("no cross entropy in the step")
        logits = max((call.outputs[0] for call in soft), key=prod)
        size = prod(logits)
        every = sum(call.moved_bytes for call in calls)
        share = sum(call.count * _bytes(call, size) for call in calls if call.moved_bytes) / every if every else 0.0
        shape, itemsize = "x".join(map(str, logits)), _BYTES.get(soft[0].dtypes[-1], 4)
        if share < _MUCH or size * itemsize < _LARGE_BYTES:
            return self.passes(f"scores of {shape} are {share:.0%} of what a step reads and writes", share=share)
        return self.informs(
            f"scores of {shape}, {size * itemsize / 1e6:.0f} MB, are {share:.0%} of what a step reads and writes",
            "compute loss and scores in chunks, with torch.nn.functional.linear_cross_entropy where torch has it",
            share=share,
        )


def _bytes(call: Operation, size: int) -> int:
    """What one such call reads and writes of tensors with so many elements."""
    shapes = zip((*call.inputs, *call.outputs), call.dtypes, strict=True)
    return sum(size * _BYTES.get(dtype, 0) for shape, dtype in shapes if prod(shape) == size)
