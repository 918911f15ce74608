"""Learning curves, and when they come to a goal."""

from __future__ import annotations

import math
from math import inf, nan
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotlap.race.curves import POINTS, LearningCurve, crossing, is_coarse, loss_curve, metric_curve, spacing

losses = st.lists(st.floats(-100, 100), min_size=1, max_size=300)
curves = st.lists(st.floats(-100, 100), min_size=3, max_size=60).map(
    lambda values: LearningCurve(tuple((4 * place, value) for place, value in enumerate(values, 1)), 4 * len(values))
)


@given(losses, st.integers(1, 9))
def test_a_point_is_the_mean_of_the_steps_before_it(values: list[float], every: int) -> None:
    curve = loss_curve(values, every)

    assert [step for step, _ in curve.points] == list(range(every, len(values) + 1, every))
    for step, value in curve.points:
        assert value == pytest.approx(fmean(values[max(0, step - 2 * every) : step]), abs=1e-9)


def test_steps_without_a_loss_are_left_out_of_their_window() -> None:
    assert loss_curve([None, 2.0, None, 4.0], 2).points == ((2, 2.0), (4, 3.0))


def test_a_loss_that_is_no_number_ends_the_curve_and_not_the_race() -> None:
    assert loss_curve([1.0, 1.0, nan, 1.0], 2, "non-finite").points == ((2, 1.0),)


def test_a_run_that_was_ended_has_no_end() -> None:
    assert loss_curve([1.0, 1.0], 1, "diverged").final == inf


def test_a_metric_that_grows_is_turned_around_and_the_last_word_of_a_step_counts() -> None:
    curve = metric_curve([(10, 0.5), (10, 0.6), (20, 0.8)], 20, grows=True)

    assert curve.points == ((10, -0.6), (20, -0.8))
    assert curve.final == -0.8


@given(curves, st.floats(-100, 100), st.floats(0, 10))
def test_an_easier_goal_is_never_reached_later(curve: LearningCurve, goal: float, easier: float) -> None:
    hard, easy = crossing(curve, goal), crossing(curve, goal + easier)

    assert hard is None or (easy is not None and easy <= hard)


@given(curves)
def test_the_best_is_what_is_just_reached(curve: LearningCurve) -> None:
    assert crossing(curve, curve.best) is not None
    assert crossing(curve, curve.best - 1e-6) is None


def test_one_lucky_point_is_no_crossing() -> None:
    """The median of three consecutive points counts."""
    values = [5.0, 5, 5, 1, 5, 5, 5, 1, 1, 5, 5, 5]
    curve = LearningCurve(tuple(enumerate(values, 1)), 12)

    assert crossing(curve, 1.0) == 9
    assert len(curve.smoothed) == 10


def test_a_coarse_curve_is_taken_as_it_is() -> None:
    """Of four evaluations in a whole training the median of three would hide most."""
    curve = LearningCurve(((1, 4.0), (2, 1.0), (3, 4.0)), 3, coarse=True)

    assert crossing(curve, 1.0) == 2


def test_a_short_run_is_smoothed_like_a_long_one() -> None:
    """Of a race whose whole training has many points: else its luck would count and that of the others not."""
    short = LearningCurve(((1, 4.0), (2, 1.0), (3, 4.0)), 3)

    assert crossing(short, 1.0) is None
    assert is_coarse(80, 10)
    assert not is_coarse(90, 10)


@given(st.integers(1, 10**6))
def test_the_grid_has_about_as_many_points(steps: int) -> None:
    assert spacing(steps) == 1 or POINTS <= steps / spacing(steps) < 2 * POINTS


def test_a_metric_that_ends_as_no_number_has_diverged() -> None:
    """What was printed before counts for the goal, and not as the end."""
    curve = metric_curve([(10, 0.5), (20, 0.4), (30, math.nan)], 30, grows=False)

    assert curve.points == ((10, 0.5), (20, 0.4))
    assert curve.final == math.inf
    assert metric_curve([(10, math.nan), (20, 0.4)], 20, grows=False).final == 0.4
