"""Fetches the next batches in a forked process while the training computes, with the random states handed along.

The helper starts from the states that the last fetch left, asks a copy of the sampler, and sends with each batch the
states before and after it. The training asks its own sampler and compares: same indices and same states give the same
batch, which is then taken, and the states with it. Whatever does not fit is thrown away and fetched by the stock path.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, finalize, ref

from torch.utils.data import get_worker_info
from torch.utils.data._utils.fetch import _MapDatasetFetcher

from hotlap.loader.compare import IncomparableError, difference, shared
from hotlap.loader.fetch_watch import dataset_name
from hotlap.loader.fetching import Fetching, Ready
from hotlap.loader.helper import Helper
from hotlap.loader.movable import why_not_ahead
from hotlap.loader.packing import pack
from hotlap.loader.snapshot import Snapshot
from hotlap.loader.states import States, modes

if TYPE_CHECKING:
    from hotlap.inside.host import Host

_FIRST = 2
"""Batches of each loader that are also fetched by the stock path."""
_EVERY = 64
"""And one in so many later on."""
_PATIENCE = 3
"""Batches that may be thrown away, and one more for each `_PER_MISS` that were taken."""
_PER_MISS = 16
_LARGEST_BYTES = 256 << 20
"""A batch that is fetched ahead takes no more."""
_STATES_BYTES = 1 << 16
_SHORTEST_LIMIT_S = 10.0
_TIMES = 20
"""A helper that takes so many times as long as the longest fetch so far hangs."""


class _Record:
    """What is known of one loader, from all its epochs."""

    def __init__(self, dataset: str) -> None:
        self.dataset = dataset
        self.off = False
        self.taken = 0
        self.missed = 0
        self.compared = 0
        self.largest_bytes = 0
        self.longest_s = 0.0

    def due(self, nbytes: int) -> bool:
        """Whether the next batch is to be compared; large ones may be computed in more threads here than there."""
        return self.compared < _FIRST or nbytes > self.largest_bytes or self.taken % _EVERY == 0

    @property
    def limit_s(self) -> float:
        """How long to wait for a batch."""
        return max(_SHORTEST_LIMIT_S, _TIMES * self.longest_s)


class FetchAhead:
    """The fetch path of one process."""

    def __init__(self, host: Host, knob: str) -> None:
        self.host = host
        self._knob = knob
        self._owner = os.getpid()
        self._records: WeakKeyDictionary[Any, _Record] = WeakKeyDictionary()
        self._lines: WeakKeyDictionary[Any, _Line] = WeakKeyDictionary()

    def install(self) -> None:
        """Fetch ahead for every iterator from now on that loads in this process and allows it."""
        self.host.loaders.opened(self._opened)
        self.host.refetch(self._fetch)
        self.host.call(lambda: None, self._close)

    def _opened(self, loader: Any, iterator: Any) -> None:
        fetcher = getattr(iterator, "_dataset_fetcher", None)
        if type(fetcher) is _MapDatasetFetcher and fetcher.auto_collation and get_worker_info() is None:
            record = self._records.get(loader)
            if record is None:
                record = self._records[loader] = _Record(dataset_name(loader.dataset).split(":")[-1])
            self._lines[fetcher] = _Line(self, record, ref(iterator))

    def _fetch(self, fetcher: Any, indices: Any, stock: Callable[[Any, Any], Any]) -> Any:
        line = self._lines.get(fetcher)
        if line is None or line.record.off or os.getpid() != self._owner:
            return stock(fetcher, indices)
        return line.fetch(indices, partial(stock, fetcher))

    def _close(self) -> None:
        for line in self._lines.values():
            line.close()

    def leave(self, record: _Record, reason: str) -> None:
        """Fetch nothing ahead for this loader from now on."""
        record.off = True
        self.host.remark(f"{self._knob}: {record.dataset} is fetched as the script has it, because {reason}")

    def failed(self, record: _Record, reason: str) -> None:
        """What was fetched ahead is not what stock fetches: say so aloud."""
        record.off = True
        self.host.failed(self._knob, reason)


class _Line:
    """The batches of one iterator, one after another."""

    def __init__(self, path: FetchAhead, record: _Record, iterator: ref[Any]) -> None:
        self.record = record
        self._path = path
        self._iterator = iterator
        self._helper: Helper | None = None
        self.close: Callable[[], Any] = lambda: None

    def fetch(self, indices: Any, stock: Callable[[Any], Any]) -> Any:
        """The batch of these indices."""
        now = States()
        ready = None if self._helper is None else self._ready(self._helper, indices, now)
        if ready is None:
            started = perf_counter()
            batch = stock(indices)
            self.record.longest_s = max(self.record.longest_s, perf_counter() - started)
            if not self.record.off:
                self._start(batch, stock)
            return batch
        due = self.record.due(ready.nbytes)
        self.record.taken += 1
        if due:
            return self._compared(ready, now, lambda: stock(indices))
        if ready.after is not None:
            ready.after.restore()
        return ready.batch

    def _start(self, batch: Any, stock: Callable[[Any], Any]) -> None:
        """Fork a helper that goes on from here."""
        iterator: Any = self._iterator()
        if not _more(iterator):
            return
        try:
            if reason := why_not_ahead(iterator._dataset, iterator._collate_fn, iterator._index_sampler):
                self._path.leave(self.record, reason)
                return
            nbytes = pack(batch).nbytes
            if nbytes > _LARGEST_BYTES:
                self._path.leave(self.record, f"a batch of {nbytes >> 20} MB is too large to hold several")
                return
            self._snapshot = Snapshot(iterator._dataset, iterator._collate_fn)
            self._modes = modes()
            work = Fetching(self._path.host, iterator, stock, self._snapshot)
            self._helper = Helper(work, 2 * nbytes + _STATES_BYTES)
            self.close = finalize(iterator, self._helper.close)
        except Exception as error:  # no process, no memory, or something in the batch that cannot travel
            self._path.leave(self.record, f"a helper process cannot serve it: {type(error).__name__}: {error}")

    def _ready(self, helper: Helper, indices: Any, now: States) -> Ready | None:
        """The batch that the helper has fetched, if it is what stock would fetch now."""
        try:
            ready: Ready = helper.take(self.record.limit_s)
            reason = self._misfit(ready, indices, now)
            if not reason:
                return ready
        except Exception as error:
            reason = str(error)
        except BaseException:  # Ctrl-C while waiting: the batch that comes next is no more the next one
            self._drop()
            raise
        self._drop()
        self.record.missed += 1
        if self.record.missed > _PATIENCE + self.record.taken // _PER_MISS:
            self._path.leave(self.record, reason)
        return None

    def _misfit(self, ready: Ready, indices: Any, now: States) -> str:
        if ready.after is not None and ready.before != now:
            return "the training draws random numbers between two batches, as fetching does"
        if self._snapshot.changed():
            return "the script changes what is fetched from during an epoch"
        if ready.indices != pickle.dumps(indices):
            return "its sampler decides while the training goes on"
        return "" if self._modes == modes() else "torch's modes change from batch to batch"

    def _compared(self, ready: Ready, now: States, stock: Callable[[], Any]) -> Any:
        expected, after = stock(), States()
        try:
            found = difference(expected, ready.batch)
        except IncomparableError as reason:
            found = str(reason)
        if not found and after != (ready.after or now):
            found = "the random states after it"
        if found:
            self._drop()
            self._path.failed(self.record, f"a batch fetched ahead came out other than in the training: {found}")
        elif not self.record.compared and self._shares(expected, now, after, stock):
            self._drop()
            self._path.leave(self.record, "its batches are parts of the dataset")
        self.record.compared += 1
        self.record.largest_bytes = max(self.record.largest_bytes, ready.nbytes)
        return expected

    @staticmethod
    def _shares(batch: Any, before: States, after: States, stock: Callable[[], Any]) -> bool:
        """Whether another fetch of a batch gives what the first one did, so that writing to it reaches the dataset."""
        before.restore()
        again = stock()
        after.restore()
        return shared(batch, again)

    def _drop(self) -> None:
        self.close()
        self._helper = None


def _more(iterator: Any) -> bool:
    """Whether batches are left after the one that is being fetched."""
    try:
        return len(iterator) > iterator._num_yielded + 1
    except (TypeError, NotImplementedError):
        return True
