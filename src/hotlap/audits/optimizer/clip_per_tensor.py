"""Norms of gradients that are taken one by one."""

from __future__ import annotations

from typing import ClassVar

from hotlap.audits.audit import Audit
from hotlap.records import Finding
from hotlap.records.seen import Seen

_MANY = 16


class ClipPerTensor(Audit):
    """Norms of gradients that are taken one by one.

    ## What it finds
    A norm for each parameter in a step: a loop over `p.grad.norm()`, or `clip_grad_norm_` with `foreach=False`.
    ## Why it costs
    A call for each parameter, and with `.item()` a wait for the device each time; one call takes all norms.
    ## When it is right
    Norms that are written to a log, every few hundred steps.
    ## Source
    torch.nn.utils.clip_grad_norm_, "foreach".
    """

    id: ClassVar[str] = "clip-per-tensor"
    area: ClassVar[str] = "optimizer"
    needs: ClassVar[tuple[str, ...]] = ("operations",)

    def judge(self, seen: Seen) -> Finding:
        """By one step's operations."""
        assert seen.operations is not None
        shapes = {shape for root in seen.facts.roots for shape in root.parameter_shapes}
        norms = [call for call in seen.operations.calls if call.name == "linalg_vector_norm"]
        count = sum(call.count for call in norms if call.inputs[0] in shapes and call.outputs == ((),))
        if count < _MANY or count < sum(len(root.parameter_shapes) for root in seen.facts.roots):
            return self.passes("no norm is taken of each gradient by itself", norms=count)
        return self.informs(
            f"a step takes the norms of {count} gradients one by one",
            "call torch.nn.utils.clip_grad_norm_ as it is, which takes them together",
            norms=count,
        )
