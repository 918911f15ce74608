"""Tensors that are made on the host and then copied."""

from __future__ import annotations

from typing import ClassVar

from hotlap.audits.audit import Audit
from hotlap.records import Finding
from hotlap.records.seen import Seen


class MadeOnHost(Audit):
    """Tensors that are made on the host and then copied.

    ## What it finds
    In one step, copies to the device of what the step itself has just made on the host: `torch.zeros(n).to(device)`,
    `torch.tensor(list).cuda()`. A loader's batches are data and do not count.
    ## Why it costs
    The host fills it, and the copy out of ordinary memory waits for the device.
    ## When it is right
    Random numbers that must be the same on any device.
    ## Source
    PyTorch performance tuning guide, "Create tensors directly on the target device".
    """

    id: ClassVar[str] = "made-on-host"
    area: ClassVar[str] = "data"

    def judge(self, seen: Seen) -> Finding:
        """By one step's copies."""
        if not seen.facts.is_cuda:
            return self.not_applicable("the training runs on the host itself")
        if seen.operations is None:
            return self.error("nothing was seen of its operations")
        copies = [call for call in seen.operations.calls if call.crossing and call.crossing[0] == "made"]
        if not copies:
            return self.passes("no tensor is made on the host and then copied")
        count = sum(call.count for call in copies)
        largest = max(copies, key=lambda call: call.moved_bytes)
        shape = "x".join(map(str, largest.outputs[0])) or "a single number"
        return self.fails(
            f"{count} tensors are made on the host in a step and copied, the largest of {shape}",
            "pass device=device where the tensor is made, or make it once before the loop",
            copies=count,
        )
