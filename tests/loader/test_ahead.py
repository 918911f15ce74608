"""Batches fetched ahead in a forked process: contents, order, generators, errors, and what is left when it ends."""

from __future__ import annotations

import gc
import logging
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import BatchSampler, DataLoader, Dataset, RandomSampler, get_worker_info
from torch.utils.data import WeightedRandomSampler as Weighted

from hotlap.inside.host import Host
from hotlap.loader import ahead
from hotlap.loader.ahead import FetchAhead
from hotlap.loader.compare import difference
from hotlap.loader.packing import pack, unpack
from loader import datasets
from loader.datasets import NumpyDraw, PythonDraw, Steady, TorchDraw
from loader.test_serve import epochs, generators, seeded

ROOT = Path(__file__).resolve().parents[2]


class Everything(datasets.Sized):
    """Draws from all three generators, and returns what it drew."""

    def __getitem__(self, i):
        return self.x[i] * torch.rand(()), random.gauss(0, 1), np.random.randn(), torch.randperm(3).tolist()


@pytest.fixture
def path(host: Host) -> Iterator[FetchAhead]:
    """The fetch path, put in, with every helper ended after the test."""
    made = FetchAhead(host, "fetch-ahead")
    made.install()
    yield made
    gc.collect()


def record(path: FetchAhead) -> Any:
    """What is known of the only loader."""
    (only,) = path._records.values()
    return only


def children() -> list[int]:
    """Processes of this one that were not there when the test began: multiprocessing keeps its resource tracker."""
    return [child for child in _children() if child not in _before]


def _children() -> list[int]:
    return [int(child) for child in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]


_before: list[int] = []


@pytest.fixture(autouse=True)
def others() -> None:
    """Take down who is there already."""
    _before[:] = _children()


def shuffled(kind: Any, **options: Any) -> Callable[[], DataLoader[Any]]:
    return lambda: DataLoader(seeded(kind), 8, shuffle=True, **options)


def pairs(samples: list[Any]) -> Any:
    """A collation of the script's own, with randomness and shared storage."""
    stacked = torch.stack([sample + torch.rand(()) for sample in samples])
    return {"all": stacked, "first": stacked[0], "turned": stacked.transpose(1, 2), "n": len(samples)}


LOADERS: dict[str, Callable[[], DataLoader[Any]]] = {
    "no draws": shuffled(Steady),
    "torch": shuffled(TorchDraw),
    "python": shuffled(PythonDraw),
    "numpy": shuffled(NumpyDraw),
    "all generators": shuffled(Everything),
    "in order": lambda: DataLoader(seeded(Everything), 8),
    "drop last": shuffled(Everything, drop_last=True),
    "own generator": lambda: shuffled(TorchDraw, generator=torch.Generator().manual_seed(2))(),
    "own collation": shuffled(datasets.Single, collate_fn=pairs),
    "replacement": lambda: DataLoader(seeded(TorchDraw), 8, sampler=RandomSampler(range(64), replacement=True)),
    "weighted": lambda: DataLoader(seeded(TorchDraw), 8, sampler=Weighted([1.0, 2.0] * 32, 40)),
    "numpy indices": lambda: DataLoader(seeded(Everything), 8, sampler=list(np.random.permutation(50))),
    "batch sampler": lambda: DataLoader(seeded(TorchDraw), batch_sampler=[[1, 2], [-1], [7] * 9, [0, 3], [5]]),
    "tensor indices": lambda: DataLoader(seeded(TorchDraw), 8, sampler=torch.randperm(50)),
    "single samples": lambda: DataLoader(seeded(TorchDraw), batch_size=None),
    "all at once": lambda: DataLoader(
        seeded(datasets.Tuple), None, sampler=BatchSampler(RandomSampler(range(64)), 8, False)
    ),
    "private generator": shuffled(datasets.PrivateTorch),
    "two workers": shuffled(TorchDraw, num_workers=2),
}
STOCK = ("single samples", "all at once", "private generator", "two workers")


@pytest.mark.parametrize(
    ("name", "stop"),
    [*((name, 99) for name in LOADERS), ("no draws", 4), ("all generators", 4), ("own collation", 4)],
)
def test_same_batches_and_generators(name: str, stop: int, host: Host, capfd: pytest.CaptureFixture[str]) -> None:
    """Batches, order and the state of every generator after iter(), each batch and epoch (S1 to S4, S17 to S19)."""
    expected = epochs(LOADERS[name], stop)
    path = FetchAhead(host, "fetch-ahead")
    path.install()

    assert difference(expected, epochs(LOADERS[name], stop)) == ""
    assert "could not be applied" not in capfd.readouterr().err


@pytest.mark.parametrize("name", [name for name in LOADERS if name not in STOCK])
def test_is_used(name: str, path: FetchAhead) -> None:
    """All but the first batch of an epoch come from the helper, and few are also fetched here."""
    loader = LOADERS[name]()
    batches = len([*loader, *loader])

    assert record(path).missed == 0
    assert record(path).taken == batches - 2
    assert record(path).compared <= 4


# -- what makes a batch unfit


def draws_between(kind: Any) -> Callable[[], tuple[list[Any], Any]]:
    def run() -> tuple[list[Any], Any]:
        torch.manual_seed(1)
        seen = []
        for batch in DataLoader(seeded(kind), 4, shuffle=True):
            seen.append((batch, torch.rand(2)))
        return seen, generators()

    return run


def test_a_training_that_draws_goes_on_as_written(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    """Where fetching draws too, nothing fits: after a few batches the helper ends, and that is said once."""
    run = draws_between(TorchDraw)
    expected = run()
    path = FetchAhead(host, "fetch-ahead")
    path.install()

    assert difference(expected, run()) == ""
    said = capsys.readouterr().err
    assert said.count("hotlap: fetch-ahead: TorchDraw is fetched as the script has it") == 1
    assert "draws random numbers between two batches" in said
    assert children() == []


def test_a_training_may_draw_where_fetching_does_not(host: Host) -> None:
    """Then no state matters to the batch."""
    run = draws_between(Steady)
    expected = run()
    path = FetchAhead(host, "fetch-ahead")
    path.install()
    loader = DataLoader(seeded(Steady), 4, shuffle=True)
    for _ in loader:
        torch.rand(1)

    assert record(path).missed == 0
    assert difference(expected, run()) == ""


def test_a_training_that_draws_now_and_then(path: FetchAhead) -> None:
    """One batch is thrown away, and a new helper goes on from there."""
    loader = DataLoader(seeded(TorchDraw), 4)
    for number, _ in enumerate(loader):
        if number == 6:
            torch.rand(1)

    assert (record(path).missed, record(path).off) == (1, False)


class Grows(datasets.Sized):
    """Fetches what the script changes: an attribute, a tensor, an array, a list, a global, the class."""

    level = 0.0

    def __getitem__(self, i):
        return self.strength() * self.x[i], self.a[i], self.targets[i], LEVEL

    def strength(self):
        return self.level


LEVEL = 0.0


def change(dataset: Any, what: str) -> None:
    global LEVEL
    if what == "attribute":
        dataset.level = dataset.level + 1.0
    elif what == "class":
        Grows.level += 1.0
    elif what == "tensor":
        dataset.x[::2] += 1
    elif what == "array":
        dataset.a[5] += 1
    elif what == "list":
        dataset.targets[9:] = [99] * 55
    else:
        LEVEL += 1.0


@pytest.mark.parametrize("what", ["attribute", "class", "tensor", "array", "list", "global"])
def test_a_dataset_that_the_script_changes(what: str, host: Host) -> None:
    """Between two batches and between epochs: each batch shows what stock would show (S13, S26)."""

    def run() -> list[Any]:
        global LEVEL
        LEVEL = Grows.level = 0.0
        dataset = seeded(Grows)
        loader, seen = DataLoader(dataset, 4), []
        for _ in range(2):
            for number, batch in enumerate(loader):
                seen.append(batch)
                if number == 7:
                    change(dataset, what)
            change(dataset, what)
        return seen

    expected = run()
    path = FetchAhead(host, "fetch-ahead")
    path.install()

    assert difference(expected, run()) == ""


x: Any = None


def test_a_variable_named_as_an_attribute(path: FetchAhead) -> None:
    """Scripts without functions hold their batches in globals, whose names mean nothing to the dataset."""
    global x
    loader = DataLoader(seeded(Grows), 4)
    for x, *_ in loader:
        assert x is not None

    assert record(path).missed == 0


class Prints(datasets.Sized):
    def __getitem__(self, i):
        print("fetched", i)
        return self.x[i]


class Warns(datasets.Sized):
    def __getitem__(self, i):
        warnings.warn(f"sample {i} is odd", stacklevel=1)
        return self.x[i]


class Logs(datasets.Sized):
    def __getitem__(self, i):
        logging.getLogger("dataset").warning("sample %d is odd", i)
        return self.x[i]


class Adds(datasets.Sized):
    count = 0

    def __getitem__(self, i):
        self.count += 1
        return self.x[i]


class Shares(datasets.Sized):
    def __getitem__(self, i):
        return self.targets


class Raises(datasets.Sized):
    def __getitem__(self, i):
        if i == 41:
            raise KeyError(i, "of two arguments")
        if i == 50:
            raise StopIteration
        return self.x[i] * torch.rand(())


@pytest.mark.parametrize(
    ("kind", "options", "reason"),
    [
        (Prints, {}, "fetching prints, warns or logs"),
        (Warns, {}, "fetching prints, warns or logs"),
        (Logs, {}, "fetching prints, warns or logs"),
        (Adds, {}, "fetching changes the dataset"),
        (datasets.Caches, {}, "fetching changes the dataset"),
        (Shares, {"collate_fn": list}, "its batches are parts of the dataset"),
        (
            datasets.Single,
            {"collate_fn": lambda samples: [s.requires_grad_() * 2 for s in samples]},
            "graph of gradients",
        ),
        (datasets.PrivateNumpy, {}, "the dataset holds a random generator of its own"),
    ],
)
def test_what_is_left_to_stock(
    kind: Any,
    options: dict[str, Any],
    reason: str,
    host: Host,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What the script could tell is as ever: output, counters, caches, what a batch shares with its dataset."""

    def run() -> Any:
        dataset = seeded(kind)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            batches = list(DataLoader(dataset, 4, **options))
        held = {name: value for name, value in vars(dataset).items() if name not in ("steps", "transform")}
        seen = [str(warning.message) for warning in caught], [line.getMessage() for line in caplog.records]
        caplog.clear()
        return batches if kind is not datasets.Single else len(batches), held, seen

    expected, printed = run(), capsys.readouterr().out
    path = FetchAhead(host, "fetch-ahead")
    path.install()

    assert difference(expected, run()) == ""
    said = capsys.readouterr()
    assert said.out == printed
    assert reason in said.err
    assert children() == []


def test_errors_are_the_users(host: Host) -> None:
    """Batches before are delivered, then the same type and text, then the batches after (S31, S32)."""

    def outcome(iterator: Any) -> Any:
        try:
            return next(iterator, "the end")
        except Exception as error:
            return f"{type(error).__name__}: {error.args}"

    def run() -> list[Any]:
        torch.manual_seed(0)
        iterator = iter(DataLoader(seeded(Raises), 4))
        return [outcome(iterator) for _ in range(18)]

    expected = run()
    path = FetchAhead(host, "fetch-ahead")
    path.install()

    assert difference(expected, run()) == ""
    assert "KeyError: (41, 'of two arguments')" in expected


class Informed(datasets.Sized):
    def __getitem__(self, i):
        return str(get_worker_info()), str(Path.cwd()), torch.initial_seed(), threads(self.x[i])


def threads(x: torch.Tensor) -> float:
    return float(x.sum())


def test_the_dataset_sees_no_worker(host: Host) -> None:
    """No worker info and the training's seed (S7, S9)."""
    expected = [*DataLoader(seeded(Informed), 8)]
    path = FetchAhead(host, "fetch-ahead")
    path.install()

    assert difference(expected, [*DataLoader(seeded(Informed), 8)]) == ""


# -- batches are the script's own


def test_a_batch_is_private_memory(path: FetchAhead) -> None:
    """Not shared between processes, of the bytes it needs, resizable, and never written to again (S18 to S20)."""
    loader = DataLoader(seeded(Steady), 4)
    expected = loader.dataset.x.clone()
    for x, _, labels in list(loader):
        assert not x.is_shared()
        assert x.untyped_storage().nbytes() == x.nbytes
        x.zero_()
        labels["y"].resize_(100)

    assert record(path).taken == 15
    assert torch.equal(loader.dataset.x, expected)


@pytest.mark.parametrize(
    "value",
    [
        [torch.arange(3), torch.zeros(0, 4), torch.ones((), dtype=torch.bfloat16)],
        {
            "a": torch.arange(12).reshape(3, 4).t(),
            "b": (torch.zeros(2, 3, 4, 5).to(memory_format=torch.channels_last),),
        },
        datasets.Pair(np.arange(6.0).reshape(2, 3), [np.float32(2), "text", None, b"bytes", 2**70, 1j]),
        torch.arange(4.0).requires_grad_(),
        torch.arange(20)[3:7],
    ],
)
def test_what_is_carried_arrives_as_it_was(value: Any) -> None:
    packed = pack(value)
    memory = memoryview(bytearray(packed.nbytes))
    packed.write(memory)

    assert difference(value, unpack(memory)) == ""


def test_shared_storage_stays_shared() -> None:
    """Two views of one storage are two views of one storage, and two without a byte are two."""
    whole = torch.arange(6)
    packed = pack([whole, whole[1:3], torch.zeros(0), torch.zeros(0)])
    memory = memoryview(bytearray(packed.nbytes))
    packed.write(memory)
    whole, part, *_ = unpack(memory)
    whole += 1

    assert part.tolist() == [2, 3]
    assert packed.nbytes < 2000


def test_a_difference_turns_it_off(
    path: FetchAhead, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Should a batch come out other there than here, the user gets stock's, the path ends, and it is said."""
    here = os.getpid()

    class Other(Dataset[Any]):
        def __len__(self) -> int:
            return 32

        def __getitem__(self, i: int) -> int:
            return i if os.getpid() == here else -i

    loader = DataLoader(Other(), 4)

    assert torch.cat([*loader]).tolist() == list(range(32))
    assert "fetch-ahead could not be applied" in capsys.readouterr().err
    assert record(path).off
    assert children() == []


def test_a_batch_larger_than_any_compared_is_compared(path: FetchAhead) -> None:
    """More elements may be summed in more threads."""
    loader = DataLoader(seeded(datasets.Single), batch_sampler=[[1]] * 6 + [[1, 2, 3]] * 3 + [[1]] * 3)
    list(loader)

    assert record(path).compared == 3


# -- processes


def test_nothing_is_left(path: FetchAhead) -> None:
    """After the end, a break and an exception in the loop: no process, no descriptor (S34, S38)."""

    def descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    loader = DataLoader(seeded(TorchDraw), 4)
    before = descriptors()
    list(loader)
    for _, _ in zip(range(3), loader):
        assert len(children()) == 1
    with pytest.raises(RuntimeError, match="in the loop"):
        raise_in_loop(loader)

    assert children() == []
    assert descriptors() == before


def raise_in_loop(loader: Any) -> None:
    for number, _ in enumerate(loader):
        if number == 3:
            raise RuntimeError("in the loop")


def test_the_last_batches_arrive(path: FetchAhead) -> None:
    """However long ago the helper came to its end."""
    loader = DataLoader(seeded(TorchDraw), 16)
    for number, _ in enumerate(loader):
        time.sleep(0.2 if number == 1 else 0.01)

    assert (record(path).taken, record(path).missed) == (3, 0)


def test_two_iterators_of_one_loader(host: Host) -> None:
    """Each has its helper; what they draw meanwhile is noticed."""

    def run() -> list[Any]:
        torch.manual_seed(1)
        loader = DataLoader(seeded(Steady), 4, shuffle=True)
        return [*zip(loader, loader)]

    expected = run()
    path = FetchAhead(host, "fetch-ahead")
    path.install()

    assert difference(expected, run()) == ""


def test_a_killed_helper_is_replaced(path: FetchAhead) -> None:
    """The batch that it would have served is fetched here."""
    loader = DataLoader(seeded(Everything), 4)
    torch.manual_seed(0)
    random.seed(0)
    np.random.seed(0)
    seen = []
    for number, batch in enumerate(loader):
        seen.append(batch)
        if number == 5:
            os.kill(children()[0], signal.SIGKILL)
            time.sleep(0.01)
    path.host.undo()
    torch.manual_seed(0)
    random.seed(0)
    np.random.seed(0)

    assert difference([*loader], seen) == ""
    assert 1 <= record(path).missed <= 2


def test_a_helper_that_hangs_is_given_up(
    path: FetchAhead, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a dataset may whose library holds a lock that was taken when the process was copied."""
    monkeypatch.setattr(ahead, "_SHORTEST_LIMIT_S", 0.2)
    monkeypatch.setattr(ahead, "_TIMES", 0)
    here = os.getpid()

    class Hangs(Dataset[Any]):
        def __len__(self) -> int:
            return 12

        def __getitem__(self, i: int) -> int:
            while os.getpid() != here:
                time.sleep(1)
            return i

    assert torch.cat([*DataLoader(Hangs(), 1)]).tolist() == list(range(12))
    assert "did not answer" in capsys.readouterr().err
    assert children() == []


SCRIPT = """
import os, signal, sys, time, torch
from torch.utils.data import DataLoader, Dataset
from hotlap.inside.host import Host
from hotlap.inside.journal import Journal
from hotlap.loader.ahead import FetchAhead
class Slow(Dataset):
    def __len__(self): return 1000
    def __getitem__(self, i):
        time.sleep(0.02)
        return i
FetchAhead(Host(Journal(None), {}), "fetch-ahead").install()
for number, batch in enumerate(DataLoader(Slow(), 2)):
    if number == 4:
        print(open(f"/proc/self/task/{os.getpid()}/children").read(), flush=True)
"""


@pytest.mark.parametrize(
    "number", [signal.SIGINT, *(pytest.param(n, marks=pytest.mark.slow) for n in (signal.SIGTERM, signal.SIGKILL))]
)
def test_no_process_outlives_the_training(number: int) -> None:
    """Ctrl-C reaches the whole group and is raised once; a killed training takes its helper along (S33)."""
    script = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(SCRIPT)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert script.stdout is not None
    helper = int(script.stdout.readline())
    (os.killpg if number == signal.SIGINT else os.kill)(script.pid, number)
    _, error = script.communicate(timeout=20)

    assert error.count("KeyboardInterrupt") == (number == signal.SIGINT)
    assert script.returncode == -number
    for _ in range(100):
        if not Path(f"/proc/{helper}/cmdline").exists() or not Path(f"/proc/{helper}/cmdline").read_bytes():
            return
        time.sleep(0.05)
    raise AssertionError("the helper is still there")


def test_attributes_stay_and_undo_restores(host: Host) -> None:
    """The loader's own attributes are the user's, and stock is stock again (S36)."""
    from torch.utils.data._utils.fetch import _MapDatasetFetcher

    before = _MapDatasetFetcher.fetch, DataLoader._get_iterator
    loader = DataLoader(seeded(TorchDraw), 4)
    written = dict(vars(loader))
    FetchAhead(host, "fetch-ahead").install()
    iterator = iter(loader)
    next(iterator)

    assert vars(loader) == written
    assert len(children()) == 1
    host.undo()
    assert (_MapDatasetFetcher.fetch, DataLoader._get_iterator) == before
    assert children() == []
    assert len([*iterator]) == 15
