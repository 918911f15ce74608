"""Gradient scaling that does not go with the type of autocast."""

from __future__ import annotations

from typing import ClassVar

from hotlap.audits.audit import Audit
from hotlap.records import Finding
from hotlap.records.seen import Seen

_MANY = 0.1  # of the updates; a scaler that looks for its scale leaves out a few


class ScalerWithBf16(Audit):
    """Gradient scaling that does not go with the type of autocast.

    ## What it finds
    An enabled `GradScaler` where autocast casts to bfloat16 alone, float16 on a GPU without one, and a scaler that
    leaves out many updates.
    ## Why it costs
    bfloat16 has float32's range: a scaler makes a pass over all gradients and a wait for the device in each step, for
    nothing. float16 has not, and small gradients become zero without one. An update left out learns nothing.
    ## When it is right
    A loss that is scaled by hand.
    ## Source
    PyTorch automatic mixed precision; SAELens#723, pytorch#40497.
    """

    id: ClassVar[str] = "scaler-with-bf16"
    area: ClassVar[str] = "optimizer"
    needs: ClassVar[tuple[str, ...]] = ("scaling",)

    def judge(self, seen: Seen) -> Finding:
        """By the type that modules are called under, and the scaler's calls."""
        assert seen.scaling is not None
        dtypes, steps, skipped = seen.scaling.dtypes, seen.scaling.steps, seen.scaling.skipped
        if not dtypes and not steps:
            return self.not_applicable("neither autocast nor a gradient scaler is in use")
        if steps and dtypes == ("bfloat16",):
            return self.fails("a GradScaler scales the gradients of bfloat16, which need none", "leave the scaler out")
        if "float16" in dtypes and not steps and seen.facts.is_cuda:
            return self.informs("float16 autocast without a GradScaler", "scale the loss with torch.amp.GradScaler")
        if skipped and skipped > _MANY * steps:
            return self.informs(
                f"the GradScaler left out {skipped} of {steps} updates",
                "look for infinite gradients, or start it with a smaller init_scale",
                skipped=skipped,
            )
        return self.passes("gradients are scaled where they must be", updates=steps)
