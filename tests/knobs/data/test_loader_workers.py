"""Another number of worker processes, where that changes nothing but the time."""

from __future__ import annotations

import copy
import random
from typing import Any

import numpy as np
import pytest
import torch
from facts import facts
from torch.utils.data import DataLoader, Dataset

from hotlap.inside.host import Host
from hotlap.knobs.data.loader_workers import LoaderWorkers
from hotlap.loader.compare import bits
from hotlap.records import Skip


class Squares(Dataset[Any]):
    """Work without randomness."""

    def __len__(self) -> int:
        return 50

    def __getitem__(self, i: int) -> Any:
        return torch.arange(6.0).add(i).square(), i


@pytest.mark.parametrize(
    ("machine", "used", "world_size", "expected"),
    [
        ({"cores": 2}, 0, 1, (1, 2)),
        ({"cores": 8}, 0, 1, (4, 8, 2)),
        ({"cores": 1}, 0, 1, (1,)),
        ({"cores": 8, "quota": 2.5}, 0, 1, (1, 2)),
        ({"cores": 8}, 0, 4, (1, 2)),
        ({"cores": 8}, 4, 1, (8, 2)),
    ],
)
def test_counts(machine: dict[str, Any], used: int, world_size: int, expected: tuple[int, ...]) -> None:
    """Never more than the cores of a rank."""
    found = facts(machine=machine, loader={"num_workers": used}, world_size=world_size)

    assert LoaderWorkers().choices(found) == expected


TIMES = {"fetch_s": 0.03, "wait_s": 0.03, "use_s": 0.01, "carry_s": 0.001}


@pytest.mark.parametrize(
    ("times", "used", "expected"),
    [
        ({}, 0, (4, 5, 3)),  # 1.2 x 30 / 10
        ({"fetch_s": 0.008}, 0, (1, 2)),
        ({"fetch_s": 0.5}, 0, (8, 7)),
        ({"carry_s": 0.02}, 0, (2, 3, 1)),  # receiving is slower than using
        ({"wait_s": 0.02}, 4, (5, 3)),
        ({"fetch_s": None}, 0, (4, 8, 2)),
    ],
)
def test_counts_by_what_keeps_up(times: dict[str, Any], used: int, expected: tuple[int, ...]) -> None:
    """The time to fetch over the time to use, a fifth in hand, and one step either side."""
    found = facts(machine={"cores": 8}, loader={"num_workers": used, **TIMES, **times})

    assert LoaderWorkers().choices(found) == expected


@pytest.mark.parametrize(
    ("times", "used", "reason"),
    [
        ({"wait_s": 0.0001}, 2, "the training waits for its batches for less than 2%"),
        ({"fetch_s": 0.001, "wait_s": 0.001}, 0, "a batch takes about as long to be handed"),
    ],
)
def test_skips_where_nothing_is_to_be_gained(times: dict[str, Any], used: int, reason: str) -> None:
    """No wait to shorten, or no work to move."""
    answer = LoaderWorkers().choices(facts(loader={"num_workers": used, **TIMES, **times}))

    assert isinstance(answer, Skip)
    assert answer.reason.startswith(reason)


def test_skips_where_fetching_draws() -> None:
    """Then the number of workers decides which random numbers a sample sees."""
    answer = LoaderWorkers().choices(facts(loader={"dataset": "__main__:Crops", "draws_randomness": True}))

    assert isinstance(answer, Skip)
    assert answer.reason.startswith("fetching from Crops draws randomness")


def test_skips_where_it_is_not_known() -> None:
    """Could not check is never passed."""
    answer = LoaderWorkers().choices(facts(loader={"draws_randomness": None}))

    assert isinstance(answer, Skip)
    assert "not shown" in answer.reason


def test_conflicts_with_whole_batches() -> None:
    assert "whole-batch-fetch" in LoaderWorkers.conflicts


def run(loader: DataLoader[Any]) -> list[Any]:
    """Batches and generators of two epochs."""
    torch.manual_seed(3)
    random.seed(3)
    np.random.seed(3)
    seen: list[Any] = []
    for _ in range(2):
        for x, y in loader:
            seen.append((bits(x).tolist(), y.tolist(), torch.get_rng_state().tolist()))
        seen.append((torch.rand(()).item(), random.random(), np.random.rand()))
    return seen


@pytest.mark.parametrize("used", [0, 2])
@pytest.mark.parametrize("value", [1, 2])
@pytest.mark.parametrize("shuffle", [False, True])
def test_same_batches_and_attributes(used: int, value: int, shuffle: bool, host: Host) -> None:
    """Batches, order, generators, and whatever frameworks read back from the loader (S36)."""
    loader = DataLoader(Squares(), batch_size=8, shuffle=shuffle, num_workers=used, timeout=30 if used else 0)
    written = copy.copy(vars(loader))
    expected = run(loader)

    LoaderWorkers().install(value, host)

    assert run(loader) == expected
    assert vars(loader) == written
    iterator = iter(loader)
    assert next(iterator) is not None
    if used:
        assert iterator._num_workers == value
    elif value:
        assert len(iterator._inner._workers) == value


def test_leaves_others_alone(host: Host) -> None:
    """A loader that configures its workers keeps them."""
    loader = DataLoader(Squares(), batch_size=8, worker_init_fn=print)

    LoaderWorkers().install(2, host)

    assert iter(loader)._num_workers == 0
