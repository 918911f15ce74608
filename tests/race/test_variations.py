"""What is changed of the best arm of a rule before the finals."""

from __future__ import annotations

import pytest

from hotlap.race.arm import Arm
from hotlap.race.rules import SCRIPT
from hotlap.race.variations import _changes, clip_level

HEAVY = [1.0] * 19 + [9.0]


@pytest.mark.parametrize(
    ("norms", "level"),
    [
        (HEAVY, 1.0),
        ([1.0] * 20, None),
        ([*range(1, 21)], None),
        (HEAVY[:3], None),
        ([0.5] * 10 + [0.123456] * 9 + [2.0], 0.5),
    ],
    ids=["outlier", "clipped already", "no outlier", "too few", "three digits"],
)
def test_gradients_are_clipped_where_some_are_outliers(norms: list[float], level: float | None) -> None:
    assert clip_level(norms) == level


def test_one_thing_is_changed_at_a_time() -> None:
    """Schedules first, and every change is an arm that can be written down and read again."""
    arm = Arm("momentum", lr=0.1, schedule="linear", horizon=100)
    changed = _changes(arm, "momentum", HEAVY)

    assert [one.schedule for one in changed[:3]] == ["constant", "one-cycle", "wsd"]
    assert [one.clip for one in changed if one.clip] == [1.0]
    assert [one.momentum for one in changed if one.momentum] == [0.95, 0.8]
    assert len(set(changed)) == len(changed) == 7
    assert all(Arm.parse(str(one)) == one for one in changed)


def test_a_schedule_of_the_script_is_measured_against_a_line() -> None:
    own = Arm("adamw", lr=0.1, schedule="points:0/1,0.5/0.1,1/0.1", horizon=100)

    assert [one.schedule for one in _changes(own, "adamw", HEAVY)][:2] == ["linear", "one-cycle"]


def test_what_makes_no_sense_is_not_tried() -> None:
    """A schedule for an averaging rule, a bound on steps of one length, a momentum that the script may not have."""
    averaging = Arm("schedule-free-adamw", lr=0.1, schedule="points:0/0.02,0.05/1,1/1", horizon=100)
    matrix = Arm("muon", lr=0.1, schedule="cosine", horizon=100)
    own = Arm(SCRIPT, lr=0.1, schedule="linear", horizon=100)

    assert {one.schedule for one in _changes(averaging, averaging.rule, HEAVY)} == {averaging.schedule}
    assert not any(one.clip for one in _changes(matrix, "muon", HEAVY))
    assert not any(one.momentum for one in _changes(own, SCRIPT, HEAVY))
    assert [one.momentum for one in _changes(own, SCRIPT, [], 0.9) if one.momentum] == [0.95, 0.8]
