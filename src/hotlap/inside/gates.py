"""The inside half of the gradient and update gates.

The reference arm is the untouched script: it saves, at each compared step, the state before, the gradients and the
state after. The other arms load the state before, so that errors do not compound, and write how far they are off.
A noise arm is the untouched script with weights and activations perturbed by one unit of the precision on trial.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from itertools import product
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.utils import clip_grad
from torch.optim.optimizer import register_optimizer_step_pre_hook

from hotlap.inside import stochastic
from hotlap.inside.calls import frozen_of, signature, tensors_in
from hotlap.inside.carried import Carried
from hotlap.inside.closures import follow, is_followed
from hotlap.inside.events import Events
from hotlap.inside.optimizers import is_settled, owned_by
from hotlap.inside.state import LearningState, Tensors, compared, copied
from hotlap.records import BEFORE_CLIPPING

if TYPE_CHECKING:
    from hotlap.inside.host import Host
    from hotlap.inside.steps import Recorder


def install_gates(host: Host, recorder: Recorder) -> None:
    """Put the gates of this arm in: quiet the model, record the events, capture or compare."""
    options = host.task["options"]
    _serve_tail_early(host, recorder, options)
    stochastic.switch_off(host)
    carried = Carried(recorder)
    Arm(host, recorder, options, carried).install()
    Events(host, recorder, carried).install()
    stochastic.scope_generators(host, recorder, host.task["seed"])


class Arm:
    """One arm of the comparison."""

    def __init__(self, host: Host, recorder: Recorder, options: dict[str, Any], carried: Carried) -> None:
        self.host = host
        self.recorder = recorder
        self.carried = carried
        self.state = LearningState(host, recorder)
        self.purpose = host.task["purpose"]
        self.folder = options["reference"]
        self.steps = [int(step) for step in options["compare"].split(",")]
        self.unit = float(options.get("unit", 0.0))
        self._noise: dict[torch.device, torch.Generator] = {}
        self._before: Tensors = {}
        self._carried: list[torch.Tensor] = []
        self._reference: dict[str, Any] = {}
        self._gradients: Tensors = {}
        self._outputs: Tensors = {}
        self._evaluated: dict[int, int] = {}  # identity of a root to its number among those of the step
        self._updates: Counter[str] = Counter()
        self._begun = 0
        self._open = 0  # step whose update is still to come: a script without an optimizer makes it after the step

    def install(self) -> None:
        """Hook the beginning of a step (its first training call), its optimizer and its end."""
        self.host.roots.observe(self._called)
        self.recorder.on_optimizer_start.append(self._before_update)
        self.recorder.on_end.append(self._after_step)
        for owner, name in product((nn.utils, clip_grad), ("clip_grad_norm_", "clip_grad_value_")):
            self.host.wrap(owner, name, self._clipping)
        closures = register_optimizer_step_pre_hook(self._follow_closure)
        self.host.call(lambda: None, closures.remove)
        if self.unit:
            handle = nn.modules.module.register_module_forward_hook(self._perturb_output)
            self.host.call(lambda: None, handle.remove)

    @property
    def _compared(self) -> bool:
        """Whether the step under way is compared; one that another optimizer will turn out to end is none."""
        return self.recorder.index in self.steps and is_settled(self.recorder.main, self.host.task["options"])

    # -- the beginning of a step

    def _called(self, root: nn.Module, call: Callable[..., Any]) -> Callable[..., Any]:
        def called(*args: Any, **kwargs: Any) -> Any:
            if self._open:
                self._finish(self._open)
            if torch.is_grad_enabled() and self._compared:
                if self._begun != self.recorder.index:
                    self._begin(self.carried.of((args, kwargs)))
                    args, kwargs = self.carried.put((args, kwargs), self._reference.get("carried", ()))
                if id(root) not in self._evaluated:
                    self._evaluate(root, call, args, kwargs)
                frozen = frozen_of([parameter.requires_grad for parameter in root.parameters()])
                shapes, dtypes, manner = signature(args, kwargs, frozen)
                about = {"root": self.host.roots.keys.get(root), "training": root.training, "manner": manner}
                self.host.journal.write("signature", shapes=shapes, dtypes=dtypes, **about)
            out = call(*args, **kwargs)
            if torch.is_grad_enabled():
                self.carried.note(out)
            return out

        return called

    def _begin(self, carried: list[torch.Tensor]) -> None:
        self._begun = self.recorder.index
        self._gradients, self._outputs = {}, {}
        self._evaluated.clear()
        self._updates.clear()
        if self.purpose == "reference":
            self._before = self.state.snapshot()
            self._carried = [tensor.detach().clone() for tensor in carried]
            return
        last = self._reference
        self._reference = torch.load(self._path(self.recorder.index), weights_only=True, mmap=True)
        if self.host.task["options"].get("aligned"):
            self.state.align(self._reference["names"], self._reference["before"])
        if self.purpose == "candidate" and self.recorder.index - 1 in self.steps and last:
            self._compare_between(last)
        missing = self.state.load(self._reference["before"])
        if missing:
            self.host.journal.write("not-loaded", step=self.recorder.index, names=missing[:8])
        if self.unit:
            self._perturb_weights()

    def _compare_between(self, last: dict[str, Any]) -> None:
        """What the script did to its parameters since the step before, the update included: it may clamp or mask.

        Another optimizer than the main one may have stepped since as well, by gradients that are this arm's own.
        """
        others = [optimizer for optimizer in self.recorder.stepped if optimizer is not self.recorder.main]
        moved = {id(p) for other in others for p in owned_by(other)}
        got = {n: copied(tensor) for n, tensor in self.state.parameters().items() if id(tensor) not in moved}
        wanted = {name: tensor for name, tensor in self._reference["before"].items() if name in got}
        rows = compared(wanted, got, last["before"])
        self.host.journal.write("compared", step=self.recorder.index, what="between", rows=rows)

    def _path(self, index: int) -> str:
        return os.path.join(self.folder, f"step-{index}-rank-{os.environ.get('RANK', '0')}.pt")

    def _evaluate(self, root: nn.Module, call: Callable[..., Any], args: Any, kwargs: Any) -> None:
        """The root's first input through it in evaluation mode: a setup may train right and evaluate wrong."""
        number = self._evaluated.setdefault(id(root), len(self._evaluated))
        if number and not self._outputs:  # the first could not be evaluated, which others do not make up for
            return
        whose = f" of model {number}" if number else ""
        modes = [(module, module.training) for module in root.modules()]
        root.eval()
        try:
            with torch.no_grad():
                out = tensors_in(call(*args, **kwargs))
            self._outputs |= {f"output {place}{whose}": copied(tensor) for place, tensor in enumerate(out)}
        except Exception as error:
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
                    parameter.copy_(parameter * self._factor(parameter))

    def _factor(self, like: torch.Tensor) -> torch.Tensor:
        """One plus noise of the unit; in a low precision of a whole step up or down, for less would round away."""
        if like.device not in self._noise:  # of its own, for answers of a model can be large
            seed = int(self.host.task["options"].get("noise_seed", 0)) + 1
            self._noise[like.device] = torch.Generator(like.device).manual_seed(seed)
        noise = torch.rand(like.shape, generator=self._noise[like.device], device=like.device) * 2 - 1
        low = like.dtype in (torch.bfloat16, torch.float16)
        size = max(self.unit, 2 * torch.finfo(like.dtype).eps) if low else self.unit
        return (1 + size * noise).to(torch.float32 if low else like.dtype)

    def _perturb_output(self, module: nn.Module, args: Any, out: Any) -> Any:
        if torch.compiler.is_compiling() or next(module.children(), None) is not None:
            return None
        if self._compared and isinstance(out, torch.Tensor) and out.is_floating_point():
            return (out * self._factor(out)).to(out.dtype)
        return None

    # -- the update and the end of a step

    def _clipping(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """A gradient of any length is as long as any other once it is clipped."""

        def clip(parameters: Any, *args: Any, **kwargs: Any) -> Any:
            clipped = [parameters] if isinstance(parameters, torch.Tensor) else list(parameters)
            if self._compared and self._begun == self.recorder.index:
                self._note_unclipped({id(parameter) for parameter in clipped})
            return original(clipped, *args, **kwargs)

        return clip

    def _note_unclipped(self, clipped: set[int]) -> None:
        """The gradients of these parameters, unless they were clipped or have made an update in this step already."""
        names = {n for n, p in self.state.parameters().items() if id(p) in clipped and not self._updates[n]}
        unclipped = {f"{n}{BEFORE_CLIPPING}": g for n, g in self.state.gradients().items() if n in names}
        self._gradients = unclipped | self._gradients

    def _follow_closure(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> Any:
        """Under `optimizer.step(closure)` the gradients are there only when the closure has run."""
        if is_followed(args, kwargs):
            return None
        return follow(args, kwargs, lambda: self._before_update(optimizer))

    def _before_update(self, optimizer: torch.optim.Optimizer) -> None:
        if not self._compared or self._begun != self.recorder.index:
            return
        owned = {id(parameter) for parameter in owned_by(optimizer)}
        self._take_gradients({n for n, parameter in self.state.parameters().items() if id(parameter) in owned})

    def _take_gradients(self, names: set[str]) -> None:
        """Note these gradients, and go on with the reference's; a second update within a step has names of its own."""
        self._updates.update(names)
        keys = {n: n if self._updates[n] == 1 else f"{n} at update {self._updates[n]}" for n in names}
        self._gradients |= {keys[name]: g for name, g in self.state.gradients().items() if name in names}
        if self.purpose != "reference":
            saved = self._reference["gradients"]
            self.state.load_gradients({name: saved[key] for name, key in keys.items() if key in saved})

    def _after_step(self, index: int) -> None:
        if index not in self.steps or self._begun != index:
            return
        if self.recorder.main is not None:
            self._finish(index)
            return
        self._take_gradients(set(self.state.parameters()))
        self._open = index

    def _finish(self, index: int) -> None:
        """Save or compare a step whose update has been made."""
        self._open = 0
        if index == self.steps[-1]:
            self.host.journal.write("checkpoint", entries=self.state.checkpoint())
        after = self.state.snapshot()
        if self.purpose == "reference":
            saved = {"before": self._before, "gradients": self._gradients, "after": after, "outputs": self._outputs}
            torch.save({**saved, "names": self.state.names(), "carried": self._carried}, self._path(index))
            self.host.journal.write("captured", step=index, gradients=len(self._gradients))
            return
        reference, write = self._reference, self.host.journal.write
        write("compared", step=index, what="gradient", rows=compared(reference["gradients"], self._gradients))
        outputs = compared(reference["outputs"], self._outputs, infinite=True)
        write("compared", step=index, what="evaluation", rows=outputs)
        known = reference["after"]
        if self.purpose == "noise":  # an update from perturbed weights says nothing; running statistics do
            known = {name: value for name, value in known.items() if name.startswith("buffer ")}
            after = {name: value for name, value in after.items() if name in known}
        write("compared", step=index, what="update", rows=compared(known, after, reference["before"]))


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
