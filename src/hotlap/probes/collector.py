"""Time in Python's garbage collector."""

from __future__ import annotations

import gc
import time
from statistics import fmean
from typing import TYPE_CHECKING, ClassVar

from hotlap.probes.probe import Probe, Roots
from hotlap.records.seen import Collector

if TYPE_CHECKING:
    from hotlap.inside.host import Host
    from hotlap.inside.steps import Recorder

_FIRST = 10  # steps that are left out


class CollectorProbe(Probe):
    """Times the collector by its own callbacks."""

    id: ClassVar[str] = "collector"

    def install(self, host: Host, recorder: Recorder, roots: Roots) -> None:
        """From the first steady step to the end."""
        timer, spent_s = _Timer(), list[float]()

        def stepped(done: int) -> None:
            if done == 1:  # the recorder may begin again
                spent_s.clear()
            if done > _FIRST:
                spent_s.append(timer.total_s)
            timer.total_s = 0.0

        def close() -> None:
            if spent_s:
                self.see(host, Collector(fmean(spent_s), tuple(spent_s)))

        host.call(lambda: gc.callbacks.append(timer), lambda: gc.callbacks.remove(timer))
        recorder.on_end.append(self.guarded(host, stepped))
        recorder.on_close.append(self.guarded(host, close))


class _Timer:
    total_s = 0.0
    _began_s = 0.0

    def __call__(self, phase: str, info: dict[str, int]) -> None:
        now_s = time.perf_counter()
        self.total_s += now_s - self._began_s if phase == "stop" else 0.0
        self._began_s = now_s
