"""Fewer worker processes that serve as the script's workers, each of these with its own random streams.

Batch k is fetched by worker k mod W. With a number of processes P that divides W, batch k comes to process k mod P, and
all batches of one worker to the same process: it has but to change streams from batch to batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from torch._utils import ExceptionWrapper
from torch.utils.data import get_worker_info
from torch.utils.data._utils import worker

from hotlap.loader.movable import why_not_virtual
from hotlap.loader.states import States, seed_worker

if TYPE_CHECKING:
    from hotlap.inside.host import Host


def processes_for(workers: int, most: int) -> int:
    """The largest divisor of the script's number of workers that is at most `most`; 0 when that is no change.

    >>> processes_for(8, 3), processes_for(6, 3), processes_for(2, 2), processes_for(0, 2)
    (2, 3, 0, 0)
    """
    return max((count for count in range(1, min(workers - 1, most) + 1) if workers % count == 0), default=0)


class VirtualWorkers:
    """The fetch path of one process and of the workers that it forks."""

    def __init__(self, host: Host, most: int) -> None:
        self._host = host
        self._most = most
        self._streams: Streams | None = None  # in a worker process alone
        self._numbers = range(0)
        self._served: WeakKeyDictionary[Any, int] = WeakKeyDictionary()  # workers that persist get a fetcher per epoch
        self._busy = False

    def install(self) -> None:
        """Let every iterator from now on have at most so many processes, where its loader allows it."""
        self._host.loaders.override_each(self._choose)
        self._host.refetch(self._fetch)

    def _choose(self, loader: Any) -> dict[str, Any]:
        processes = processes_for(loader.num_workers, self._most)
        if not processes or why_not_virtual(loader):
            return {}
        loader.check_worker_number_rationality()  # the iterator will only see the number of processes

        def begin(process: int) -> None:
            here: Any = get_worker_info()
            self._numbers = range(process, loader.num_workers, processes)
            seed, init_fn = here.seed - here.id, loader.worker_init_fn
            self._streams = Streams(self._host, here.dataset, seed, self._numbers, loader.num_workers, init_fn)
            self._host.apart().set(worker, "ExceptionWrapper", self._streams.error)

        return {
            "num_workers": processes,
            "prefetch_factor": loader.prefetch_factor * loader.num_workers // processes,  # as many batches ahead
            "worker_init_fn": begin,
        }

    def _fetch(self, fetcher: Any, indices: Any, stock: Callable[[Any, Any], Any]) -> Any:
        if self._streams is None or self._busy:  # a dataset may use a loader of its own
            return stock(fetcher, indices)
        self._busy = True
        served = self._served.get(fetcher, 0)
        self._served[fetcher] = served + 1
        self._streams.enter(self._numbers[served % len(self._numbers)])
        try:
            return stock(fetcher, indices)
        finally:
            self._streams.leave()
            self._busy = False


class Streams:
    """The random states of the workers that one process serves.

    Args:
        host: Of this process.
        dataset: What a worker is told that it fetches from.
        base_seed: Of the epoch.
        numbers: Of the workers that are served here.
        workers: How many the script has.
        init_fn: The script's `worker_init_fn`.
    """

    def __init__(
        self,
        host: Host,
        dataset: Any,
        base_seed: int,
        numbers: range,
        workers: int,
        init_fn: Callable[[int], Any] | None,
    ) -> None:
        self._host = host
        self._infos: dict[int, Any] = {}
        self._states: dict[int, States] = {}
        for number in numbers:
            seed = base_seed + number
            self._infos[number] = worker.WorkerInfo(id=number, num_workers=workers, seed=seed, dataset=dataset)
            self._become(number)
            seed_worker(base_seed, number)
            if init_fn is not None:
                init_fn(number)
            self.leave()

    def enter(self, number: int) -> None:
        """Go on as this worker."""
        self._become(number)
        self._states[number].restore()

    def leave(self) -> None:
        """Keep the states in which that worker is now."""
        self._states[self.number] = States()

    def _become(self, number: int) -> None:
        self.number = number
        self._host.apart().set(worker, "_worker_info", self._infos[number])

    def error(self, where: str = "") -> ExceptionWrapper:
        """What torch's worker sends of an exception, with the number that the script's worker would have."""
        return ExceptionWrapper(where=f"in DataLoader worker process {self.number}")
