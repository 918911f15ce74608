"""Calls that stop a training while they last."""

from __future__ import annotations

import builtins
import gc
import sys
from collections import Counter
from collections.abc import Callable
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from hotlap.probes.probe import Probe, Roots
from hotlap.records.seen import Costly

if TYPE_CHECKING:
    from hotlap.inside.host import Host
    from hotlap.inside.steps import Recorder

_FIRST = 10  # steps, which are no habit yet
_OWN: tuple[tuple[Any, str, str], ...] = (
    *((builtins, "print", "print"), (torch, "save", "torch.save"), (gc, "collect", "gc.collect")),
    (torch.cuda, "empty_cache", "torch.cuda.empty_cache"),
)
_OTHERS = (
    ("matplotlib.figure", "Figure", "savefig"),
    *(("torch.utils.tensorboard.writer", "SummaryWriter", name) for name in ("add_figure", "add_histogram")),
)
"""Module, class and method, looked at where the script has imported them by its tenth step."""


class CostlyProbe(Probe):
    """Counts them and takes their time, step by step."""

    id: ClassVar[str] = "costly"

    def install(self, host: Host, recorder: Recorder, roots: Roots) -> None:
        """From the first steady step to the end."""
        now, steps, seen = dict[str, list[float]](), list[dict[str, list[float]]](), set[str]()

        def stepped(done: int) -> None:
            if done == 1:  # the recorder may begin again
                steps.clear()
            if done > _FIRST:
                steps.append(dict(now))
            now.clear()
            for module, owner, method in _OTHERS if done == _FIRST else ():
                if module in sys.modules and method not in seen:
                    seen.add(method)
                    host.wrap(getattr(sys.modules[module], owner), method, partial(_timed, recorder, now, method))

        def close() -> None:
            if not steps:
                return
            counts = Counter(name for step in steps for name, calls in step.items() for _ in calls)
            per_step = {name: count / len(steps) for name, count in counts.items()}
            spent_s = {name: tuple(sum(step.get(name, ())) for step in steps) for name in counts}
            self.see(host, Costly(per_step, spent_s))

        for owner, attribute, name in _OWN:
            host.wrap(owner, attribute, partial(_timed, recorder, now, name))
        recorder.on_end.append(self.guarded(host, stepped))
        recorder.on_close.append(self.guarded(host, close))


def _timed(
    recorder: Recorder, now: dict[str, list[float]], name: str, original: Callable[..., Any]
) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        began_s = perf_counter()
        try:
            return original(*args, **kwargs)
        finally:
            if not (torch.compiler.is_compiling() or recorder.tape.foreign):
                now.setdefault(name, []).append(perf_counter() - began_s)

    return call
