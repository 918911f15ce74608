"""Runs of a race: an arm, a seed and a length in, a learning curve out; and the table that a person follows."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from math import isfinite
from statistics import fmean, median

from hotlap.errors import HotlapError
from hotlap.knobs import ARGUMENTS, OPTIMIZER_RULE
from hotlap.lab import Lab
from hotlap.race.arm import Arm
from hotlap.race.curves import LearningCurve, loss_curve, metric_curve, spacing
from hotlap.race.range_test import RangeTest
from hotlap.race.result import Metric, Row
from hotlap.records import AS_WRITTEN, Outcome, Recording, Setup, Trial, Value
from hotlap.trials import blocks
from hotlap.trials.blocks import LEAST_STEPS

PURPOSE = "race"
SEEDS = {"baseline": 100, "search": 200, "final": 300}
"""Of each stage: what was searched on must not decide."""


@dataclass(frozen=True)
class Run:
    """One run and what it showed."""

    record: Recording
    curve: LearningCurve
    step_s: float
    """Mean time of a step [s], evaluation apart."""

    @property
    def steps(self) -> int:
        """That it took."""
        return len(self.record.steps.total_s)


@dataclass
class Trainings:
    """Where arms are trained.

    Args:
        lab: Runs the trials.
        metric: What is raced for.
        changed: Told the rows of the table after every change.
        steps: Of the script's own training; 0 until it is known.
        printed: Steps between two values of the script's own metric; 0 for the training loss.
        samples: In a step of the script as written; 0 where they were not seen.
    """

    lab: Lab
    metric: Metric
    changed: Callable[[list[Row]], None] = lambda rows: None
    steps: int = 0
    printed: int = 0
    samples: float = 0.0
    step_s: float = 0.0
    """Mean time of the untouched script's step [s]."""
    name: str = "race"
    """Under which Optuna keeps its studies."""
    runs: int = 0
    rows: dict[str, Row] = field(default_factory=dict)
    range_test: RangeTest | None = None
    cost_s: dict[str, float] = field(default_factory=dict)
    """Part of the race to the time that it took."""

    def baseline(self, number: int, limit_s: float) -> Run:
        """A whole run of the untouched script.

        Raises:
            HotlapError: It failed, or did not come to its end in time.
        """
        self.lab.trying(f"baseline {number}: the script as written")
        run = self._run(AS_WRITTEN, self._seed("baseline", number), 0, limit_s)
        record = run.record
        if record.outcome is Outcome.BUDGET:
            raise HotlapError(
                "race-too-short",
                f"The script was still training after {record.wall_s:.0f} s and {run.steps} steps, and a race needs"
                " many whole runs of it.",
                fix="give it more --budget, or let the script train for fewer steps",
            )
        if record.outcome is not Outcome.ENDED:
            log = self.lab.runner.out / "trials" / record.log
            what = f"The untouched script ended with {record.outcome.value}: {record.reason}. Its output is in {log}."
            raise HotlapError("script-failed", what, fix="make it run by itself first")
        if not self.steps:
            self.steps = run.steps
            self.samples = samples_of(record)
            self.printed = self._interval(record)
            run = self._with_curve(record, "")
        return run

    @property
    def every(self) -> int:
        """Steps between two points of a curve."""
        return self.printed or spacing(self.steps)

    def rung(self, share: float) -> int:
        """Steps of a rung; up to where the script prints its metric, if that is raced for."""
        steps = max(2, round(share * self.steps))
        if self.printed:
            steps = -(-steps // self.printed) * self.printed
        return min(steps, self.steps)

    def arm(self, name: str, arm: Arm, stage: str, number: int, cap_s: float | None = None) -> Run:
        """Train an arm over its own horizon, on a seed of that stage."""
        assert arm.horizon is not None
        self.show(name, stage=f"{stage} {arm.horizon} steps", lr=arm.lr)
        self.lab.trying(f"{stage}: {arm}")
        run = self.setup(Setup.of({OPTIMIZER_RULE: str(arm)}), stage, number, arm.horizon, cap_s)
        final = run.curve.final
        value = self.metric.shown(final) if isfinite(final) else None
        self.show(name, value=value, said=run.curve.stopped)
        return run

    def variant(self, setup: Setup, stage: str, number: int) -> Run:
        """Train a variant of the command line to its own end."""
        return self._run(setup, self._seed(stage, number), 0, self.lab.left_s)

    def setup(self, setup: Setup, stage: str, number: int, steps: int, cap_s: float | None = None) -> Run:
        """Train a setup; over the whole training when it takes as many steps."""
        whole = steps >= self.steps or not self.steps
        return self._run(setup, self._seed(stage, number), 0 if whole else steps, self.lab.left_s, cap_s)

    def _seed(self, stage: str, number: int) -> int:
        return self.lab.seed * 1000 + SEEDS[stage] + number

    def _run(self, setup: Setup, seed: int, steps: int, limit_s: float, cap_s: float | None = None) -> Run:
        options: dict[str, Value] = {"cap_s": round(cap_s, 3)} if cap_s else {}
        if self.metric.pattern:
            options |= {"metric": self.metric.pattern, "metric_from": steps}
        trial = Trial(
            id=self.lab.next_id(PURPOSE),
            purpose=PURPOSE,
            setup=setup,
            seed=seed,
            block=0,
            steps=0 if self.metric.pattern else steps,
            limit_s=max(1.0, limit_s),
            options=options,
        )
        record = self.lab.run(trial)
        self.runs += 1
        return self._with_curve(record, why_stopped(record, steps))

    def _with_curve(self, record: Recording, stopped: str) -> Run:
        taken = len(record.steps.total_s)
        if self.metric.pattern:
            values = [(int(step), float(value)) for step, value in record.seen.get("metric", ())]
            curve = metric_curve(values, taken, grows=self.metric.grows, stopped=stopped)
        else:
            # Between two points lie equally many samples of every arm, or one would be smoothed more than another.
            every = max(1, round(spacing(self.steps or taken) / self.growth(record)))
            curve = loss_curve(record.steps.losses, every, stopped)
        return Run(record, curve, self.step_time(record))

    def growth(self, record: Recording) -> float:
        """Samples in a step over those of the untouched script's; of other arguments as far as they were seen."""
        values = record.trial.setup.values
        if OPTIMIZER_RULE in values:
            return Arm.parse(str(values[OPTIMIZER_RULE])).growth
        if ARGUMENTS not in values:
            return 1.0
        own = samples_of(record)
        return own / self.samples if own and self.samples else 1.0

    def step_time(self, record: Recording) -> float:
        """Mean time of a step [s], warm-up left out where enough is left; an epoch has fewer of larger batches."""
        times, facts = record.steps.total_s, self.lab.facts
        if len(times) - record.warmup_steps < LEAST_STEPS or facts is None:
            return fmean(times) if times else float("nan")
        epoch = facts.epoch_steps and max(1, round(facts.epoch_steps / self.growth(record)))
        return blocks.step_s(record, replace(facts, epoch_steps=epoch))

    def _interval(self, record: Recording) -> int:
        if not self.metric.pattern:
            return 0
        steps = sorted({int(step) for step, _ in record.seen.get("metric", ())})
        if not steps:
            raise HotlapError(
                "no-metric",
                f"Nothing that the script printed matches {self.metric.pattern!r}.",
                fix="give --metric a regular expression with one group around the number",
            )
        return max(1, min((b - a for a, b in zip([0, *steps], steps) if b > a), default=1))

    def spent_on(self, part: str) -> None:
        """The time since the last part was this one's."""
        since_s = self.lab.spent_s - sum(self.cost_s.values())
        self.cost_s[part] = self.cost_s.get(part, 0.0) + since_s

    def show(self, name: str, **changes: object) -> None:
        """Change a row of the live table."""
        self.rows[name] = replace(self.rows.get(name, Row(name)), **changes)  # type: ignore[arg-type]
        self.changed(list(self.rows.values()))


def why_stopped(record: Recording, steps: int) -> str:
    """Why a run did not come to the end of its schedule; "" when it did.

    Args:
        record: Of the run.
        steps: That it was to take; 0 for the script's own end.
    """
    if record.failed_knobs:
        return next(iter(record.failed_knobs.values()))
    if record.race is not None and (record.race.killed or record.race.refused):
        return record.race.killed.replace("-", " ") or record.race.refused
    if record.outcome not in (Outcome.BUDGET, Outcome.ENDED):
        return record.outcome.value
    if any(loss is not None and not isfinite(loss) for loss in record.steps.losses):
        return Outcome.NON_FINITE.value
    if record.outcome is Outcome.BUDGET and (not steps or len(record.steps.total_s) < steps):
        return "out of time"
    return ""


def samples_of(record: Recording) -> float:
    """Samples in most steps of a run; 0 where they were not seen."""
    seen = [count for count in record.steps.samples if count]
    return float(median(seen)) if seen else 0.0


def regular_expression(pattern: str) -> str:
    """The user's pattern, checked.

    Raises:
        HotlapError: It is no regular expression, or has not exactly one group.
    """
    try:
        groups = re.compile(pattern).groups
    except re.error as error:
        raise HotlapError(
            "bad-choice", f"--metric {pattern} is no regular expression: {error}.", fix="correct it"
        ) from None
    if groups != 1:
        what = f"--metric {pattern} has {groups} groups."
        raise HotlapError("bad-choice", what, fix="put one group around the number, as 'accuracy ([0-9.]+)'")
    return pattern
