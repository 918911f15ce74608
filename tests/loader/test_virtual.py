"""Several workers to a process: batches, streams, worker info and errors as with a process for each."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, get_worker_info

from hotlap.inside.host import Host
from hotlap.loader.compare import difference
from hotlap.loader.inline import InlineWorkers
from hotlap.loader.movable import why_not_virtual
from hotlap.loader.virtual import VirtualWorkers, processes_for
from loader import datasets
from loader.test_serve import epochs, seeded

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")


class Streams(datasets.Sized):
    """What a worker draws, and what it can tell of itself."""

    def __getitem__(self, i):
        info = get_worker_info()
        known = (info.id, info.num_workers, info.seed, info.dataset is self) if info else ()
        drawn = torch.rand(2), random.gauss(0, 1), np.random.randn()
        return {"known": known, "drawn": drawn, "seed": torch.initial_seed(), "nested": nested()}


def nested() -> Any:
    """A dataset may use a loader of its own."""
    return next(iter(DataLoader([1, 2, 3], 3)))


def seeds(number: int) -> None:
    random.seed(torch.initial_seed() % 2**32)
    np.random.seed(torch.initial_seed() % 2**32)


def reads(number: int) -> None:
    print(number)


def installed(host: Host, most: int) -> None:
    VirtualWorkers(host, most).install() if most else InlineWorkers(host, "virtual-workers").install()


@pytest.mark.parametrize(
    ("workers", "most", "options"),
    [
        (2, 1, {"shuffle": True}),
        (4, 2, {"worker_init_fn": seeds}),
        (3, 2, {"persistent_workers": True, "prefetch_factor": 3}),
        (2, 0, {"shuffle": True}),
        (4, 0, {"worker_init_fn": seeds}),
        (3, 0, {"persistent_workers": True, "prefetch_factor": 3}),
        (2, 0, {"batch_size": None}),
    ],
)
def test_same_batches_and_streams(workers: int, most: int, options: dict[str, Any], host: Host) -> None:
    """Over two epochs; the training's generators as well (S2, S3, S4, S7, S9)."""

    def loader() -> DataLoader[Any]:
        return DataLoader(seeded(Streams), num_workers=workers, **{"batch_size": 4, "collate_fn": list} | options)

    expected = epochs(loader)
    installed(host, most)

    assert difference(expected, epochs(loader)) == ""


def test_is_used(host: Host) -> None:
    """With fewer processes, and as many batches ahead."""
    VirtualWorkers(host, 2).install()
    loader = DataLoader(seeded(Streams), 4, num_workers=4, prefetch_factor=3, collate_fn=list)
    iterator = iter(loader)

    assert (iterator._num_workers, iterator._prefetch_factor, iterator._send_idx) == (2, 6, 12)
    assert (loader.num_workers, loader.prefetch_factor, loader.worker_init_fn) == (4, 3, None)


@pytest.mark.filterwarnings("always:This DataLoader will create")
def test_the_warning_of_too_many_stays(host: Host) -> None:
    """As often and in the same words as without it (S39)."""
    loader = DataLoader(seeded(Streams), 4, num_workers=4)
    with pytest.warns(UserWarning, match="will create 4 worker processes") as expected:
        iter(loader)
    VirtualWorkers(host, 2).install()
    with pytest.warns(UserWarning) as warned:
        iter(loader)

    assert [str(one.message) for one in warned] == [str(one.message) for one in expected]


class Fails(datasets.Sized):
    def __getitem__(self, i):
        if i == 13:
            raise KeyError("thirteen")
        return self.x[i] + torch.rand(())


@pytest.mark.parametrize("most", [2, 0])
def test_errors_name_the_workers_of_the_script(most: int, host: Host) -> None:
    """The text says which worker it was, and the batches after it come (S31)."""

    def run() -> list[Any]:
        torch.manual_seed(0)
        iterator = iter(DataLoader(seeded(Fails), 4, num_workers=4))
        seen: list[Any] = []
        for _ in range(17):
            try:
                seen.append(next(iterator, "the end"))
            except KeyError as error:
                lines = str(error).splitlines()
                seen.append([lines[0], lines[-1]])
        return seen

    expected = run()
    installed(host, most)

    assert difference(expected, run()) == ""
    assert "in DataLoader worker process 3" in str(expected[3])


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: DataLoader(Streams(), num_workers=2), ""),
        (lambda: DataLoader(Streams(), num_workers=2, worker_init_fn=seeds), ""),
        (lambda: DataLoader(Streams(), num_workers=2, worker_init_fn=reads), "its worker_init_fn does more than seed"),
        (lambda: DataLoader(Streams(), num_workers=2, in_order=False), "it iterates in its own way"),
        (
            lambda: DataLoader(Streams(), num_workers=2, multiprocessing_context="spawn"),
            "its workers are started afresh, not forked",
        ),
        (lambda: DataLoader(datasets.PrivateTorch(), num_workers=2), "the dataset holds a random generator of its own"),
    ],
)
def test_who_may(make: Any, reason: str) -> None:
    assert why_not_virtual(make()) == reason


@pytest.mark.parametrize(("workers", "most", "expected"), [(8, 8, 4), (8, 3, 2), (7, 3, 1), (1, 4, 0), (0, 4, 0)])
def test_processes(workers: int, most: int, expected: int) -> None:
    """Only a divisor keeps every stream in one process, and more processes than workers have nothing to do."""
    assert processes_for(workers, most) == expected


def test_two_loaders_are_shuffled_as_with_workers(host: Host) -> None:
    """Orders are drawn when each iterator begins, not when its first batch is asked for (S3)."""

    def run() -> list[Any]:
        torch.manual_seed(0)
        loaders = [DataLoader(range(12), 4, shuffle=True, num_workers=2) for _ in range(2)]
        return [*zip(*loaders, strict=True), torch.rand(2)]

    expected = run()
    installed(host, 0)
    assert difference(expected, run()) == ""


def test_no_process_is_started(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(host, 0)
    monkeypatch.setattr("multiprocessing.process.BaseProcess.start", lambda process: pytest.fail("it was started"))
    loader = DataLoader(seeded(Streams), 4, num_workers=2)
    assert len(list(loader)) == len(loader)
    assert get_worker_info() is None


def test_a_batch_is_no_part_of_the_dataset(host: Host) -> None:
    """What the training writes into a batch does not reach the dataset (S20)."""
    installed(host, 0)
    rows = [torch.zeros(2) for _ in range(4)]
    for batch in DataLoader(rows, 2, num_workers=1, collate_fn=list):
        batch[0].fill_(1)
    assert not any(row.any() for row in rows)


class Counts(datasets.Sized):
    """Each worker counts its own."""

    def __getitem__(self, i):
        self.served = getattr(self, "served", 0) + 1
        return self.served


def test_a_dataset_that_fetching_changes_gets_its_workers_back(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    installed(host, 0)
    loader = DataLoader(Counts(), 4, num_workers=2)
    next(iter(loader))
    assert "virtual-workers could not be applied" in capsys.readouterr().err
    assert type(iter(loader)).__name__ == "_MultiProcessingDataLoaderIter"


def test_an_interrupted_batch_comes_again(host: Host) -> None:
    """As a worker would go on with it while the script is interrupted (S33), with the streams of stock."""

    class Stops(datasets.Sized):
        def __getitem__(self, i):
            if i == 9 and stopping:
                stopping.clear()
                raise KeyboardInterrupt
            return torch.rand(2)

    def batches() -> list[Any]:
        torch.manual_seed(0)
        found, iterator = list[Any](), iter(DataLoader(Stops(), 4, num_workers=2))
        for _ in range(16 + len(stopping)):
            try:
                found.append(next(iterator))
            except KeyboardInterrupt:
                interrupted.append(len(found))
        return found

    stopping, interrupted = list[bool](), list[int]()
    expected = batches()
    stopping.append(True)
    installed(host, 0)

    assert difference(expected, batches()) == ""
    assert interrupted == [2]
