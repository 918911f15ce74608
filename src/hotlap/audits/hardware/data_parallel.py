"""Several devices, used in a way that costs more than it must."""

from __future__ import annotations

from typing import ClassVar

from hotlap.audits.audit import Audit
from hotlap.records import Finding
from hotlap.records.seen import Seen


class DataParallel(Audit):
    """Several devices, used in a way that costs more than it must.

    ## What it finds
    `nn.DataParallel` on GPUs, and DistributedDataParallel with `find_unused_parameters=True` where every parameter got
    a gradient.
    ## Why it costs
    DataParallel copies the model to each device in every step and runs all of them from one Python process. The search
    walks through the whole graph in every step.
    ## When it is right
    A branch that is taken now and then, in steps that were not seen.
    ## Source
    PyTorch performance tuning guide, "Use efficient data-parallel backend"; torch.nn.parallel.DistributedDataParallel.
    """

    id: ClassVar[str] = "data-parallel"
    area: ClassVar[str] = "hardware"
    needs: ClassVar[tuple[str, ...]] = ("structure",)
    knobs: ClassVar[tuple[str, ...]] = ("ddp-unused-parameters",)

    def judge(self, seen: Seen) -> Finding:
        """By the classes of the modules, and the gradients of the first steps."""
        assert seen.structure is not None
        modules = {name for root in seen.facts.roots for name in root.modules}
        if "DataParallel" in modules and seen.facts.is_cuda:
            return self.fails(
                "nn.DataParallel copies the model to every device in each step",
                "use torch.nn.parallel.DistributedDataParallel, started by torchrun; on one device neither",
            )
        if seen.structure.searched_in_vain:
            return self.informs(
                "DistributedDataParallel looks for unused parameters in each step, and there were none",
                "leave find_unused_parameters out, unless some steps use a part of the model only",
            )
        if not modules & {"DataParallel", "DistributedDataParallel"}:
            return self.not_applicable("the model is on one device")
        return self.passes("nothing is copied or searched in vain")
