"""In which mode the models are that are updated."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.dropout import _DropoutNd

from hotlap.probes.probe import Probe, Roots
from hotlap.records.seen import Modes

if TYPE_CHECKING:
    from hotlap.inside.host import Host
    from hotlap.inside.steps import Recorder

_FIRST = 3  # a step in which every root has been called


class ModesProbe(Probe):
    """Looks, at the end of each step, at the parts of the updated models that compute otherwise in evaluation mode."""

    id: ClassVar[str] = "modes"

    def install(self, host: Host, recorder: Recorder, roots: Roots) -> None:
        """From the third step to the end."""
        parts: list[nn.Module] = []
        training: list[bool] = []

        def stepped(done: int) -> None:
            if done == _FIRST:
                parts[:] = _with_modes(roots(), recorder)
                training.clear()
            if done >= _FIRST and parts:
                training.append(any(part.training for part in parts))

        def close() -> None:
            if recorder.index <= _FIRST:
                return
            first = training.index(True) if True in training else len(training)
            self.see(host, Modes(len(training), training.count(False), training[first:].count(False)))

        recorder.on_end.append(self.guarded(host, stepped))
        recorder.on_close.append(self.guarded(host, close))


def _with_modes(roots: list[nn.Module], recorder: Recorder) -> list[nn.Module]:
    """Dropout and norms with statistics, of the roots that an optimizer updates: not of a teacher or an old model."""
    owned = {id(p) for o in recorder.optimizers for group in o.param_groups for p in group["params"] if p.requires_grad}
    updated = [root for root in roots if any(id(parameter) in owned for parameter in root.parameters())]
    return [module for root in updated for module in root.modules() if _differs(module)]


def _differs(module: nn.Module) -> bool:
    if isinstance(module, _DropoutNd):
        return module.p > 0
    return isinstance(module, _NormBase) and module.track_running_stats
