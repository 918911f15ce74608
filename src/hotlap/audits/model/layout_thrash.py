"""Copies that only change how numbers lie in memory."""

from __future__ import annotations

from typing import ClassVar

from hotlap.audits.audit import Audit
from hotlap.records import Finding, Seen

_MUCH = 0.20  # of the bytes that a step reads and writes
_COPIES = ("clone", "contiguous", "copy_", "_to_copy", "_reshape_copy")


class LayoutThrash(Audit):
    """Copies that only change how numbers lie in memory.

    ## What it finds
    More than a fifth of what a step reads and writes goes into copies of the same type: `contiguous` after `permute`
    or `transpose`, `clone`.
    ## Why it costs
    A copy computes nothing and takes the memory's whole bandwidth.
    ## When it is right
    Data that has to be brought into shape once, and layers that only know one layout.
    ## Source
    pytorch#172205 (a hundredfold `contiguous`).
    """

    id: ClassVar[str] = "layout-thrash"
    area: ClassVar[str] = "model"
    needs: ClassVar[tuple[str, ...]] = ("operations",)
    knobs: ClassVar[tuple[str, ...]] = ("channels-last",)

    def judge(self, seen: Seen) -> Finding:
        """By the bytes of one step's operations."""
        assert seen.operations is not None
        calls = seen.operations.calls
        every = sum(call.moved_bytes for call in calls)
        copies = [call for call in calls if call.name in _COPIES and len(set(call.dtypes)) == 1]
        share = sum(call.moved_bytes for call in copies) / every if every else 0.0
        if share < _MUCH:
            return self.passes(f"copies are {share:.0%} of what a step reads and writes", share=share)
        largest = max(copies, key=lambda call: call.moved_bytes)
        shape = "x".join(map(str, largest.outputs[0])) if largest.outputs else "several"
        return self.fails(
            f"copies are {share:.0%} of what a step reads and writes, most of all of {shape}",
            "permute once, at the edge of the model, or let the layers work on the layout that is there",
            share=share,
        )
