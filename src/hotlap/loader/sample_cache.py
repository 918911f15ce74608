"""Fetches with cached samples where that is certain, and keeps comparing batches with stock for the whole run."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from time import perf_counter
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import torch
from torch.utils.data import IterableDataset, Subset, default_collate, get_worker_info
from torch.utils.data._utils.fetch import _MapDatasetFetcher

from hotlap.inside.journal import Journal
from hotlap.loader.cached import Cached, twin
from hotlap.loader.compare import IncomparableError, difference
from hotlap.loader.kept_batch import TorchCollatesError, kept_batch
from hotlap.loader.states import States
from hotlap.loader.tree import UnfitError

if TYPE_CHECKING:
    from hotlap.inside.host import Host

_FIRST = 2
"""Batches with samples from the cache that each process also fetches by the stock path."""
_EVERY = 64
"""And one in so many later on."""
_FILL_S = 20.0
"""A trial spends at most so long before its first step on what the real run fetches in its first epoch."""
_TRIED, _TRIED_S, _TRIED_BYTES = 8, 2.0, 64 << 20
"""Samples with which it is found out whether a dataset can be cached, the time for it, and the room."""
_SUBSET = (Subset.__getitem__, Subset.__getitems__)

Key = tuple[int, bool]
"""Identity of a dataset, and whether the script itself is handed its samples."""


class _View:
    """Stands for a dataset while torch fetches a batch from it."""

    def __init__(self, cached: Cached, dataset: Any, tables: list[Any]) -> None:
        self._cached = cached
        self._dataset = dataset
        self._tables = tables

    def under(self, index: Any) -> Any:
        """The index that torch's subsets ask their dataset for."""
        for table in self._tables:
            index = table[index]
        return index

    def __getitem__(self, index: Any) -> Any:
        return self._cached.get(self._dataset, self.under(index))


class StandIn:
    """What torch's fetch asks of a fetcher, with cached samples in place of the dataset's."""

    def __init__(self, fetcher: Any, cached: Cached, dataset: Any, subsets: list[Any]) -> None:
        self.cached = cached
        self.under = dataset
        self.dataset = _View(cached, dataset, [subset.indices for subset in subsets])
        self.auto_collation = fetcher.auto_collation
        self.collate_fn = fetcher.collate_fn
        self.drop_last = fetcher.drop_last
        self.by_field = fetcher.auto_collation and fetcher.collate_fn is default_collate
        """Whether a batch may be copied field by field, as far as is known."""


class SampleCaches:
    """The caches of one process, and of the workers that it forks.

    Args:
        host: Of this process.
        knob: Id of the knob, for messages.
        capacity: Bytes for the samples of each dataset; None for a share of the free memory.
    """

    def __init__(self, host: Host, knob: str, capacity: int | None = None) -> None:
        self._host = host
        self._knob = knob
        self._capacity = capacity
        self._caches: dict[Key, Cached | None] = {}
        self._here: set[Key] = set()
        self._fetchers: WeakKeyDictionary[Any, StandIn | None] = WeakKeyDictionary()
        self._filled = False
        self._told: set[Key] = set()

    def install(self) -> None:
        """Cache from the next iterator on."""
        self._host.loaders.override_each(self._opened)
        self._host.refetch(self.fetch)
        if self._host.task["purpose"] != "run":
            self._host.before_first_step(lambda optimizer: self._fill())

    def _opened(self, loader: Any) -> dict[str, Any]:
        """An iterator is about to be made; its workers, if any, are forked after this."""
        if isinstance(loader.dataset, IterableDataset):
            return {}
        self._caches = {key: known for key, known in self._caches.items() if known is None or known.dataset is not None}
        dataset, _ = under(loader.dataset)
        key = (id(dataset), alone(loader.collate_fn, loader._auto_collation))
        known = self._caches.get(key)
        if known is not None and key not in self._told and not known.fits(dataset, closely=True):
            self._told.add(key)
            name = type(dataset).__qualname__
            self._host.remark(f"the script changed {name}: {self._knob} serves nothing of it until it is as it was")
        if key not in self._caches:
            self._caches[key] = None
            try:
                self._caches[key] = Cached(dataset, key[1], self._capacity)
            except (UnfitError, OSError):
                pass
            except Exception as error:  # the script's loader is made all the same
                self._failed(f"{type(error).__name__}: {error}")
        return {}

    def _stand_in(self, fetcher: Any) -> StandIn | None:
        """For a new fetcher; there is none where nothing can be cached, as in a worker that was not forked."""
        dataset, subsets = under(fetcher.dataset)
        key = (id(dataset), alone(fetcher.collate_fn, fetcher.auto_collation))
        cached = self._caches.get(key)
        if cached is None or cached.dataset is not dataset or not cached.fits(dataset, closely=True):
            return None
        self._here.add(key)
        return StandIn(fetcher, cached, dataset, subsets)

    def fetch(self, fetcher: Any, indices: Any, stock: Callable[[Any, Any], Any]) -> Any:
        """The batch of these indices."""
        if fetcher not in self._fetchers:
            self._fetchers[fetcher] = self._stand_in(fetcher)
        own = self._fetchers[fetcher]
        if own is None or own.cached.store.off:
            return stock(fetcher, indices)
        cached = own.cached
        if cached.closed:
            self._left(own)
            return stock(fetcher, indices)
        if not cached.fits(own.under, closely=False):
            self._fetchers[fetcher] = None
            return stock(fetcher, indices)
        hits, due = cached.hits, cached.served < _FIRST or cached.served % _EVERY == 0
        before = States() if due else None
        batch = _fetched(own, indices, stock)
        if cached.hits == hits:
            return batch
        cached.served += 1
        return batch if before is None else self._compared(own, batch, before, lambda: stock(fetcher, indices))

    def _compared(self, own: StandIn, batch: Any, before: States, fetch: Callable[[], Any]) -> Any:
        """The batch as stock fetches it; a difference ends the cache in all processes."""
        after = States()
        before.restore()
        expected = fetch()
        try:
            found = difference(expected, batch)
        except IncomparableError as reason:  # of this dataset nothing can be shown
            own.cached.closed = str(reason)
            return expected
        if not found and after != States():
            found = "it left the random generators elsewhere"
        if found:
            for cached in self._caches.values():
                if cached is not None:
                    cached.store.turn_off()
            self._failed(f"a batch with cached samples came out other than as written: {found}")
        return expected

    def _left(self, own: StandIn) -> None:
        """Say once that torch fetches; of a trial's caches it was said when they were filled."""
        if self._host.task["purpose"] == "run" and not own.cached.told and get_worker_info() is None:
            own.cached.told = True
            name = type(own.under).__qualname__
            self._host.remark(f"{self._knob}: torch fetches the samples of {name} itself, because {own.cached.closed}")

    def _failed(self, reason: str) -> None:
        self._host.failed(self._knob, reason)
        if get_worker_info() is not None:  # the recorder has closed the journal of the host in forked children
            Journal(os.environ.get("HOTLAP_JOURNAL")).write("knob-failed", knob=self._knob, reason=reason)

    def _fill(self) -> None:
        """Before the first step of a trial: what the real run's first epoch would fill, as far as time allows.

        The steps that are timed are then like those of a later epoch, and the time spent here counts as start-up.
        """
        if self._filled:
            return
        self._filled = True
        states, began_s, threads = States(), perf_counter(), torch.get_num_threads()
        for key, cached in self._caches.items():
            dataset = None if cached is None else cached.dataset
            if cached is None or dataset is None or not cached.fits(dataset, closely=True):
                continue
            torch.set_num_threads(threads if key in self._here else 1)  # in a worker there is one
            for index in (*range(cached.store.length), 0):  # the first one may have imported modules, and not been kept
                if cached.closed or perf_counter() - began_s > _FILL_S:
                    break
                with contextlib.suppress(Exception):  # what cannot be fetched is for the script to meet
                    cached.get(dataset, index)
            self._host.remark(_in_words(dataset, cached))
        torch.set_num_threads(threads)
        states.restore()


def _fetched(own: StandIn, indices: Any, stock: Callable[[Any, Any], Any]) -> Any:
    """From what is kept of the whole batch, or sample by sample."""
    if own.by_field and type(indices) is list and indices:
        try:
            return kept_batch(own.cached, [own.dataset.under(index) for index in indices])
        except TorchCollatesError:
            own.by_field = False  # and every later batch would find it out anew, at the price of reading its samples
        except Exception:  # stock serves it, or raises what the script's code raises
            pass
    return stock(own, indices)


def _in_words(dataset: Any, cached: Cached) -> str:
    """For the reader of a report, who must know what a gain was measured with."""
    name, store = type(dataset).__qualname__, cached.store
    if cached.closed:
        return f"no sample of {name} is cached: {cached.closed}"
    if store.count < store.length:
        return f"trials had only a part of {name} in the cache, so its gain is measured too small"
    return f"trials had all of {name} in the cache before their first timed step, {store.used / 1e6:.0f} MB"


def under(dataset: Any) -> tuple[Any, list[Any]]:
    """What lies under torch's own subsets, and these from the outermost."""
    subsets: list[Any] = []
    while type(dataset) is Subset and (Subset.__getitem__, Subset.__getitems__) == _SUBSET:
        subsets.append(dataset)
        dataset = dataset.dataset
    return dataset, subsets


def alone(collate_fn: Any, auto_collation: bool) -> bool:
    """Whether the script's own code is handed the samples themselves."""
    return not auto_collation or collate_fn is not default_collate


def why_never_cached(loader: Any) -> str:
    """Why a loader's samples cannot be kept, as far as that can be told without fetching any; "" if they may be."""
    if isinstance(loader.dataset, IterableDataset):
        return "its dataset is iterable"
    try:
        Cached(under(loader.dataset)[0], alone(loader.collate_fn, loader._auto_collation), 0)
    except UnfitError as reason:
        return str(reason)
    except Exception as error:
        return f"its dataset could not be looked at: {type(error).__name__}: {error}"
    return ""


def why_not_cached(loader: Any) -> str:
    """Nothing when a loader's samples can be kept and that pays, else why not; found out on a copy of its dataset."""
    if isinstance(loader.dataset, IterableDataset):
        return "its dataset is iterable"
    states, began_s = States(), perf_counter()
    dataset, _ = under(loader.dataset)
    try:
        dataset = twin(dataset)
        cached = Cached(dataset, alone(loader.collate_fn, loader._auto_collation), _TRIED_BYTES)
        tried = range(min(_TRIED, cached.store.length))
        for index in tried:
            if perf_counter() - began_s < _TRIED_S:
                cached.get(dataset, index)
        kept = [index for index in tried if cached.store.find(index)]
        if cached.closed or not kept:
            return cached.closed or cached.misfit or "none of its first samples could be kept"
        fetcher = _MapDatasetFetcher(dataset, loader._auto_collation, loader.collate_fn, False)
        before, indices = States(), [kept[-1]] if loader._auto_collation else kept[-1]
        own: Any = StandIn(fetcher, cached, dataset, [])
        batch = _MapDatasetFetcher.fetch(own, indices)
        before.restore()
        found = difference(fetcher.fetch(indices), batch)
        return f"kept and fetched anew, they differ: {found}" if found else ""
    except (UnfitError, IncomparableError) as reason:
        return str(reason)
    except Exception as error:
        return f"its first samples could not be fetched: {type(error).__name__}: {error}"
    finally:
        states.restore()
