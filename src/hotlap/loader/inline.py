"""The script's own process in the place of its loader workers, each of these with its own random streams.

Workers pay where fetching takes long. Where it does not, their start in every epoch and the hand-over of every batch
are most of the time. What a script can tell of its workers holds on: which indices are asked for and when, what each
draws, its number, its seed, one thread of torch, errors that name it, and batches in shared memory of their own.
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import torch
from torch.utils.data import DataLoader
from torch.utils.data._utils import pin_memory, worker
from torch.utils.data.dataloader import _DatasetKind, _SingleProcessDataLoaderIter

from hotlap.loader.movable import why_not_virtual
from hotlap.loader.packing import pack, unpack
from hotlap.loader.snapshot import Snapshot
from hotlap.loader.states import States
from hotlap.loader.virtual import Streams

if TYPE_CHECKING:
    from hotlap.inside.host import Host


class InlineWorkers:
    """The fetch path of one process."""

    def __init__(self, host: Host, knob: str) -> None:
        self.host = host
        self._knob = knob
        self._left: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()

    def install(self) -> None:
        """Serve every iterator from now on whose loader has workers and allows it."""
        self.host.wrap(DataLoader, "_get_iterator", self._inlined)

    def _inlined(self, original: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def _get_iterator(loader: Any) -> Any:
            held = loader.persistent_workers  # their copies live on from epoch to epoch, and so would need ours
            if not loader.num_workers or held or loader in self._left or why_not_virtual(loader):
                return original(loader)
            loader.check_worker_number_rationality()
            return _InlineIter(loader, self)

        return _get_iterator

    def leave(self, loader: Any) -> None:
        """Give this loader its workers back, aloud: they have copies, which nobody else's changes reach."""
        if loader not in self._left:
            self._left[loader] = True
            self.host.failed(self._knob, "the dataset changes while it is fetched from, and workers have copies of it")


class _InlineIter(_SingleProcessDataLoaderIter):
    def __init__(self, loader: Any, path: InlineWorkers) -> None:
        self._asked: deque[Any] | None = None
        self._loader, self._path = loader, path
        twin = copy.copy(loader)
        for name, value in {"num_workers": 0, "prefetch_factor": None, "timeout": 0}.items():
            path.host.apart().set(twin, name, value)
        super().__init__(twin)
        self._snapshot = Snapshot(self._dataset)
        with self._apart():
            numbers = range(loader.num_workers)
            seed, init_fn = int(self._base_seed), loader.worker_init_fn
            self._streams = Streams(path.host, self._dataset, seed, numbers, len(numbers), init_fn)
        self._reset(loader, first_iter=True)

    def _reset(self, loader: Any, first_iter: bool = False) -> None:
        """Ask for as many batches as workers are asked for when an epoch begins."""
        super()._reset(loader, first_iter)
        if not hasattr(self, "_streams"):
            return  # torch does so once more when there are workers
        parts = loader.dataset, self._auto_collation, self._collate_fn, self._drop_last
        self._dataset_fetcher = _DatasetKind.create_fetcher(self._dataset_kind, *parts)
        self._asked = deque()
        self._served = 0
        for _ in range(loader.prefetch_factor * loader.num_workers):
            self._ask()

    def _ask(self) -> None:
        assert self._asked is not None
        with suppress(StopIteration):
            self._asked.append(next(self._sampler_iter))

    def _next_data(self) -> Any:
        if not self._asked:
            raise StopIteration
        indices, error, batch = self._asked.popleft(), None, None
        with self._apart():
            self._streams.enter(self._served % self._loader.num_workers)
            try:
                batch = self._dataset_fetcher.fetch(indices)
            except Exception:
                error = self._streams.error()
            except BaseException:  # an interruption, which a worker's batch would outlive: it is fetched again
                self._asked.appendleft(indices)
                raise
            self._streams.leave()
        self._served += 1
        if self._snapshot.changed():
            self._path.leave(self._loader)
        self._ask()
        if error is not None:
            error.reraise()
        batch = _handed_over(batch)
        return pin_memory.pin_memory(batch, self._pin_memory_device) if self._pin_memory else batch

    @contextmanager
    def _apart(self) -> Generator[None]:
        """As in another process: with its own generators and one thread, and nothing of them left behind."""
        states, threads, info = States(), torch.get_num_threads(), worker._worker_info
        torch.set_num_threads(1)
        try:
            yield
        finally:
            states.restore()
            torch.set_num_threads(threads)
            self._path.host.apart().set(worker, "_worker_info", info)


def _handed_over(batch: Any) -> Any:
    """The batch as it would come from another process, apart from whatever it was made of."""
    packed = pack(batch)
    memory = memoryview(bytearray(packed.nbytes))
    packed.write(memory)
    return unpack(memory, shared=True)


_InlineIter.__name__ = "_MultiProcessingDataLoaderIter"  # profiles and messages of torch name the class
