"""How the model and the optimizers hang together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from hotlap.inside.graph import before_backward
from hotlap.inside.outputs import Outputs
from hotlap.probes.probe import LOOKED_AT_STEP, Probe, Roots
from hotlap.records.seen import Structure

if TYPE_CHECKING:
    import torch

    from hotlap.inside.host import Host
    from hotlap.inside.steps import Recorder

_MOST_NAMES = 20


class StructureProbe(Probe):
    """Follows outputs from one module to the next in one step, and gradients over a few."""

    id: ClassVar[str] = "structure"

    def install(self, host: Host, recorder: Recorder, roots: Roots) -> None:
        """Hook every module for the step that is looked at; look for gradients before each update up to then."""
        outputs, had_gradient, names = Outputs(), set[int](), dict[int, str]()

        def called(module: nn.Module, args: Any, out: Any) -> None:
            if recorder.index != LOOKED_AT_STEP or not module.training:
                return
            outputs.read(module, args)
            if isinstance(module, _ConvNd) and module.bias is not None and module.bias.requires_grad:
                outputs.add(names.get(id(module), type(module).__name__), out)

        def backward(ends: Any, seeds: Any) -> None:
            if recorder.index == LOOKED_AT_STEP:
                outputs.note_graph(ends)

        def before(optimizer: torch.optim.Optimizer) -> None:
            owned = (parameter for group in optimizer.param_groups for parameter in group["params"])
            had_gradient.update(id(parameter) for parameter in owned if parameter.grad is not None)

        def next_step(done: int) -> None:
            if done == LOOKED_AT_STEP - 1:
                names.update({id(m): n for root in roots() for n, m in root.named_modules()})
            elif done == LOOKED_AT_STEP:
                recorder.on_end.remove(next_step)
                self.see(host, _structure(roots(), recorder, outputs.only_into(_BatchNorm), had_gradient))

        called_, before, next_step = (self.guarded(host, act) for act in (called, before, next_step))
        before_backward(host, self.guarded(host, backward))
        handle = nn.modules.module.register_module_forward_hook(called_)
        host.call(lambda: None, handle.remove)
        recorder.on_optimizer_start.append(before)
        recorder.on_end.append(next_step)
        self.until_looked(recorder, handle.remove)
        self.until_looked(recorder, lambda: recorder.on_optimizer_start.remove(before))


def _structure(roots: list[nn.Module], recorder: Recorder, biased: list[str], had_gradient: set[int]) -> Structure:
    owned = {id(p): p for o in recorder.optimizers for group in o.param_groups for p in group["params"]}
    named = {id(p): name for root in roots for name, p in root.named_parameters() if p.requires_grad}
    stepped = {id(p) for o in recorder.stepped for group in o.param_groups for p in group["params"]}
    left_out = [name for number, name in named.items() if number not in owned]
    without = [named[number] for number in stepped if number in named and number not in had_gradient]
    strangers = sum(number not in named for number in owned)
    searching = any(getattr(root, "find_unused_parameters", False) for root in roots)  # DistributedDataParallel
    return Structure(
        biased_before_norm=tuple(biased[:_MOST_NAMES]),
        in_no_optimizer=tuple(left_out[:_MOST_NAMES]) if owned else (),
        never_a_gradient=tuple(without[:_MOST_NAMES]),
        of_no_module=strangers,
        searched_in_vain=searching and bool(stepped) and stepped <= had_gradient,
    )
