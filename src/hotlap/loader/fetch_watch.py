"""Watches in the observed run whether fetching draws randomness.

A sampled fetch is made twice: what moves a global generator shows in its state, and private generators, clocks and
mutation show as a difference. The observed run is thrown away, so the second fetch can do no harm to a training.
"""

from __future__ import annotations

import os
from collections import defaultdict, deque
from collections.abc import Callable
from time import perf_counter
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from torch.utils.data import get_worker_info

from hotlap.inside.journal import Journal
from hotlap.loader.compare import IncomparableError, difference, shared
from hotlap.loader.movable import is_generator, reachable
from hotlap.loader.pace import typical
from hotlap.loader.snapshot import Snapshot
from hotlap.loader.states import States

if TYPE_CHECKING:
    from hotlap.inside.host import Host

_FIRST = 4
"""Fetches of each fetcher that are watched."""
_EVERY = 16
"""And one in so many later on."""
_TOLD = (8, 32)
"""Fetches of a worker after which it tells how long they take."""
_KEPT = 256
NOT_SHOWN = "it was not shown that its batches come out the same in another process"


def dataset_name(dataset: Any) -> str:
    """Qualified class name, the same in the script and in workers that were spawned."""
    module = type(dataset).__module__
    return f"{'__main__' if module == '__mp_main__' else module}:{type(dataset).__qualname__}"


def merged(one: bool | None, other: bool | None) -> bool | None:
    """Two observations of one class: any draw is a draw, and any doubt stays one."""
    if one is True or other is True:
        return True
    return None if one is None or other is None else False


class FetchWatch:
    """What was seen of each class of dataset.

    Attributes:
        draws: By the name of the dataset's class; True or False, None when in doubt.
        fetch_s: By the same name, how long the latest batches that were not watched took to be fetched.
        tied: By the same name, why no other process may fetch; "" when one may.
    """

    def __init__(self, host: Host) -> None:
        self._host = host
        self._counts: WeakKeyDictionary[Any, int] = WeakKeyDictionary()
        self._private: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()
        self._held: WeakKeyDictionary[Any, Snapshot] = WeakKeyDictionary()  # as it was at the last fetch watched
        self._worker_journal: Journal | None = None
        self.draws: dict[str, bool | None] = {}
        self.tied: dict[str, str] = {}
        self.fetch_s: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=_KEPT))

    def install(self) -> None:
        """Watch the fetchers of this process and of the workers that it forks."""
        self._host.refetch(self._fetch)

    def _fetch(self, fetcher: Any, indices: Any, stock: Callable[[Any, Any], Any]) -> Any:
        count = self._counts.get(fetcher, 0)
        self._counts[fetcher] = count + 1
        if count >= _FIRST and count % _EVERY:
            return self._timed(fetcher, indices, stock)
        before, held = States(), Snapshot(fetcher.dataset, fetcher.collate_fn, thorough=True)
        moved, self._held[fetcher] = fetcher in self._held and self._held[fetcher].changed(), held
        batch = stock(fetcher, indices)
        if moved:
            self._note(dataset_name(fetcher.dataset), None, "it changes during an epoch")
        self._host.guarded("watching a fetch", lambda: self._judge(fetcher, indices, stock, batch, before, held))
        return batch

    def _timed(self, fetcher: Any, indices: Any, stock: Callable[[Any, Any], Any]) -> Any:
        started = perf_counter()
        batch = stock(fetcher, indices)
        name = dataset_name(fetcher.dataset)
        self.fetch_s[name].append(perf_counter() - started)
        if self._worker_journal is not None and self._counts[fetcher] in _TOLD:
            self._worker_journal.write("fetched", dataset=name, fetch_s=typical(self.fetch_s[name]))
        return batch

    def _judge(self, fetcher: Any, indices: Any, stock: Any, batch: Any, before: States, held: Snapshot) -> None:
        after = States()
        before.restore()
        try:
            # A sampler's iterator cannot be asked again.
            again = stock(fetcher, indices) if isinstance(indices, (list, tuple, int)) else None
            repeats = States() == after
        finally:
            after.restore()
        name, found, mutates = dataset_name(fetcher.dataset), _difference(batch, again), held.changed()
        draws = after != before or self._holds_generator(fetcher) or bool(found)
        reasons = {
            NOT_SHOWN: found is None,
            "fetching once more from the same random states gives other samples": found or not repeats,
            "fetching changes the dataset": mutates,
            "its batches are parts of the dataset": shared(batch, again),
        }
        tied = next((text for text, holds in reasons.items() if holds), "")
        self._note(name, True if draws else (None if mutates or found is None else False), tied)

    def _holds_generator(self, fetcher: Any) -> bool:
        if fetcher not in self._private:
            self._private[fetcher] = any(map(is_generator, reachable(fetcher.dataset, fetcher.collate_fn)))
        return self._private[fetcher]

    def _note(self, name: str, draws: bool | None, tied: str) -> None:
        known = self.draws.get(name, draws), self.tied.get(name, tied)
        self.draws[name] = merged(known[0], draws)
        self.tied[name] = known[1] or tied
        if get_worker_info() is None:
            return
        if self._worker_journal is None:  # the recorder has closed the one of the host in forked children
            self._worker_journal = Journal(os.environ.get("HOTLAP_JOURNAL"))
        elif (self.draws[name], self.tied[name]) == known:
            return  # it was written already
        self._worker_journal.write("fetch", dataset=name, draws=self.draws[name], tied=self.tied[name])


def _difference(batch: Any, again: Any) -> str | None:
    """How two fetches of the same indices differ; None when that cannot be told."""
    try:
        return None if again is None else difference(batch, again)
    except (IncomparableError, RecursionError):
        return None
