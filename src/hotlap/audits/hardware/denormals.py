"""Numbers that many processors compute with slowly."""

from __future__ import annotations

from typing import ClassVar

from hotlap.audits.audit import Audit
from hotlap.records import Finding, Seen

_MANY = 1e-4


class Denormals(Audit):
    """Numbers that many processors compute with slowly.

    ## What it finds
    More than one in ten thousand of the weights, gradients and the optimizer's averages below 1e-38 on a CPU.
    ## Why it costs
    Many processors compute with them in microcode, a hundred times slower than with others.
    ## When it is right
    Never; but some processors do not mind them.
    ## Source
    torch.set_flush_denormal documentation; pytorch#4737.
    """

    id: ClassVar[str] = "denormals"
    area: ClassVar[str] = "hardware"
    knobs: ClassVar[tuple[str, ...]] = ("flush-denormals",)

    def judge(self, seen: Seen) -> Finding:
        """By counting them in one step."""
        if seen.denormals is None:
            by_hand = seen.facts.manual_update
            return self.not_applicable("no optimizer makes the update") if by_hand else self.error("nothing was seen")
        share = seen.denormals.share
        if seen.facts.is_cuda or share < _MANY:
            return self.passes(f"denormals are {share:.3%} of weights, gradients and averages", share=share)
        return self.fails(
            f"denormals are {share:.1%} of weights, gradients and averages",
            "call torch.set_flush_denormal(True) before the first operation, and look for what vanishes",
            share=share,
        )
