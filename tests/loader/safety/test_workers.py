"""S9 to S16: what worker processes are told, and what they may change."""

from __future__ import annotations

import multiprocessing
from functools import partial
from pathlib import Path as File
from typing import Any

import pytest
import torch
from inside.conftest import Place
from torch.utils.data import DataLoader, get_worker_info

from loader.safety.conftest import Same
from loader.safety.paths import Path
from loader.safety.record import described, history, noted, outcome, seeded, states, warned
from loader.safety.samples import Computed, Counts, Gated, Informed, Levels, Of, Rows, Stream, rows

WORKERS = pytest.mark.parametrize("workers", [0, 2])
DATA = pytest.mark.parametrize("data", [rows, Computed], ids=["rows", "work"])


@WORKERS
def test_s09_worker_info(workers: int, same: Same) -> None:
    """Id, number, and the dataset itself, asked for by a helper of the dataset's."""
    same(lambda: history(partial(DataLoader, Informed(), 4, num_workers=workers), epochs=1))


class Told:
    """A worker_init_fn that writes down what it was called with."""

    def __init__(self, file: File, fails: bool = False) -> None:
        self.file, self.fails = file, fails

    def __call__(self, worker: int) -> None:
        info = get_worker_info()
        with self.file.open("a") as file:
            file.write(f"{worker} {info.seed} {torch.initial_seed()}\n")  # type: ignore[union-attr]
        if self.fails and worker == 1:
            raise LookupError("the worker could not be set up")


@pytest.mark.parametrize("persistent", [False, True])
@DATA
def test_s10_worker_init(data: Any, persistent: bool, same: Same, tmp_path: File) -> None:
    """Called once in each worker, with its id, after seeding, in each epoch unless the workers persist."""

    def scenario() -> Any:
        told = tmp_path / "told"
        told.unlink(missing_ok=True)
        make = partial(DataLoader, data(), 4, num_workers=2, worker_init_fn=Told(told), persistent_workers=persistent)
        return history(make), sorted(told.read_text().splitlines())

    same(scenario)


@DATA
def test_s10_failing_worker_init(data: Any, same: Same, tmp_path: File) -> None:
    """Its exception comes with the first batch of that worker."""
    same(lambda: history(partial(DataLoader, data(), 4, num_workers=2, worker_init_fn=Told(tmp_path / "told", True))))


@WORKERS
@pytest.mark.parametrize("told", [11, 3])
def test_s11_iterable_datasets(told: int, workers: int, same: Same) -> None:
    """Shards, the order in which they end, the last batches, and the warning of a wrong length."""

    def scenario() -> Any:
        events: list[Any] = []
        loader = DataLoader(Stream(told), 2, num_workers=workers)
        with noted(events):
            events += [len(loader), history(lambda: loader)]
        return events

    same(scenario)


@pytest.mark.parametrize(("workers", "persistent"), [(0, False), (2, False), (2, True)])
def test_s12_dataset_that_changes_itself(workers: int, persistent: bool, same: Same) -> None:
    """Changes last in the script's own process, and in workers as long as they live."""

    def scenario() -> Any:
        dataset = Counts()
        make = partial(DataLoader, dataset, 4, num_workers=workers, persistent_workers=persistent)
        return history(make), dataset.visits

    same(scenario)


@pytest.mark.parametrize(("workers", "persistent"), [(0, False), (2, False), (2, True)])
def test_s13_changes_between_epochs(workers: int, persistent: bool, same: Same) -> None:
    """An attribute that the script sets reaches the next epoch, or not, as with stock."""

    def level(loader: Any, epoch: int) -> None:
        loader.dataset.level = epoch

    def make() -> Any:
        return DataLoader(Levels(), 4, num_workers=workers, persistent_workers=persistent)

    same(lambda: history(make, between=level))


@WORKERS
def test_s13_changes_within_an_epoch(workers: int, same: Same) -> None:
    """The same for one that is set between two steps."""

    def raise_level(loader: Any, batch: Any) -> None:
        loader.dataset.level += 1

    same(lambda: history(lambda: DataLoader(Levels(), 4, num_workers=workers), after=raise_level))


@WORKERS
def test_s13_transform_set_within_an_epoch(workers: int, same: Same) -> None:
    """Rows that get a transform while they are read."""

    def transform(loader: Any, batch: Any) -> None:
        loader.dataset.transform = torch.neg

    same(lambda: history(lambda: DataLoader(Gated(), 4, num_workers=workers), after=transform))


@DATA
def test_s14_each_epoch_starts_anew(data: Any, same: Same) -> None:
    """Workers of an epoch see the values of that epoch, and are seeded anew."""

    def scale(loader: Any, epoch: int) -> None:
        whole = loader.dataset.tensors[0] if hasattr(loader.dataset, "tensors") else loader.dataset.x
        whole.mul_(2)

    same(lambda: history(lambda: DataLoader(data(), 4, num_workers=2, shuffle=True), epochs=3, between=scale))


@DATA
def test_s15_what_cannot_be_sent(data: Any, same: Same) -> None:
    """With spawned workers, a collate_fn that does not pickle is an error as with stock."""

    def scenario() -> Any:
        events: list[Any] = []
        loader = DataLoader(
            data(), 4, num_workers=1, multiprocessing_context="spawn", collate_fn=lambda samples: samples
        )
        with noted(events):
            events.append(outcome(lambda: iter(loader)))
        return events

    same(scenario)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
@DATA
def test_s15_start_methods(data: Any, method: str, same: Same) -> None:
    """Workers are started in the way that the script asks for."""
    same(lambda: history(partial(DataLoader, data(), 8, num_workers=1, multiprocessing_context=method), epochs=1))


class Nested(Rows):
    """Starts a process of its own for each sample."""

    def __getitem__(self, i):
        context = multiprocessing.get_context("fork")
        receiver, sender = context.Pipe(duplex=False)
        child = context.Process(target=sender.send, args=(i * 2,))
        child.start()
        child.join()
        return receiver.recv()


@WORKERS
def test_s16_processes_of_a_dataset(workers: int, same: Same) -> None:
    """Where daemons may not have children, that is stock's error; elsewhere it works."""
    same(lambda: history(partial(DataLoader, Nested(), 8, num_workers=workers), epochs=1))


GUARDED = """
import atexit, os, sys, torch
from torch.utils.data import DataLoader, Dataset
print("imported as", __name__)
class Rows(Dataset):
    def __getitem__(self, i):
        return torch.ones(3).softmax(0) * i
    def __len__(self):
        return 8
if __name__ == "__main__":
    atexit.register(print, "at exit")
    for batch in DataLoader(Rows(), 2):
        child = os.fork()
        if not child:
            os._exit(0)
        os.waitpid(child, 0)
        print(batch.tolist())
"""


@pytest.mark.slow
def test_s16_guards_forks_and_exits(path: Path, place: Place) -> None:
    """A whole script, with guard, fork and atexit, prints what it prints."""
    place.write(GUARDED, head="")
    settings = [[path.knob, path.value]] if path.knob else []
    done = place.run(purpose="run", settings=settings)

    assert done.code == 0, done.stderr
    assert done.stdout == place.run(purpose="run").stdout
    assert done.stdout.count("imported as") == done.stdout.count("at exit") == 1


@WORKERS
def test_s39_warnings_of_samples(workers: int, same: Same) -> None:
    """Samples whose making warns: the script's own process warns, workers do so for themselves."""

    def scenario() -> Any:
        import warnings

        seeded()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            batches = [described(batch) for batch in DataLoader(Of(warns), 5, num_workers=workers)]
        return batches, warned(caught), states()

    same(scenario)


def warns(i: int) -> int:
    """Warn in the script's own process."""
    if i == 7 and get_worker_info() is None:
        import warnings

        warnings.warn("sample 7 is odd", stacklevel=1)
    return i
