"""What the script does around its steps."""

from __future__ import annotations

import builtins
import gc
import sys
from collections import Counter, defaultdict
from collections.abc import Callable
from functools import partial
from time import perf_counter
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
_COSTLY = ("print", "torch.save", "gc.collect", "torch.cuda.empty_cache", "savefig", "add_figure", "add_histogram")
"""Calls that are timed as well."""
_OTHERS = (
    ("matplotlib.figure", "Figure", "savefig"),
    *(("torch.utils.tensorboard.writer", "SummaryWriter", name) for name in ("add_figure", "add_histogram")),
)
"""Module, class and method, counted where the script has imported them by its tenth step."""
_COUNTED: tuple[tuple[Any, str, str], ...] = (
    *((builtins, "print", "print"), (torch, "save", "torch.save")),
    (gc, "collect", "gc.collect"),
    *((torch.cuda, name, f"torch.cuda.{name}") for name in ("synchronize", "empty_cache")),
    *((owner, "zero_grad", "zero_grad") for owner in (torch.optim.Optimizer, torch.nn.Module)),
    (torch.distributions.Distribution, "__init__", "distribution"),
    (torch.autograd, "_engine_run_backward", "backward"),
    (checkpoint, "checkpoint", "checkpoint"),
    (torch.nn.functional, "scaled_dot_product_attention", "attention"),
)


class HabitsProbe(Probe):
    """Counts calls, and notes whether a scheduler was too early."""

    id: ClassVar[str] = "habits"

    def install(self, host: Host, recorder: Recorder, roots: Roots) -> None:
        """Count from the first steady step to the end."""
        counts, times = Counter[str](), defaultdict[str, float](float)
        first, began, wrapped = list[bool](), list[int](), set[str]()
        spent = list[dict[str, float]]()

        def stepped(done: int) -> None:
            if done == 1:  # the recorder may begin again
                began.clear()
                spent.clear()
            elif began:
                spent.append(dict(times))
            elif done == _FIRST:
                counts.clear()
                began.append(done)
                for module, owner, method in _OTHERS:
                    if module in sys.modules and method not in wrapped:
                        wrapped.add(method)
                        host.wrap(getattr(sys.modules[module], owner), method, counted(method))
            times.clear()

        def close() -> None:
            if began and (steps := recorder.index - 1 - began[0]) > 0:
                per_step = {name: count / steps for name, count in counts.items()}
                named = dict.fromkeys(name for one in spent for name in one)
                costly_s = {name: tuple(one.get(name, 0.0) for one in spent) for name in named}
                self.see(host, Habits(steps, per_step, first == [True], costly_s))

        def counted(name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
            return partial(_counted, recorder, counts, times, name)

        for owner, attribute, name in _COUNTED:
            host.wrap(owner, attribute, counted(name))
        host.wrap(lr_scheduler.LRScheduler, "step", partial(_scheduled, recorder, first))
        recorder.on_end.append(self.guarded(host, stepped))
        recorder.on_close.append(self.guarded(host, close))


def _counted(
    recorder: Recorder, counts: Counter[str], times: dict[str, float], name: str, original: Callable[..., Any]
) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        if not torch.compiler.is_compiling():
            counts[f"{name} to zeros" if kwargs.get("set_to_none") is False else name] += not recorder.tape.foreign
        return original(*args, **kwargs)

    def timed(*args: Any, **kwargs: Any) -> Any:
        began_s = perf_counter()
        try:
            return call(*args, **kwargs)
        finally:
            if not recorder.tape.foreign:
                times[name] += perf_counter() - began_s

    return timed if name in _COSTLY else call


def _scheduled(recorder: Recorder, first: list[bool], original: Callable[..., Any]) -> Callable[..., Any]:
    def step(scheduler: Any, *args: Any, **kwargs: Any) -> Any:
        if not first and hasattr(scheduler, "_last_lr"):  # its constructor takes a step of its own, without
            first.append(not recorder.stepped)
        return original(scheduler, *args, **kwargs)

    return step
