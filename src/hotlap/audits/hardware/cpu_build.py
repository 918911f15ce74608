"""A torch that cannot use what the machine has."""

from __future__ import annotations

from typing import ClassVar

from hotlap.audits.audit import Audit
from hotlap.records import Finding
from hotlap.records.seen import Seen


class CpuBuild(Audit):
    """A torch that cannot use what the machine has.

    ## What it finds
    A CPU build of torch where a GPU is present, or a training that leaves it idle.
    ## Why it costs
    Everything runs on the slower of two devices.
    ## When it is right
    Where the GPU is somebody else's.
    ## Source
    pytorch.org, "Start Locally".
    """

    id: ClassVar[str] = "cpu-build"
    area: ClassVar[str] = "hardware"

    def judge(self, seen: Seen) -> Finding:
        """By the build and the driver's devices."""
        facts = seen.facts
        if facts.is_cuda:
            return self.passes("the training runs on a GPU")
        gpus = ", ".join(facts.machine.gpus)
        if gpus and "+cpu" in facts.torch:
            return self.fails(
                f"torch {facts.torch} is a CPU build, and the machine has {gpus}", "install the CUDA build of torch"
            )
        if gpus:
            return self.informs(
                f"the training runs on the CPU, and the machine has {gpus}",
                "see whether torch.cuda.is_available() holds, and whether model and batches are moved to the device",
            )
        return self.passes("the machine has no GPU to miss")
