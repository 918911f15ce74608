"""S1 to S8: which samples come, in which order, and with which random numbers."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from loader import datasets
from loader.safety.conftest import Same
from loader.safety.record import described, history, seeded, states
from loader.safety.samples import Computed, Drawing, Late, Rows, Seeds, Threads, informed, orders, rows, set_epoch

LOADERS = pytest.mark.parametrize(
    ("data", "workers"), [(rows, 0), (Computed, 0), (rows, 2)], ids=["rows", "work", "rows in workers"]
)
Make = Callable[[], DataLoader[Any]]
PLAIN = orders(rows)
WORK = orders(Computed)
WORKERS = orders(rows, num_workers=2)
FEW = ("shuffled", "eager sampler", "own batches")


@pytest.mark.parametrize("order", PLAIN)
def test_s01_order(order: str, same: Same) -> None:
    """The same samples in the same order, for every sampler of torch and for one's own."""
    same(lambda: history(PLAIN[order], between=set_epoch))


@pytest.mark.parametrize("order", ["replacement", "batch sampler", "distributed", "single samples"])
def test_s01_order_of_work(order: str, same: Same) -> None:
    """The same for samples that are computed."""
    same(lambda: history(WORK[order], between=set_epoch))


@pytest.mark.parametrize("order", FEW)
def test_s01_order_with_workers(order: str, same: Same) -> None:
    """The same where the script loads in processes."""
    same(lambda: history(WORKERS[order], between=set_epoch))


@pytest.mark.parametrize("order", ["shuffled", "own generator"])
@pytest.mark.parametrize("kind", [PLAIN, WORK, WORKERS], ids=["rows", "work", "workers"])
def test_s02_generators(kind: dict[str, Make], order: str, same: Same) -> None:
    """Every generator stands where it would after iter(), each batch and each epoch, also when the loop is left."""
    seen = same(lambda: history(kind[order], stop=2, epochs=3))

    assert len({event[-1] for event in seen}) > 1, "nothing was drawn, so nothing was tested"


@LOADERS
def test_s03_two_loaders_of_the_global_generator(data: Any, workers: int, same: Same) -> None:
    """Loaders that are read in turn draw their orders in the turn of stock."""

    def scenario() -> Any:
        seeded()
        make = partial(DataLoader, data(), 4, shuffle=True, num_workers=workers)
        return [(described(pair), states()) for pair in zip(make(), make())]

    same(scenario)


@LOADERS
def test_s03_shared_generator(data: Any, workers: int, same: Same) -> None:
    """One generator for two loaders, which the script draws from as well."""

    def scenario() -> Any:
        seeded()
        shared = torch.Generator().manual_seed(5)
        make = partial(DataLoader, data(), 4, shuffle=True, generator=shared, num_workers=workers)
        first, second, events = iter(make()), iter(make()), []
        for _ in range(4):
            own = torch.rand((), generator=shared)
            events.append(described([next(first), next(second), own, torch.rand(())]))
        return events

    same(scenario)


@LOADERS
def test_s03_never_ahead(data: Any, workers: int, same: Same) -> None:
    """A sampler that draws at each index is asked no earlier and no later."""

    def scenario() -> Any:
        make = partial(DataLoader, data(), 1, sampler=Drawing(eager=False), num_workers=workers)
        return history(make, after=lambda *_: torch.rand(()))

    same(scenario)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("kind", [datasets.TorchDraw, datasets.NumpyDraw, datasets.Augments])
def test_s04_random_transforms(kind: Any, workers: int, same: Same) -> None:
    """Transforms draw the numbers that they would, also in turn with the training's own draws."""
    same(lambda: history(lambda: DataLoader(kind(12), 4, num_workers=workers), after=lambda *_: torch.rand(2)))


@pytest.mark.parametrize("workers", [0, 2])
def test_s04_random_collation(workers: int, same: Same) -> None:
    """The same for a collate_fn."""

    def jittered(samples: list[Any]) -> Any:
        return torch.stack([x for x, _ in samples]) + torch.rand(())

    same(lambda: history(partial(DataLoader, Rows(), 4, collate_fn=jittered, num_workers=workers)))


@pytest.mark.parametrize("workers", [0, 2])
def test_s05_first_draw_late(workers: int, same: Same) -> None:
    """A dataset that was taken for free of randomness, and draws in the end."""
    same(lambda: history(partial(DataLoader, Late(), 2, num_workers=workers)))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("kind", [datasets.PrivateNumpy, datasets.PrivateTorch, datasets.Caches])
def test_s06_private_generators(kind: Any, workers: int, same: Same) -> None:
    """Generators of somebody's own, and what else one fetch may leave for the next."""

    def make() -> DataLoader[Any]:
        return DataLoader(kind(), 16, shuffle=True, num_workers=workers)

    same(lambda: history(make, stop=3))


@pytest.mark.parametrize("persistent", [False, True])
@pytest.mark.parametrize("workers", [0, 2])
def test_s07_seeds(workers: int, persistent: bool, same: Same) -> None:
    """Seeds that code may read are those of stock, in each epoch."""
    if persistent and not workers:
        pytest.skip("there is nobody to persist")
    same(lambda: history(partial(DataLoader, Seeds(), 4, num_workers=workers, persistent_workers=persistent)))


@pytest.mark.parametrize("workers", [0, 2])
def test_s08_threads(workers: int, same: Same) -> None:
    """Sums over many numbers are shared among as many threads."""
    same(lambda: history(partial(DataLoader, Threads(), 4, num_workers=workers), epochs=1))


@pytest.mark.parametrize("workers", [0, 2])
def test_s08_process(workers: int, same: Same) -> None:
    """Whether fetching happens in the script's own process shows to a dataset that asks."""
    script = os.getpid()

    class Where(Rows):
        def __getitem__(self, i):
            return i, os.getpid() == script

    same(lambda: history(partial(DataLoader, Where(), 4, num_workers=workers), epochs=1))


@pytest.mark.parametrize("workers", [0, 2])
def test_s04_information_in_collation(workers: int, same: Same) -> None:
    """A collate_fn that asks who it works for."""
    same(lambda: history(partial(DataLoader, Rows(), 4, collate_fn=informed, num_workers=workers)))
