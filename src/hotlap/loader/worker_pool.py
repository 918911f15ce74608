"""Keeps the workers of a loader when an epoch is over, for the next one, where they are as new ones would be.

torch starts workers for every epoch, from the script's process as it is then. Those of an earlier epoch are as good if
nothing that samples are made by has changed since, neither in the script's process nor in theirs: they are seeded anew.
Before they serve, and now and then after, new ones serve the epoch and they fetch its first batches as well.
"""

from __future__ import annotations

import atexit
import os
import resource
from math import inf
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any
from weakref import ref

from torch.utils.weak import WeakIdKeyDictionary

from hotlap.loader.fetch_watch import dataset_name
from hotlap.loader.movable import why_not_pooled
from hotlap.loader.pooled import Crew, PooledIter, built
from hotlap.loader.renewal import Condition

if TYPE_CHECKING:
    from hotlap.inside.host import Host

_EVERY = 16
"""In the first and one in so many of the epochs that kept workers could serve, new ones serve and they are compared."""
_PATIENCE = 2
"""Epochs that may find the workers unfit, and one more for each `_PER_MISS` that they were fit for."""
_PER_MISS = 16
_FEW = 3
"""Epochs that kept workers serve before it counts whether looking at them takes longer than starting others."""


class WorkerPool:
    """The workers of all loaders of one process."""

    def __init__(self, host: Host, knob: str) -> None:
        self._host = host
        self._knob = knob
        self._owner = os.getpid()
        self._kept: Any = WeakIdKeyDictionary()  # a Kept for each loader, which may be of a class that does not hash

    @property
    def proves(self) -> bool:
        """Whether kept workers are compared before they serve.

        A trial of the clock sees few epochs: the second of them would count for more than the one in many that it is.
        """
        return self._host.task["purpose"] != "time"

    def install(self) -> None:
        """Keep the workers of every iterator from now on whose loader allows it."""
        self._host.loaders.make(self._made)
        self._host.call(lambda: atexit.register(self._close), self._close)

    def _made(self, loader: Any, twin: Any) -> Any:
        """An iterator; None where torch is to make it."""
        if os.getpid() != self._owner:
            return None
        if not twin.num_workers or why_not_pooled(twin):
            if loader in self._kept:
                self._kept[loader].release()
            return None
        if loader not in self._kept:
            self._kept[loader] = Kept(self, loader)
        if _is_crowded():
            for other in self._kept.values():
                other.release()
        return self._kept[loader].iterator(twin)

    def _close(self) -> None:
        atexit.unregister(self._close)
        for kept in self._kept.values():
            kept.leave("")

    def left(self, dataset: str, reason: str) -> None:
        """Say that the workers of a loader are started for every epoch."""
        self._host.remark(f"{self._knob}: the workers of {dataset} are started for every epoch, because {reason}")

    def failed(self, reason: str) -> None:
        """Say aloud that a kept worker is not as a new one."""
        self._host.failed(self._knob, f"a batch of a kept worker came out other than that of a new one: {reason}")


class Kept:
    """What is kept of one loader.

    Attributes:
        crew: Its workers while no epoch is served.
        proven: They have fetched what new ones have.
    """

    def __init__(self, pool: WorkerPool, loader: Any) -> None:
        self.crew: Crew | None = None
        self.proven = False
        self._pool = pool
        self._loader = ref(loader)
        self._dataset = dataset_name(loader.dataset).split(":")[-1]
        self._off = False
        self._served = 0
        self._missed = 0
        self._start_s = self._look_s = inf

    def iterator(self, loader: Any) -> Any:
        """The next epoch of this loader, or None where torch is to make it."""
        crew = self._fit_crew(loader)
        if crew is None:
            condition = self._condition(loader)
            return None if condition is None else self._started(loader, condition)
        self._served += 1
        if not self._pool.proves or (self.proven and self._served % _EVERY != 1):
            return PooledIter(_checked(loader), self, crew.condition, crew)
        iterator = self._started(loader, crew.condition)
        iterator.shadowed(loader, crew)
        return iterator

    def keeps(self) -> bool:
        """Whether the workers of an epoch that is over may be wanted again, and there are no others."""
        return not self._off and self.crew is None and self._loader() is not None

    def leave(self, reason: str) -> None:
        """Keep none from now on."""
        if reason and not self._off:
            self._pool.left(self._dataset, reason)
        self._off = True
        self.release()

    def release(self) -> None:
        """End what is kept now."""
        crew, self.crew = self.crew, None
        if crew is not None:
            crew.close()

    def failed(self, reason: str) -> None:
        """A kept worker made another batch than a new one."""
        self._pool.failed(reason)
        self.leave("")

    def _started(self, loader: Any, condition: Condition) -> PooledIter:
        began = perf_counter()
        iterator = PooledIter(_checked(loader), self, condition)
        self._start_s = min(self._start_s, perf_counter() - began)
        return iterator

    def _fit_crew(self, loader: Any) -> Crew | None:
        """The workers that are kept, where they are as new ones would be."""
        crew, self.crew = self.crew, None
        if crew is None:
            return None
        began = perf_counter()
        reason = self._why_unfit(crew, loader)
        self._look_s = min(self._look_s, perf_counter() - began)
        if not reason and (self._served < _FEW or self._look_s < self._start_s):
            return crew
        crew.close()
        self._missed += 1
        if self._missed > _PATIENCE + self._served // _PER_MISS:
            self.leave(reason or "to look whether it has changed takes longer than to start them")
        return None

    def _condition(self, loader: Any) -> Condition | None:
        """What new workers are made from; None where that cannot be watched."""
        if self._off:
            return None
        try:
            return Condition(loader.dataset, loader.collate_fn, loader.worker_init_fn)
        except Exception as reason:  # whatever its objects raise when they are looked at
            self.leave(str(reason))
            return None

    @staticmethod
    def _why_unfit(crew: Crew, loader: Any) -> str:
        if not crew.fit():
            return "fetching changes what they hold, or they are gone"
        try:
            same = crew.built == built(loader) and crew.condition.holds()
        except Exception as reason:
            return str(reason)
        return "" if same else "the script changes what is fetched from between epochs"


def _is_crowded() -> bool:
    """Whether half of the files that this process may open are open: workers that wait take some from others."""
    try:
        count = sum(1 for _ in Path("/proc/self/fd").iterdir())
    except OSError:  # nobody tells
        return True
    return 2 * count > resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def _checked(loader: Any) -> Any:
    """With the warning of too many workers, which torch gives for every epoch."""
    loader.check_worker_number_rationality()
    return loader
