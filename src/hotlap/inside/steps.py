"""What a step is, and the recorder that writes one line of numbers for each.

A step ends when the main optimizer has stepped (the one that owns most parameters), or, in a script that updates its
weights by hand, when the backward of the loss ends.
"""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Callable
from multiprocessing import util
from threading import get_ident
from time import perf_counter
from typing import TYPE_CHECKING, Any

import torch
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from hotlap import marks
from hotlap.inside import copies, device, process
from hotlap.inside.losses import END, Losses, is_loss
from hotlap.inside.optimizers import Optimizers, is_settled

if TYPE_CHECKING:
    from hotlap.inside.host import Host

_FLUSH_STEPS, _FLUSH_NS = 256, 500_000_000


class Recorder:
    """Divides the run into steps and tells whoever asked about them.

    Attributes:
        index: Number of the step under way, from 1.
        discarded: Steps of smaller optimizers before the main one stepped.
        wait_at: Number of a step whose time holds all of its work, what a device still has to do included; 0 for none.
    """

    def __init__(self, host: Host) -> None:
        self.host = host
        self.tape = device.tape()
        self.index, self.wait_at, self.discarded = 1, 0, 0
        self.on_end: list[Callable[[int], None]] = []
        self.on_optimizer_start: list[Callable[[torch.optim.Optimizer], None]] = []
        self.on_optimizer_step: list[Callable[[torch.optim.Optimizer], None]] = []
        self.on_close: list[Callable[[], None]] = []
        self.losses = Losses()
        self._pid = os.getpid()
        self._limited = bool(host.task.get("steps") or host.task.get("limit_s"))
        self._optimizers = Optimizers()
        self._depth = 0
        self._unwritten = 0
        self._written = self.tape.now()
        self._began: float | None = None
        self._closed = False
        self._faults = process.faults()

    @property
    def optimizers(self) -> list[torch.optim.Optimizer]:
        """Those that are alive, in the order of their construction."""
        return self._optimizers.alive

    @property
    def stepped(self) -> list[torch.optim.Optimizer]:
        """Those among them that have stepped."""
        return self._optimizers.have_stepped

    @property
    def main(self) -> torch.optim.Optimizer | None:
        """The optimizer whose step ends a step; None until one has stepped."""
        return self._optimizers.main

    # -- boundaries

    def install(self) -> None:
        """Hook the boundaries: optimizers, backward, roots, loaders, and the end of the process."""
        host, optimizer = self.host, torch.optim.Optimizer
        host.wrap(optimizer, "__init__", self._built)
        before, after = self._around_update()
        for handle in (register_optimizer_step_pre_hook(before), register_optimizer_step_post_hook(after)):
            host.call(lambda: None, handle.remove)
        host.wrap(torch.autograd, "_engine_run_backward", self._backward)
        self.losses.install(host)
        host.loaders.time(self.tape)
        host.roots.observe(self.tape.wrap)
        copies.install(host, self.tape)
        host.wrap(os, "_exit", self._leaving)
        os.register_at_fork(after_in_child=self._forked)
        atexit.register(self.close)

    def _forked(self) -> None:
        """A child of the process that trains neither records nor ends anything; before the first step it may train."""
        if self._began is not None:
            self.host.journal.close()
            self._limited = False
            self._closed = True

    def _leaving(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def _exit(status: int) -> None:
            self.close()
            original(status)

        return _exit

    def _built(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def __init__(optimizer: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807
            original(optimizer, *args, **kwargs)
            self._optimizers.built(optimizer)

        return __init__

    def _around_update(self) -> tuple[Callable[[Any, Any, Any], None], Callable[[Any, Any, Any], None]]:
        """The hooks before and after an optimizer's step, with the usual case first."""
        tape, optimizers = self.tape, self._optimizers
        note, now = tape.note, tape.now

        def before(optimizer: Any, args: Any, kwargs: Any) -> None:
            if self._depth or self.on_optimizer_start or get_ident() != tape.thread:
                self._before_step(optimizer)
            else:
                self._depth = 1
                note(now() << 4 | marks.UPDATE)

        def after(optimizer: Any, args: Any, kwargs: Any) -> None:
            if self._depth != 1 or self.on_optimizer_step or optimizer is not optimizers.main_alive():
                self._after_step(optimizer)
            else:
                self._depth = 0
                optimizers.steps += 1
                self._end_step()

        return before, after

    def _before_step(self, optimizer: Any) -> None:
        if self._depth and not _is_nested():
            self._depth = 0  # a step that raised never came to its end
        self._depth += 1
        if self._depth == 1:
            if self.on_optimizer_start:
                self._tell(self.on_optimizer_start, optimizer)
            self.tape.mark(marks.UPDATE)

    def _after_step(self, optimizer: Any) -> None:
        self._depth -= 1
        if self._depth:
            return  # a subclass that calls its parent's step
        self.tape.mark(marks.UPDATE_END)
        if self.on_optimizer_step:
            self._tell(self.on_optimizer_step, optimizer)
        by_hand = self._began is not None and not self._optimizers.steps
        if self._optimizers.stepped(optimizer) or by_hand:
            self._begin_again()
        if optimizer is self.main:
            self._end_step()
        else:
            self._end_trial_if_due()

    def _begin_again(self) -> None:
        """A bigger optimizer turned up: what was counted so far were not the steps."""
        self.flush()
        self.losses.clear()
        self.host.journal.write("restart")
        self.discarded += self.index - 1
        self.index = 1

    def _backward(self, original: Callable[..., Any]) -> Callable[..., Any]:
        tape, optimizers, loss = self.tape, self._optimizers, self.losses.note
        note, now, inside = tape.note, tape.now, False

        def _engine_run_backward(outputs: Any, *args: Any, **kwargs: Any) -> Any:
            nonlocal inside
            if inside:  # checkpointing runs a backward inside the backward
                return original(outputs, *args, **kwargs)
            if get_ident() != tape.thread:  # before the first step that may be the one that trains
                loss(outputs)
                return original(outputs, *args, **kwargs)
            inside = True
            note(now() << 4 | marks.BACKWARD)
            try:
                gradients = original(outputs, *args, **kwargs)
            finally:
                inside = False
                note(now() << 4 | marks.BACKWARD_END)
            if kwargs.get("accumulate_grad"):  # torch.autograd.grad is not the backward of the loss if there is another
                loss(outputs)
            if optimizers.none_yet:
                self._maybe_by_hand(outputs, args, kwargs)
            return gradients

        return _engine_run_backward

    def _maybe_by_hand(self, outputs: Any, args: Any, kwargs: Any) -> None:
        """Without an optimizer the backward of the loss ends a step."""
        if self.tape.inside or self.tape.foreign:
            return
        accumulates = bool(kwargs.get("accumulate_grad"))
        if self._optimizers.by_hand(accumulates) and (accumulates or is_loss(outputs, args)):
            if not accumulates:
                self.losses.note(outputs)
            self._end_step()

    def _tell(self, acts: list[Callable[..., None]], *args: Any) -> None:
        """Call each; one that fails is left out from then on, and never costs the user's run."""
        for act in tuple(acts):
            try:
                act(*args)
            except Exception as error:
                acts.remove(act)
                what = getattr(act, "__qualname__", repr(act))
                self.host.journal.write("failed", what=what, reason=f"{type(error).__name__}: {error}")
                print(f"hotlap: {what} failed and is left out: {error!r}", file=sys.stderr)

    # -- the end of a step

    def _end_step(self) -> None:
        tape, dynamo = self.tape, sys.modules.get("torch._dynamo.utils")
        graphs = dynamo.counters["stats"].get("unique_graphs", 0) if dynamo else 0  # [] asks a Counter's __missing__
        if self.index == self.wait_at:
            device.wait()
        at = tape.now()
        tape.note_long((at << 4 | marks.STEP, graphs, tape.arm))
        self._unwritten += 1
        self.losses.end_step(END)
        if self._began is None:
            self._begin()
        if self.on_end:
            self._tell(self.on_end, self.index)
        self.index += 1
        if self._unwritten >= _FLUSH_STEPS or at - self._written > _FLUSH_NS:
            self.flush()
        if self._limited:
            self._end_trial_if_due()
        tape.thread = get_ident()  # the thread that stepped is the one that trains
        tape.note_long((tape.now() << 4 | marks.RESUME, 0, 0))

    def _begin(self) -> None:
        self._began = perf_counter()
        if os.getpid() != self._pid:  # this child is the one that trains; multiprocessing's run no atexit
            self.host.journal.write("hello", pid=os.getpid(), argv=sys.argv, rank=process.rank())
            util.Finalize(None, self.close, exitpriority=100)
        self.host.journal.write("first-step", at_s=process.since_start(), rank=process.rank())

    def flush(self, *, last: bool = False) -> None:
        """Write what was gathered since the last time.

        Args:
            last: Also read losses that live on a device, which waits for it; on a CPU reading is free at any time.
        """
        journal, faults = self.host.journal, process.faults() - self._faults
        if last or not self.losses.on_device:
            journal.write("losses", values=self.losses.read())
        journal.write("steps", count=self._unwritten, marks=self.tape.take(), faults=faults)
        if sampled := self.tape.take_sampled():
            journal.write("device", marks=sampled)
        self._unwritten = 0
        self._written = self.tape.now()
        self._faults = process.faults()  # those of writing are not the training's

    def _end_trial_if_due(self) -> None:
        task, done = self.host.task, self.index - 1
        if self._began is None or not self._limited or not is_settled(self.main, task["options"]):
            return
        elapsed = perf_counter() - self._began
        if (task["steps"] and done >= task["steps"]) or (task["limit_s"] and elapsed > task["limit_s"]):
            self.end("budget reached")

    def close(self) -> None:
        """Write what is only known at the end."""
        if self._began is None or self._closed:
            return
        self._closed = True
        self._tell(self.on_close)
        self.flush(last=True)
        self.host.journal.write(
            "closing",
            peak_bytes=process.peak_bytes(),
            cuda_peak_bytes=torch.cuda.max_memory_allocated() if torch.cuda.is_initialized() else None,
        )

    def end(self, outcome: str, reason: str = "") -> None:
        """Report and leave at once: an exception would be caught by real scripts, an exit would save and upload."""
        if process.rank() != "0":
            return  # the first rank's record is the one that counts; the others are ended after it
        device.wait()  # an error of its last work must not count as an end in order
        self.close()
        self.host.journal.write("end", outcome=outcome, reason=reason)
        sys.stdout.flush()
        os._exit(0)


def _is_nested() -> bool:
    """Whether the optimizer that is about to step does so inside another one's step."""
    frame = sys._getframe(2)
    code = frame.f_code  # torch wraps every class's step in the same function
    while (frame := frame.f_back) is not None:
        if frame.f_code is code:
            return True
    return False
