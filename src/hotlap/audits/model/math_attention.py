"""scaled_dot_product_attention that took none of its fused kernels."""

from __future__ import annotations

from typing import ClassVar

from hotlap.audits.audit import Audit
from hotlap.records import Finding
from hotlap.records.seen import Seen


class MathAttention(Audit):
    """scaled_dot_product_attention that took none of its fused kernels.

    ## What it finds
    The softmax that torch's plain path for attention takes, and only that.
    ## Why it costs
    The matrix of scores is written and read several times, forward and backward; a fused kernel never writes it.
    ## When it is right
    Where no kernel knows the case: on a CPU dropout, elsewhere a mask that learns, second derivatives, an odd type.
    ## Source
    torch.nn.functional.scaled_dot_product_attention; torch.nn.attention.WARN_FOR_UNFUSED_KERNELS says why.
    """

    id: ClassVar[str] = "math-attention"
    area: ClassVar[str] = "model"
    needs: ClassVar[tuple[str, ...]] = ("operations",)

    def judge(self, seen: Seen) -> Finding:
        """By one step's operations."""
        assert seen.operations is not None
        plain = [call for call in seen.operations.calls if call.name == "_safe_softmax"]
        fused = [call for call in seen.operations.calls if call.name.startswith("_scaled_dot_product_")]
        if not plain and not fused:
            return self.not_applicable("no scaled_dot_product_attention in the step")
        if not plain:
            return self.passes("every scaled_dot_product_attention is fused")
        count = sum(call.count for call in plain)
        wanted = "" if seen.facts.is_cuda else ", no dropout"
        return self.informs(
            f"scaled_dot_product_attention takes its unfused path {count} times in a step",
            f"fused kernels want (batch, heads, length, width){wanted} and a mask without a gradient; "
            "torch.nn.attention.WARN_FOR_UNFUSED_KERNELS = True says more",
            calls=count,
        )
