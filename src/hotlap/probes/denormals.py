"""Numbers too small for the processor's fast path."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch

from hotlap.probes.probe import Probe, Roots
from hotlap.records.seen import Denormals

if TYPE_CHECKING:
    from hotlap.inside.host import Host
    from hotlap.inside.steps import Recorder


class DenormalsProbe(Probe):
    """Counts them among weights, gradients and the optimizers' state, once."""

    id: ClassVar[str] = "denormals"

    def install(self, host: Host, recorder: Recorder, roots: Roots) -> None:
        """Right before an update, when the gradients are there."""

        def look(optimizer: torch.optim.Optimizer) -> None:
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            tensors = [*parameters, *(p.grad for p in parameters if p.grad is not None)]
            tensors += [t for p in parameters for t in optimizer.state.get(p, {}).values()]
            found = [_count(t) for t in tensors if isinstance(t, torch.Tensor) and t.dtype == torch.float32]
            total = sum(numbers for _, numbers in found)
            self.see(host, Denormals(sum(small for small, _ in found) / total if total else 0.0))

        self.before_update(host, recorder, look)


def _count(tensor: torch.Tensor) -> tuple[int, int]:
    """Denormals, and numbers in all."""
    size = tensor.detach().to_dense().abs() if tensor.is_sparse else tensor.detach().abs()
    return int(((size > 0) & (size < torch.finfo(size.dtype).tiny)).sum()), size.numel()
