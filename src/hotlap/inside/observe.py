"""The observed run: what the script is made of, written down as facts.

Global hooks find the roots here and only here; they step aside while Dynamo traces, so that a script that compiles
keeps its graphs. Trials carry none of them.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections import Counter
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any
from weakref import ref

import torch
from torch import nn

from hotlap.inside.calls import signature, tensors_in
from hotlap.inside.flops import Flops
from hotlap.inside.repeated import repeated
from hotlap.inside.roots import class_name
from hotlap.inside.written import is_written
from hotlap.loader.inspect import LoaderWatch
from hotlap.loader.states import States
from hotlap.numa import node_of_device
from hotlap.probes import all_probes
from hotlap.records import Optimizer, Precision, Root, Signature

if TYPE_CHECKING:
    from hotlap.inside.host import Host
    from hotlap.inside.steps import Recorder

_MOST_OPTIMIZERS = 64
_DIFFERENTIATES = r"create_graph\s*=\s*(?!False)|autograd\.functional|torch\.func\b"


class Observer:
    """Gathers facts while the recorder divides the run into steps."""

    def __init__(self, host: Host, recorder: Recorder) -> None:
        self.host = host
        self.recorder = recorder
        self.loaders = LoaderWatch(host)
        self.flops = Flops(recorder)
        self._depth = 0
        self._called = 0
        self._roots: dict[int, nn.Module] = {}
        self._signatures: dict[int, dict[Signature, int]] = {}
        self._autocast = False
        self._stochastic = False
        self._states: States | None = None
        self._training_calls: Counter[int] = Counter()
        self._optimizers: list[tuple[ref[Any], Optimizer]] = []
        self._world_size = 1
        self._differentiates_twice = False

    def install(self) -> None:
        """Hook every module call and the loaders."""
        hooks = nn.modules.module
        before = hooks.register_module_forward_pre_hook(self._before)
        with_kwargs = hooks.register_module_forward_hook(self._after, always_call=True)
        self.host.call(lambda: None, before.remove)
        self.host.call(lambda: None, with_kwargs.remove)
        self.loaders.install()
        self.flops.install()
        for probe in all_probes():
            probe.guarded(self.host, probe.install)(self.host, self.recorder, self._trained)
        self.recorder.on_optimizer_step.append(self._stepped)
        self.recorder.on_end.append(self._after_step)
        self.recorder.on_close.append(self._write)

    # -- roots

    def _before(self, module: nn.Module, args: Any) -> None:
        if torch.compiler.is_compiling():
            return
        self._depth += 1
        if self._depth == 1 and _learns(module):
            # Global hooks are given no keywords; the call that they were called from has them.
            kwargs = sys._getframe(1).f_locals.get("kwargs") or {}
            self._note_call(module, args, kwargs)
            if torch.is_grad_enabled() and module.training and self._is_probed(module):
                self._states = _states()
            if not self.recorder.tape.foreign:
                self._called += 1
                self.recorder.tape.call(id(module), module, args, kwargs)

    def _after(self, module: nn.Module, args: Any, out: Any) -> None:
        if torch.compiler.is_compiling():
            return
        self._depth = max(0, self._depth - 1)
        if self._depth == 0 and self._states is not None:
            self._stochastic |= _states() != self._states
            self._states = None
        if self._depth == 0 and self._called and _learns(module) and not self.recorder.tape.foreign:
            self._called -= 1
            self.recorder.tape.returned()

    def _note_call(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        grad = torch.is_grad_enabled()
        self._roots.setdefault(id(module), module)
        shapes, dtypes, manner = signature(args, kwargs)
        seen = self._signatures.setdefault(id(module), {})
        seen.setdefault(Signature(shapes, dtypes, module.training, grad, manner), self.recorder.index)
        if grad:
            self.loaders.fed_training()
            self._autocast |= torch.is_autocast_enabled(
                next((t.device.type for t in tensors_in(args) + tensors_in(kwargs)), "cpu")
            )

    def _is_probed(self, module: nn.Module) -> bool:
        """Ever fewer of the calls; the first may still initialise what the later ones use."""
        self._training_calls[id(module)] += 1
        calls = self._training_calls[id(module)]
        return calls > 1 and not calls & (calls - 1)

    # -- the end

    def _stepped(self, optimizer: Any) -> None:
        """Described now: one that a function built is gone when the script ends."""
        if not any(known() is optimizer for known, _ in self._optimizers) and len(self._optimizers) < _MOST_OPTIMIZERS:
            self._optimizers.append((ref(optimizer), self._optimizer(optimizer)))

    def _after_step(self, index: int) -> None:
        self._world_size = max(self._world_size, _world_size())  # at the end the group may be gone
        if index == 1:  # at the end the script's own file has no name any more
            self._differentiates_twice = is_written(_DIFFERENTIATES)
        epoch = self.epoch_steps()
        # A few steps into the second epoch: the last, smaller batch and the evaluation have been seen by then.
        if epoch is not None and index > max(epoch + 2, 20):
            self.recorder.end("budget reached")

    def epoch_steps(self) -> int | None:
        """Training steps in an epoch, by the loader that feeds the training."""
        return self.loaders.epoch_steps(self.recorder.index)

    def _trained(self) -> list[nn.Module]:
        """The roots that were called with gradients."""
        return [module for module in self._roots.values() if any(s.grad for s in self._signatures[id(module)])]

    def _write(self) -> None:
        from hotlap.inside.machine import machine

        trained = self._trained()
        device = next((p.device for module in trained for p in module.parameters()), torch.device("cpu"))
        self.host.journal.write(
            "facts",
            python=sys.executable,
            torch=torch.__version__,
            device=torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
            capability=_capability(device),
            device_node=_node(device),
            world_size=self._world_size,
            local_world_size=_ranks_here(self._world_size),
            machine=asdict(machine()),
            precision=asdict(self._precision()),
            roots=[asdict(self._root(module)) for module in trained],
            loaders=[asdict(loader) for loader in self.loaders.facts()],
            optimizers=[asdict(optimizer) for optimizer in self._distinct()],
            epoch_steps=self.epoch_steps(),
            threads=torch.get_num_threads(),
            stochastic=self._stochastic,
            manual_update=not self._optimizers,
            flops_per_step=self.flops.per_step,
            differentiates_twice=self._differentiates_twice,
            before_main=self.recorder.discarded,
        )

    def _root(self, module: nn.Module) -> Root:
        key = self.host.roots.keys.get(module)
        parameters = list(module.parameters())
        return Root(
            name=class_name(module),
            index=key[1] if key else -1,
            parameters=sum(p.numel() for p in parameters),
            parameter_shapes=tuple(tuple(p.shape) for p in parameters),
            dtypes=tuple(sorted({str(p.dtype)[6:] for p in parameters})),
            modules=dict(Counter(type(m).__name__ for m in module.modules())),
            signatures=tuple(self._signatures[id(module)]),
            compiled=type(module).__name__ == "OptimizedModule" or id(module) in self.host.roots.user_compiled,
            reachable=key is not None,
            blocks=len(repeated(module)),
        )

    def _optimizer(self, optimizer: Any) -> Optimizer:
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        return Optimizer(
            name=class_name(optimizer),
            parameters=sum(p.numel() for p in parameters),
            floating=all(p.is_floating_point() for p in parameters),
            sparse=any(p.grad is not None and p.grad.is_sparse for p in parameters),
            devices=tuple(sorted({str(p.device) for p in parameters})),
            fused=any(group.get("fused") for group in optimizer.param_groups),
            foreach=_said([group.get("foreach") for group in optimizer.param_groups]),
            main=False,
        )

    def _distinct(self) -> list[Optimizer]:
        """One record for all that are alike: a script may build one for every fold or epoch."""
        largest = max((optimizer.parameters for _, optimizer in self._optimizers), default=0)
        main = self.recorder.main
        alive = main is not None and any(known() is main for known, _ in self._optimizers)
        records = [
            replace(optimizer, main=known() is main if alive else optimizer.parameters == largest)
            for known, optimizer in self._optimizers
        ]
        return list(dict.fromkeys(records))

    def _precision(self) -> Precision:
        return Precision(
            matmul=torch.get_float32_matmul_precision(),
            autocast=self._autocast,
            grad_scaler=self.recorder.losses.scaled,
            cudnn_benchmark=torch.backends.cudnn.benchmark,
            cudnn_deterministic=torch.backends.cudnn.deterministic,
            deterministic_algorithms=torch.are_deterministic_algorithms_enabled(),
            cudnn_tf32=_rounds_to_tf32(self._trained()),
        )


def _states() -> States | None:
    """Of the random generators before or after a call; None while a device records a graph, which keeps its own."""
    with contextlib.suppress(RuntimeError):
        return States()
    return None


def _learns(module: nn.Module) -> bool:
    """A loss without parameters is no root: its time is the loss's."""
    return next(module.parameters(), None) is not None


def _world_size() -> int:
    with contextlib.suppress(Exception):
        if torch.distributed.is_initialized():
            return torch.distributed.get_world_size()
    return 1


def _rounds_to_tf32(roots: list[nn.Module]) -> bool:
    kinds = (("conv", nn.modules.conv._ConvNd), ("rnn", nn.RNNBase))
    allowed = tuple(kind for name, kind in kinds if torch._C._get_fp32_precision_getter("cuda", name) == "tf32")
    return any(isinstance(module, allowed) for root in roots for module in root.modules())


def _ranks_here(world_size: int) -> int:
    """What the launcher says; all of them where it says nothing."""
    told = os.environ.get("LOCAL_WORLD_SIZE", "")
    return int(told) if told.isdecimal() else world_size


def _capability(device: torch.device) -> float:
    if device.type != "cuda" or torch.version.hip:
        return 0.0
    major, minor = torch.cuda.get_device_capability(device)
    return major + minor / 10


def _node(device: torch.device) -> int:
    if device.type != "cuda":
        return -1
    found = torch.cuda.get_device_properties(device)
    with contextlib.suppress(AttributeError):  # of a torch that does not tell it
        return node_of_device(f"{found.pci_domain_id:04x}:{found.pci_bus_id:02x}:{found.pci_device_id:02x}.0")
    return -1


def _said(values: list[bool | None]) -> bool | None:
    """What the script said for its parameters; None where it left it to torch."""
    said = [value for value in values if value is not None]
    return any(said) if said else None
