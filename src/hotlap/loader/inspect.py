"""Facts about the script's loaders, from watching them in the observed run."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import replace
from time import perf_counter
from typing import TYPE_CHECKING, Any

from torch.utils.data import (
    BatchSampler,
    DataLoader,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
    default_collate,
)
from torch.utils.data.distributed import DistributedSampler

from hotlap.loader.digest import digest
from hotlap.loader.fetch_watch import NOT_SHOWN, FetchWatch, dataset_name
from hotlap.loader.movable import why_not_ahead, why_not_movable, why_not_pooled, why_not_virtual
from hotlap.loader.pace import Pace, carrying_s, typical
from hotlap.loader.sample_cache import under, why_not_cached
from hotlap.loader.snapshot import Snapshot
from hotlap.loader.whole_batch import fetch_path
from hotlap.records import Loader

if TYPE_CHECKING:
    from hotlap.inside.host import Host


_FIRST = 4
"""Batches of an epoch at which it is looked whether the script has changed what its workers have a copy of."""
_EVERY = 16
"""And one in so many later on."""


class LoaderWatch:
    """Which loader feeds the training, how many batches a step takes, and what its dataset allows."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._watch = FetchWatch(host)
        self._pace = Pace(host)
        self._carry_s: dict[int, float | None] = {}
        self._start_s: defaultdict[int, deque[float]] = defaultdict(deque)
        self._last = -1
        self._pending = 0
        self._fed: dict[int, int] = {}
        self._seen: dict[int, Loader] = {}
        self._lengths: dict[int, int | None] = {}
        self._waiting: dict[int, Any] = {}
        self._digests: dict[int, int] = {}
        self._copied: dict[int, Snapshot] = {}
        self._written: set[int] = set()

    def install(self) -> None:
        """Count the batches that each loader serves, and watch how they are fetched."""
        self._host.wrap(DataLoader, "__iter__", self._opened)
        self._host.loaders.serve(self._served)
        self._watch.install()
        self._host.before_first_step(lambda optimizer: self.try_caching())
        self._pace.install()

    def _opened(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def __iter__(loader: Any) -> Any:  # noqa: N807
            index = self._host.loaders.index_of(loader)
            if index not in self._seen and index >= 0:
                # Now: an iterator does not keep its loader, and one that a function built is gone when the script ends.
                self._host.guarded("inspecting a loader", lambda: self._inspect(index, loader))
            elif index in self._digests:
                self._host.guarded("looking for changes of a dataset", lambda: self._look_again(index, loader))
            if loader.num_workers and not (loader.persistent_workers and index in self._copied):
                self._copied[index] = Snapshot(loader.dataset, thorough=True)
            started = perf_counter()
            iterator = original(loader)
            self._start_s[index].append(perf_counter() - started)
            return iterator

        return __iter__

    def _served(self, iterator: Any, batch: Any) -> Any:
        self._last = self._host.loaders.loader_of(iterator)
        self._pending += 1
        if self._last not in self._carry_s and iterator._num_yielded == 1:  # once is enough
            self._carry_s[self._last] = carrying_s(batch)
        looks = iterator._num_yielded <= _FIRST or iterator._num_yielded % _EVERY == 0
        if looks and self._last in self._copied and self._copied[self._last].changed():
            self._written.add(self._last)
        return batch

    def _inspect(self, index: int, loader: DataLoader[Any]) -> None:
        self._lengths[index] = _length(loader)
        self._seen[index] = _described(index, loader)
        self._waiting[index] = loader

    def try_caching(self) -> None:
        """Fetches samples, and so waits for the first step: what an epoch takes to start is measured."""
        waiting, self._waiting = self._waiting, {}
        for index, loader in waiting.items():
            self._seen[index] = replace(self._seen[index], sample_cache=why_not_cached(loader))
            if not self._seen[index].sample_cache:
                self._digests[index] = digest(under(loader.dataset)[0])

    def _look_again(self, index: int, loader: DataLoader[Any]) -> None:
        """A later epoch begins: what was kept of a dataset that has changed would be of no use."""
        if digest(under(loader.dataset)[0]) != self._digests[index]:
            self._seen[index] = replace(self._seen[index], sample_cache="the script changes it between epochs")

    def fed_training(self) -> None:
        """A root runs with gradients: the batches handed over last were for training."""
        if self._last >= 0 and self._pending:
            self._fed[self._last] = self._fed.get(self._last, 0) + self._pending
        self._pending = 0

    def epoch_steps(self, steps: int) -> int | None:
        """Training steps in an epoch; None when the loader has no length or there is none."""
        if not self._fed:
            return None
        index = max(self._fed, key=lambda key: self._fed[key])
        batches = self._lengths.get(index)
        if batches is None:
            return None
        batches_per_step = max(1, round(self._fed[index] / max(1, steps)))
        return max(1, batches // batches_per_step)

    def facts(self) -> list[Loader]:
        """One record per loader, in the order of their construction."""
        for index, loader in list(self._host.loaders.built.items()):
            if index not in self._seen:
                self._host.guarded(
                    "inspecting a loader", lambda index=index, loader=loader: self._inspect(index, loader)
                )
        return [self._record(index) for index in sorted(self._seen)]

    def _record(self, index: int) -> Loader:
        loader, draws = self._seen[index], self._watch.draws
        seen = draws.get(loader.dataset)
        movable = loader.draws_randomness is False
        if loader.num_workers and loader.dataset not in draws:
            seen = False  # the parent adds what its workers saw, and takes silence for doubt
        tied = loader.tied or self._watch.tied.get(loader.dataset, "" if loader.num_workers else NOT_SHOWN)
        pool = loader.pool or self._watch.tied.get(loader.dataset, "")
        if index in self._written:
            tied = tied or "the script changes the dataset while its workers have a copy of it"
        draws = seen if seen or movable else None
        return replace(
            loader,
            trains=index in self._fed,
            draws_randomness=draws,
            tied=tied,
            pool=pool,
            start_s=typical(self._start_s.get(index)),
            fetch_s=typical(self._watch.fetch_s.get(loader.dataset)),
            wait_s=typical(self._pace.wait_s.get(index)),
            use_s=typical(self._pace.use_s.get(index)),
            carry_s=self._carry_s.get(index),
        )


def _length(loader: Any) -> int | None:
    try:
        return len(loader)
    except (TypeError, NotImplementedError):
        return None


def _described(index: int, loader: DataLoader[Any]) -> Loader:
    dataset = loader.dataset
    iterable = isinstance(dataset, IterableDataset)
    whole = "its dataset is iterable" if iterable else fetch_path(dataset, loader.collate_fn, loader._auto_collation)
    return Loader(
        index=index,
        dataset=dataset_name(dataset),
        length=None if iterable else _length(dataset),
        batch_size=loader.batch_size,
        drop_last=bool(loader.drop_last),
        num_workers=loader.num_workers,
        pin_memory=bool(loader.pin_memory),
        persistent_workers=bool(loader.persistent_workers),
        shuffles=shuffles(loader),
        default_collate=loader.collate_fn is default_collate,
        trains=False,
        whole_batch=whole if isinstance(whole, str) else "",
        draws_randomness=None if why_not_movable(loader) else False,
        tied=_why_tied(loader),
        pool=why_not_pooled(loader) if loader.num_workers else "it has no workers",
        by_sampler=size_of(loader) if loader.batch_size is None else None,
    )


def size_of(loader: DataLoader[Any]) -> int | None:
    """Samples in a batch; None without batches, or where a sampler of the script's own makes them."""
    return loader.batch_sampler.batch_size if type(loader.batch_sampler) is BatchSampler else None


def shuffles(loader: DataLoader[Any]) -> bool | None:
    """Whether it serves another order in every epoch; None for a sampler that is not known."""
    batches = loader.batch_sampler
    if batches is not None and type(batches) is not BatchSampler:
        return None
    sampler = loader.sampler if batches is None else batches.sampler
    if type(sampler) in (RandomSampler, SubsetRandomSampler, WeightedRandomSampler):
        return True
    if type(sampler) is DistributedSampler:
        return sampler.shuffle
    return False if type(sampler) is SequentialSampler else None


def _why_tied(loader: DataLoader[Any]) -> str:
    if loader.num_workers:
        return why_not_virtual(loader)
    if loader._dataset_kind != 0 or not loader._auto_collation:
        return "its dataset is iterable" if loader._dataset_kind else "it hands over single samples (batch_size=None)"
    return why_not_ahead(loader.dataset, loader.collate_fn, loader._index_sampler)
