"""From all rules to one arm of each: the admission test, then rungs over whole schedules."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from math import inf, isfinite, log
from typing import Any

from hotlap.knobs import OPTIMIZER_RULE
from hotlap.race.admission import step_ratios, why_not_timed
from hotlap.race.arm import Arm
from hotlap.race.budget import RUNGS, Shape
from hotlap.race.curves import crossing
from hotlap.race.goals import Goals
from hotlap.race.halving import ADMITTED, Reach, edge, survivors, time_to
from hotlap.race.result import Screened, Tried
from hotlap.race.rules import RULES, SCRIPT, Range
from hotlap.race.runs import Asking, Run
from hotlap.race.shapes import schedule_for
from hotlap.race.study import Search
from hotlap.race.trainings import Trainings
from hotlap.records import AS_WRITTEN, Setup
from hotlap.trials.blocks import Window

INCUMBENT = "the script's own"
_WIDE = 30.0  # times the script's own rate, up and down: where its rule is searched
_CAP = 1.2  # times the soonest so far; later than that it can be no winner
_ODD = 0.4  # log ratio beyond which a step is timed again
_NO_DECAY = Range(0.0, 0.0, 0.0)


@dataclass
class Candidate:
    """A rule while it is screened."""

    rule: str
    base: Arm
    lr: Range
    weight_decay: Range = _NO_DECAY
    step_ratio: float | None = None
    out: str = ""
    tried: list[Tried] = field(default_factory=list)
    best: Arm | None = None
    half: Run | None = None
    """Of the best arm, over half of the training."""

    @property
    def words(self) -> str:
        """Its name for people."""
        return INCUMBENT if self.rule == SCRIPT else RULES[self.rule].words

    def screened(self, out: str) -> Screened:
        """What there is to tell of it."""
        plain = {"schedule": "script", "horizon": None, "reference": None}
        best = str(replace(self.best, **plain)) if self.best else ""
        return Screened(self.rule, self.words, self.step_ratio, tuple(self.tried), best, out)


def candidate(rule: str, reference: float | None, own: str, known: str = "", decay: float = 0.0) -> Candidate:
    """A rule with its first settings.

    Args:
        rule: Its id, or that of the script's own.
        reference: The script's highest learning rate.
        own: The script's own schedule, "" for a constant rate.
        known: Which rule of the table the script's own is; "" for none.
        decay: The script's own weight decay.
    """
    schedule = schedule_for(rule, own)
    if rule != SCRIPT:
        found = RULES[rule]
        first = found.weight_decay.first or None
        base = Arm(rule, lr=found.lr.first, weight_decay=first, schedule=schedule, horizon=1)
        return Candidate(rule, base, found.lr, found.weight_decay)
    rate = reference or 1e-3
    base = Arm(SCRIPT, lr=rate, schedule=schedule, horizon=1, reference=reference)
    decays = _around(RULES[known].weight_decay, decay) if known in RULES else _NO_DECAY
    return Candidate(SCRIPT, base, Range(rate, rate / _WIDE, rate * _WIDE), decays)


def _around(usual: Range, own: float) -> Range:
    """A rule's usual range, with the script's own value in it and first; a decay that it turned off stays off."""
    return Range(own, min(usual.low, own), max(usual.high, own)) if own or not usual.low else _NO_DECAY


def admit(trainings: Trainings, candidates: Sequence[Candidate], window: Window) -> None:
    """Time some steps of each rule beside the untouched script; one whose step costs too much is out."""
    setups = {
        Setup.of({OPTIMIZER_RULE: str(replace(c.base, schedule="constant", horizon=None, reference=None))}): c
        for c in candidates
    }
    ratios = step_ratios(trainings, list(setups), window, lambda setup, ratio: abs(log(ratio)) > _ODD)
    for setup, found in setups.items():
        found.step_ratio = ratios[setup]
        if found.step_ratio is None:
            found.out = why_not_timed(trainings.lab, setup)
        elif found.step_ratio > ADMITTED and found.rule != SCRIPT:
            found.out = f"its step takes {found.step_ratio:.2f}x as long, and no rule saves so many steps"
        trainings.show(found.words, stage="admitted", step_ratio=found.step_ratio, said=found.out)


def screen(
    trainings: Trainings, candidates: Sequence[Candidate], shape: Shape, goals: Goals, storage: Any, reserve_s: float
) -> dict[str, Reach]:
    """Bring each rule to one arm, the script's own first, and see how soon it comes where that one ends.

    Args:
        trainings: Where they run.
        candidates: Those admitted; `best` and `half` are filled in.
        shape: How much of it.
        goals: For the noise between seeds.
        storage: Of Optuna.
        reserve_s: Time that the finals will need.
    """
    under_way: list[str] = []

    def brought_up(found: Candidate) -> Asking[None]:
        under_way.append(found.rule)
        shares = [trainings.rung(share) / trainings.steps for share in RUNGS]
        cost_s = trainings.lab.cost_s(AS_WRITTEN, "race") * sum(shares)
        cost_s *= max(1.0, len(under_way) / trainings.at_once)
        if found.rule != SCRIPT and trainings.lab.left_s < reserve_s + cost_s:
            found.out = "the budget ended before it was tried"
        else:
            yield from bring_up(trainings, found, shape, goals.sigma, storage, cap_s)
        under_way.remove(found.rule)

    def cap_s() -> float | None:
        own = candidates[0]
        if not own.half and not own.out:  # with its end there is nothing to come to yet
            return None
        soonest = min((reach.time_s for reach in reaches(trainings, candidates).values()), default=inf)
        return None if soonest == inf else _CAP * soonest

    trainings.follow([brought_up(found) for found in candidates])
    return reaches(trainings, candidates)


def reaches(trainings: Trainings, candidates: Sequence[Candidate]) -> dict[str, Reach]:
    """How soon each of those that came through came where the first, the script's own, ends."""
    own = candidates[0].half
    level = own.curve.best if own else inf  # which it has come to itself, by the same rule as the others
    return {
        found.rule: Reach(
            time_to(crossing(found.half.curve, level), trainings.step_s * (found.step_ratio or 1.0)),
            found.half.curve.points[-1][1],
        )
        for found in candidates
        if found.half is not None
    }


def bring_up(
    trainings: Trainings,
    found: Candidate,
    shape: Shape,
    sigma: float,
    storage: Any,
    cap_s: Callable[[], float | None],
) -> Asking[None]:
    """The rungs of one rule."""
    search = Search(
        storage,
        f"{trainings.name} {found.rule}",
        found.base,
        found.lr,
        found.weight_decay,
        shape.points,
        trainings.lab.seed,
    )
    ends = yield from first_rung(trainings, found, search, shape)
    last = dict(ends)
    keep = shape.rung_sizes()
    going = survivors(ends, keep[1], sigma, most=keep[1] + 1)
    for rung in (1, 2):
        if rung == 1 and len(going) == 1:
            continue  # with one left there is nothing to choose
        cap = cap_s() if rung == 2 and going else None
        runs = dict(zip(going, (yield from run_at(trainings, found, going, rung, cap))))
        ends = {arm: run.curve.final for arm, run in runs.items()}
        last |= ends
        for arm in going:
            search.report(arm, ends[arm], rung)
        if rung == 1:
            going = survivors(ends, keep[2], sigma, most=1)
        elif going:
            found.best, found.half = going[0], runs[going[0]]
    if found.best is None or found.half is None or not found.half.curve.points:
        found.out, found.best, found.half = "no setting of it came through the rungs", None, None
    search.tell(last, found.best)


def first_rung(trainings: Trainings, found: Candidate, search: Search, shape: Shape) -> Asking[dict[Arm, float]]:
    """Every setting over the shortest schedule; beyond the edge of those tried when the best lies there."""
    ends: dict[Arm, float] = {}

    def attempt(rates: Sequence[float | None]) -> Asking[None]:
        arms = [search.ask(lr) for lr in rates]
        runs = yield from run_at(trainings, found, arms, 0, None)
        for arm, run in zip(arms, runs):
            ends[arm] = run.curve.final
            search.report(arm, ends[arm], 0)

    for begun in range(0, shape.points, trainings.at_once):  # as many as run at once: who looks on sees each end
        yield from attempt([None] * min(trainings.at_once, shape.points - begun))
    for _ in range(shape.extensions):
        by_rate: dict[float, float] = {}
        for arm, value in ends.items():
            assert arm.lr is not None
            by_rate[arm.lr] = min(value, by_rate.get(arm.lr, inf))
        beyond = edge(by_rate)
        if beyond is None:
            break
        yield from attempt([beyond])
    return ends


def run_at(
    trainings: Trainings, found: Candidate, arms: Sequence[Arm], rung: int, cap_s: float | None, *, varies: bool = False
) -> Asking[list[Run]]:
    """Train arms, each over the whole of its schedule, shortened to a rung."""
    steps = trainings.rung(RUNGS[rung])
    if not arms:
        return []
    runs = yield [trainings.arm(found.words, replace(arm, horizon=steps), "search", rung, cap_s) for arm in arms]
    for arm, run in zip(arms, runs):
        final = run.curve.final
        value = trainings.metric.shown(final) if isfinite(final) else None
        found.tried.append(Tried(str(arm), arm.lr, steps, value, run.curve.stopped, run.record.trial.id, varies))
    return runs
