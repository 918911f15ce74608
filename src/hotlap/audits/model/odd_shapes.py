"""Layers of a width that the hardware's units do not divide."""

from __future__ import annotations

from collections import Counter
from math import prod
from typing import ClassVar

from hotlap.audits.audit import Audit
from hotlap.records import Finding
from hotlap.records.seen import Operation, Seen

_MUCH = 0.25  # of the operations of all products and convolutions
_SMALL, _EVEN = 64, 8
_PRODUCTS = ("mm", "addmm", "bmm", "baddbmm")


class OddShapes(Audit):
    """Layers of a width that the hardware's units do not divide.

    ## What it finds
    Products and convolutions with a dimension of a parameter that is 64 or more and no multiple of 8, a vocabulary of
    50257 say, where a quarter of such arithmetic goes.
    ## Why it costs
    Tensor cores and vector units work on tiles; what is left over fills a tile of its own, or takes a slower kernel.
    ## When it is right
    Weights that come from elsewhere. Padding changes checkpoints, and what is drawn at the start.
    ## Source
    NVIDIA, "Matrix Multiplication Background"; 50257 to 50304: 1.14x on an A100 (LLMs-from-scratch), less elsewhere.
    """

    id: ClassVar[str] = "odd-shapes"
    area: ClassVar[str] = "model"
    needs: ClassVar[tuple[str, ...]] = ("operations",)

    def judge(self, seen: Seen) -> Finding:
        """By the arithmetic of one step, dimension by dimension."""
        assert seen.operations is not None
        widths = {size for root in seen.facts.roots for shape in root.parameter_shapes for size in shape[:2]}
        odd = {size for size in widths if size >= _SMALL and size % _EVEN}
        work: Counter[int] = Counter()
        every = 0
        for call in seen.operations.calls:
            flops, sizes = _work(call)
            every += flops
            work.update(dict.fromkeys(sizes & odd, flops))
        if not every:
            return self.not_applicable("no product and no convolution in the step")
        if not work or (share := work.most_common(1)[0][1] / every) < _MUCH:
            return self.passes(f"what most products work on is small or a multiple of {_EVEN}")
        size = work.most_common(1)[0][0]
        return self.informs(
            f"{share:.0%} of the step's products work on a dimension of {size}, no multiple of {_EVEN}",
            f"make it {-(-size // 64) * 64} and leave the rest unused; `hotlap race --layer-sizes` tells the gain",
            size=size,
            share=share,
        )


def _work(call: Operation) -> tuple[int, set[int]]:
    """Floating-point operations of these calls, and the sizes that a kernel tiles."""
    if call.name in _PRODUCTS:
        first, second = call.inputs[-2:]
        return 2 * prod(first) * second[-1] * call.count, {*first[-2:], second[-1]}
    if call.name == "convolution":
        weight = call.inputs[1]
        return 2 * prod(call.outputs[0]) * prod(weight[1:]) * call.count, set(weight[:2])
    return 0, set()
