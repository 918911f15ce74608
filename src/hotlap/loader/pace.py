"""How long the batches of each loader take: to be fetched, to be waited for, to be used, to be carried."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Any

from torch.utils.data import dataloader

from hotlap.loader.packing import pack, unpack

if TYPE_CHECKING:
    from hotlap.inside.host import Host

_KEPT = 256
"""Of each duration the latest so many."""


def typical(durations: deque[float] | None) -> float | None:
    """Their median in seconds; None of none."""
    return median(durations) if durations else None


class Pace:
    """What each loader's iterators were asked, by the loader's index.

    Attributes:
        wait_s: From asking for a batch to having it, but for the first of an epoch.
        use_s: From having a batch to asking for the next.
    """

    def __init__(self, host: Host) -> None:
        self._host = host
        self._served: tuple[Any, float] = (None, 0.0)
        self.wait_s: dict[int, deque[float]] = defaultdict(lambda: deque(maxlen=_KEPT))
        self.use_s: dict[int, deque[float]] = defaultdict(lambda: deque(maxlen=_KEPT))

    def install(self) -> None:
        """Time every batch."""
        self._host.wrap(dataloader._BaseDataLoaderIter, "__next__", self._timed)

    def _timed(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def __next__(iterator: Any) -> Any:  # noqa: N807
            asked = perf_counter()
            batch = original(iterator)
            served = perf_counter()
            last, since = self._served
            if last == id(iterator) and iterator._num_yielded > 1:  # nothing else was loaded in between
                loader = self._host.loaders.loader_of(iterator)
                self.use_s[loader].append(asked - since)
                self.wait_s[loader].append(served - asked)
            self._served = id(iterator), served
            return batch

        return __next__


def carrying_s(batch: Any) -> float | None:
    """The least that it takes to receive such a batch from another process; None when it cannot travel."""
    try:
        packed = pack(batch)
        memory = memoryview(bytearray(packed.nbytes))
        packed.write(memory)
        durations: list[float] = []
        for _ in range(3):
            started = perf_counter()
            unpack(memory)
            durations.append(perf_counter() - started)
        return min(durations)
    except Exception:
        return None
