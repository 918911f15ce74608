"""Gradients that are no numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from hotlap.probes.probe import Probe, Roots
from hotlap.records.seen import Gradients

if TYPE_CHECKING:
    import torch

    from hotlap.inside.host import Host
    from hotlap.inside.steps import Recorder


class GradientsProbe(Probe):
    """Counts NaN and infinite gradients, once."""

    id: ClassVar[str] = "gradients"

    def install(self, host: Host, recorder: Recorder, roots: Roots) -> None:
        """Right before an update: a gradient scaler has taken its factor out by then."""

        def look(optimizer: torch.optim.Optimizer) -> None:
            owned = (parameter for group in optimizer.param_groups for parameter in group["params"])
            values = [_values(p.grad.detach()) for p in owned if p.grad is not None]
            bad = sum(int((~value.isfinite()).sum()) for value in values)
            self.see(host, Gradients(sum(value.numel() for value in values), bad))

        self.before_update(host, recorder, look)


def _values(gradient: Any) -> torch.Tensor:
    """Those of this process: a sum over a distributed tensor would have to wait for the others."""
    here = gradient.to_local() if hasattr(gradient, "to_local") else gradient
    return here._values() if here.is_sparse else here
