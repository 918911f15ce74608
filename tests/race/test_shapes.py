"""A script's own schedule as a whole, from its recorded rates."""

from __future__ import annotations

from math import cos, pi

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotlap.race.arm import Arm, points_of
from hotlap.race.rules import RULES, SCRIPT
from hotlap.race.schedule import shape_of
from hotlap.race.shapes import decays, own_schedule, peak, schedule_for, thinned


def test_a_constant_rate_is_no_schedule() -> None:
    assert own_schedule([(1, (0.1, 0.01))], 100) == ""
    assert peak([(1, (0.1, 0.01))]) == 0.1


def test_without_rates_nothing_is_known() -> None:
    assert own_schedule([], 100) == ""
    assert peak([]) is None


@pytest.mark.parametrize("steps", [50, 400])
def test_a_cosine_is_followed(steps: int) -> None:
    """From a rate of zero at the start too: the peak is the reference, not the first value."""

    def rate(step: int) -> float:
        share = (step - 1) / steps
        return 0.1 * (share / 0.1 if share < 0.1 else (1 + cos(pi * (share - 0.1) / 0.9)) / 2)

    schedule = own_schedule([(step, (rate(step),)) for step in range(1, steps + 1)], steps)
    shape = shape_of(schedule)
    highest = max(rate(step) for step in range(1, steps + 1))

    for step in range(1, steps + 1):
        assert shape((step - 1) / steps) == pytest.approx(rate(step) / highest, abs=0.08)


def test_steps_stay_steps() -> None:
    shape = shape_of(own_schedule([(1, (1.0,)), (51, (0.1,)), (76, (0.01,))], 100))

    assert shape(0.25) == pytest.approx(1.0)
    assert shape(0.6) == pytest.approx(0.1)
    assert shape(0.9) == pytest.approx(0.01)


changes = st.lists(st.tuples(st.integers(2, 99), st.floats(1e-6, 1.0)), max_size=60, unique_by=lambda change: change[0])


@given(changes)
def test_any_schedule_makes_an_arm(found: list[tuple[int, float]]) -> None:
    rates = [(1, (0.5,)), *((step, (rate,)) for step, rate in sorted(found))]
    schedule = own_schedule(rates, 100)
    if schedule:
        assert len(points_of(schedule)) <= 60
        assert Arm.parse(str(Arm("adam", lr=0.1, schedule=schedule, horizon=10))).schedule == schedule


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=200))
def test_thinning_keeps_the_ends_and_the_top(corners: list[tuple[float, float]]) -> None:
    kept = thinned(corners)

    assert len(kept) <= 24
    assert kept[0] == corners[0]
    assert kept[-1] == corners[-1]
    assert max(y for _, y in kept) == max(y for _, y in corners)


def test_a_rate_that_is_constant_is_let_down_for_all_alike() -> None:
    assert schedule_for("muon", "") == schedule_for(SCRIPT, "") == "linear"
    assert schedule_for("muon", "points:0/1,1/0.5") == "points:0/1,1/0.5"


def test_rules_that_average_are_not_let_down() -> None:
    free = next(rule.id for rule in RULES.values() if rule.schedule_free)
    arm = Arm(free, schedule=schedule_for(free, "points:0/1,1/0"), horizon=10)

    assert not decays(arm)
    assert shape_of(arm.schedule)(0.9) == 1.0
