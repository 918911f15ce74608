"""One race, told from top to bottom."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import Any

from hotlap.errors import HotlapError
from hotlap.knobs import ARGUMENTS, OPTIMIZER_RULE
from hotlap.lab import Lab
from hotlap.race import range_test
from hotlap.race.arm import Arm
from hotlap.race.budget import Costs, Shape, afford
from hotlap.race.curves import crossing
from hotlap.race.finals import Entry, chosen, judged, leader, run_finals
from hotlap.race.goals import Goals, goals
from hotlap.race.halving import best_rules, find_horizon, time_to
from hotlap.race.result import Finalist, Metric, RaceResult
from hotlap.race.rules import RULES, SCRIPT, Tier
from hotlap.race.screening import INCUMBENT, Candidate, admit, candidate, screen
from hotlap.race.shapes import decays, own_schedule, peak
from hotlap.race.trainings import Run, Trainings
from hotlap.records import AS_WRITTEN, Facts, Setup
from hotlap.trials import blocks

_OBSERVED_S, _OBSERVED_SHARE = 20.0, 0.05
_FIRST_RUN_S, _FIRST_RUN_SHARE = 3600.0, 0.2  # that the first whole run may take
_MARGIN = 2.0  # sigma below the strict goal: a horizon that just comes there misses in every few runs
_ADMISSION_S = 2.5  # window of the admission test
SCRIPT_AS_WRITTEN = "as written"


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
    metric: Metric = field(default_factory=Metric)
    goal: float | None = None
    """The user's own, as the script has the metric."""


def rules_for(wish: Wish, facts: Facts) -> list[str]:
    """The rules to screen besides the script's own, in the order of the table."""
    own = {name.rsplit(":", 1)[-1].rsplit(".", 1)[-1].lower() for name in (o.name for o in facts.optimizers if o.main)}
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
    costs = learn_costs(trainings, first)
    rules = () if wish.variants else rules_for(wish, facts)
    shape, forecast_s = plan_time(trainings, costs, rules, wish)
    baselines = [first, *(trainings.baseline(number, lab.left_s) for number in range(2, shape.baselines + 1))]
    trainings.spent_on("observation and baselines")
    trainings.step_s = fmean(run.step_s for run in baselines)
    reach = goals([run.curve for run in baselines], None if wish.goal is None else wish.metric.shown(wish.goal))
    say_goals(trainings, reach)
    if wish.variants:
        candidates: list[Candidate] = []
        entries = variant_entries(trainings, wish.variants, shape.finalists, reach)
        trainings.spent_on("screening")
    else:
        candidates, entries = rule_entries(trainings, wish, shape, reach, first, storage)
    cut_short = run_finals(trainings, entries, shape.seeds, reach)
    trainings.spent_on("finals")
    finalists = judged(entries, reach, trainings.steps, wish.metric.grows)
    return concluded(trainings, wish, (shape, forecast_s), reach, candidates, finalists, cut_short)


def look(lab: Lab, wish: Wish) -> Facts:
    """What the script is made of."""
    lab.trying("observing the script as written")
    limit = _OBSERVED_S if wish.budget_s is None else min(_OBSERVED_S, max(6.0, _OBSERVED_SHARE * wish.budget_s))
    facts = lab.observe(limit).facts
    assert facts is not None
    if not wish.variants and facts.manual_update:
        what = "The script updates its weights by hand, so there is no optimizer to put another in the place of."
        raise HotlapError("not-swappable", what, fix="race variants of its command line with --arm instead")
    return facts


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
    return Costs(first.steps, start_s, trained_s / first.steps, record.evaluation_s / first.steps)


def plan_time(trainings: Trainings, costs: Costs, rules: Sequence[str], wish: Wish) -> tuple[Shape, float]:
    """How much of the protocol the budget pays for; told before it is run."""
    lab = trainings.lab
    shape, limit_s = afford(costs, wish.variants or rules, wish.budget_s, wish.shape, whole=bool(wish.variants))
    forecast_s = shape.forecast_s(costs)
    lab.budget_s = lab.spent_s + limit_s if wish.budget_s is None else wish.budget_s
    what = f"{len(shape.rules)} rules besides the script's own" if not wish.variants else f"{len(rules)} variants"
    proof = "" if shape.proves else "; too few seeds to prove anything, so the answer will be indicative"
    lab.learnt(
        f"a run takes {costs.run_s():.0f} s for {costs.steps} steps. Forecast: a {shape.name} race of {what}, finals"
        f" over {shape.seeds} seeds, about {forecast_s / 60:.1f} min, at most {lab.budget_s / 60:.1f} min{proof}"
    )
    if left := [rule for rule in rules if rule not in shape.rules and not wish.variants]:
        lab.learnt(f"not tried for want of time: {', '.join(left)}")
        lab.notes.append(f"not tried for want of time: {', '.join(left)}")
    lab.logbook.append("forecast", shape=shape, costs=costs, forecast_s=forecast_s, limit_s=lab.budget_s)
    return shape, forecast_s


def say_goals(trainings: Trainings, reach: Goals) -> None:
    """Tell and write down what there is to reach."""
    shown = ", ".join(f"{name} {trainings.metric.shown(value):.4g}" for name, value in reach.named.items())
    trainings.lab.learnt(f"goals ({trainings.metric.words}): {shown}; seeds differ by {reach.sigma:.2g}")
    trainings.lab.logbook.append("goals", goals=reach)


def rule_entries(
    trainings: Trainings, wish: Wish, shape: Shape, reach: Goals, first: Run, storage: Any
) -> tuple[list[Candidate], list[Entry]]:
    """Screen the rules, look for the horizons of the best, and enter them for the finals."""
    lab, rates = trainings.lab, first.record.race.rates if first.record.race else ()
    own = own_schedule(rates, trainings.steps)
    candidates = [candidate(rule, peak(rates), own) for rule in (SCRIPT, *shape.rules)]
    if wish.lr_finder:
        bracket(trainings, candidates[0])
    admit(
        trainings, candidates, blocks.window_for(trainings.step_s, _ADMISSION_S, first.record.warmup_steps, first.steps)
    )
    trainings.spent_on("admission")
    if candidates[0].out:
        what = f"The script's own optimizer cannot be swapped: {candidates[0].out}."
        raise HotlapError("not-swappable", what, fix="race variants of its command line with --arm instead")
    # The finals' share of the budget is kept for them: without finals a race has no answer.
    reserve_s = shape.seeds * (2 + shape.finalists) * lab.cost_s(AS_WRITTEN, "race")
    reserve_s = min(reserve_s, 0.6 * lab.left_s)
    admitted = [found for found in candidates if not found.out]
    reached = screen(trainings, admitted, shape, reach, storage, reserve_s)
    trainings.spent_on("screening")
    if SCRIPT not in reached:
        what = f"The script's own rule came to nothing when it was tuned: {candidates[0].out}."
        raise HotlapError("not-swappable", what, fix="race variants of its command line with --arm instead")
    best = best_rules({rule: found for rule, found in reached.items() if rule != SCRIPT}, shape.finalists)
    entries = [Entry(SCRIPT_AS_WRITTEN, "script", AS_WRITTEN, trainings.steps)]
    for found in candidates:
        if found.rule in (SCRIPT, *best):
            entries.append(entered(trainings, found, shape, reach))
        elif not found.out:
            found.out = "others came there sooner at half of the training"
    trainings.spent_on("horizons")
    return candidates, entries


def bracket(trainings: Trainings, own: Candidate) -> None:
    """A range test of the script's own rule, which narrows where its rate is searched."""
    arm = range_test.sweep(own.lr.first, trainings.steps)
    assert arm.horizon is not None
    run = trainings.arm(own.words, arm, "search", 9)
    found = range_test.read(run.record.steps.losses, own.lr.first, arm.horizon)
    if found is None:
        trainings.lab.notes.append("the range test was too short to tell anything, so it brackets nothing")
        return
    trainings.range_test = found
    own.lr = found.bracket(own.lr.first)
    trainings.lab.learnt(
        f"range test: the loss falls fastest at a rate of {found.steepest:.2g} and blows up at {found.edge:.2g}; the"
        f" script's own rule is searched from {own.lr.low:.2g} to {own.lr.high:.2g}"
    )


def entered(trainings: Trainings, found: Candidate, shape: Shape, reach: Goals) -> Entry:
    """A rule with the shortest horizon that comes well below the goal: the luck of one seed must not set it."""
    assert found.best is not None
    assert found.half is not None
    arm, half, level = found.best, found.half, reach.strict - _MARGIN * reach.sigma

    def best(steps: int) -> float:
        whole = replace(arm, horizon=trainings.rung(steps / trainings.steps))
        return trainings.arm(found.words, whole, "search", 3).curve.best

    horizon = trainings.steps
    if decays(arm):
        horizon = find_horizon(trainings.steps, best, shape.notches, half.curve.best, level)
        horizon = trainings.rung(horizon / trainings.steps)
    arm = replace(arm, horizon=horizon)
    trainings.lab.learnt(f"in the finals: {arm}")
    role = "incumbent" if found.rule == SCRIPT else "challenger"
    name = f"{INCUMBENT}, tuned" if found.rule == SCRIPT else found.words
    return Entry(name, role, Setup.of({OPTIMIZER_RULE: str(arm)}), horizon, arm)


def variant_entries(trainings: Trainings, variants: Sequence[str], most: int, reach: Goals) -> list[Entry]:
    """The script as written, and those of its variants that came to the goal soonest in one run each."""
    script = Entry(SCRIPT_AS_WRITTEN, "script", AS_WRITTEN, trainings.steps)
    entries = [Entry(text, "variant", Setup.of({ARGUMENTS: text}), trainings.steps) for text in variants]
    if len(entries) <= most:
        return [script, *entries]
    times: dict[str, float] = {}
    for entry in entries:
        trainings.lab.trying(f"search: {entry.name}")
        run = trainings.setup(entry.setup, "search", 1, trainings.steps)
        times[entry.name] = time_to(crossing(run.curve, reach.default), run.step_s)
        trainings.show(entry.name, stage="search", said=run.curve.stopped)
    return [script, *sorted(entries, key=lambda entry: times[entry.name])[:most]]


def concluded(
    trainings: Trainings,
    wish: Wish,
    planned: tuple[Shape, float],
    reach: Goals,
    candidates: Sequence[Candidate],
    finalists: Sequence[Finalist],
    cut_short: str,
) -> RaceResult:
    """The answer, written down."""
    lab, (shape, forecast_s) = trainings.lab, planned
    won = chosen(finalists, {f.name: simplicity(f) for f in finalists})
    first = won or leader(finalists)
    names = {finalist.name for finalist in finalists}
    assert lab.facts is not None
    notes = (*lab.notes, *([cut_short] if cut_short else []))
    result = RaceResult(
        target=" ".join(lab.runner.target.arguments),
        facts=lab.facts,
        metric=wish.metric,
        shape=shape.name,
        seeds=max((len(finalist.runs) for finalist in finalists), default=0),
        steps=trainings.steps,
        goals=shown_goals(reach, wish.metric),
        screened=tuple(found.screened(found.out) for found in candidates),
        finalists=tuple(finalists),
        winner=won.name if won else "",
        leader=first.name if first else "",
        reason=why(won, first, cut_short),
        speedup_vs_script=first.vs_script.get("default") if first else None,
        speedup_vs_tuned_incumbent=first.vs_incumbent if first else None,
        range_test=trainings.range_test,
        cost_s=trainings.cost_s,
        spent_s=lab.spent_s,
        forecast_s=forecast_s,
        runs=trainings.runs,
        notes=notes,
    )
    assert len(names) == len(finalists)
    lab.logbook.append("race", result=result)
    return result


def simplicity(finalist: Finalist) -> tuple[int, int]:
    """What decides between equals: torch's own before a library's, then less state."""
    arm = Arm.parse(finalist.arm) if finalist.arm else None
    library = arm is not None and arm.rule in RULES and RULES[arm.rule].needs_library
    return int(library), finalist.state_bytes or 0


def shown_goals(reach: Goals, metric: Metric) -> Goals:
    """The goals as the script has the metric."""
    return Goals(metric.shown(reach.default), metric.shown(reach.strict), metric.shown(reach.loose), reach.sigma)


def why(won: Finalist | None, first: Finalist | None, cut_short: str) -> str:
    """What decided, in one sentence."""
    if won is not None:
        return f"{won.name} is proven sooner than the script as written, and ends no worse"
    if first is None or not first.vs_script.get("default"):
        return cut_short or "no arm came to the finals"
    found = first.vs_script["default"]
    if found.proven:
        ends = "ends worse" if first.non_inferior is False else "was not shown to end as well"
        return f"{first.name} comes to the goal sooner and {ends}"
    return f"{first.name} was the soonest: {found.reason}"
