"""Whole batches through real loaders: contents, order, generators, errors, and the comparison that goes on."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, SequentialSampler, TensorDataset
from torch.utils.data import WeightedRandomSampler as Weighted

from hotlap.inside.host import Host
from hotlap.loader.compare import difference
from hotlap.loader.serve import WholeBatches
from loader import datasets
from loader.datasets import Dictionary, Locals, Tuple


def generators() -> tuple[Any, ...]:
    """The states of the global generators."""
    return torch.get_rng_state().tolist(), random.getstate(), str(np.random.get_state())


def epochs(make: Callable[[], DataLoader[Any]], stop: int = 99) -> list[Any]:
    """Batches of two epochs, with the states of the generators after iter() and each batch."""
    torch.manual_seed(1)
    random.seed(1)
    np.random.seed(1)
    loader, seen = make(), []
    for _ in range(2):
        iterator = iter(loader)
        seen.append(generators())
        for number, batch in enumerate(iterator):
            seen.append((batch, generators()))
            if number == stop:
                break
        seen.append(generators())
    generator = loader.generator
    seen.append(None if generator is None else generator.get_state())
    return seen


def serving(host: Host) -> WholeBatches:
    """Put the fast path in."""
    batches = WholeBatches(host, "whole-batch-fetch")
    host.refetch(batches.fetch)
    return batches


def tensors() -> TensorDataset:
    """The same at every call."""
    generator = torch.Generator().manual_seed(0)
    return TensorDataset(torch.randn(50, 3, generator=generator), torch.arange(50))


LOADERS: dict[str, Callable[[], DataLoader[Any]]] = {
    "in order": lambda: DataLoader(tensors(), batch_size=8),
    "shuffled": lambda: DataLoader(tensors(), batch_size=8, shuffle=True),
    "drop last": lambda: DataLoader(tensors(), batch_size=8, shuffle=True, drop_last=True),
    "own generator": lambda: DataLoader(
        tensors(), batch_size=8, shuffle=True, generator=torch.Generator().manual_seed(2)
    ),
    "replacement": lambda: DataLoader(tensors(), 8, sampler=RandomSampler(tensors(), replacement=True)),
    "weighted": lambda: DataLoader(tensors(), 8, sampler=Weighted(torch.rand(50).tolist(), 40)),
    "numpy indices": lambda: DataLoader(tensors(), 8, sampler=list(np.random.permutation(50))),
    "batch sampler": lambda: DataLoader(tensors(), batch_sampler=[[1, 2], [-1], [7] * 9, [0, 3]]),
    "tensor indices": lambda: DataLoader(tensors(), 8, sampler=torch.randperm(50)),
    "single samples": lambda: DataLoader(tensors(), batch_size=None),
    "all at once": lambda: DataLoader(
        tensors(), batch_size=None, sampler=BatchSampler(SequentialSampler(tensors()), 8, False)
    ),
    "own collation": lambda: DataLoader(tensors(), 8, collate_fn=list),
    "dictionary": lambda: DataLoader(seeded(Dictionary), 8, shuffle=True),
    "locals": lambda: DataLoader(seeded(Locals), 8, shuffle=True),
    "augmenting": lambda: DataLoader(seeded(datasets.Augments), 8, shuffle=True),
    "two workers": lambda: DataLoader(tensors(), 8, shuffle=True, num_workers=2),
    "two workers, dictionary": lambda: DataLoader(seeded(Dictionary), 8, num_workers=2),
}


def seeded(kind: Any) -> Any:
    """A dataset of the same numbers at every call."""
    with torch.random.fork_rng():
        torch.manual_seed(5)
        return kind()


@pytest.mark.parametrize("name", LOADERS)
@pytest.mark.parametrize("stop", [2, 99], ids=["broken off", "whole"])
def test_same_batches_and_generators(name: str, stop: int, host: Host) -> None:
    """Batches, order and the state of every generator after iter(), each batch and each epoch (S1, S2, S17, S18)."""
    expected = epochs(LOADERS[name], stop)
    serving(host)

    assert difference(expected, epochs(LOADERS[name], stop)) == ""


def compared(host: Host, batches: int, epochs: int = 1) -> int:
    """How many batches of one dataset are fetched by stock as well."""
    path = WholeBatches(host, "whole-batch-fetch")
    asked: list[Any] = []

    def counted(fetcher: Any, indices: Any, stock: Any) -> Any:
        return path.fetch(fetcher, indices, lambda *call: (asked.append(indices), stock(*call))[1])

    host.refetch(counted)
    loader = DataLoader(tensors(), batch_sampler=[[1, 2]] * batches)
    for _ in range(epochs):
        iterator = iter(loader)
        list(iterator)
        assert path._paths[iterator._dataset_fetcher].served == batches  # type: ignore[attr-defined]
    return len(asked)


def test_is_used(host: Host) -> None:
    """All batches come from the fast path, and few are also fetched by stock."""
    assert compared(host, 512) == 3  # two at the start, and one in 256


@pytest.mark.parametrize(("batches", "epochs", "expected"), [(5, 4, 2), (40, 5, 4), (64, 4, 4), (300, 2, 4)])
def test_short_epochs_are_compared_less_often(batches: int, epochs: int, expected: int, host: Host) -> None:
    """Two batches of a dataset, the first of an epoch after 64 others, and one in 256."""
    assert compared(host, batches, epochs) == expected


def test_another_way_of_reading_is_compared_anew(host: Host) -> None:
    """Other code, or other types in an attribute, is as a new dataset (S13)."""
    path, asked = WholeBatches(host, "whole-batch-fetch"), []
    host.refetch(lambda *call: path.fetch(*call[:2], lambda *given: (asked.append(1), call[2](*given))[1]))

    class Own(Tuple):
        def __getitem__(self, i):
            return self.x[i], self.y[i]

    dataset = Own()
    seen = []
    for change in (lambda: None, lambda: setattr(dataset, "y", dataset.y.float()), lambda: swap(Own)):
        change()
        list(DataLoader(dataset, 8))
        seen.append(len(asked))

    assert seen == [2, 4, 6]


def swap(kind: Any) -> None:
    """Give the class another method, as an interactive session does."""

    def __getitem__(self, i):
        return self.y[i], self.x[i]

    kind.__getitem__ = __getitem__


def test_a_later_batch_never_changes_an_earlier_one(host: Host) -> None:
    """A whole epoch kept in a list, edited in place, is independent of the dataset (S20)."""
    dataset = Tuple()
    before = dataset.x.clone()
    serving(host)
    for x, _ in list(DataLoader(dataset, batch_size=4)):
        x.zero_()

    assert torch.equal(dataset.x, before)


@pytest.mark.parametrize("index", [999, -999, "a", None, 1.5])
def test_errors_are_the_users(index: Any, host: Host) -> None:
    """Batches before are delivered, then the same type and text, then the batches after (S31)."""

    def outcome(iterator: Any) -> str:
        try:
            return "end" if next(iterator, None) is None else "batch"
        except Exception as error:
            return f"{type(error).__name__}: {error}"

    def run() -> list[str]:
        iterator = iter(DataLoader(Tuple(), batch_sampler=[[1, 2], [3, index], [4, 5]]))
        return [outcome(iterator) for _ in range(4)]

    expected = run()
    serving(host)

    assert run() == expected
    assert expected[0] == expected[2] == "batch"


def test_a_difference_turns_it_off(
    host: Host, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Should a batch ever differ, the user gets stock's, the path ends, and it is said."""
    monkeypatch.setattr("hotlap.loader.serve.fetch_path", lambda *_: lambda indices: [torch.zeros(len(indices), 3), 0])
    batches = serving(host)
    dataset = tensors()

    x, y = next(iter(DataLoader(dataset, batch_size=4)))

    assert torch.equal(x, dataset.tensors[0][:4])
    assert torch.equal(y, dataset.tensors[1][:4])
    assert batches._off
    assert "whole-batch-fetch could not be applied" in capsys.readouterr().err


def test_a_fetcher_that_never_fits_is_left_alone(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    """After a few batches in a row that needed stock, no more are tried, which is said once (S40)."""
    batches = serving(host)
    loader = DataLoader(tensors(), batch_sampler=[[-1, 2]] * 9)
    iterators = iter(loader), iter(loader)
    for iterator in iterators:
        list(iterator)

    assert [path.missed for path in batches._paths.values()] == [4, 4]
    assert capsys.readouterr().err.count("torch fetches the batches of TensorDataset itself, because ") == 1


def test_errors_of_the_script_are_not_spoken_of(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    """They are raised, which is enough."""
    serving(host)
    for _ in range(9):
        with pytest.raises(IndexError):
            next(iter(DataLoader(Tuple(), batch_sampler=[[1, 999]])))

    assert capsys.readouterr().err == ""


def test_undone(host: Host) -> None:
    """Stock is stock again."""
    from torch.utils.data._utils.fetch import _MapDatasetFetcher

    before = _MapDatasetFetcher.fetch
    serving(host)
    host.undo()

    assert _MapDatasetFetcher.fetch is before
