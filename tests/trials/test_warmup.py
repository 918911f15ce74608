"""Where the warm-up of a run ends."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotlap.records import Steps
from hotlap.trials.warmup import counted, warmup_of


def steps(times: list[float], compiles: tuple[int, ...] = ()) -> Steps:
    return Steps(total_s=tuple(times), compiles=compiles or (0,) * len(times), arms=(0,) * len(times))


def noisy(level: float, count: int, seed: int, noise: float = 0.03) -> list[float]:
    luck = random.Random(seed)
    return [level * luck.lognormvariate(0, noise) for _ in range(count)]


@given(st.integers(0, 9999), st.integers(0, 300))
def test_it_never_leaves_less_than_half(seed: int, count: int) -> None:
    """Of what follows the first ten steps, whatever the times."""
    luck = random.Random(seed)
    found = warmup_of(steps([luck.paretovariate(1.5) for _ in range(count)]))

    assert 10 <= found.steps <= max(10, 10 + (count - 10) / 2)


def test_an_even_pace_needs_no_more_than_the_least() -> None:
    """With noise and single slow steps: at most one run in fifty is cut for nothing."""
    cut = 0
    for seed in range(200):
        times = noisy(0.05, 120, seed)
        times[seed % 100 + 15] *= 5
        cut += warmup_of(steps(times)).steps != 10

    assert cut <= 4


@pytest.mark.parametrize("slow", [15, 25, 40])
def test_a_slow_start_is_left_out(slow: int) -> None:
    """All of it, and not much more."""
    for seed in range(20):
        found = warmup_of(steps(noisy(0.08, slow, seed) + noisy(0.05, 150, seed + 100)))
        assert found.steady
        assert slow - 5 <= found.steps <= slow + 15


def test_what_is_compiled_late_is_warm_up() -> None:
    """Up to the last step that compiled."""
    compiles = tuple(min(i // 20, 3) for i in range(100))

    assert warmup_of(steps([0.05] * 100, compiles)).steps == 61


def test_a_run_that_keeps_changing_is_not_steady() -> None:
    """An episode that grows with the policy, say."""
    assert not warmup_of(steps([0.05 * (1 + i / 100) for i in range(200)])).steady
    assert warmup_of(steps([0.05] * 200)).steady


def test_switching_is_no_warm_up() -> None:
    """In an interleaved trial the pace changes by design."""
    arms = tuple(1 + i // 50 for i in range(200))

    assert warmup_of(Steps(total_s=tuple(0.05 * arm for arm in arms), compiles=(0,) * 200, arms=arms)) == (10, True)


def test_the_first_batch_of_a_size_stands_for_no_other() -> None:
    """An epoch's last, smaller one; the same again at the end of the next epoch counts."""
    epoch = [32] * 19 + [7]
    run = Steps(total_s=(0.1,) * 60, samples=tuple(epoch * 3))

    assert counted(run, 10) == [place for place in range(10, 60) if place != 19]
    assert counted(run, 25, 50) == list(range(25, 50))
    assert counted(run, 10, 15) == list(range(10, 15))


def test_where_every_batch_has_a_size_of_its_own_all_count() -> None:
    run = Steps(total_s=(0.1,) * 40, samples=tuple(range(100, 140)))

    assert counted(run, 10) == list(range(10, 40))
    assert counted(Steps(total_s=(0.1,) * 40), 10) == list(range(10, 40))
