"""Time in Python's garbage collector."""

from __future__ import annotations

import gc
import time
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
        timer = _Timer()

        def begin(done: int) -> None:
            if done == _FIRST:
                timer.total_s = 0.0

        def close() -> None:
            if recorder.index - 1 > _FIRST:
                self.see(host, Collector(timer.total_s / (recorder.index - 1 - _FIRST)))

        host.call(lambda: gc.callbacks.append(timer), lambda: gc.callbacks.remove(timer))
        recorder.on_end.append(self.guarded(host, begin))
        recorder.on_close.append(self.guarded(host, close))


class _Timer:
    total_s = 0.0
    _began_s = 0.0

    def __call__(self, phase: str, info: dict[str, int]) -> None:
        now_s = time.perf_counter()
        self.total_s += now_s - self._began_s if phase == "stop" else 0.0
        self._began_s = now_s
