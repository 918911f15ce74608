"""Rounds: every setup gets its turn, and what is read back is what each ran under."""

from __future__ import annotations

from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotlap.rounds import NOT_COUNTED, Turn, schedule, turn_for, turns

TURNS = st.builds(Turn, st.integers(1, 4), st.integers(1, 6))


@given(st.integers(1, 8), TURNS, st.integers(0, 99), st.integers(1, 5))
def test_every_setup_has_one_turn_in_each_round(setups: int, turn: Turn, seed: int, rounds: int) -> None:
    """Whatever the order, which the seed decides."""
    steps = list(islice(schedule(setups, turn, seed), rounds * setups * turn.steps))
    for first in range(0, len(steps), setups * turn.steps):
        places = [place for place, counted in steps[first : first + setups * turn.steps] if counted]
        assert sorted(places) == sorted(list(range(setups)) * turn.keep)
    assert steps == list(islice(schedule(setups, turn, seed), len(steps)))


@given(st.integers(2, 6), TURNS, st.integers(0, 99), st.integers(0, 200))
def test_the_means_of_whole_rounds_are_read_back(setups: int, turn: Turn, seed: int, cut: int) -> None:
    """A round that was cut off counts for nobody, and neither do the steps that settle."""
    planned = list(islice(schedule(setups, turn, seed), cut))
    arms = [place + 1 if counted else NOT_COUNTED for place, counted in planned]
    seconds = [float(place + 1) if counted else 1e9 for place, counted in planned]
    found = turns(arms, seconds, setups)

    assert all(means == {place: float(place) for place in range(1, setups + 1)} for means in found)
    # The last turn of a round may be cut short and still have counted steps.
    assert len(found) in {cut // (setups * turn.steps), (cut + turn.keep - 1) // (setups * turn.steps)}


def test_steps_that_are_no_measure_are_left_out() -> None:
    """One of a turn; and the round, if a turn has no other."""
    arms = [1, 1, 0, 2, 2, 0, 2, 2, 0, 1, 1]

    assert turns(arms, [1, None, 9, 2, 4, 9, None, None, 9, 1, 1], 2) == [{1: 1, 2: 3}]


@pytest.mark.parametrize(("step_s", "keep"), [(0.5, 2), (0.05, 3), (0.0001, 50), (0.0, 50)])
def test_a_turn_is_long_enough(step_s: float, keep: int) -> None:
    """Two steps at least, and never so many that the machine drifts."""
    assert turn_for(step_s).keep == keep
