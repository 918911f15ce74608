"""Rungs, edges and horizons."""

from __future__ import annotations

from collections.abc import Generator
from math import inf
from typing import Any, TypeVar

from hypothesis import given
from hypothesis import strategies as st

from hotlap.race.halving import FACTOR, Reach, best_rules, edge, find_horizon, survivors

T = TypeVar("T")


def ended(asking: Generator[Any, Any, T]) -> T:
    """What a generator that needs no answers returns."""
    try:
        while True:
            next(asking)
    except StopIteration as end:
        return end.value


values = st.dictionaries(st.integers(0, 30), st.floats(-10, 10) | st.just(inf), min_size=1, max_size=10)


@given(values, st.integers(1, 5), st.floats(0, 2))
def test_the_best_always_go_on(found: dict[int, float], keep: int, sigma: float) -> None:
    going = survivors(found, keep, sigma)
    finite = sorted(value for value in found.values() if value < inf)

    assert [found[key] for key in going] == finite[: len(going)]
    assert len(going) >= min(keep, len(finite))


def test_a_gap_within_the_noise_drops_nobody() -> None:
    """Unless there is no more room."""
    found = {"a": 1.0, "b": 1.05, "c": 1.5}

    assert survivors(found, 1, sigma=0.1) == ["a", "b"]
    assert survivors(found, 1, sigma=0.01) == ["a"]
    assert survivors(found, 1, sigma=1.0, most=2) == ["a", "b"]


def test_the_search_goes_on_beyond_the_edge_it_is_best_at() -> None:
    assert edge({0.1: 3.0, 0.3: 2.0, 0.9: 1.0}) == 0.9 * FACTOR
    assert edge({0.1: 1.0, 0.3: 2.0, 0.9: 3.0}) == 0.1 / FACTOR
    assert edge({0.1: 2.0, 0.3: 1.0, 0.9: inf}) is None


def test_where_all_blew_up_it_goes_on_well_below() -> None:
    found = edge({0.1: inf, 0.3: inf})

    assert found is not None
    assert found < 0.1 / FACTOR


def test_rules_that_came_there_stand_before_those_that_did_not() -> None:
    found = {"slow": Reach(9.0, 0.1), "never": Reach(inf, 0.0), "soon": Reach(5.0, 0.5), "nearly": Reach(inf, -0.1)}

    assert best_rules(found, 3) == ["soon", "slow", "nearly"]


@given(st.integers(64, 100_000), st.floats(0.12, 0.95), st.integers(0, 6))
def test_the_horizon_is_never_known_to_be_too_short(steps: int, needed: float, runs: int) -> None:
    """Where what a run comes to follows its length, the horizon found is long enough, and close with enough runs."""

    def best(horizon: int) -> Generator[None, None, float]:
        yield
        return needed * steps / horizon

    found = ended(find_horizon(steps, best, runs, ended(best(steps // 2)), 1.0))

    assert needed * steps * 0.97 - 1 <= found <= steps
    if runs == 6:
        assert found <= needed * steps * 1.25 + 1


def test_no_more_runs_than_allowed() -> None:
    asked: list[int] = []

    def best(horizon: int) -> Generator[None, None, float]:
        yield asked.append(horizon)
        return 0.0

    ended(find_horizon(1000, best, 2, 0.0, 1.0))

    assert len(asked) == 2
