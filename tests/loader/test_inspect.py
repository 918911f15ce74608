"""What the observed run finds out about loaders."""

from __future__ import annotations

import json
import multiprocessing
import random
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import BatchSampler, DataLoader, Dataset, IterableDataset, RandomSampler, Sampler, TensorDataset
from torch.utils.data.distributed import DistributedSampler

from hotlap.inside.host import Host
from hotlap.inside.tape import Tape
from hotlap.loader.compare import IncomparableError, difference
from hotlap.loader.fetch_watch import FetchWatch, dataset_name, merged
from hotlap.loader.inspect import LoaderWatch
from hotlap.loader.movable import why_not_movable
from hotlap.trials.journals import _draws, _fetching_s
from loader import datasets
from loader.datasets import DRAWS, Steady, Tuple


def watched(host: Host) -> FetchWatch:
    """Put the watch in."""
    watch = FetchWatch(host)
    watch.install()
    return watch


@pytest.mark.parametrize("kind", DRAWS, ids=lambda kind: kind.__name__)
def test_draws(kind: Any, host: Host) -> None:
    """Every way in which two fetches may differ, in the script's own process."""
    watch = watched(host)
    dataset = kind()

    list(DataLoader(dataset, batch_size=4))

    assert watch.draws == {dataset_name(dataset): DRAWS[kind]}


@pytest.mark.parametrize("kind", DRAWS, ids=lambda kind: kind.__name__)
def test_draws_in_workers(kind: Any, host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same through the journals of worker processes, although the recorder closes the host's in them."""
    monkeypatch.setenv("HOTLAP_JOURNAL", str(tmp_path))
    watch = watched(host)
    dataset = kind()

    list(DataLoader(dataset, batch_size=4, num_workers=2))

    assert watch.draws == {}
    lines = [json.loads(line) for path in tmp_path.glob("journal-*.jsonl") for line in path.read_text().splitlines()]
    lines = [line for line in lines if line["kind"] == "fetch"]
    assert lines
    assert {line["dataset"] for line in lines} == {dataset_name(dataset)}
    loader = {"draws_randomness": False, "num_workers": 2}
    assert _draws(loader, [line["draws"] for line in lines]) is DRAWS[kind]


def test_draws_in_collation(host: Host) -> None:
    """A collate_fn is part of the fetch."""

    def jittered(samples: list[Any]) -> Any:
        return torch.stack([x for x, _ in samples]) + random.random()

    watch = watched(host)
    list(DataLoader(Tuple(), batch_size=4, collate_fn=jittered))

    assert list(watch.draws.values()) == [True]


def test_merging() -> None:
    """Any draw is a draw, doubt stays, and workers that said nothing leave doubt."""
    assert merged(False, True) is merged(True, None) is True
    assert merged(False, None) is None
    assert merged(False, False) is False
    assert _draws({"draws_randomness": False, "num_workers": 2}, []) is None
    assert _draws({"draws_randomness": False, "num_workers": 0}, []) is False
    assert _draws({"draws_randomness": None, "num_workers": 2}, [False]) is None
    assert _draws({"draws_randomness": False, "num_workers": 2}, [False, None]) is None
    assert _draws({"draws_randomness": False, "num_workers": 0}, [True]) is True


class Parts(datasets.Sized):
    def __getitem__(self, i):
        return self.targets


TIED = {
    datasets.TorchDraw: "",
    datasets.PythonDraw: "",
    datasets.NumpyDraw: "",
    Steady: "",
    datasets.PrivateNumpy: "",  # this one makes nothing of its generator
    datasets.GlobalGenerator: "fetching once more from the same random states gives other samples",
    datasets.Clock: "fetching once more from the same random states gives other samples",
    datasets.Caches: "fetching changes the dataset",
    Parts: "its batches are parts of the dataset",
}


@pytest.mark.parametrize("kind", TIED)
def test_what_can_be_fetched_ahead(kind: Any, host: Host) -> None:
    """Whatever gives the same again from the same states of the global generators."""
    watch = watched(host)
    list(DataLoader(kind(), batch_size=4, collate_fn=list if kind is Parts else None))

    assert list(watch.tied.values()) == [TIED[kind]]


@pytest.mark.parametrize("what", ["large array", "long list"])
def test_what_the_script_changes_in_an_epoch(what: str, host: Host) -> None:
    """Even where it is too large to be looked at for every batch of a training."""
    watch = watched(host)
    dataset = Steady()
    dataset.a, dataset.names = np.zeros((64, 10_000)), ["name"] * 10_000
    for _ in DataLoader(dataset, batch_size=4):
        if what == "large array":
            dataset.a[7, 7] += 1
        else:
            dataset.names[9_000] = dataset.names[9_000] + "."

    assert list(watch.tied.values()) == ["it changes during an epoch"]
    assert list(watch.draws.values()) == [None]


@pytest.mark.parametrize("kind", [datasets.TorchDraw, datasets.NumpyDraw, datasets.PythonDraw, Steady])
def test_training_stays_as_it_would_be(kind: Any, host: Host) -> None:
    """Batches and global generators are those of an unwatched run."""

    def run() -> list[Any]:
        torch.manual_seed(3)
        random.seed(3)
        np.random.seed(3)
        batches = list(DataLoader(kind(), batch_size=4, shuffle=True))
        return [batches, torch.get_rng_state(), str(random.getstate()), str(np.random.get_state())]

    expected = run()
    watched(host)

    assert difference(expected, run()) == ""


def test_second_fetch_that_draws_is_taken_back(host: Host) -> None:
    """A lazy dataset that draws on a second visit does not move the global generators."""

    class Twice(Dataset[Any]):
        visits = 0

        def __getitem__(self, i: int) -> Any:
            Twice.visits += 1
            return torch.rand(()) if Twice.visits > 1 else torch.zeros(())

    watch = watched(host)
    before = torch.get_rng_state()
    next(iter(DataLoader(Twice(), sampler=[0], generator=torch.Generator())))

    assert list(watch.draws.values()) == [True]
    assert torch.equal(torch.get_rng_state(), before)


def test_never_breaks_the_run(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    """A dataset that raises on a second fetch, and one that raises at once, with stock's error."""

    class Once(Dataset[Any]):
        left = 2

        def __getitem__(self, i: int) -> Any:
            self.left -= 1
            if self.left < 0:
                raise OSError("no more")
            return i

    watch = watched(host)
    assert next(iter(DataLoader(Once(), batch_size=2, sampler=[0, 1]))).tolist() == [0, 1]
    assert watch.draws == {}
    assert "watching a fetch failed" in capsys.readouterr().err
    with pytest.raises(OSError, match="no more"):
        list(DataLoader(Once(), batch_size=2, sampler=[0, 1, 2]))


# -- may it move?


class Stream(IterableDataset[Any]):
    def __iter__(self):
        return iter(range(3))


class OwnSampler(Sampler[int]):
    def __iter__(self):
        return iter([1, 0])

    def __len__(self):
        return 2


class OwnLoader(DataLoader[Any]):
    def __iter__(self):
        return super().__iter__()


class Holds(Tuple):
    def __init__(self, thing: Any) -> None:
        super().__init__()
        self.thing = {"deep": [thing]}


@pytest.mark.parametrize(
    ("loader", "reason"),
    [
        (lambda: DataLoader(Steady(), 4, shuffle=True), ""),
        (lambda: DataLoader(Steady(), 4, num_workers=2), ""),
        (lambda: DataLoader(Steady(), batch_size=None), ""),
        (lambda: DataLoader(Stream(), 4), "an iterable dataset shards by worker"),
        (lambda: OwnLoader(Steady(), 4), "it iterates in its own way"),
        (lambda: DataLoader(Steady(), 4, num_workers=1, persistent_workers=True), "it configures its workers itself"),
        (lambda: DataLoader(Steady(), 4, worker_init_fn=print), "it configures its workers itself"),
        (lambda: DataLoader(Steady(), 4, sampler=OwnSampler()), "it has a sampler of its own"),
        (lambda: DataLoader(Steady(), batch_sampler=[[1]]), "it has a batch sampler of its own"),
        (lambda: DataLoader(Steady(), batch_sampler=BatchSampler(RandomSampler(Steady()), 4, False)), ""),
        (
            lambda: DataLoader(Steady(), 4, shuffle=True, generator=torch.Generator()),
            "its order comes from a generator that the script holds",
        ),
        (lambda: DataLoader(Holds(sys.stdout), 4), "the dataset holds a"),
        (lambda: DataLoader(Holds(multiprocessing.Lock()), 4), "the dataset holds a Lock"),
        (lambda: DataLoader(Holds(torch.ones(1, device="meta")), 4), "the dataset holds tensors on a device"),
    ],
)
def test_movable(loader: Any, reason: str) -> None:
    """Who may get another number of workers."""
    answer = why_not_movable(loader())

    assert answer.startswith(reason)
    assert bool(answer) == bool(reason)


# -- the records


def observed(host: Host) -> LoaderWatch:
    """The watch as the observer puts it in."""
    host.loaders.watch()
    watch = LoaderWatch(host)
    watch.install()
    host.loaders.time(Tape())
    return watch


def test_facts(host: Host) -> None:
    """One record per loader, complete even when the loader is gone."""
    watch = observed(host)

    def train() -> None:
        for _ in DataLoader(Tuple(), batch_size=16, shuffle=True):
            watch.fed_training()

    train()
    evaluation = DataLoader(datasets.Augments(), batch_size=10, drop_last=True)
    next(iter(evaluation))
    unused = DataLoader(TensorDataset(torch.ones(3)), batch_size=2)
    stream = DataLoader(Stream(), batch_size=2)
    list(stream)
    train_facts, evaluation_facts, unused_facts, stream_facts = watch.facts()

    assert (train_facts.dataset, train_facts.length, train_facts.batch_size) == ("loader.datasets:Tuple", 64, 16)
    assert (train_facts.trains, train_facts.shuffles, train_facts.whole_batch) == (True, True, "")
    assert (train_facts.tied, stream_facts.tied) == ("", "its dataset is iterable")
    assert train_facts.draws_randomness is False
    assert watch.epoch_steps(4) == 4
    assert (evaluation_facts.trains, evaluation_facts.drop_last, evaluation_facts.index) == (False, True, 1)
    assert evaluation_facts.draws_randomness is True
    assert "self.x[i] + torch.randn(3, 4)" in evaluation_facts.whole_batch
    assert (unused_facts.whole_batch, unused_facts.draws_randomness) == ("", None)
    assert (stream_facts.whole_batch, stream_facts.length) == ("its dataset is iterable", None)
    assert stream_facts.draws_randomness is None
    del unused


def test_facts_with_workers(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """What workers saw reaches the parent by their journals; here it is left open."""
    monkeypatch.delenv("HOTLAP_JOURNAL", raising=False)
    watch = observed(host)
    loader = DataLoader(Tuple(), batch_size=16, num_workers=1)
    fixed = DataLoader(Tuple(), batch_size=16, num_workers=1, worker_init_fn=print)
    list(loader)

    assert [fact.draws_randomness for fact in watch.facts()] == [False, None]
    assert watch.facts()[0].whole_batch == ""
    del fixed


class Sleeps(Dataset[Any]):
    def __len__(self) -> int:
        return 12

    def __getitem__(self, i: int) -> torch.Tensor:
        time.sleep(0.01)
        return torch.zeros(3)


@pytest.mark.parametrize("workers", [0, 1])
def test_pace(workers: int, host: Host, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """How long batches take to be fetched, also by a worker; to be waited for, used and carried."""
    monkeypatch.setenv("HOTLAP_JOURNAL", str(tmp_path))
    watch = observed(host)
    loader = DataLoader(Sleeps(), batch_size=1, num_workers=workers)
    for _ in loader:
        time.sleep(0.03)
    (found,) = watch.facts()
    lines = [json.loads(line) for path in tmp_path.glob("*") for line in path.read_text().splitlines()]
    fetch_s = _fetching_s([lines], found.dataset) if workers else found.fetch_s

    assert fetch_s is not None
    assert fetch_s >= 0.01
    assert found.use_s is not None
    assert found.use_s >= 0.03
    assert found.wait_s is not None
    assert found.carry_s is not None
    assert 0 < found.carry_s < found.use_s


def test_dataset_without_a_length(host: Host) -> None:
    """Legal with a sampler of its own."""

    class Endless(Dataset[Any]):
        def __getitem__(self, i: int) -> int:
            return i

    watch = observed(host)
    list(DataLoader(Endless(), batch_size=2, sampler=[1, 2, 3]))

    assert [fact.length for fact in watch.facts()] == [None]


# -- comparison


@pytest.mark.parametrize(
    ("one", "other", "said"),
    [
        (torch.zeros(2), torch.zeros(2), ""),
        (torch.zeros(2), -torch.zeros(2), "other values"),
        (torch.tensor([float("nan")]), torch.tensor([float("nan")]), ""),
        (torch.zeros(2), torch.zeros(2).double(), "dtype"),
        (torch.zeros(2, 3), torch.zeros(3, 2).t(), "strides"),
        (torch.zeros(2), torch.zeros(4)[:2], "storage bytes"),
        ([1, (2.0, "a")], [1, (2.0, "b")], "batch[1][1] has another value"),
        ([1], (1,), "list here and tuple there"),
        ([1], [True], "int here and bool there"),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, "order of keys"),
        (0.0, -0.0, "another value"),
        (float("nan"), float("nan"), ""),
        (np.ones(3), np.ones(3), ""),
        (np.ones(3), np.zeros(3), "other values"),
        (None, None, ""),
    ],
)
def test_difference(one: Any, other: Any, said: str) -> None:
    """To the bit, with types and layout."""
    answer = difference(one, other)

    assert said in answer
    assert bool(answer) == bool(said)


def test_incomparable() -> None:
    """What is not looked into is never called equal."""
    with pytest.raises(IncomparableError):
        difference([object()], [object()])


ROWS = TensorDataset(torch.ones(8))
ORDERS: dict[str, tuple[dict[str, Any], bool | None]] = {
    "as stored": ({}, False),
    "shuffle": ({"shuffle": True}, True),
    "a rank's share": ({"sampler": DistributedSampler(ROWS, num_replicas=2, rank=0)}, True),
    "a rank's share as stored": ({"sampler": DistributedSampler(ROWS, num_replicas=2, rank=0, shuffle=False)}, False),
    "batches of a random order": ({"batch_sampler": BatchSampler(RandomSampler(ROWS), 2, False)}, True),
    "a list": ({"sampler": [3, 1, 2]}, None),
    "a list of batches": ({"batch_sampler": [[3, 1], [2]]}, None),
}


@pytest.mark.parametrize("case", ORDERS)
def test_whether_the_order_changes(case: str, host: Host) -> None:
    arguments, shuffles = ORDERS[case]
    host.loaders.watch()
    loader = DataLoader(ROWS, **arguments)
    watch = LoaderWatch(host)
    watch.install()
    next(iter(loader))
    assert [facts.shuffles for facts in watch.facts()] == [shuffles]


def test_whether_samples_can_be_kept(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Found before the first step, of the loaders opened by then; a change between epochs is seen when it is made."""
    monkeypatch.setattr("hotlap.loader.cached._WORTH", 0.0)
    watch = observed(host)
    dataset = Steady()
    loaders = [DataLoader(dataset, 16), DataLoader(datasets.Augments(), 16), DataLoader(Steady(), 16)]
    weight = torch.nn.Parameter(torch.ones(1))
    weight.grad = torch.ones(1)
    for loader in loaders[:2]:
        next(iter(loader))
    torch.optim.SGD([weight], 0.1).step()
    reasons = [fact.sample_cache for fact in watch.facts()]
    next(iter(loaders[0]))
    unchanged = watch.facts()[0].sample_cache
    dataset.names[3] = "another"
    next(iter(loaders[0]))

    assert reasons == ["", "fetching draws randomness", "its samples were not looked at"]
    assert unchanged == ""
    assert watch.facts()[0].sample_cache == "the script changes it between epochs"
