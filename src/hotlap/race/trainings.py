"""Runs of a race: an arm, a seed and a length in, a learning curve out; and the table that a person follows."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from math import isfinite
from statistics import fmean, median
from typing import Any, TypeVar

from hotlap.abreast import run_abreast
from hotlap.errors import HotlapError
from hotlap.knobs import ARGUMENTS, OPTIMIZER_RULE
from hotlap.lab import Lab
from hotlap.race.arm import Arm
from hotlap.race.curves import is_coarse, loss_curve, metric_curve, spacing
from hotlap.race.range_test import RangeTest
from hotlap.race.result import Metric, Row
from hotlap.race.runs import SEEDS, Asking, Run, Wanted, why_stopped
from hotlap.records import AS_WRITTEN, Outcome, Recording, Setup, Trial, Value
from hotlap.trials import blocks
from hotlap.trials.blocks import LEAST_STEPS

T = TypeVar("T")
PURPOSE = "race"


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
        return self._sound(self.run(_baseline(number), limit_s))

    def baselines(self, numbers: Sequence[int]) -> list[Run]:
        """The same for several seeds."""
        return [self._sound(run) for run in self.together([[_baseline(number)] for number in numbers]) if run]

    def _sound(self, run: Run) -> Run:
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

    @property
    def at_once(self) -> int:
        """Runs that can be under way at the same time."""
        return max(1, self.lab.cluster.places) if self.lab.cluster else 1

    def follow(self, searches: Sequence[Asking[T]]) -> list[T]:
        """Carry out searches that do not need each other, and give what each found.

        One after the other; on a cluster abreast, in rounds: a round ends with its last run, so that nothing depends on
        which came first.
        """
        if self.lab.cluster is None:
            return [found for search in searches for found in self._abreast([search])]
        return self._abreast(searches)

    def _abreast(self, searches: Sequence[Asking[T]]) -> list[T]:
        found: dict[int, T] = {}
        told: dict[int, Any] = dict.fromkeys(range(len(searches)))
        while told:
            asked: dict[int, Sequence[Wanted]] = {}
            for place, runs in told.items():
                try:
                    asked[place] = searches[place].send(runs)
                except StopIteration as end:
                    found[place] = end.value
            came = self.together([[one] for wanted in asked.values() for one in wanted])
            told = {place: list(islice(came, len(wanted))) for place, wanted in asked.items()}
        return [found[place] for place in range(len(searches))]

    def together(
        self, groups: Sequence[Sequence[Wanted]], worth: Callable[[], bool] = lambda: True
    ) -> Iterator[Run | None]:
        """Runs that do not need each other, one after the other; on a cluster several at once.

        Args:
            groups: What stands in one is run one after the other at one place.
            worth: Whether a group is still to be begun.

        Yields:
            Each run, in the order in which they are wanted; None in the place of a group that was not run, and the end.
        """
        if self.lab.cluster is None:
            for group in groups:
                if not worth():
                    yield None
                    return
                self.lab.forget_torn([self._planned(one, 0.0) for one in group])
                yield from map(self.run, group)
            return
        trials = [[self._trial(one, self.lab.left_s) for one in group] for group in groups]
        told = {t.id: one for group, ours in zip(trials, groups) for t, one in zip(group, ours)}
        for group, records in zip(
            groups, run_abreast(self.lab, trials, worth, lambda trial: self._begun(told[trial.id]))
        ):
            if records is None:
                yield None
                return
            yield from map(self._ended, group, records)

    def run(self, wanted: Wanted, limit_s: float | None = None) -> Run:
        """One run."""
        self._begun(wanted)
        record = self.lab.run(self._trial(wanted, self.lab.left_s if limit_s is None else limit_s))
        return self._ended(wanted, record)

    def start(self, arguments: str) -> Recording:
        """The first steps of a variant of the script's command line: whether it trains at all."""
        return self.run(Wanted(Setup.of({ARGUMENTS: arguments}), "search", 0, f"start: {arguments}", 2)).record

    def arm(self, name: str, arm: Arm, stage: str, number: int, cap_s: float | None = None) -> Wanted:
        """A run of an arm over its own horizon, on a seed of that stage."""
        assert arm.horizon is not None
        setup = Setup.of({OPTIMIZER_RULE: str(arm)})
        return Wanted(setup, stage, number, f"{stage}: {arm}", arm.horizon, cap_s, name, arm.lr)

    def _seed(self, stage: str, number: int) -> int:
        return self.lab.seed * 1000 + SEEDS[stage] + number

    def _steps(self, wanted: Wanted) -> int:
        """That it is to take; 0 for the script's own end, which comes by itself."""
        whole = wanted.steps >= self.steps or not self.steps
        return 0 if whole else wanted.steps

    def _trial(self, wanted: Wanted, limit_s: float) -> Trial:
        return replace(self._planned(wanted, limit_s), id=self.lab.next_id(PURPOSE))

    def _planned(self, wanted: Wanted, limit_s: float) -> Trial:
        """The trial, before it has a number."""
        steps = self._steps(wanted)
        options: dict[str, Value] = {"cap_s": round(wanted.cap_s, 3)} if wanted.cap_s else {}
        if self.metric.pattern:
            options |= {"metric": self.metric.pattern, "metric_from": steps}
        return Trial(
            id="",
            purpose=PURPOSE,
            setup=wanted.setup,
            seed=self._seed(wanted.stage, wanted.number),
            block=0,
            steps=0 if self.metric.pattern else steps,
            limit_s=max(1.0, limit_s),
            options=options,
        )

    def _begun(self, wanted: Wanted) -> None:
        if wanted.row:
            stage = f"{wanted.stage} {wanted.steps} steps" if wanted.steps else wanted.stage
            self.show(wanted.row, stage=stage, lr=wanted.lr)
        self.lab.trying(wanted.said)

    def _ended(self, wanted: Wanted, record: Recording) -> Run:
        self.runs += 1
        run = self._with_curve(record, why_stopped(record, self._steps(wanted)))
        if wanted.row:
            final = run.curve.final
            value = self.metric.shown(final) if isfinite(final) else None
            self.show(wanted.row, value=value, said=run.curve.stopped)
        return run

    def _with_curve(self, record: Recording, stopped: str) -> Run:
        taken = len(record.steps.total_s)
        coarse = is_coarse(self.steps or taken, self.printed or spacing(self.steps or taken))
        if self.metric.pattern:
            values = [(int(step), float(value)) for step, value in record.seen.get("metric", ())]
            curve = metric_curve(values, taken, grows=self.metric.grows, stopped=stopped, coarse=coarse)
        else:
            # Between two points lie equally many samples of every arm, or one would be smoothed more than another.
            every = max(1, round(spacing(self.steps or taken) / self.growth(record)))
            curve = loss_curve(record.steps.losses, every, stopped, coarse=coarse)
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


def samples_of(record: Recording) -> float:
    """Samples in most steps of a run; 0 where they were not seen."""
    seen = [count for count in record.steps.samples if count]
    return float(median(seen)) if seen else 0.0


def _baseline(number: int) -> Wanted:
    return Wanted(AS_WRITTEN, "baseline", number, f"baseline {number}: the script as written")


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
