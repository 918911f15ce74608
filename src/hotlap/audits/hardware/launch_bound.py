"""So many small operations that starting them is the work."""

from __future__ import annotations

from typing import ClassVar

from hotlap.audits.audit import Audit
from hotlap.records import Finding
from hotlap.records.seen import Seen

_LAUNCH_S = 10e-6  # what torch needs to dispatch an operation and its backward's share, on either kind of device


class LaunchBound(Audit):
    """So many small operations that starting them is the work.

    ## What it finds
    A step whose operations take less than ten microseconds each on average, its wait for data left out.
    ## Why it costs
    That is about what Python, autograd and the launch need; the arithmetic itself comes for free, or waits.
    ## When it is right
    A small model on a small batch.
    ## Source
    PyTorch performance tuning guide, "Fuse operations"; "Accelerating PyTorch with CUDA Graphs".
    """

    id: ClassVar[str] = "launch-bound"
    area: ClassVar[str] = "hardware"
    needs: ClassVar[tuple[str, ...]] = ("operations",)
    knobs: ClassVar[tuple[str, ...]] = ("compile", "fused-update", "foreach-update")

    def judge(self, seen: Seen) -> Finding:
        """By the time of a step and the number of its operations, views left out."""
        assert seen.operations is not None
        count = sum(call.count for call in seen.operations.calls if call.moved_bytes)
        if not count:
            return self.not_applicable("no operation was seen in the step")
        mean_s = (seen.phases.total_s - seen.phases.phases_s["data"]) / count
        if mean_s >= _LAUNCH_S:
            return self.passes(f"{count:,} operations in a step, {mean_s * 1e6:.0f} us each", operations=count)
        what = "the device probably waits for the host" if seen.facts.is_cuda else "most of it is the calls themselves"
        return self.informs(
            f"{count:,} operations in a step, {mean_s * 1e6:.1f} us each: {what}",
            "use a larger batch if it learns as well, fused layers and optimizers, or torch.compile",
            operations=count,
        )
