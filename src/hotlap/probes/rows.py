"""Which rows of the answer depend on which sample."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import nn

from hotlap.inside.calls import tensors_in
from hotlap.probes.probe import LOOKED_AT_STEP, Probe, Roots
from hotlap.records.seen import Rows

if TYPE_CHECKING:
    from hotlap.inside.host import Host
    from hotlap.inside.steps import Recorder

_CLOSE = 1e-4  # relative to the largest answer; another sample changes a row by far more


class RowsProbe(Probe):
    """Changes one sample of a batch, in evaluation mode, and looks which rows of the answer change with it.

    Only where the model is given a loader's batch as it is: else the first dimension may be time.
    """

    id: ClassVar[str] = "rows"

    def install(self, host: Host, recorder: Recorder, roots: Roots) -> None:
        """Right before a call of one step; the trial is thrown away, so what the extra calls leave behind is too."""
        served: list[Any] = []
        done: list[bool] = []

        def note(iterator: Any, batch: Any) -> Any:
            served[:] = tensors_in(batch)
            return batch

        def before(module: nn.Module, args: Any) -> None:
            if recorder.index != LOOKED_AT_STEP or done or not torch.is_grad_enabled() or module not in roots():
                return
            done.append(True)
            given = args[0] if args else None
            if isinstance(given, torch.Tensor) and any(_same(given, one) for one in served):
                found = _rows(module, given, args[1:])
                if found:
                    self.see(host, found)

        host.loaders.serve(note)
        handle = nn.modules.module.register_module_forward_pre_hook(self.guarded(host, before))
        host.call(lambda: None, handle.remove)
        self.until_looked(recorder, handle.remove)


def _same(given: torch.Tensor, one: torch.Tensor) -> bool:
    return given is one or (given.shape == one.shape and given.dim() > 0 and given.cpu().equal(one.cpu()))


def _rows(root: nn.Module, given: torch.Tensor, rest: Any) -> Rows | None:
    """None where the samples are alike, or the answer's rows may be something else than samples."""
    samples = given.shape[0]
    if samples < 2 or given[0].equal(given[1]):
        return None
    other = given.clone()
    other[0] = given[1]
    modes = [(module, module.training) for module in root.modules()]
    root.eval()
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]), torch.compiler.set_stance("force_eager"):
            answers = [tensors_in([root(one, *rest)]) for one in (given, other)]
    finally:
        for module, mode in modes:
            module.training = mode
    if not answers[0] or not answers[0][0].dim() or samples in answers[0][0].shape[1:]:
        return None
    before, after = (answer[0].float().reshape(answer[0].shape[0], -1) for answer in answers)
    rows = before.shape[0]
    changed = (before - after).abs().amax(dim=1) > _CLOSE * before.abs().max()
    own = max(1, rows // samples) if rows % samples == 0 else 1
    return Rows(samples, rows, mixed=bool(changed[own:].any()))
