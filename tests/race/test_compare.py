"""What paired runs prove."""

from __future__ import annotations

import random
from math import log

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hotlap.race import compare
from hotlap.race.compare import Comparison, FinalRun
from race.runs import final_run, final_runs

logs = st.lists(st.floats(-0.04, 0.04), min_size=2, max_size=8)
"""Log ratios of step times too small for a disturbed block."""


def compared(reference: list[FinalRun], candidate: list[FinalRun], rejected: bool = True) -> Comparison:
    found = compare.compare(reference, candidate, "default", rejected=rejected)
    assert found is not None
    return found


def noisy(middle: float, seeds: int = 8, seed: int = 0) -> list[int]:
    """Crossings around a value."""
    draw = random.Random(seed)
    return [round(middle * (1 + draw.gauss(0, 0.03))) for _ in range(seeds)]


def test_twice_as_soon_is_two() -> None:
    found = compared(final_runs(noisy(80)), final_runs(noisy(40, seed=1)))

    assert found.proven
    assert found.speedup is not None
    assert found.speedup.low < 2 < found.speedup.high
    assert found.bound == ""


def test_the_time_of_a_step_counts() -> None:
    """Half the steps at twice the time are no gain."""
    found = compared(final_runs(noisy(80)), final_runs(noisy(40, seed=1), step_s=0.2))

    assert not found.proven
    assert found.reason == "no measurable difference"


def test_few_seeds_prove_nothing_however_far_apart() -> None:
    found = compared(final_runs([80, 81, 82]), final_runs([40, 41, 42]))

    assert not found.proven
    assert found.indicative
    assert len(found.ratios) == 3


def test_what_the_correction_does_not_reject_is_not_proven() -> None:
    found = compared(final_runs(noisy(80)), final_runs(noisy(40, seed=1)), rejected=False)

    assert not found.proven
    assert "so many comparisons" in found.reason


def test_a_reference_that_missed_makes_a_bound() -> None:
    """It would have taken longer still."""
    crossings: list[int | None] = [None, *noisy(80, 7)]
    found = compared(final_runs(crossings), final_runs(noisy(40, seed=1)))

    assert found.bound == "at least"
    assert found.proven


def test_a_candidate_that_misses_is_started_again() -> None:
    """A miss costs the run, and what the next one is expected to take."""
    often: list[int | None] = [*noisy(40, 7), None]
    missed = compared(final_runs(noisy(80)), final_runs(often))
    never = compared(final_runs(noisy(80)), final_runs(noisy(40)))

    assert missed.bound == "about"
    assert min(missed.ratios) < 0.7
    assert min(never.ratios) > 1.5


def test_one_that_misses_in_half_of_its_runs_is_no_winner() -> None:
    half: list[int | None] = [10, None] * 4
    found = compared(final_runs(noisy(80)), final_runs(half, steps=12))

    assert not found.proven


def test_a_goal_that_nobody_came_to_proves_nothing() -> None:
    """However cheap the steps of one are; nor does one that a few of its runs came to."""
    never: list[int | None] = [None] * 8
    seldom: list[int | None] = [10, 11, *[None] * 6]
    for crossings in (never, seldom):
        found = compared(final_runs(never), final_runs(crossings, step_s=0.05))
        assert not found.proven
        assert found.reason
    assert set(compared(final_runs(never), final_runs(never, step_s=0.05)).ratios) == {1.0}


@given(logs)
@example([0.03125, 0.03125, 0.0390625, -0.03125, -0.0390625, -0.015625])
@example([0.04, 0.00390625, -0.04])
def test_swapping_the_arms_turns_the_ratio_around(ratios: list[float]) -> None:
    reference = [final_run(seed, 50, step_s=1.0) for seed in range(len(ratios))]
    candidate = [final_run(seed, 50, step_s=2.718281828459045**ratio) for seed, ratio in enumerate(ratios)]
    there = compared(reference, candidate)
    back = compared(candidate, reference)

    assert there.speedup is not None
    assert back.speedup is not None
    assert log(there.speedup.value) == pytest.approx(-log(back.speedup.value), abs=1e-9)
    assert there.p == pytest.approx(back.p)


def test_sign_flips_have_their_floor() -> None:
    assert compare.sign_flip([1.0, 1.1, 0.9, 1.05, 0.95, 1.02]) == pytest.approx(2 / 2**6)
    assert compare.sign_flip([1.0, -1.0, 1.0, -1.0]) > 0.5
    assert compare.sign_flip([0.0, 0.0]) == 1.0


def test_holm_steps_down() -> None:
    assert compare.holm({"a": 0.016, "b": 0.02, "c": 0.04}) == {"a", "b", "c"}
    assert compare.holm({"a": 0.02, "b": 0.02, "c": 0.04}) == set()


def test_equal_arms_are_seldom_rejected() -> None:
    """The exact test keeps its level."""
    draw = random.Random(1)
    rejected = sum(compare.sign_flip([draw.gauss(0, 1) for _ in range(8)]) <= 0.05 for _ in range(400))

    assert rejected < 0.08 * 400


def test_the_interval_holds_both_sources_of_noise() -> None:
    quiet = compare.interval([0.5, 0.6, 0.4], [0.0, 0.0, 0.0])
    noisy_time = compare.interval([0.5, 0.6, 0.4], [0.2, -0.2, 0.0])

    assert noisy_time[2] - noisy_time[1] > quiet[2] - quiet[1]


def test_ends_no_worse() -> None:
    reference = [final_run(seed, 50, final=1.0 + 0.01 * seed) for seed in range(6)]
    alike = [final_run(seed, 50, final=1.0 + 0.01 * seed + 0.001) for seed in range(6)]
    worse = [final_run(seed, 50, final=1.3) for seed in range(6)]
    ended = [final_run(seed, 50, final=None) for seed in range(6)]

    assert compare.non_inferior(reference, alike, improvement=2.0, sigma=0.0)
    assert not compare.non_inferior(reference, worse, improvement=2.0, sigma=0.0)
    assert compare.non_inferior(reference, ended, improvement=2.0, sigma=0.0) is False
    assert compare.non_inferior(reference[:1], alike[:1], improvement=2.0, sigma=0.0) is None


def test_expected_time_counts_the_misses() -> None:
    runs = final_runs([50, None], step_s=0.1, steps=100)

    assert compare.expected_s(runs, "default") == pytest.approx(15.0)
    assert compare.median_s(final_runs([None, None, 50]), "default") is None


def test_the_median_has_an_interval_from_six_runs_on() -> None:
    """Of two of the runs' own times; a miss is later than any."""
    steps = [50, 10, None, 40, 20, 30]

    assert compare.median_ends_s(final_runs(steps[:5], step_s=0.1), "default") is None
    assert compare.median_ends_s(final_runs(steps, step_s=0.1), "default") == (pytest.approx(1.0), None)
    assert compare.median_ends_s(final_runs([*steps, None, 60, 70], step_s=0.1), "default") == (
        pytest.approx(2.0),
        None,
    )
    assert compare.median_ends_s(final_runs([None] * 6), "default") == (None, None)


def test_the_interval_of_the_median_covers_it() -> None:
    """In at least 95 races of a hundred, whatever times are distributed like."""
    luck, true = random.Random(1), 100.0
    covered = 0
    for _ in range(1000):
        ends = compare.median_ends_s(
            final_runs([round(true * luck.lognormvariate(0, 0.8)) for _ in range(8)]), "default"
        )
        assert ends is not None
        covered += ends[0] <= true * 0.1 <= ends[1]

    assert covered >= 950


def test_more_seeds_are_not_wasted_on_one_far_behind() -> None:
    best, other = final_runs([40, 41, 42]), final_runs([80, 82, 84])

    assert compare.hopeless(best, other, "default")
    assert not compare.hopeless(other, best, "default")
    assert not compare.hopeless(best[:2], other[:2], "default")
