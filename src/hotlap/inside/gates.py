"""The inside half of the gradient and update gates.

The reference arm is the untouched script: it saves, at each compared step, the state before, the gradients and the
state after. The other arms load the state before, so that errors do not compound, and write how far they are off.
A noise arm is the untouched script with weights and activations perturbed by one unit of the precision on trial.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from hotlap.inside import stochastic
from hotlap.inside.events import Events
from hotlap.inside.roots import signature, tensors_in
from hotlap.inside.state import LearningState, Tensors, compared

if TYPE_CHECKING:
    from hotlap.inside.host import Host
    from hotlap.inside.steps import Recorder


def install_gates(host: Host, recorder: Recorder) -> None:
    """Put the gates of this arm in: quiet the model, record the events, capture or compare."""
    options = host.task["options"]
    _serve_tail_early(host, recorder, options)
    stochastic.switch_off(host)
    Arm(host, recorder, options).install()
    Events(host, recorder).install()
    stochastic.scope_generators(host, recorder, host.task["seed"])


class Arm:
    """One arm of the comparison."""

    def __init__(self, host: Host, recorder: Recorder, options: dict[str, Any]) -> None:
        self.host = host
        self.recorder = recorder
        self.state = LearningState(host, recorder)
        self.purpose = host.task["purpose"]
        self.folder = options["reference"]
        self.steps = [int(step) for step in options["compare"].split(",")]
        self.unit = float(options.get("unit", 0.0))
        self._noise = torch.Generator().manual_seed(int(options.get("noise_seed", 0)) + 1)
        self._before: Tensors = {}
        self._reference: dict[str, Tensors] = {}
        self._gradients: Tensors = {}
        self._outputs: Tensors = {}
        self._begun = 0

    def install(self) -> None:
        """Hook the beginning of a step (its first training call), its optimizer and its end."""
        self.host.roots.observe(self._called)
        self.recorder.on_optimizer_start.append(self._before_update)
        self.recorder.on_end.append(self._after_step)
        if self.unit:
            handle = nn.modules.module.register_module_forward_hook(self._perturb_output)
            self.host.call(lambda: None, handle.remove)

    @property
    def _compared(self) -> bool:
        return self.recorder.index in self.steps

    # -- the beginning of a step

    def _called(self, root: nn.Module, call: Callable[..., Any]) -> Callable[..., Any]:
        def called(*args: Any, **kwargs: Any) -> Any:
            if torch.is_grad_enabled() and self._compared:
                if self._begun != self.recorder.index:
                    self._begin()
                    self._evaluate(root, call, args, kwargs)
                shapes, dtypes = signature(args, kwargs)
                key = self.host.roots.keys.get(root)
                self.host.journal.write("signature", root=key, training=root.training, shapes=shapes, dtypes=dtypes)
            return call(*args, **kwargs)

        return called

    def _begin(self) -> None:
        self._begun = self.recorder.index
        self._gradients = {}
        if self.purpose == "reference":
            self._before = self.state.snapshot()
            return
        path = os.path.join(self.folder, f"step-{self.recorder.index}.pt")
        self._reference = torch.load(path, weights_only=True, mmap=True)
        missing = self.state.load(self._reference["before"])
        if missing:
            self.host.journal.write("not-loaded", step=self.recorder.index, names=missing[:8])
        if self.unit:
            self._perturb_weights()

    def _evaluate(self, root: nn.Module, call: Callable[..., Any], args: Any, kwargs: Any) -> None:
        """The step's input through the model in evaluation mode: a setup may train right and evaluate wrong."""
        modes = [(module, module.training) for module in root.modules()]
        root.eval()
        try:
            with torch.no_grad():
                out = tensors_in(call(*args, **kwargs))
            self._outputs = {f"output {number}": t.detach().cpu().clone() for number, t in enumerate(out)}
        except Exception as error:
            self._outputs = {}
            self.host.journal.write(
                "no-evaluation", step=self.recorder.index, reason=f"{type(error).__name__}: {error}"
            )
        finally:
            for module, mode in modes:
                module.training = mode

    def _perturb_weights(self) -> None:
        with torch.no_grad():
            for parameter in self.state.parameters().values():
                if parameter.is_floating_point():
                    parameter.mul_(self._factor(parameter))

    def _factor(self, like: torch.Tensor) -> torch.Tensor:
        noise = torch.rand(like.shape, generator=self._noise, dtype=torch.float32) * 2 - 1
        return (1 + self.unit * noise).to(like.device, like.dtype)

    def _perturb_output(self, module: nn.Module, args: Any, out: Any) -> Any:
        if torch.compiler.is_compiling() or next(module.children(), None) is not None:
            return None
        if self._compared and isinstance(out, torch.Tensor) and out.is_floating_point():
            return out * self._factor(out)
        return None

    # -- the update and the end of a step

    def _before_update(self, optimizer: torch.optim.Optimizer) -> None:
        if not self._compared or self._begun != self.recorder.index:
            return
        owned = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
        names = {name for name, parameter in self.state.parameters().items() if id(parameter) in owned}
        mine = {name: gradient for name, gradient in self.state.gradients().items() if name in names}
        self._gradients.update(mine)
        if self.purpose == "candidate":
            self.state.load_gradients({n: g for n, g in self._reference["gradients"].items() if n in names})

    def _after_step(self, index: int) -> None:
        if index not in self.steps or self._begun != index:
            return
        gradients = self._gradients or self.state.gradients()
        after = self.state.snapshot()
        if self.purpose == "reference":
            path = os.path.join(self.folder, f"step-{index}.pt")
            torch.save({"before": self._before, "gradients": gradients, "after": after, "outputs": self._outputs}, path)
            self.host.journal.write("captured", step=index, gradients=len(gradients))
            return
        reference = self._reference
        self.host.journal.write(
            "compared", step=index, what="gradient", rows=compared(reference["gradients"], gradients)
        )
        outputs = compared(reference["outputs"], self._outputs)
        self.host.journal.write("compared", step=index, what="evaluation", rows=outputs)
        if self.purpose == "candidate":
            rows = compared(reference["after"], after, reference["before"])
            self.host.journal.write("compared", step=index, what="update", rows=rows)
        else:
            buffers = {name: value for name, value in reference["after"].items() if name.startswith("buffer ")}
            rows = compared(buffers, {n: after[n] for n in buffers if n in after}, reference["before"])
            self.host.journal.write("compared", step=index, what="update", rows=rows)


def _serve_tail_early(host: Host, recorder: Recorder, options: dict[str, Any]) -> None:
    """Cut one batch down to the size of the epoch's last one, so that its shapes are compared without a whole epoch."""
    size, step, loader = (int(options.get(key, 0)) for key in ("tail", "tail_step", "tail_loader"))
    if not size:
        return

    def change(iterator: Any, batch: Any) -> Any:
        if recorder.index != step or host.loaders.loader_of(iterator) != loader:
            return batch
        return _first_rows(batch, size)

    host.loaders.serve(change)


def _first_rows(value: Any, size: int) -> Any:
    if isinstance(value, torch.Tensor):
        return value[:size].clone(memory_format=torch.contiguous_format) if value.dim() else value
    if isinstance(value, dict):
        return type(value)((key, _first_rows(item, size)) for key, item in value.items())
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(_first_rows(item, size) for item in value))
    if isinstance(value, (list, tuple)):
        if value and isinstance(value[0], (str, bytes)):
            return value[:size]
        return type(value)(_first_rows(item, size) for item in value)
    return value
