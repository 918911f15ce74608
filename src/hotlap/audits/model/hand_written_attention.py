"""Attention spelt out in products and a softmax."""

from __future__ import annotations

from typing import ClassVar

from hotlap.audits.audit import Audit
from hotlap.records import Finding
from hotlap.records.seen import Seen


class HandWrittenAttention(Audit):
    """Attention spelt out in products and a softmax.

    ## What it finds
    A softmax over the matrix of scores that a batched product has made.
    ## Why it costs
    The matrix of scores is written and read several times; the fused kernel never writes it.
    ## When it is right
    Where the scores themselves are needed, or are changed in a way that no fused kernel knows.
    ## Source
    torch.nn.functional.scaled_dot_product_attention.
    """

    id: ClassVar[str] = "hand-written-attention"
    area: ClassVar[str] = "model"
    needs: ClassVar[tuple[str, ...]] = ("operations",)

    def judge(self, seen: Seen) -> Finding:
        """By one step's operations."""
        assert seen.operations is not None
        calls = seen.operations.calls
        scores = {call.outputs[0] for call in calls if call.name in ("bmm", "baddbmm") and call.outputs}
        flat = {tuple(shape[-2:]) for shape in scores if len(shape) == 3}
        soft = [call for call in calls if call.name == "_softmax" and call.outputs and len(call.outputs[0]) >= 3]
        spelt_out = [call for call in soft if tuple(call.outputs[0][-2:]) in flat]
        if not spelt_out:
            return self.passes("no softmax over a matrix of scores that a batched product has made")
        count = sum(call.count for call in spelt_out)
        return self.informs(
            f"attention is spelt out {count} times in a step",
            "call torch.nn.functional.scaled_dot_product_attention, or nn.MultiheadAttention with need_weights=False",
            calls=count,
        )
