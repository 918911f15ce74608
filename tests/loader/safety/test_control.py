"""S31 to S40: errors, interruptions, what is left behind, and what the loader itself looks like."""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import os
import pickle
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path as File
from typing import Any

import pytest
import torch
from inside.conftest import Place
from torch.utils.data import DataLoader, get_worker_info
from torch.utils.data.distributed import DistributedSampler

from loader.safety.conftest import Same
from loader.safety.record import described, history, noted, outcome, seeded
from loader.safety.samples import ROWS, Computed, Fails, TwoArgumentsError, orders, rows

WORKERS = pytest.mark.parametrize("workers", [0, 2])
LOADERS = pytest.mark.parametrize(
    ("data", "workers"), [(rows, 0), (Computed, 0), (rows, 2)], ids=["rows", "work", "rows in workers"]
)
DATA = pytest.mark.parametrize("data", [rows, Computed], ids=["rows", "work"])
ERRORS: dict[str, Callable[[], BaseException]] = {
    "value": lambda: ValueError("sample 9 is broken"),
    "key": lambda: KeyError("nine\nlines"),
    "two arguments": lambda: TwoArgumentsError(1, 2),
    "assertion": lambda: AssertionError(),
    "end": lambda: StopIteration("early"),
}


@pytest.mark.parametrize(("error", "workers"), [*((error, 0) for error in ERRORS), ("key", 2), ("two arguments", 2)])
def test_s31_errors_of_samples(error: str, workers: int, same: Same) -> None:
    """The batches before, then the error with its type and text, then the batches after."""
    same(lambda: history(lambda: DataLoader(Fails(ERRORS[error]), 4, num_workers=workers), epochs=1))


@WORKERS
def test_s31_errors_of_rows(workers: int, same: Same) -> None:
    """The same where rows are missing from a dataset of tensors."""
    sampler = [1, 2, 3, ROWS + 5, 4, 5]
    same(lambda: history(lambda: DataLoader(rows(), 2, sampler=sampler, num_workers=workers), epochs=1))


@pytest.mark.parametrize("error", [GeneratorExit, SystemExit, KeyboardInterrupt])
def test_s32_ends_raised_by_samples(error: Any, same: Same) -> None:
    """What is no Exception passes through."""
    same(lambda: history(lambda: DataLoader(Fails(lambda: error("now")), 4), epochs=1))


class Interrupts(Computed):
    """Sends the script an interruption while it fetches or waits.

    A worker lets the script reach its wait first: CPython may be interrupted between taking the lock of a
    queue and the block that would release it, and torch's own loader then never ends.
    """

    def __init__(self, script: int) -> None:
        super().__init__()
        self.script, self.sent = script, torch.zeros(1, dtype=torch.bool).share_memory_()

    def __getitem__(self, i):
        if i == 9 and not self.sent:
            self.sent.fill_(True)
            time.sleep(0 if get_worker_info() is None else 0.3)
            os.kill(self.script, signal.SIGINT)
            time.sleep(0.2)
        return self.x[i] * 2


@WORKERS
def test_s33_interruption(workers: int, same: Same) -> None:
    """Raised once, at the batch in question or before, and nobody and nothing is left."""

    def scenario() -> Any:
        before = left()
        loader, raised = DataLoader(Interrupts(os.getpid()), 4, num_workers=workers), 0
        try:
            for _ in loader:
                pass
        except KeyboardInterrupt:
            raised += 1
        with contextlib.suppress(KeyboardInterrupt):
            time.sleep(0.3)
            gc.collect()
            return raised, settled(before)
        return "raised twice"

    assert same(scenario) == (1, "clean")


def left() -> tuple[int, int, int]:
    """Processes and threads that live, and files of shared memory that are named after this process."""
    shared = sum(f"_{os.getpid()}_" in file.name for file in File("/dev/shm").glob("torch_*"))
    return len(multiprocessing.active_children()), threading.active_count(), shared


def settled(before: Any, patience_s: float = 5.0) -> str:
    """Say "clean" as soon as no more is left than before, and what is left if that takes too long."""
    until = time.monotonic() + patience_s
    while any(now > then for now, then in zip(left(), before)):
        if time.monotonic() > until:
            return f"{before} -> {left()}"
        time.sleep(0.02)
    return "clean"


def descriptors() -> int:
    """Of this process, once its workers are gone, and the threads that fed them: while they end, they hold some."""
    gc.collect()
    for worker in multiprocessing.active_children():
        worker.join(5.0)
    for thread in threading.enumerate():
        if thread.name == "QueueFeederThread":
            thread.join(5.0)
    gc.collect()
    return len(list(File("/proc/self/fd").iterdir()))


@pytest.mark.parametrize("way", ["break", "error", "never read"])
@LOADERS
def test_s34_leaving(data: Any, way: str, workers: int, same: Same) -> None:
    """However a loop ends, nobody is left, and the next one starts anew."""

    def scenario() -> Any:
        seeded()
        before, loader = left(), DataLoader(data(), 2, shuffle=True, num_workers=workers)
        with contextlib.suppress(ZeroDivisionError):
            iterator = iter(loader)
            for number, _ in enumerate(iterator if way != "never read" else ()):
                if way == "error":
                    raise ZeroDivisionError
                if way == "break" and number == 1:
                    break
        del iterator
        gc.collect()
        return settled(before), described(next(iter(loader)))

    assert same(scenario)[0] == "clean"


@LOADERS
def test_s34_two_iterators(data: Any, workers: int, same: Same) -> None:
    """Two live iterators of one loader are independent."""

    def scenario() -> Any:
        seeded()
        loader = DataLoader(data(), 4, shuffle=True, num_workers=workers)
        first, second = iter(loader), iter(loader)
        return [described(next(iterator)) for iterator in (first, second, second, first, first, second)]

    same(scenario)


class Reads(Computed):
    """Counts its reads in memory that processes share."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = torch.zeros(64, dtype=torch.int64).share_memory_()

    def __getitem__(self, i):
        self.reads[0 if get_worker_info() is None else 1 + get_worker_info().id] += 1  # type: ignore[union-attr]
        return self.x[i]


@DATA
def test_s34_reads_ahead(data: Any, same: Same) -> None:
    """A loop that is left has not read more samples than stock looks ahead."""

    def scenario() -> Any:
        dataset = Reads()
        next(iter(DataLoader(dataset, 1)))
        return int(dataset.reads.sum())

    same(scenario)


class Slow(Computed):
    """Takes its time over one sample."""

    def __getitem__(self, i):
        time.sleep(2.5 if i == 2 else 0)
        return super().__getitem__(i)


@pytest.mark.slow
def test_s35_timeout(same: Same) -> None:
    """A worker that is too late is reported in the same words."""
    seen = same(lambda: history(lambda: DataLoader(Slow(), 2, num_workers=1, timeout=1), epochs=1, stop=2))

    assert "timed out after 1 seconds" in str(seen)


@pytest.mark.parametrize("way", [signal.SIGKILL, signal.SIGBUS])
def test_s35_killed_worker(way: signal.Signals, same: Same) -> None:
    """A worker that is killed is reported in the same words."""

    def scenario() -> Any:
        iterator: Any = iter(DataLoader(rows(), 2, num_workers=1))
        next(iterator)
        while iterator._worker_result_queue.qsize() < 2:  # both batches ahead
            time.sleep(0.05)
        time.sleep(0.2)  # it has let go of the queue's lock, which torch's own shutdown would wait for without end
        os.kill(iterator._workers[0].pid, way)
        seen = outcome(lambda: time.sleep(5))  # the signal of the dead child wakes it
        return seen, outcome(lambda: iterator._shutdown_workers())

    assert "worker (pid) is killed by signal" in str(same(scenario))


@LOADERS
def test_s36_the_loader_itself(data: Any, workers: int, same: Same) -> None:
    """Length, attributes, pickle and errors of the loader while it is being iterated."""

    def scenario() -> Any:
        loader = DataLoader(data(), 4, drop_last=True, num_workers=workers)
        iterator = iter(loader)
        next(iterator)
        shown = {name: described(value) for name, value in sorted(vars(loader).items()) if name != "_iterator"}
        copied = pickle.loads(pickle.dumps(loader))
        return (
            (len(loader), len(iterator), type(loader).__qualname__, isinstance(loader, DataLoader), shown),
            (repr(loader).split(" at ")[0].rpartition(".")[2], copied.num_workers, len(copied)),
            outcome(lambda: pickle.dumps(iterator)),
            outcome(lambda: setattr(loader, "batch_size", 3)),
            outcome(lambda: setattr(loader, "num_workers", workers)),
            [
                described(batch)
                for batch in DataLoader(loader.dataset, loader.batch_size, num_workers=loader.num_workers)
            ],
        )

    same(scenario)


@WORKERS
def test_s36_subclass(workers: int, same: Same) -> None:
    """A subclass with an __iter__ of its own."""

    def scenario() -> Any:
        class Skipping(DataLoader[Any]):
            """Iterates in its own way."""

            def __iter__(self):
                for number, batch in enumerate(super().__iter__()):
                    if number % 2:
                        yield batch

        return [described(batch) for batch in Skipping(rows(), 2, num_workers=workers)]

    same(scenario)


@DATA
def test_s37_ranks(data: Any, same: Same) -> None:
    """Each rank has its share of the samples, and no rank waits for another."""
    for_rank = {
        rank: lambda rank=rank: DataLoader(data(), 4, sampler=DistributedSampler(data(), 2, rank, shuffle=True))
        for rank in (0, 1)
    }
    same(lambda: {rank: history(make) for rank, make in for_rank.items()})


@DATA
def test_s38_descriptors_of_shared_memory(data: Any, same: Same) -> None:
    """Batches that are kept hold as many descriptors as with stock."""

    def scenario() -> Any:
        before = descriptors()
        kept = list(DataLoader(data(), 2, num_workers=2))
        return descriptors() - before, len(kept)

    same(scenario)


def test_s38_no_descriptors_without_workers(same: Same) -> None:
    """A script that loads in its own process holds none by its batches."""

    def scenario() -> Any:
        before = descriptors()
        kept = list(DataLoader(Computed(), 2))
        return descriptors() - before, len(kept)

    assert same(scenario)[0] == 0


@LOADERS
def test_s39_profile_and_warnings(data: Any, workers: int, same: Same) -> None:
    """The profiler shows the same ranges, and nothing warns that did not."""

    def scenario() -> Any:
        events: list[Any] = []
        with noted(events), torch.autograd.profiler.profile() as profile:
            list(DataLoader(data(), 4, num_workers=workers))
        names = [event.name for event in profile.function_events if "DataLoader" in event.name]
        return events, sorted(names)

    assert "DataLoader" in str(same(scenario))


@DATA
def test_s40_undone(data: Any, same: Same, host: Any) -> None:
    """What was installed is taken back without a trace."""
    before = [vars(DataLoader).copy(), vars(torch.utils.data._utils.fetch._MapDatasetFetcher).copy()]
    same(lambda: history(orders(data)["shuffled"]))
    host.undo()

    assert [vars(DataLoader).copy(), vars(torch.utils.data._utils.fetch._MapDatasetFetcher).copy()] == before


SWITCH = """
from torch.utils.data import DataLoader
print(DataLoader._get_iterator.__module__, "hotlap.inside.host" in __import__("sys").modules)
"""


def test_s40_switch(place: Place) -> None:
    """One variable of the environment, and hotlap stays out of the process."""
    place.write(SWITCH, head="")
    settings = [["loader-workers", 2]]
    done = place.run(purpose="run", settings=settings, extra={"HOTLAP_OFF": "1"})

    assert done.stdout.split() == ["torch.utils.data.dataloader", "False"]
    assert place.run(purpose="run", settings=settings).stdout.split()[1] == "True"
