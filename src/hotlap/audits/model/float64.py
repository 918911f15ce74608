"""Double precision in the training."""

from __future__ import annotations

from typing import ClassVar

from hotlap.audits.audit import Audit
from hotlap.records import Finding
from hotlap.records.seen import Seen

_MUCH = 0.05  # of the bytes that a step reads and writes


class Float64(Audit):
    """Double precision in the training.

    ## What it finds
    Large operations of a step on float64 tensors.
    ## Why it costs
    Twice the memory traffic, half the arithmetic on a CPU, and far less on most GPUs; mostly a NumPy array's doing.
    ## When it is right
    Physics, and sums that need it.
    ## Source
    torch.from_numpy keeps NumPy's default of float64.
    """

    id: ClassVar[str] = "float64"
    area: ClassVar[str] = "model"
    needs: ClassVar[tuple[str, ...]] = ("operations",)

    def judge(self, seen: Seen) -> Finding:
        """By the types of one step's operations."""
        assert seen.operations is not None
        every = sum(call.moved_bytes for call in seen.operations.calls)
        double = [call for call in seen.operations.calls if "float64" in call.dtypes or "complex128" in call.dtypes]
        share = sum(call.moved_bytes for call in double) / every if every else 0.0
        if share < _MUCH:
            return self.passes(f"{share:.1%} of what a step reads and writes is in double precision", share=share)
        largest = max(double, key=lambda call: call.moved_bytes)
        return self.fails(
            f"{share:.0%} of what a step reads and writes is in double precision, {largest.name} most of all",
            "convert the data with .float(), and build the model in float32",
            share=share,
        )
