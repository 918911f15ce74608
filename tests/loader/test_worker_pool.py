"""Workers that serve another epoch: batches, streams and errors as with new ones, who serve where kept ones may not."""

from __future__ import annotations

import ctypes
import functools
import gc
import os
import resource
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, get_worker_info

from hotlap.inside.host import Host
from hotlap.loader.compare import difference
from hotlap.loader.movable import why_not_pooled
from hotlap.loader.worker_pool import WorkerPool
from loader import datasets, tricky_settings
from loader.test_serve import generators, seeded
from loader.test_virtual import Streams, reads, seeds

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")
EPOCHS = 4


def pids(iterator: Any) -> list[int]:
    """Of the workers that serve it."""
    return [worker.pid for worker in iterator._workers]


def history(loader: DataLoader[Any], between: Callable[[int], Any] = lambda epoch: None) -> list[Any]:
    """Batches of some epochs, with the states of the generators after iter() and each batch."""
    torch.manual_seed(1)
    np.random.seed(1)
    seen: list[Any] = []
    for epoch in range(EPOCHS):
        iterator = iter(loader)
        seen.append(generators())
        seen += [(batch, generators()) for batch in iterator]
        between(epoch)
    return seen


def crews(loader: DataLoader[Any], between: Callable[[int], Any] = lambda epoch: None) -> list[list[int]]:
    """The workers of each epoch."""
    found: list[list[int]] = []
    for epoch in range(EPOCHS):
        iterator = iter(loader)
        found.append(pids(iterator))
        for _ in iterator:
            pass
        between(epoch)
    return found


def make(kind: Any, **options: Any) -> DataLoader[Any]:
    """A loader of few samples with two workers."""
    return DataLoader(seeded(kind), **{"batch_size": 4, "num_workers": 2} | options)


def installed(host: Host) -> WorkerPool:
    pool = WorkerPool(host, "worker-pool")
    pool.install()
    return pool


@pytest.fixture
def serves(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the second epoch on, with nothing compared."""
    monkeypatch.setattr(WorkerPool, "proves", False)


@pytest.mark.parametrize("compared", [True, False])
@pytest.mark.parametrize(
    "options",
    [
        {"shuffle": True},
        {"worker_init_fn": seeds, "prefetch_factor": 3},
        {"num_workers": 3, "generator": torch.Generator().manual_seed(4)},
        {"batch_size": None},
        {"multiprocessing_context": "spawn", "num_workers": 1, "worker_init_fn": seeds},
    ],
    ids=lambda options: "-".join(options),
)
def test_same_batches_and_streams(
    options: dict[str, Any], compared: bool, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seeds, numbers and draws of every worker, and the generators of the script (S2 to S4, S7, S9, S10)."""
    monkeypatch.setattr(WorkerPool, "proves", compared)
    generator = options.get("generator")
    before = None if generator is None else generator.get_state()
    expected = history(make(Streams, **options))
    if before is not None:
        generator.set_state(before)
    installed(host)

    assert difference(expected, history(make(Streams, **options))) == ""
    assert not host.failures


def test_who_serves(host: Host) -> None:
    """Of the first three epochs the second has new workers, beside which the kept ones are looked at."""
    installed(host)
    first, second, third, fourth = crews(make(Streams))

    assert first == third == fourth
    assert not set(first) & set(second)


def test_no_worker_is_left(host: Host, serves: None) -> None:
    """With the loader they go, and with the path; until then they are there."""
    installed(host)
    one, other = make(Streams), make(Streams)
    found = [pid for loader in (one, other) for pid in crews(loader)[-1]]
    assert all(map(alive, found))

    del one
    gc.collect()
    assert list(map(alive, found)) == [False, False, True, True]
    host.undo()
    assert not any(map(alive, found))


def alive(pid: int) -> bool:
    """Whether there is such a process; one that has ended and was waited for is not."""
    return Path(f"/proc/{pid}").exists()


class Rand(datasets.Sized):
    """Draws from a generator of the C library, which nobody seeds or sees."""

    def __getitem__(self, i):
        return self.x[i], ctypes.CDLL(None).rand()


def test_a_generator_that_nobody_sees_is_found(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    """New workers begin where the script's process is, kept ones go on: said aloud, and nothing of theirs is served."""
    expected = history(make(Rand))
    installed(host)
    loader = make(Rand)

    assert difference(expected, history(loader)) == ""
    assert "worker-pool could not be applied" in capsys.readouterr().err
    assert "came out other than that of a new one" in host.failures["worker-pool"]
    assert len({pid for workers in crews(loader) for pid in workers}) == 2 * EPOCHS


KEPT: dict[int, torch.Tensor] = {}


class Remembers(datasets.Sized):
    """Fills a dict of the module, which new workers find empty."""

    def __getitem__(self, i):
        if i not in KEPT:
            KEPT[i] = torch.rand(2)
        return KEPT[i]


class Counts(datasets.Sized):
    def __getitem__(self, i):
        self.served = getattr(self, "served", 0) + 1
        return self.served


BANK: deque[int] = deque(maxlen=4)


class Banks(datasets.Sized):
    """A deque of the module, of the same length after a while."""

    def __getitem__(self, i):
        BANK.append(i)
        return sum(BANK)


@pytest.mark.parametrize("kind", [Remembers, Counts, Banks, datasets.Tuple])
def test_a_worker_that_changed_is_not_kept(kind: Any, host: Host, serves: None) -> None:
    """What fetching leaves behind in a worker ends with its epoch (S12)."""
    expected = history(make(kind))
    installed(host)
    assert difference(expected, history(make(kind))) == ""
    kept = kind is datasets.Tuple
    assert len({pid for workers in crews(make(kind)) for pid in workers}) == (2 if kept else 2 * EPOCHS)


class Settings:
    level = 0


class Reader:
    level = 0

    def read(self):
        return Reader.level


class Reads(datasets.Sized):
    level = 0

    def __init__(self) -> None:
        super().__init__()
        self.reader = Reader()

    def __getitem__(self, i):
        around = os.environ.get("LEVEL", ""), str(Path.cwd())
        return self.x[i], self.level, around, GLOBAL["level"], tricky_settings.LEVEL, Settings.level, self.reader.read()


GLOBAL = {"level": 0}


def of_instance(dataset: Any, epoch: int) -> None:
    dataset.level = epoch


def of_class(dataset: Any, epoch: int) -> None:
    Reads.level = epoch


def in_place(dataset: Any, epoch: int) -> None:
    dataset.x[3] = epoch


def of_environment(dataset: Any, epoch: int) -> None:
    os.environ["LEVEL"] = str(epoch)


def of_folder(dataset: Any, epoch: int) -> None:
    os.chdir("/" if epoch % 2 else "/tmp")


def of_module(dataset: Any, epoch: int) -> None:
    GLOBAL["level"] = epoch


def past_the_count(dataset: Any, epoch: int) -> None:
    dataset.x.data[3] = epoch


def by_numpy(dataset: Any, epoch: int) -> None:
    dataset.x.numpy()[3] = epoch


def of_another_module(dataset: Any, epoch: int) -> None:
    tricky_settings.LEVEL = epoch


def of_a_settings_class(dataset: Any, epoch: int) -> None:
    Settings.level = epoch


def of_a_part(dataset: Any, epoch: int) -> None:
    Reader.level = epoch


CHANGES = [
    *(of_instance, of_class, in_place, of_environment, of_folder, of_module),
    *(past_the_count, by_numpy, of_another_module, of_a_settings_class, of_a_part),
]


@pytest.mark.parametrize("change", CHANGES)
def test_what_the_script_changes_reaches_the_next_epoch(
    change: Any, host: Host, serves: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As it reaches workers that are started then (S13, S14); changes in every epoch end the path, which is said."""
    monkeypatch.setattr(Reads, "level", 0)
    monkeypatch.setenv("LEVEL", "")
    monkeypatch.chdir("/usr")
    monkeypatch.setitem(GLOBAL, "level", 0)
    monkeypatch.setattr(tricky_settings, "LEVEL", 0)
    monkeypatch.setattr(Settings, "level", 0)
    monkeypatch.setattr(Reader, "level", 0)

    def run() -> list[Any]:
        loader = make(Reads)
        change(loader.dataset, 0)
        return history(loader, lambda epoch: change(loader.dataset, epoch + 1))

    expected = run()
    installed(host)

    assert difference(expected, run()) == ""
    assert "the workers of Reads are started for every epoch, because the script changes" in capsys.readouterr().err


def test_a_worker_that_is_killed_between_epochs(host: Host, serves: None) -> None:
    """New ones serve, and the script sees nothing of it, as it had none then."""
    expected = history(make(Streams))
    pool = installed(host)
    loader = make(Streams)
    found: list[Any] = []

    def kill(epoch: int) -> None:
        if epoch == 1:
            pid = pids(pool._kept[loader].crew)[0]
            os.kill(pid, signal.SIGKILL)
            found.append(pid)
            time.sleep(0.1)

    assert difference(expected, history(loader, kill)) == ""
    assert found
    assert not host.failures


def test_files_are_left_to_others(host: Host, serves: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where few more may be opened, no workers wait while those of another loader are started (S38)."""
    installed(host)
    waiting, other = make(Streams), make(Streams)
    workers = crews(waiting)[-1]
    held = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    monkeypatch.setattr(resource, "getrlimit", lambda what: (2 * held - 1, limit[1]))
    iterator = iter(other)

    assert not any(map(alive, workers))
    assert len(list(iterator)) == len(list(waiting)) == len(waiting)


def test_an_epoch_that_is_broken_off_ends_its_workers(host: Host, serves: None) -> None:
    """As stock does, for they still work; and the next epoch is as it would be (S34)."""
    installed(host)
    loader = make(Streams)
    crews(loader)
    iterator = iter(loader)
    next(iterator)
    workers = pids(iterator)
    del iterator
    assert not any(map(alive, workers))
    assert len(list(loader)) == len(loader)


def test_two_epochs_at_a_time(host: Host, serves: None) -> None:
    """Each has workers of its own (S34)."""

    def run() -> list[Any]:
        torch.manual_seed(0)
        loader = make(Streams)
        return [*loader, *zip(loader, loader, strict=True), *loader]

    expected = run()
    installed(host)
    assert difference(expected, run()) == ""


def test_each_workers_are_judged_by_when_they_were_started(host: Host, serves: None) -> None:
    """Not by when another iterator was, before which the script had changed the dataset."""

    def run() -> list[Any]:
        torch.manual_seed(0)
        loader = make(Reads)
        early = iter(loader)
        loader.dataset.level = 7
        late = iter(loader)
        return [*early, *late, *loader, *loader]

    expected = run()
    installed(host)
    assert difference(expected, run()) == ""


@pytest.mark.parametrize("count", [0, 3])
def test_loaders_that_are_short_or_have_no_length(count: int, host: Host, serves: None) -> None:
    """What is drawn when an iterator is made is drawn once (S2)."""

    def run() -> list[Any]:
        torch.manual_seed(0)
        loader: DataLoader[Any] = DataLoader(range(count), 2, sampler=Endless(count), num_workers=2)
        short: DataLoader[Any] = DataLoader(range(3), 4, num_workers=2, drop_last=True)
        return [[list(loader), list(short), torch.rand(1)] for _ in range(3)]

    expected = run()
    installed(host)
    assert difference(expected, run()) == ""


class Endless:
    """A sampler that has no length."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __iter__(self) -> Iterator[int]:
        return iter(torch.randperm(self.count).tolist())


def test_a_proof_that_was_broken_off_is_made_again(host: Host) -> None:
    """Kept workers do not serve before."""
    installed(host)
    loader = make(Rand)
    list(loader)
    next(iter(loader))
    expected = {pid for workers in crews(loader) for pid in workers}

    assert len(expected) > 2
    assert "worker-pool" in host.failures


def test_a_copy_of_the_process_that_ends_an_epoch(host: Host, serves: None, tmp_path: Path) -> None:
    """A fork in the middle of an epoch goes on with its own copy of the iterator, and says nothing to the workers."""
    expected = history(make(Streams))
    installed(host)
    loader = make(Streams)

    def run() -> list[Any]:
        torch.manual_seed(1)
        np.random.seed(1)
        seen: list[Any] = []
        for _ in range(EPOCHS):
            iterator = iter(loader)
            seen.append(generators())
            for number, batch in enumerate(iterator):
                seen.append((batch, generators()))
                if number == len(loader) - 1 and not (child := os.fork()):
                    next(iterator, None)
                    os._exit(0)
            os.waitpid(child, 0)
        return seen

    assert difference(expected, run()) == ""
    assert not host.failures


def test_an_iterator_that_is_over_stays_over(host: Host, serves: None) -> None:
    """Its workers serve somebody else now."""
    installed(host)
    loader = make(Streams)
    old = iter(loader)
    first = [*old]
    new = iter(loader)
    assert next(old, None) is None
    assert len(first) == len([*new]) == len(loader)
    assert next(old, None) is next(new, None) is None


class Fails(datasets.Sized):
    def __getitem__(self, i):
        if i == 13:
            raise KeyError("thirteen")
        return self.x[i] + torch.rand(())


def test_errors_come_as_from_new_workers(host: Host, serves: None) -> None:
    """In every epoch, with the batches after them (S31)."""

    def run() -> list[Any]:
        torch.manual_seed(0)
        loader, seen = make(Fails), list[Any]()
        for _ in range(3):
            iterator = iter(loader)
            for _ in range(17):
                try:
                    seen.append(next(iterator, "the end"))
                except KeyError as error:
                    seen.append([str(error).splitlines()[0], str(error).splitlines()[-1]])
        return seen

    expected = run()
    installed(host)
    assert difference(expected, run()) == ""
    assert "in DataLoader worker process 1" in str(expected[3])


@functools.cache
def remembered(i: int) -> int:
    return i


class Holds(datasets.Sized):
    def __init__(self) -> None:
        super().__init__()
        self.loader = DataLoader([1, 2])


class Cached(datasets.Sized):
    def __getitem__(self, i):
        return remembered(i)


@pytest.mark.parametrize(
    ("make_it", "reason"),
    [
        (lambda: make(Streams), ""),
        (lambda: make(Streams, worker_init_fn=seeds), ""),
        (lambda: make(Streams, multiprocessing_context="spawn"), ""),
        (lambda: make(Streams, worker_init_fn=reads), "its worker_init_fn does more than seed"),
        (lambda: make(Streams, in_order=False), "it iterates in its own way"),
        (lambda: make(Streams, persistent_workers=True), "the script keeps its workers itself"),
        (lambda: make(Holds), "its dataset or its collate_fn holds a loader, whose workers would never be let go"),
        (lambda: make(datasets.PrivateTorch), "the dataset holds a random generator of its own"),
        (lambda: make(Cached), "its code keeps results (functools.cache), which new workers would not have"),
    ],
)
def test_who_may(make_it: Any, reason: str) -> None:
    assert why_not_pooled(make_it()) == reason


def test_a_copy_of_the_process_has_no_workers(host: Host, serves: None, tmp_path: Path) -> None:
    """A fork of the script neither takes the workers of its parent nor ends them."""
    installed(host)
    loader = make(Streams)
    workers = crews(loader)[-1]
    child = os.fork()
    if not child:
        count = len(list(loader))
        loader = None  # type: ignore[assignment]
        gc.collect()
        (tmp_path / "count").write_text(str(count))
        os._exit(0)
    os.waitpid(child, 0)

    assert (tmp_path / "count").read_text() == str(len(loader))
    assert crews(loader)[0] == workers
    assert get_worker_info() is None
