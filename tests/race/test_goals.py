"""Goals from the script's own seeds."""

from __future__ import annotations

import pytest

from hotlap.errors import HotlapError
from hotlap.race.curves import LearningCurve, crossing
from hotlap.race.goals import goals


def falling(end: float, start: float = 2.0, points: int = 20) -> LearningCurve:
    """A straight line."""
    values = [start + (end - start) * place / (points - 1) for place in range(points)]
    return LearningCurve(tuple((place + 1, value) for place, value in enumerate(values)), points)


def test_the_goals_lie_in_their_order() -> None:
    found = goals([falling(0.5), falling(0.52), falling(0.48)])

    assert found.strict < found.default < found.loose < 2.0
    assert found.default == pytest.approx(found.strict + 1.22 * found.sigma, rel=0.01)  # t(0.8, 2) sqrt(1 + 1/3)
    assert found.spread > found.sigma


def test_most_of_the_seeds_come_to_the_default_goal() -> None:
    seeds = [falling(0.5 + 0.01 * place) for place in range(5)]
    found = goals(seeds)

    assert sum(crossing(curve, found.default) is not None for curve in seeds) >= 4
    assert all(crossing(curve, found.loose) is not None for curve in seeds)


def test_the_loose_goal_is_never_the_harder_one() -> None:
    """Seeds may differ by more than a twentieth of the improvement."""
    found = goals([falling(0.5), falling(0.8), falling(0.6)])

    assert found.loose == found.default
    assert found.improvement == pytest.approx(2.0 - found.strict)


def test_equal_seeds_come_to_their_goal() -> None:
    """Without noise the goal still is no knife's edge."""
    found = goals([falling(0.5)] * 3)

    assert crossing(falling(0.5), found.default) is not None


def test_the_users_goal_takes_the_place_of_two() -> None:
    found = goals([falling(0.5), falling(0.6)], wanted=0.7)

    assert (found.default, found.strict) == (0.7, 0.7)
    assert 0.7 < found.loose < 1.0


@pytest.mark.parametrize("wanted", [2.0, 5.0])
def test_a_goal_at_the_start_is_none(wanted: float) -> None:
    with pytest.raises(HotlapError, match="from the start") as caught:
        goals([falling(0.5), falling(0.52)], wanted)
    assert caught.value.slug == "bad-choice"


def test_a_script_that_does_not_learn_has_no_goal() -> None:
    flat = [falling(2.0), falling(1.9), falling(2.1)]
    with pytest.raises(HotlapError, match="seeds differ") as raised:
        goals(flat)

    assert raised.value.slug == "no-progress"


def test_runs_without_a_metric_have_no_goal() -> None:
    with pytest.raises(HotlapError) as raised:
        goals([LearningCurve((), 10), falling(0.5)])

    assert raised.value.slug == "no-metric"
