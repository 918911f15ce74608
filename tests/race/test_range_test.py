"""The learning-rate range test."""

from __future__ import annotations

import random
from math import inf, nan

import pytest

from hotlap.race import range_test
from hotlap.race.schedule import shape_of


def test_the_rate_grows_by_a_factor_with_each_step() -> None:
    arm = range_test.sweep(0.01, 1000)
    shape = shape_of(arm.schedule)
    assert arm.lr is not None

    assert arm.lr * shape(0.0) == pytest.approx(0.01 * range_test.LOWEST, rel=1e-3)
    assert arm.lr * shape(1.0) == pytest.approx(0.01 * range_test.HIGHEST)
    assert shape(0.5) == pytest.approx(shape(0.0) ** 0.5, rel=0.1)


def test_the_edge_is_where_it_blew_up_and_the_search_stays_below() -> None:
    losses = [2.0] * 60 + [2.0 - 0.05 * step for step in range(30)] + [nan]
    found = range_test.read(losses, 0.01, 120)

    assert found is not None
    assert found.edge < 0.01 * range_test.HIGHEST
    assert 0 < found.steepest < found.edge
    bracket = found.bracket(0.01)
    assert bracket.low < bracket.first < bracket.high == found.edge


def test_the_noise_of_batches_is_no_fall() -> None:
    draw = random.Random(0)
    before = [8.0 + draw.uniform(-3, 3) for _ in range(70)]
    falling = [8.0 * 0.85**step + draw.uniform(-0.3, 0.3) for step in range(30)]
    found = range_test.read(before + falling, 0.01, 120)

    assert found is not None
    assert found.points[65][0] < found.steepest < found.points[85][0]


def test_a_loss_far_above_its_best_counts_as_blown_up() -> None:
    found = range_test.read([1.0] * 60 + [50.0] * 60, 0.01, 120)

    assert found is not None
    assert found.edge < 0.01 * range_test.HIGHEST


@pytest.mark.parametrize("losses", [[], [1.0] * 5, [inf] * 40])
def test_too_short_a_sweep_tells_nothing(losses: list[float]) -> None:
    assert range_test.read(losses, 0.01, 120) is None
