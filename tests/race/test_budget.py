"""What a budget pays for."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotlap.errors import HotlapError
from hotlap.race.budget import SHAPES, Costs, afford
from hotlap.race.race import Wish, rules_for
from hotlap.records import Optimizer
from race.field import FACTS

RULES = ("adam", "adamw", "muon", "nesterov", "soap")
ADAM = replace(FACTS, optimizers=(Optimizer("torch.optim.adam:Adam", 1, True, False, ("cpu",), False, False, True),))
costs = st.builds(Costs, st.integers(10, 10**6), st.floats(0.1, 60), st.floats(1e-4, 1.0), st.floats(0, 0.1))


def test_arms_of_other_steps_cost_by_their_steps_and_not_by_their_start() -> None:
    """A batch size whose steps take half as long in all starts up and evaluates like any other."""
    found = Costs(100, start_s=5.0, step_s=0.1, evaluation_s=0.01)
    plain, dear = (
        replace(afford(found, ("a",), None, "standard", whole=True, dear=dear)[0], tuned=False) for dear in (1.0, 0.5)
    )

    assert plain.forecast_s(found) == pytest.approx((5 + 8 + 1 + 8) * 16.0)
    assert dear.forecast_s(found) == pytest.approx((5 + 8) * 16.0 + (1 + 8) * 11.0)


@given(costs, st.floats(10, 10**7))
def test_what_is_forecast_fits_or_it_is_said(found: Costs, budget_s: float) -> None:
    try:
        shape, limit_s = afford(found, RULES, budget_s)
    except HotlapError as error:
        assert error.slug == "race-too-short"
        return

    assert shape.forecast_s(found) <= budget_s == limit_s
    assert shape.rules


@given(costs, st.floats(10, 10**7), st.floats(1, 10))
def test_more_time_never_pays_for_less(found: Costs, budget_s: float, more: float) -> None:
    try:
        less = afford(found, RULES, budget_s)[0]
    except HotlapError:
        return
    richer = afford(found, RULES, budget_s * more)[0]

    assert richer.seeds >= less.seeds
    assert richer.points >= less.points
    assert len(richer.rules) >= len(less.rules)


def test_a_named_shape_sets_its_own_limit() -> None:
    found = Costs(1000, 3.0, 0.05)
    quick, limit_s = afford(found, RULES, None, "quick")

    assert quick.rules == ("adamw", "nesterov", "muon")
    assert limit_s > quick.forecast_s(found)
    assert not quick.proves
    assert afford(found, RULES, None, "standard")[0].proves


def test_shapes_are_named_from_the_richest() -> None:
    found = Costs(1000, 3.0, 0.05)
    forecasts = [afford(found, RULES, None, name)[0].forecast_s(found) for name in SHAPES]

    assert forecasts == sorted(forecasts, reverse=True)


def test_a_run_that_is_too_long_is_told_with_the_time_that_it_takes() -> None:
    with pytest.raises(HotlapError, match="takes 1003 s") as raised:
        afford(Costs(1000, 3.0, 1.0), RULES, 60.0)

    assert "--budget" in str(raised.value)


def test_variants_are_run_whole() -> None:
    found = Costs(1000, 0.0, 0.1)
    shape, _ = afford(found, ("--lr 1", "--lr 2"), None, "standard", whole=True)

    assert replace(shape, tuned=False).forecast_s(found) == pytest.approx(100.0 * (5 + 2 + 8 * 3))


def test_beside_variants_the_scripts_own_rule_is_tuned_where_that_can_be_paid_for() -> None:
    """Its rungs, variations, horizons and finals come on top; a short time goes without, before it has no seeds."""
    found = Costs(1000, 0.0, 0.1)
    shape, _ = afford(found, ("--lr 1",), None, "standard", whole=True)
    alone = replace(shape, tuned=False).forecast_s(found)
    rungs, others = 100.0 * (4 / 8 + 2 / 4 + 1 / 2), 100.0 * (4 / 2 + (2 + 2) * 0.75 + 8)

    assert shape.tuned
    assert shape.forecast_s(found) == pytest.approx(alone + 5.0 + rungs + others)
    shorter, _ = afford(found, ("--lr 1",), 1000.0, whole=True)
    assert (shorter.tuned, shorter.seeds) == (False, 3)


def test_the_page_tells_what_the_shapes_cost() -> None:
    """Whole runs of the script, without start-up and admission, for a script that uses Adam itself."""
    page = (Path(__file__).parents[2] / "docs" / "race.md").read_text(encoding="utf-8")
    found, rules = Costs(10_000_000, 0.0, 1.0), rules_for(Wish(), ADAM)
    for name in SHAPES:
        shape, _ = afford(found, rules, None, name)
        runs = shape.forecast_s(found) / found.run_s()

        assert re.search(rf"\| `{name}` \| {round(runs + 0.1)}\b.* \| {shape.seeds} seeds \|", page), runs


@pytest.mark.parametrize("name", SHAPES)
def test_more_places_take_less_time(name: str) -> None:
    """But what stands beside each other, and the searches of one arm, take their time on any number of them."""
    found = Costs(1000, 0.0, 0.1)
    shape, _ = afford(found, RULES, None, name)
    one, two, many = (shape.forecast_s(found, at_once) for at_once in (1, 2, 1000))

    assert one == shape.forecast_s(found) > two > many
    assert many > ((2 + shape.finalists) + 0.75 * (shape.notches + shape.checks)) * found.run_s()
    assert afford(found, RULES, one * 0.9, at_once=2)[0].name == name
