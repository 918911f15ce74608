"""What a step is, and the recorder that writes one line of numbers for each.

A step ends when the main optimizer has stepped (the one that owns most parameters), or, in a script that updates its
weights by hand, when the backward of the loss ends.
"""

from __future__ import annotations

import atexit
import os
import resource
import sys
from collections.abc import Callable
from time import perf_counter
from typing import TYPE_CHECKING, Any

import torch
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from hotlap.inside.clock import Clock
from hotlap.inside.roots import tensors_in

if TYPE_CHECKING:
    from hotlap.inside.host import Host

_FLUSH_STEPS = 64
_FLUSH_S = 0.5
_BACKWARDS_WITHOUT_OPTIMIZER = 3


def _parameters_of(optimizer: torch.optim.Optimizer) -> int:
    return sum(p.numel() for group in optimizer.param_groups for p in group["params"])


class Recorder:
    """Divides the run into steps and tells whoever asked about them.

    Attributes:
        index: Number of the step under way, from 1.
        main: The optimizer whose step ends a step; None until one has stepped.
    """

    def __init__(self, host: Host, clock: Clock | None = None) -> None:
        self.host = host
        self.clock = clock or Clock()
        self.index = 1
        self.main: torch.optim.Optimizer | None = None
        self.optimizers: list[torch.optim.Optimizer] = []
        self.stepped: list[torch.optim.Optimizer] = []
        self.on_end: list[Callable[[int], None]] = []
        self.on_optimizer_start: list[Callable[[torch.optim.Optimizer], None]] = []
        self.on_optimizer_step: list[Callable[[torch.optim.Optimizer], None]] = []
        self.on_close: list[Callable[[], None]] = []
        self._depth = 0
        self._backwards = 0
        self._samples = 0
        self._losses: list[torch.Tensor] = []
        self._step_losses: list[list[torch.Tensor]] = []
        self._rows: list[list[Any]] = []
        self._written = perf_counter()
        self._began: float | None = None
        self._faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt

    # -- boundaries

    def install(self) -> None:
        """Hook the boundaries: optimizers, backward, roots, loaders."""
        host, optimizer = self.host, torch.optim.Optimizer
        host.wrap(optimizer, "__init__", self._built)
        before = register_optimizer_step_pre_hook(self._before_step)
        host.call(lambda: None, before.remove)
        after = register_optimizer_step_post_hook(self._after_step)
        host.call(lambda: None, after.remove)
        host.wrap(torch.autograd, "_engine_run_backward", self._backward)
        host.loaders.time(self.clock)
        host.roots.observe(self._forward)
        os.register_at_fork(after_in_child=self._forked)
        atexit.register(self.close)

    def _forked(self) -> None:
        """A child is not the process that trains: it neither records nor ends anything."""
        self.host.journal.close()
        self.host.task = {**self.host.task, "steps": 0, "limit_s": 0}
        atexit.unregister(self.close)

    def _built(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def __init__(optimizer: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807
            original(optimizer, *args, **kwargs)
            self.optimizers.append(optimizer)

        return __init__

    def _before_step(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        self._depth += 1
        if self._depth == 1:
            for act in self.on_optimizer_start:
                act(optimizer)
            self.clock.enter("optimizer")

    def _after_step(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        self._depth -= 1
        if self._depth:
            return  # a subclass that calls its parent's step
        self.clock.leave("optimizer")
        for act in self.on_optimizer_step:
            act(optimizer)
        if not any(optimizer is known for known in self.stepped):
            self.stepped.append(optimizer)
            if self.main is None or _parameters_of(optimizer) > _parameters_of(self.main):
                self._begin_again(optimizer)
        if optimizer is self.main:
            self._end_step()

    def _begin_again(self, optimizer: torch.optim.Optimizer) -> None:
        """A bigger optimizer turned up: what was counted so far were not the steps."""
        if self.main is not None:
            self.host.journal.write("restart")
            self._rows.clear()
            self._step_losses.clear()
        self.main = optimizer
        self.index = 1

    def _backward(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def _engine_run_backward(outputs: Any, *args: Any, **kwargs: Any) -> Any:
            self.clock.enter("backward")
            try:
                return original(outputs, *args, **kwargs)
            finally:
                self.clock.leave("backward")
                if kwargs.get("accumulate_grad"):  # torch.autograd.grad is not the backward of the loss
                    self._after_backward(outputs)

        return _engine_run_backward

    def _after_backward(self, outputs: Any) -> None:
        if len(outputs) == 1 and isinstance(outputs[0], torch.Tensor) and outputs[0].numel() == 1:
            self._losses.append(outputs[0].detach())
        self._backwards += 1
        if not self.optimizers and self._backwards >= _BACKWARDS_WITHOUT_OPTIMIZER:
            self._end_step()

    def _forward(self, root: torch.nn.Module, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            self.enter_root(root, args, kwargs)
            try:
                return call(*args, **kwargs)
            finally:
                self.leave_root(root)

        return timed

    def enter_root(self, root: torch.nn.Module, args: Any, kwargs: Any) -> None:
        """A root is being called."""
        if torch.is_grad_enabled():
            self.clock.enter("forward")
            tensors = tensors_in(args) or tensors_in(kwargs)
            if tensors and tensors[0].dim():
                self._samples += tensors[0].shape[0]
        else:
            self.clock.enter("evaluation")

    def leave_root(self, root: torch.nn.Module) -> None:
        """The root's call returned or raised."""
        self.clock.leave("forward" if torch.is_grad_enabled() else "evaluation")

    # -- the end of a step

    def _end_step(self) -> None:
        phases = self.clock.end_step()
        faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        evaluation, start = phases.pop("evaluation", 0.0), phases.pop("epoch start", 0.0)
        self._rows.append([phases, self._samples, faults - self._faults, evaluation, start, _graphs()])
        self._step_losses.append(self._losses)
        self._samples, self._losses = 0, []
        if self._began is None:
            self._began = perf_counter()
            self.host.journal.write("first-step", at_s=_since_start())
        for act in self.on_end:
            act(self.index)
        self.index += 1
        self._flush_if_due()
        self._end_trial_if_due()
        self._faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        self.clock.restart()

    def _flush_if_due(self) -> None:
        if len(self._rows) >= _FLUSH_STEPS or perf_counter() - self._written > _FLUSH_S:
            self.flush()

    def flush(self, *, last: bool = False) -> None:
        """Write the rows gathered since the last time.

        Args:
            last: Also read losses that live on a device, which waits for it; on a CPU reading is free at any time.
        """
        losses = self._step_losses
        if last or not any(loss.is_cuda for step in losses[:1] for loss in step):
            values = [sum(float(loss) for loss in step) / len(step) if step else None for step in losses]
            self.host.journal.write("losses", values=values)
            self._step_losses = []
        if self._rows:
            self.host.journal.write("steps", rows=self._rows)
        self._rows = []
        self._written = perf_counter()

    def _end_trial_if_due(self) -> None:
        task, done = self.host.task, self.index - 1
        if not task.get("steps") and not task.get("limit_s"):
            return
        elapsed = perf_counter() - (self._began or perf_counter())
        if (task["steps"] and done >= task["steps"]) or (task["limit_s"] and elapsed > task["limit_s"]):
            self.end("budget reached")

    def close(self) -> None:
        """Write what is only known at the end."""
        if self._began is None:
            return
        for act in self.on_close:
            self.host.guarded("closing the record", act)
        self.flush(last=True)
        self.host.journal.write(
            "closing",
            peak_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            cuda_peak_bytes=torch.cuda.max_memory_allocated() if torch.cuda.is_initialized() else None,
            evaluations=self.clock.evaluations,
        )

    def end(self, outcome: str) -> None:
        """Report and leave at once: an exception would be caught by real scripts, an exit would save and upload."""
        self.close()
        self.host.journal.write("end", outcome=outcome)
        sys.stdout.flush()
        os._exit(0)


def _graphs() -> int:
    """Graphs compiled so far in this process."""
    dynamo = sys.modules.get("torch._dynamo.utils")
    return dynamo.counters["stats"]["unique_graphs"] if dynamo else 0


def _since_start() -> float:
    """Seconds since the process was started, from the kernel's books."""
    with open("/proc/self/stat", encoding="ascii", errors="replace") as file:
        started_ticks = int(file.read().rsplit(")", 1)[1].split()[19])
    with open("/proc/uptime", encoding="ascii") as file:
        uptime_s = float(file.read().split()[0])
    return uptime_s - started_ticks / os.sysconf("SC_CLK_TCK")
