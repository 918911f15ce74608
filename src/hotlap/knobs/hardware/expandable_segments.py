"""Segments of device memory that can grow."""

from __future__ import annotations

import os
from typing import ClassVar

from hotlap.knobs.knob import Knob, When
from hotlap.records import Contract, Facts, Skip, Value

_VARIED = 3  # shapes of training calls; fewer leave nothing between the blocks


class ExpandableSegments(Knob):
    """Let torch's allocator grow its segments of device memory instead of asking for further ones.

    ## What it changes
    `PYTORCH_ALLOC_CONF=expandable_segments:True`, for the training process from its start. No number changes.
    ## Why it can help
    Where shapes vary, blocks of the wrong size are left over; when memory runs short the allocator gives them back,
    waits for the device and asks anew.
    ## When it cannot
    No CUDA device, steps of equal shapes, memory in plenty, tensors shared with other processes.
    ## Source
    torch.cuda memory management notes; pytorch#194767 (peak 97 to 89 %), vllm#42609 (sharing fails).
    """

    id: ClassVar[str] = "expandable-segments"
    area: ClassVar[str] = "hardware"
    contract: ClassVar[Contract] = Contract.EXACT
    when: ClassVar[When] = When.PROCESS

    def choices(self, facts: Facts) -> tuple[Value, ...] | Skip:
        """On for trainings on CUDA whose shapes vary."""
        if not facts.is_cuda:
            return Skip("there is no CUDA device whose memory torch would manage")
        shapes = {call.shapes for root in facts.roots for call in root.signatures if call.training}
        if len(shapes) < _VARIED:
            return Skip("the model is called with few shapes, which leave no gaps in the memory")
        return (True,)

    def environment(self, value: Value) -> dict[str, str]:
        """What the allocator reads when it is first used, beside what the user gives it; torch before 2.10 knows the
        older name only.
        """
        theirs = os.environ.get("PYTORCH_ALLOC_CONF") or os.environ.get("PYTORCH_CUDA_ALLOC_CONF", "")
        kept = [part for part in theirs.split(",") if part and not part.startswith("expandable_segments")]
        wanted = ",".join([*kept, "expandable_segments:True"])
        return {"PYTORCH_ALLOC_CONF": wanted, "PYTORCH_CUDA_ALLOC_CONF": wanted}
