"""The arms of the finals: one of each of the best rules, with its horizon, or variants of the command line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import isfinite
from typing import Any

from hotlap.errors import HotlapError
from hotlap.knobs import ARGUMENTS, OPTIMIZER_RULE
from hotlap.race import range_test
from hotlap.race.admission import WhatIf, admission_window
from hotlap.race.budget import Shape, seeds_in_turn
from hotlap.race.curves import crossing
from hotlap.race.finals import Entry
from hotlap.race.goals import Goals
from hotlap.race.halving import NOTCH, Reach, best_rules, find_horizon, time_to
from hotlap.race.result import Screened, Tried
from hotlap.race.rules import RULES, SCRIPT
from hotlap.race.runs import Asking, Run, Wanted
from hotlap.race.screening import INCUMBENT, Candidate, admit, candidate, screen
from hotlap.race.shapes import decays, own_schedule, peak
from hotlap.race.trainings import Trainings
from hotlap.race.variations import vary
from hotlap.records import AS_WRITTEN, Raced, Setup

_MARGIN = 1.0  # of the spread below the strict goal: a horizon that just comes there misses in every few runs
_FINALS_SHARE = 0.6  # of what is left, at most, that is kept for the finals: without them a race has no answer
_ONCE_AN_EPOCH, _FEWEST_UPDATES = "gradient-descent", 16  # two of them at the shortest rung
SCRIPT_AS_WRITTEN = "as written"
OTHERS_SOONER = "others came to the goal sooner"


def rule_entries(
    trainings: Trainings, shape: Shape, reach: Goals, first: Run, storage: Any, *, lr_finder: bool
) -> tuple[list[Candidate], list[Entry]]:
    """Screen the rules, look for the horizons of the best, and enter them for the finals."""
    lab, candidates = trainings.lab, begun(trainings, shape, first)
    if lr_finder:
        bracket(trainings, candidates[0])
    window = admission_window(trainings, first, first.steps)
    admit(trainings, [found for found in candidates if not found.out], window)
    trainings.spent_on("admission")
    if candidates[0].out:
        what = f"The script's own optimizer cannot be swapped: {candidates[0].out}."
        raise HotlapError("not-swappable", what, fix="race variants of its command line with --arm instead")
    reserve_s = seeds_in_turn(shape.seeds, trainings.at_once) * (2 + shape.finalists) * lab.cost_s(AS_WRITTEN, "race")
    reserve_s = min(reserve_s, _FINALS_SHARE * lab.left_s)
    admitted = [found for found in candidates if not found.out]
    reached = screen(trainings, admitted, shape, reach, storage, reserve_s)
    trainings.spent_on("screening")
    if SCRIPT not in reached:
        what = f"The script's own rule came to nothing when it was tuned: {candidates[0].out}."
        raise HotlapError("not-swappable", what, fix="race variants of its command line with --arm instead")
    best = best_rules({rule: found for rule, found in reached.items() if rule != SCRIPT}, shape.finalists)
    entries = [as_written(trainings)]
    chosen = [found for found in candidates if found.rule in (SCRIPT, *best)]
    entries += trainings.follow([prepared(trainings, found, shape, reach, reserve_s) for found in chosen])
    for found in candidates:
        if found.rule not in (SCRIPT, *best) and not found.out:
            found.out = "others came there sooner at half of the training"
    trainings.spent_on("horizons")
    return candidates, entries


def own_entry(trainings: Trainings, shape: Shape, reach: Goals, first: Run, storage: Any) -> list[Entry]:
    """The script's own rule, tuned, to stand beside changes that are no rules; none where it cannot be swapped."""
    alone = replace(shape, rules=(), finalists=0, whole=False)
    try:
        return rule_entries(trainings, alone, reach, first, storage, lr_finder=False)[1][1:]
    except HotlapError as reason:
        trainings.lab.notes.append(f"the script's own rule was not tuned beside: {reason.what}")
        return []


def begun(trainings: Trainings, shape: Shape, first: Run) -> list[Candidate]:
    """The rules with their first settings, the script's own first."""
    seen, facts = first.record.race or Raced(), trainings.lab.facts
    own = own_schedule(seen.rates, trainings.steps)
    known = next((one.name.rpartition(":")[2].lower() for one in facts.optimizers if one.main), "") if facts else ""
    script = candidate(SCRIPT, peak(seen.rates), own, known, seen.weight_decay)
    candidates = [script, *(candidate(rule, peak(seen.rates), own) for rule in shape.rules)]
    epoch = facts.epoch_steps if facts else None
    blind = bool(trainings.metric.pattern) and not seen.mode_calls
    for found in candidates:
        found.out = not_applicable(found.rule, trainings.steps, epoch, blind=blind)
        if found.out:
            trainings.show(found.words, said=found.out)
    return candidates


def not_applicable(rule: str, steps: int, epoch: int | None, *, blind: bool) -> str:
    """Why a rule is not even tried with the script; "" when it is.

    Args:
        rule: Its id.
        steps: Of the whole training.
        epoch: Steps of an epoch, if it has any.
        blind: The script's own evaluation decides, and it never tells the model that it evaluates.

    >>> not_applicable("schedule-free-sgd", 100, None, blind=True)
    'not applicable: it is evaluated with other weights, and the script never says so by eval()'
    """
    if rule == _ONCE_AN_EPOCH and epoch and steps < _FEWEST_UPDATES * epoch:
        return f"not applicable: it updates once in an epoch, {steps // epoch} times in the whole training"
    if blind and rule in RULES and RULES[rule].schedule_free:
        return "not applicable: it is evaluated with other weights, and the script never says so by eval()"
    return ""


def bracket(trainings: Trainings, own: Candidate) -> None:
    """A range test of the script's own rule, which narrows where its rate is searched."""
    arm = range_test.sweep(own.lr.first, trainings.steps)
    assert arm.horizon is not None
    run = trainings.run(trainings.arm(own.words, arm, "search", 9))
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


def prepared(trainings: Trainings, found: Candidate, shape: Shape, reach: Goals, reserve_s: float) -> Asking[Entry]:
    """A rule for the finals: its schedule and the like, then its horizon; as it is where little time is left."""
    if trainings.lab.left_s < reserve_s:
        shape = replace(shape, variations=0, notches=0, checks=0)
    yield from vary(trainings, found, shape.variations, reach.sigma)
    return (yield from entered(trainings, found, shape, reach))


def entered(trainings: Trainings, found: Candidate, shape: Shape, reach: Goals) -> Asking[Entry]:
    """A rule with the shortest horizon that comes well below the goal: the luck of one seed must not set it."""
    assert found.best is not None
    assert found.half is not None
    arm, half, level = found.best, found.half, reach.strict - _MARGIN * reach.spread

    def best(steps: int, number: int = 3) -> Asking[float]:
        whole = replace(arm, horizon=trainings.rung(steps / trainings.steps))
        (run,) = yield [trainings.arm(found.words, whole, "search", number)]
        return run.curve.best

    horizon = trainings.steps
    if decays(arm):
        horizon = yield from find_horizon(trainings.steps, best, shape.notches, half.curve.best, level)
        for number in range(shape.checks):
            if horizon < trainings.steps and (yield from best(horizon, 4 + number)) > reach.strict:
                horizon = min(trainings.steps, round(horizon * NOTCH))
        horizon = trainings.rung(horizon / trainings.steps)
    arm = replace(arm, horizon=horizon)
    trainings.lab.learnt(f"in the finals: {arm}")
    role = "incumbent" if found.rule == SCRIPT else "challenger"
    name = f"{INCUMBENT}, tuned" if found.rule == SCRIPT else found.words
    return Entry(name, role, Setup.of({OPTIMIZER_RULE: str(arm)}), horizon, arm)


def variant_entries(
    trainings: Trainings, variants: Sequence[str], most: int, reach: Goals
) -> tuple[list[Screened], list[Entry]]:
    """The script as written, and those of its variants that came to the goal soonest in one run each."""
    entries = [Entry(text, "variant", Setup.of({ARGUMENTS: text}), trainings.steps) for text in variants]
    tried, kept = soonest_of(trainings, entries, most, reach)
    names = {entry.name for entry in kept}
    screened = [
        Screened(name, name, None, (one,), "", "" if name in names else OTHERS_SOONER) for name, one in tried.items()
    ]
    return screened, [as_written(trainings), *kept]


def what_if_entries(
    trainings: Trainings, what_ifs: Sequence[WhatIf], most: int, reach: Goals
) -> tuple[list[Screened], list[Entry]]:
    """The same of the changes that the clock admits."""
    tried, kept = soonest_of(trainings, [one.entry() for one in what_ifs if not one.out], most, reach)
    names = {entry.name for entry in kept}
    screened: list[Screened] = []
    for one in what_ifs:
        one.out = one.out or ("" if one.words in names else OTHERS_SOONER)
        screened.append(replace(one.screened(), tried=(tried[one.words],) if one.words in tried else ()))
    return screened, [as_written(trainings), *kept]


def as_written(trainings: Trainings) -> Entry:
    """The untouched script."""
    return Entry(SCRIPT_AS_WRITTEN, "script", AS_WRITTEN, trainings.steps)


def soonest_of(
    trainings: Trainings, entries: Sequence[Entry], most: int, reach: Goals
) -> tuple[dict[str, Tried], list[Entry]]:
    """Those that came to the goal soonest, and what each came to in one run; nothing is run where none must go."""
    if len(entries) <= most:
        return {}, list(entries)
    reached: dict[str, Reach] = {}
    tried: dict[str, Tried] = {}
    wanted = [[Wanted(one.setup, "search", 1, f"search: {one.name}", one.steps, row=one.name)] for one in entries]
    for entry, run in zip(entries, trainings.together(wanted)):
        assert run is not None
        reached[entry.name] = Reach(time_to(crossing(run.curve, reach.default), run.step_s), run.curve.final)
        end = trainings.metric.shown(run.curve.final) if isfinite(run.curve.final) else None
        tried[entry.name] = Tried("", None, run.steps, end, run.curve.stopped, run.record.trial.id)
    names = best_rules(reached, most)
    return tried, [entry for entry in entries if entry.name in names]
