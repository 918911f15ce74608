"""The trial that shows what each module costs: operations in one step, memory in another, then time in every second.

It is never compared with another run. Where the script compiles, its roots are followed as wholes, and the one step
whose operations are counted runs as the modules are written.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode, _get_current_dispatch_mode_stack

from hotlap.inside.calls import tensors_in
from hotlap.inside.flops import flops_of
from hotlap.inside.held import HELD_STEP, PEAK_STEPS, Held
from hotlap.inside.owners import ELSEWHERE, OPTIMIZER, Owner, Owners, bytes_of
from hotlap.inside.tracer import Tracer

if TYPE_CHECKING:
    from hotlap.inside.host import Host
    from hotlap.inside.steps import Recorder

COUNTED_STEP = 7
FIRST_TRACED = PEAK_STEPS.stop
_NARROW = (torch.bfloat16, torch.float16)
_UNMOVED = ("empty", "new_empty", "detach")  # they touch no element


class _Counting(TorchDispatchMode):
    """Charges the operations of a step to who is at work."""

    def __init__(self, tracer: Tracer) -> None:
        super().__init__()
        self.failed = ""
        self._tracer = tracer

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        try:
            self._count(self._tracer.owners.rows[self._tracer.current], func, args, kwargs or {}, out)
        except Exception as error:
            self.failed = f"{func._overloadpacket.__name__}: {error}"
        return out

    def _count(self, row: Owner, func: Any, args: Any, kwargs: Any, out: Any) -> None:
        given, made = tensors_in(list(args)) + tensors_in(kwargs), tensors_in([out])
        flops, phase = flops_of(func, args, kwargs, out), self._tracer.phase
        row.flops[phase] += flops
        if flops and given and given[0].dtype in _NARROW:
            row.narrow_flops[phase] += flops
        if not func.is_view and not func._overloadpacket.__name__.startswith(_UNMOVED):
            row.moved_bytes[phase] += sum(bytes_of(t) for t in (*given, *made))


class ModulesTrial:
    """Follows the schedule and writes down what was seen.

    Args:
        host: Of this process.
        recorder: Tells when steps end.
        whole: Follow roots as wholes: the script compiles.
    """

    def __init__(self, host: Host, recorder: Recorder, *, whole: bool) -> None:
        self.owners = Owners()
        self.tracer = Tracer(host, recorder, self.owners)
        self.held = Held(host, recorder, self.owners, self.tracer)
        self._host = host
        self._recorder = recorder
        self._whole = whole
        self._counting: _Counting | None = None
        self._counted = False
        self._stance: Any = None
        self._traced: list[int] = []
        self._ours_ns = [0, 0]
        self._last = 0

    def install(self) -> None:
        """Between every two steps, and at the end."""
        self.tracer.install(whole=self._whole)
        self.held.install()
        self._recorder.on_end.append(self._between)
        self._recorder.on_close.append(self._write)

    def _between(self, done: int) -> None:
        if done <= self._last:
            self._again()
        self._last = done
        self._end_of(done)
        self._begin(done + 1)

    def _again(self) -> None:
        """What was counted so far were not the steps."""
        self._traced.clear()
        self._ours_ns = [0, 0]
        self.owners.forget_costs()
        self.held.forget()

    def _end_of(self, step: int) -> None:
        if self._counting is not None:
            self._stop_counting(self._counting)
        self.held.end_of(step)
        if step >= FIRST_TRACED and step % 2:
            self.tracer.keep()
            self._traced.append(step)
            self._ours_ns = [a + b for a, b in zip(self._ours_ns, self.tracer.ours_ns)]
        self.tracer.stop()

    def _begin(self, step: int) -> None:
        if step in (COUNTED_STEP, HELD_STEP) or (step >= FIRST_TRACED and step % 2):
            self.tracer.start()
        self.tracer.describing = step == COUNTED_STEP
        self.held.begin(step)
        if step == COUNTED_STEP and not torch._C._len_torch_dispatch_stack():
            self._start_counting()

    # -- operations

    def _start_counting(self) -> None:
        if self._whole:
            try:
                self._stance = torch.compiler.set_stance("force_eager")
            except Exception:  # not everything that compiles can run as it is written
                return
        self._recorder.on_optimizer_start.append(self._updating)
        self._recorder.on_optimizer_step.append(self._updated)
        self._counting = _Counting(self.tracer)
        self._counting.__enter__()

    def _stop_counting(self, counting: _Counting) -> None:
        self._counting = None
        self._recorder.on_optimizer_start.remove(self._updating)
        self._recorder.on_optimizer_step.remove(self._updated)
        modes = _get_current_dispatch_mode_stack()
        if modes and modes[-1] is counting:
            counting.__exit__(None, None, None)
            self._counted = not counting.failed
        if self._stance is not None:
            self._stance.__exit__(None, None, None)  # back to what the script had asked for

    def _updating(self, optimizer: Any) -> None:
        self.tracer.current = OPTIMIZER

    def _updated(self, optimizer: Any) -> None:
        self.tracer.current = ELSEWHERE

    # -- the end

    def _write(self) -> None:
        self.tracer.stop()
        what = {
            "owners": [asdict(row) for row in self.owners.rows],
            "roots": self.owners.roots,
            "labels": self.owners.labels,
            "whole": self._whole,
            "traced": self._traced,
            "ours_ns": self._ours_ns,
            "counted": self._counted,
        }
        self._host.journal.write("seen", probe="modules", what=what)
        self._host.journal.write("seen", probe="held", what=asdict(self.held.seen))
