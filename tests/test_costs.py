"""What trials will probably take."""

from __future__ import annotations

from dataclasses import replace

import pytest
from machine import recording

from hotlap.costs import Costs, starts_s
from hotlap.records import AS_WRITTEN, Outcome, Recording, Setup, Trial

COMPILED = Setup.of({"compile": True})
FUSED = Setup.of({"fused-update": True})
_COMPILES_S = starts_s(COMPILED)
_CACHED_S = 10.0 + _COMPILES_S / 2


def ended(setup: Setup, outcome: Outcome = Outcome.ENDED) -> Recording:
    """A timed trial of a setup."""
    trial = Trial("0001-time", "time", setup, 1, 1, 20, 60.0)
    return replace(recording(0.0, 1), trial=trial, outcome=outcome)


@pytest.fixture
def costs() -> Costs:
    """The script as written takes 10 s, and compiled it took 30 s the first time."""
    made = Costs()
    made.learn(ended(AS_WRITTEN), 10.0)
    made.learn(ended(COMPILED), 10.0 + _COMPILES_S)
    return made


@pytest.mark.parametrize(
    ("setup", "cost_s"),
    [
        (AS_WRITTEN, 10.0),
        (FUSED, 10.0),
        (Setup.of({"compile": "blocks"}), 10.0 + _COMPILES_S),
        (COMPILED, _CACHED_S),  # half of it lies in the cache now
        (Setup.of({"compile": True, "fused-update": True}), _CACHED_S),  # the same graph
        (Setup.of({"compile": True, "channels-last": True}), _CACHED_S + _COMPILES_S),  # another one
    ],
)
def test_as_the_one_that_is_most_like_it(costs: Costs, setup: Setup, cost_s: float) -> None:
    """And what more there is to compile."""
    assert costs.of(setup, "time") == pytest.approx(cost_s)


def test_a_failed_trial_teaches_nothing(costs: Costs) -> None:
    """It ended early."""
    costs.learn(ended(FUSED, Outcome.CRASH), 1.0)

    assert costs.of(FUSED, "time") == pytest.approx(10.0)


def test_before_anything_was_run() -> None:
    """Something is said all the same, and what is expected counts until it was seen."""
    costs = Costs()
    assert costs.of(AS_WRITTEN, "time") > 0

    costs.expect("candidate", 4.0)
    assert costs.of(FUSED, "candidate") == pytest.approx(4.0)


def test_a_start_that_turns_out_to_be_sooner_is_expected_of_the_next() -> None:
    """Until one has been run, which says all; the first process of a day reads every file from the disk."""
    costs = Costs()
    costs.expect("time", 14.0)
    costs.learn(replace(ended(AS_WRITTEN), trial=replace(ended(AS_WRITTEN).trial, arms=(AS_WRITTEN, FUSED))), 30.0)
    costs.start_sooner(6.0)
    assert costs.of(AS_WRITTEN, "time") == pytest.approx(8.0)
    costs.learn(ended(AS_WRITTEN), 9.0)
    costs.start_sooner(1.0)
    assert costs.of(AS_WRITTEN, "time") == pytest.approx(9.0)
