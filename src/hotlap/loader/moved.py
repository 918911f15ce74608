"""Worker processes behind a loader that the script runs without any, so that nothing of them shows but the time.

What a loader without workers promises holds on: its order is drawn with the first batch, an error is the dataset's own,
what the script changes reaches the next batch, and a batch lies in memory of its own. Where workers cannot keep that,
the script's process fetches the rest of the epoch as stock does.
"""

from __future__ import annotations

import ctypes
import signal
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import torch
from torch.utils.data import DataLoader
from torch.utils.data._utils import pin_memory, worker
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter, _SingleProcessDataLoaderIter

from hotlap.loader.compare import IncomparableError, difference
from hotlap.loader.movable import why_not_movable
from hotlap.loader.packing import pack, unpack
from hotlap.loader.snapshot import Snapshot
from hotlap.loader.states import States
from hotlap.loader.tree import UnfitError

if TYPE_CHECKING:
    from hotlap.inside.host import Host

_FIRST = 2
"""Batches of each loader that are also fetched by the stock path."""
_EVERY = 64
"""And one in so many later on."""
_LIMIT_S = 120.0
"""A batch that takes longer is fetched here: a process that was forked while somebody held a lock never answers."""
_LOOK_S = 1.0
"""How often it is looked whether the workers are alive; one that is killed, or leaves by itself, never answers."""
_LEFT = object()


class _Record:
    """What is known of one loader, from all its epochs."""

    def __init__(self) -> None:
        self.served = 0
        self.off = False
        self.largest_bytes = 0

    def due(self, nbytes: int) -> bool:
        """Whether the batch is to be compared; a large one may be computed in more threads here than in a worker."""
        large, self.largest_bytes = nbytes > self.largest_bytes, max(nbytes, self.largest_bytes)
        return large or self.served <= _FIRST or self.served % _EVERY == 0


class MovedFetch:
    """The fetch path of one process.

    Args:
        host: Where failures go.
        knob: That asks for it.
        workers: Processes for each iterator.
    """

    def __init__(self, host: Host, knob: str, workers: int) -> None:
        self._host = host
        self.workers = workers
        self._knob = knob
        self._records: WeakKeyDictionary[Any, _Record] = WeakKeyDictionary()
        self._told: set[str] = set()

    def install(self) -> None:
        """Serve every iterator from now on whose loader has no workers and allows them."""
        self._host.wrap(DataLoader, "_get_iterator", self._moved)

    def _moved(self, original: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def _get_iterator(loader: Any) -> Any:
            if loader.num_workers or not self.workers or why_not_movable(loader):
                return original(loader)
            return _MovedIter(loader, self, self._records.setdefault(loader, _Record()))

        return _get_iterator

    def work(self, dataset: Any, collate_fn: Any) -> _Work:
        """What a worker does."""
        return _Work(self._host, dataset, collate_fn)

    def left(self, dataset: str, reason: str) -> None:
        """Say once that the script's process fetches what is left of an epoch."""
        if reason and dataset not in self._told:
            self._told.add(dataset)
            self._host.remark(f"{self._knob}: the rest of the epoch is fetched without workers, because {reason}")

    def compared(self, record: _Record, batch: Any, expected: Any) -> None:
        """End the path for this loader, aloud, if a batch of a worker is not what stock fetches."""
        try:
            found = difference(expected, batch)
        except IncomparableError as reason:
            found = str(reason)
        if found:
            record.off = True
            self._host.failed(self._knob, f"a batch of a worker came out other than in the script's process: {found}")


class _MovedIter(_SingleProcessDataLoaderIter):
    def __init__(self, loader: Any, path: MovedFetch, record: _Record) -> None:
        super().__init__(loader)
        self._path = path
        self._record = record
        self._asked: deque[Any] = deque()
        self._inner: Any = None
        self._snapshot: Any = None
        self._nbytes = 0
        self._left = False
        self._why = ""

    def _next_index(self) -> Any:
        return self._asked.popleft() if self._asked else super()._next_index()

    def _next_data(self) -> Any:
        batch = _LEFT if self._left or self._record.off else self._served()
        if batch is _LEFT:
            self._leave()
            reason, self._why = self._why, ""
            batch = super()._next_data()  # it serves the batch, or raises what the user's code raises
            self._path.left(type(self._dataset).__qualname__, reason)
            return batch
        index = self._asked.popleft()
        self._record.served += 1
        if self._record.due(self._nbytes):
            expected = self._dataset_fetcher.fetch(index)
            self._path.compared(self._record, batch, expected)
            batch = expected
        return pin_memory.pin_memory(batch, self._pin_memory_device) if self._pin_memory else batch

    def _served(self) -> Any:
        """The next batch from a worker; _LEFT where the script's process must fetch it."""
        try:
            if self._inner is None:
                self._inner = self._started()
            elif self._snapshot.changed():
                self._why = "the script changed what is fetched"
                return _LEFT
            packed = self._inner._next_data()  # not next(): whoever counts batches counts those of the script
            self._nbytes = packed.nbytes
            return unpack(_bytes(packed))
        except StopIteration:
            if self._asked:
                return _LEFT  # raised by the dataset
        except Exception as error:
            self._why = _in_words(error)
            return _LEFT
        raise StopIteration

    def _started(self) -> Any:
        self._snapshot = Snapshot(self._dataset, self._collate_fn)
        order = {"batch_sampler" if self._auto_collation else "sampler": _Noted(self._sampler_iter, self._asked)}
        work = self._path.work(self._dataset, self._collate_fn)
        # torch would raise in the middle of the training when a worker is killed; here it is noticed at the next batch.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of too many processes: the number was chosen with care
                loader = DataLoader(
                    self._dataset,
                    **order,  # type: ignore[arg-type]
                    **({} if self._auto_collation else {"batch_size": None}),
                    num_workers=self._path.workers,
                    collate_fn=work.collated,
                    worker_init_fn=work.begin,
                    timeout=_LIMIT_S,
                    generator=torch.Generator(),  # the script's has given its draw when this iterator was made
                )
                inner = _Workers(loader)
            torch._C._remove_worker_pids(id(inner))
            inner._worker_pids_set = False
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return inner

    def _leave(self) -> None:
        self._left = True
        if self._inner is not None:
            self._inner._shutdown_workers()
            self._inner = None


class _Workers(_MultiProcessingDataLoaderIter):
    def _try_get_data(self, timeout: float = _LIMIT_S) -> Any:
        """Wait in short turns, each of which ends in an error where a worker is gone: torch waits for all of it."""
        found: Any = False, None
        for _ in range(round(timeout / _LOOK_S)):
            found = super()._try_get_data(_LOOK_S)
            if found[0]:
                break
        return found


_MovedIter.__name__ = _SingleProcessDataLoaderIter.__name__  # profilers and errors call it by name


class _Noted:
    """The script's sampler, ahead of the script: what it says is noted until its batch is handed over."""

    def __init__(self, indices: Iterator[Any], asked: deque[Any]) -> None:
        self._indices = indices
        self._asked = asked

    def __iter__(self) -> Iterator[Any]:
        for index in self._indices:
            self._asked.append(index)
            yield index


class _Work:
    """What a worker does: fetch as the script's process would, and own up to it if that is not possible."""

    def __init__(self, host: Host, dataset: Any, collate_fn: Any) -> None:
        self._host = host
        self._dataset = dataset
        self._collate_fn = collate_fn
        self._states = States()
        self._states.cuda = []  # of which a forked process has none; torch's own workers are forked beside CUDA as well
        self._snapshot: Any = None

    def begin(self, worker_id: int) -> None:
        """Let the worker pass for the script's process: no information of workers, and no seed of its own."""
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
        self._host.set(worker, "_worker_info", None)
        self._states.restore()
        self._snapshot = Snapshot(self._dataset, self._collate_fn)

    def collated(self, samples: Any) -> torch.Tensor:
        """The batch in one piece of shared memory, uint8."""
        batch = self._collate_fn(samples)
        if States() != self._states or self._snapshot.changed():
            raise UnfitError("fetching draws random numbers, or changes what it reads")
        packed = pack(batch)
        memory = torch.empty(packed.nbytes, dtype=torch.uint8).share_memory_()
        packed.write(_bytes(memory))
        return memory


def _in_words(error: Exception) -> str:
    """Why a worker's batch did not come: of an error of its own the last line, below its traceback."""
    if isinstance(error, (EOFError, ConnectionError)) or "exited unexpectedly" in str(error):
        return "a worker process is gone"  # killed while it sends, waits or computes
    *_, last = str(error).splitlines() or [type(error).__name__]
    return last.rpartition("Error: ")[2]


def _bytes(tensor: torch.Tensor) -> memoryview:
    """The memory of a tensor of uint8, without numpy."""
    return memoryview((ctypes.c_ubyte * tensor.nbytes).from_address(tensor.data_ptr())).cast("B")
