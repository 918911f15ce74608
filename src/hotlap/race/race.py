"""One race, told from top to bottom."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import Any

from hotlap.errors import HotlapError
from hotlap.lab import Lab
from hotlap.race import batches, layers
from hotlap.race.admission import WhatIf, admit, dearness
from hotlap.race.answer import concluded
from hotlap.race.budget import SHAPES, Costs, Shape, afford
from hotlap.race.entries import own_entry, rule_entries, variant_entries, what_if_entries
from hotlap.race.finals import judged, run_finals
from hotlap.race.goals import Goals, goals
from hotlap.race.result import Metric, RaceResult
from hotlap.race.rules import RULES, Tier
from hotlap.race.runs import Run
from hotlap.race.trainings import Trainings
from hotlap.records import Facts

_OBSERVED_S, _OBSERVED_SHARE = 20.0, 0.05
NONE_SOONER, NONE_RAN = "none of these changes makes the training sooner", "none of these changes could be tried"
_CLOSURES = "The script's own optimizer cannot be swapped: it evaluates its closure several times in one step."
_FIRST_RUN_S, _FIRST_RUN_SHARE = 3600.0, 0.2  # that the first whole run may take


@dataclass(frozen=True)
class Wish:
    """What the user asked for."""

    budget_s: float | None = None
    """Time for everything; None where a shape is named."""
    shape: str = "standard"
    wide: bool = False
    lr_finder: bool = False
    """A range test first, which brackets where the script's own rule is searched."""
    only: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    variants: tuple[str, ...] = ()
    """Arguments that are added to the script's own, one arm each."""
    batch_sizes: tuple[int, ...] | None = None
    """Batch sizes to race in place of rules; () for half, twice and four times the script's own, None for rules."""
    layer_sizes: bool = False
    """Race layers of sizes that the hardware's units divide in place of rules."""
    metric: Metric = field(default_factory=Metric)
    goal: float | None = None
    """The user's own, as the script has the metric."""

    @property
    def of_rules(self) -> bool:
        """Rules are raced, and not variants of the script, batch sizes or layer sizes."""
        return not self.variants and not self.of_what_ifs

    @property
    def of_what_ifs(self) -> bool:
        """Changes are raced that hotlap makes itself."""
        return self.batch_sizes is not None or self.layer_sizes


def rules_for(wish: Wish, facts: Facts) -> list[str]:
    """The rules to screen besides the script's own, in the order of the table."""
    own = {optimizer.name.rpartition(":")[2].lower() for optimizer in facts.optimizers if optimizer.main}
    own -= {"sgd"}  # whether it has a momentum is not known, and both are classics
    tiers = set(Tier) if wish.wide else {Tier.CLASSIC, Tier.DEFAULT}
    found = [rule.id for rule in RULES.values() if rule.tier in tiers and rule.id not in own]
    if wish.only:
        found = [rule for rule in RULES if rule in wish.only]
    return [rule for rule in found if rule not in wish.skip]


def race(trainings: Trainings, wish: Wish, storage: Any) -> RaceResult:
    """Find the rule and the settings that bring the script to its goal soonest, and prove it.

    Raises:
        HotlapError: The script cannot be raced, or the budget pays for no race of it.
    """
    lab = trainings.lab
    facts = look(lab, wish)
    first = trainings.baseline(1, _FIRST_RUN_S if wish.budget_s is None else _FIRST_RUN_SHARE * wish.budget_s)
    check_first(trainings, wish, first)
    costs = learn_costs(trainings, first)
    changes = what_ifs(trainings, wish, facts, first)
    admitted = [one.words for one in changes if not one.out]
    arms = rules_for(wish, facts) if wish.of_rules else wish.variants or admitted
    shape, forecast_s = plan_time(trainings, costs, arms, wish, dearness(changes))
    baselines = [first, *trainings.baselines(range(2, shape.baselines + 1))]
    trainings.spent_on("observation and baselines")
    trainings.step_s = fmean(run.step_s for run in baselines)
    reach = goals([run.curve for run in baselines], None if wish.goal is None else wish.metric.shown(wish.goal))
    say_goals(trainings, reach)
    if not wish.of_rules:
        find = what_if_entries(trainings, changes, shape.finalists, reach) if changes else None
        screened, entries = find or variant_entries(trainings, wish.variants, shape.finalists, reach)
        trainings.spent_on("screening")
        if shape.seeds and shape.tuned:
            entries[1:1] = own_entry(trainings, shape, reach, first, storage)
    else:
        candidates, entries = rule_entries(trainings, shape, reach, first, storage, lr_finder=wish.lr_finder)
        screened = [found.screened(found.out) for found in candidates]
        lab.notes += offers(facts)
    none = NONE_SOONER if any(one.step_ratio for one in screened) else NONE_RAN
    cut_short = run_finals(trainings, entries, shape.seeds, reach) if shape.seeds else none
    trainings.spent_on("finals")
    finalists = judged(entries, reach, trainings.every, wish.metric.grows) if shape.seeds else []
    return concluded(trainings, (shape, forecast_s), reach, screened, finalists, cut_short)


def check_first(trainings: Trainings, wish: Wish, first: Run) -> None:
    """What would end the race later, and can be seen by now.

    Raises:
        HotlapError: The script's own rule cannot be swapped, or a variant of its command line does not train.
    """
    if wish.of_rules and first.record.race is not None and first.record.race.closures:
        raise _not_swappable(_CLOSURES)
    for text in wish.variants:
        record = trainings.start(text)
        if not record.steps.total_s:
            log = trainings.lab.runner.out / "trials" / record.log
            what = f"With {text} the script took no step: {record.outcome.value}. Its output is in {log}."
            raise HotlapError("script-failed", what, fix="make it run by itself with these arguments")


def look(lab: Lab, wish: Wish) -> Facts:
    """What the script is made of."""
    lab.trying("observing the script as written")
    limit = _OBSERVED_S if wish.budget_s is None else min(_OBSERVED_S, max(6.0, _OBSERVED_SHARE * wish.budget_s))
    facts = lab.observe(limit).facts
    assert facts is not None
    if wish.layer_sizes:
        layers.to_round_up(facts)
    if wish.variants or wish.layer_sizes:
        return facts
    if wish.batch_sizes is not None:
        batches.loader_that_trains(facts)
    if facts.manual_update:
        raise _not_swappable("The script updates its weights by hand, so there is none to put another in the place of.")
    if any(one.main and one.name.endswith("LBFGS") for one in facts.optimizers):
        raise _not_swappable(_CLOSURES)
    return facts


def _not_swappable(what: str) -> HotlapError:
    return HotlapError("not-swappable", what, fix="race variants of its command line with --arm instead")


def offers(facts: Facts) -> list[str]:
    """What could be raced besides rules, in a note: changes that hotlap makes itself are offered, never just made."""
    found: list[str] = []
    with suppress(HotlapError):
        found.append(f"--batch-sizes (now {batches.loader_that_trains(facts).size})")
    with suppress(HotlapError):
        found.append(f"--layer-sizes ({layers.in_words(layers.to_round_up(facts))})")
    return [f"could be raced too, each apart: {' and '.join(found)}"] if found else []


def what_ifs(trainings: Trainings, wish: Wish, facts: Facts, first: Run) -> list[WhatIf]:
    """The changes to race, with what the clock says of each; none where rules or variants are raced."""
    found: list[WhatIf] = []
    if wish.layer_sizes:
        found += layers.offered(facts, trainings.steps)
    elif wish.batch_sizes is not None:
        found += batches.offered(batches.loader_that_trains(facts), wish.batch_sizes, first, trainings.steps)
    if found:
        trainings.spent_on("observation and baselines")
        admit(trainings, found, first)
    return found


def learn_costs(trainings: Trainings, first: Run) -> Costs:
    """What runs of the script take, from the first whole one."""
    record = first.record
    if not trainings.metric.pattern and not first.curve.points:
        raise HotlapError(
            "no-metric",
            "The losses of the script were not seen, so there is nothing to race for.",
            fix="name a number that it prints with --metric REGEX and --mode min or max",
        )
    trained_s = sum(record.steps.total_s)
    start_s = max(0.0, record.wall_s - trained_s - record.evaluation_s)
    evaluation_s = record.evaluation_s / first.steps
    return Costs(first.steps, start_s, trained_s / first.steps, evaluation_s, trainings.printed or 1)


def plan_time(trainings: Trainings, costs: Costs, names: Sequence[str], wish: Wish, dear: float) -> tuple[Shape, float]:
    """How much of the protocol the budget pays for; told before it is run."""
    lab, at_once = trainings.lab, trainings.at_once
    if not names and wish.of_what_ifs:
        shape = replace(SHAPES["quick"], baselines=2, finalists=0, seeds=0, whole=True)
        lab.budget_s = wish.budget_s or lab.budget_s
        return shape, shape.forecast_s(costs, at_once)
    shape, limit_s = afford(
        costs, names, wish.budget_s, wish.shape, whole=not wish.of_rules, dear=dear, at_once=at_once
    )
    forecast_s = shape.forecast_s(costs, at_once)
    lab.budget_s = lab.spent_s + limit_s if wish.budget_s is None else wish.budget_s
    count = len(shape.rules)
    what = "variant" if wish.variants else "layer change" if wish.layer_sizes else "other batch size"
    arms = f"the script's own rule and {count} more" if wish.of_rules else f"{count} {what}{'s' * (count != 1)}"
    proof = "" if shape.proves else "; too few seeds to prove anything, so the answer will be indicative"
    lab.learnt(
        f"a run takes {costs.run_s():.0f} s for {costs.steps} steps. Forecast: a {shape.name} race of {arms}, finals"
        f" over {shape.seeds} seeds, about {forecast_s / 60:.1f} min, at most {lab.budget_s / 60:.1f} min{proof}"
    )
    if left := [name for name in names if name not in shape.rules]:
        lab.notes.append(f"not tried in a {shape.name} race: {', '.join(left)}")
        lab.learnt(lab.notes[-1])
    lab.logbook.append("forecast", shape=shape, costs=costs, forecast_s=forecast_s, limit_s=lab.budget_s)
    return shape, forecast_s


def say_goals(trainings: Trainings, reach: Goals) -> None:
    """Tell and write down what there is to reach."""
    shown = ", ".join(f"{name} {trainings.metric.shown(value):.4g}" for name, value in reach.named.items())
    trainings.lab.learnt(f"goals ({trainings.metric.words}): {shown}; seeds differ by {reach.sigma:.2g}")
    trainings.lab.logbook.append("goals", goals=reach)
