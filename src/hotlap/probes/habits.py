"""What the script does around its steps."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch.optim import lr_scheduler
from torch.utils import checkpoint

from hotlap.probes.probe import Probe, Roots
from hotlap.records.seen import Habits

if TYPE_CHECKING:
    from hotlap.inside.host import Host
    from hotlap.inside.steps import Recorder

_FIRST = 10  # steps, which are no habit yet
_COUNTED: tuple[tuple[Any, str, str], ...] = (
    (gc, "collect", "gc.collect"),
    *((torch.cuda, name, f"torch.cuda.{name}") for name in ("synchronize", "empty_cache")),
    *((owner, "zero_grad", "zero_grad") for owner in (torch.optim.Optimizer, torch.nn.Module)),
    (torch.distributions.Distribution, "__init__", "distribution"),
    (torch.autograd, "_engine_run_backward", "backward"),
    (checkpoint, "checkpoint", "checkpoint"),
    (torch.nn.functional, "scaled_dot_product_attention", "attention"),
)
_SCHEDULERS = ("LRScheduler", "CosineAnnealingWarmRestarts", "SequentialLR", "ChainedScheduler")  # with own steps


class HabitsProbe(Probe):
    """Counts calls, and notes whether a scheduler was too early."""

    id: ClassVar[str] = "habits"

    def install(self, host: Host, recorder: Recorder, roots: Roots) -> None:
        """Count from the first steady step to the end."""
        counts: Counter[str] = Counter()
        first, began = list[bool](), list[int]()

        def begin(done: int) -> None:
            if done == _FIRST:
                recorder.on_end.remove(begin)
                counts.clear()
                began.append(done)

        def close() -> None:
            if began and (steps := recorder.index - 1 - began[0]) > 0:
                self.see(host, Habits(steps, {name: n / steps for name, n in counts.items()}, first == [True]))

        for owner, attribute, name in _COUNTED:
            host.wrap(owner, attribute, partial(_counted, recorder, counts, name))
        for scheduler in _SCHEDULERS:
            host.wrap(getattr(lr_scheduler, scheduler), "step", partial(_scheduled, recorder, first))
        begin = self.guarded(host, begin)
        recorder.on_end.append(begin)
        recorder.on_close.append(self.guarded(host, close))


def _counted(recorder: Recorder, counts: Counter[str], name: str, original: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        if not torch.compiler.is_compiling():
            zeros = " to zeros" * (name == "zero_grad" and False in (*args[1:2], kwargs.get("set_to_none")))
            counts[name + zeros] += not recorder.tape.foreign
        return original(*args, **kwargs)

    return call


def _scheduled(recorder: Recorder, first: list[bool], original: Callable[..., Any]) -> Callable[..., Any]:
    def step(scheduler: Any, *args: Any, **kwargs: Any) -> Any:
        if not first and hasattr(scheduler, "_last_lr") and not getattr(scheduler, "_is_initial", False):
            first.append(not recorder.stepped)  # constructors take a step, those of chains one of their parts
        return original(scheduler, *args, **kwargs)

    return step
