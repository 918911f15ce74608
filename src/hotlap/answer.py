"""From what a tune found to its result, and from there to the plan."""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import ceil, isfinite, log
from statistics import fmean
from typing import Any, get_type_hints

import msgspec

from hotlap import stats
from hotlap.audits import all_audits
from hotlap.audits.judge import audited
from hotlap.bounds import bounds_of, prices_of
from hotlap.confirm import against, estimated
from hotlap.judge import Judgement
from hotlap.knobs import knob_by_id
from hotlap.lab import Lab
from hotlap.plan import Plan
from hotlap.planned import plan_of
from hotlap.records import (
    AS_WRITTEN,
    PHASES,
    Contract,
    Estimate,
    Facts,
    Goal,
    Kept,
    Pair,
    Phases,
    Recording,
    Result,
    Seen,
    Setup,
)
from hotlap.records.views import LargestBatch
from hotlap.savings import with_savings
from hotlap.shares import share
from hotlap.trials import blocks
from hotlap.trials.warmup import counted, warmup_of


def phases_of(record: Recording) -> Phases:
    """Mean phases of a recording's steady steps."""
    places = counted(record.steps, min(record.warmup_steps, len(record.steps.total_s) // 2))
    means = {phase: fmean(values[place] for place in places) for phase, values in record.steps.phases_s.items()}
    return Phases(sum(means.values()), means)


def seen_of(record: Recording) -> Seen:
    """An observed run as the audits see it; what a probe wrote in a form that is not known counts as not seen."""
    assert record.facts is not None
    types = get_type_hints(Seen)
    what: dict[str, Any] = {}
    for probe, written in record.seen.items():
        with contextlib.suppress(KeyError, msgspec.ValidationError):
            what[probe] = msgspec.convert(written, types[probe])
    failed = {name.removeprefix("probe "): why for name, why in record.failed_probes.items()}
    return Seen(record.facts, phases_of(record), record.steps, load=record.load, failed=failed, **what)


def samples_per_step(record: Recording) -> float:
    """Mean samples in a steady step."""
    return fmean(record.steps.samples[min(record.warmup_steps, len(record.steps.samples) // 2) :])


def evaluation_share(record: Recording) -> float:
    """Share of the recorded time that went into evaluation."""
    return record.evaluation_s / (sum(record.steps.total_s) + record.evaluation_s)


def _mean_phases(records: Sequence[Recording]) -> Phases:
    every = [phases_of(record) for record in records]
    means = {phase: fmean(p.phases_s[phase] for p in every) for phase in PHASES}
    return Phases(sum(means.values()), means)


@dataclass(frozen=True)
class Answer:
    """What is known so far; the empty setup means that nothing was proven."""

    facts: Facts
    skipped: dict[str, str] = field(default_factory=dict)
    asked: Setup = AS_WRITTEN
    setup: Setup = AS_WRITTEN
    ratios: tuple[float, ...] = ()
    judgement: Judgement | None = None
    result: Result | None = None
    goal: Goal = Goal.SPEED
    slowdown: float = 0.0
    """How much slower a step may be where memory is the goal, as a share."""
    largest: tuple[LargestBatch, ...] = ()

    def accepted(self, setup: Setup, ratios: list[float], judgement: Judgement) -> Answer:
        """The answer with a setup that is proven to serve the goal and to learn the same."""
        return replace(self, setup=setup, ratios=tuple(ratios), judgement=judgement)

    def finished(self, lab: Lab, observed: Phases, noise: float, planned_steps: int | None = None) -> Answer:
        """The answer with everything that a reader is told.

        Args:
            lab: Of the tune.
            observed: Mean phases of the observed run.
            noise: Standard deviation of a pair's log ratio.
            planned_steps: Length of the real run in training steps, if that is known.
        """
        reference, candidate = confirmed(lab, self.setup)
        closings = lab.closed(self.setup)
        loosened = self.judgement.loosened if self.judgement else ()
        speedup = stats.confirmed_speedup(self.ratios, closings=closings) if self.setup.settings else None
        kept = tuple(_kept(knob, self.setup, lab.pairs, loosened) for knob in self.setup.values)
        watched = [r for r in lab.recordings.values() if r.trial.purpose == "observe"][-1]
        result = Result(
            target=" ".join(lab.runner.target.arguments),
            facts=self.facts,
            speedup=speedup,
            speedup_run=_speedup_run(reference, candidate, watched, planned_steps, closings),
            verdict=self.judgement.verdict if self.judgement else None,
            kept=kept,
            rejected=tuple(lab.rejected),
            skipped=self.skipped,
            levels=_levels(kept, speedup),
            baseline=_mean_phases(reference) if reference else observed,
            tuned=_mean_phases(candidate) if candidate else None,
            pairs=tuple(lab.pairs),
            curves=self.judgement.curves if self.judgement else (),
            findings=audited(seen_of(watched), all_audits()),
            noise=noise,
            smallest_gain=stats.smallest_provable_gain(noise),
            tuning_s=lab.before_s + lab.spent_s,
            payback_steps=payback(*confirmed(lab, self.setup, self.asked)) if self.setup != self.asked else None,
            evaluation_share=evaluation_share(watched),
            peak_bytes=(_peak(reference or [watched]), _peak(candidate)),
            ceiling=lab.ceiling,
            bounds=bounds_of(lab.pairs),
            prices=prices_of(lab.pairs),
            load=_mean_load([r for r in lab.recordings.values() if r.trial.purpose == "time"]),
            notes=(*lab.notes, *_unsteady(lab), *_brought_forward(self.ratios, closings)),
            cut_short=lab.cut_short if not kept else "",
        )
        if self.asked.settings and kept:
            result = self._beside(result, lab.pairs, closings)
        if self.goal is Goal.MEMORY:
            result = with_savings(result, lab, self.setup, self.slowdown, self.largest)
        lab.logbook.append("result", result=result)
        return replace(self, result=result)

    def _beside(self, result: Result, pairs: Sequence[Pair], closings: Sequence[int]) -> Result:
        """What the asked-for settings cost, and what the others bring on top."""
        alone, rest = against(pairs, self.asked), against(pairs, self.setup, self.asked)
        return replace(
            result,
            asked=self.asked,
            asked_speedup=estimated(alone, blocks.log_gain),
            added_speedup=estimated(rest, blocks.log_gain, closings) if self.setup != self.asked else None,
        )

    def plan(self, date: datetime.date) -> Plan:
        """The plan that `hotlap run` applies."""
        assert self.result is not None
        return plan_of(self.result, self.judgement.signatures if self.judgement else {}, date)


def _kept(knob_id: str, setup: Setup, pairs: Sequence[Pair], loosened: Sequence[str]) -> Kept:
    knob = knob_by_id(knob_id)
    contract = Contract.REDUCED if knob_id in loosened else knob.contract
    return Kept(knob_id, knob.area, setup.values[knob_id], contract, share(setup, knob_id, pairs))


def _unsteady(lab: Lab) -> list[str]:
    """What to say when most runs of the untouched script kept changing their pace."""
    runs = [r for r in lab.recordings.values() if (r.trial.purpose, r.trial.setup) == ("time", AS_WRITTEN)]
    runs = [r for r in runs if not r.trial.arms]
    changing = sum(not warmup_of(r.steps).steady for r in runs)
    if changing <= len(runs) / 2:
        return []
    seen = f"the script never became steady: in {changing} of {len(runs)} runs its pace kept changing to the end. "
    return [f"{seen}What is said of its speed holds for these first steps, and may be otherwise later."]


def _brought_forward(ratios: Sequence[float], closings: Sequence[int]) -> list[str]:
    """What to say when a setup was accepted by the look that the end of the budget brought forward."""
    if len(ratios) not in closings:
        return []
    return [f"the budget ended after {len(ratios)} confirmation pairs: the look at them was brought forward"]


def _levels(kept: Sequence[Kept], speedup: Estimate | None) -> dict[str, Estimate | None]:
    """The whole plan's speed-up stands at the loosest contract it holds; what was not measured apart is None."""
    if not kept:
        return {}
    loosest = max(k.contract.level for k in kept)
    present = {k.contract for k in kept}
    return {
        contract.value: speedup if contract.level == loosest else None for contract in Contract if contract in present
    }


def confirmed(lab: Lab, setup: Setup, asked: Setup = AS_WRITTEN) -> tuple[list[Recording], list[Recording]]:
    """The recordings of a setup's undisturbed confirmation pairs: of the untouched script, and of the setup.

    Args:
        lab: Of the tune.
        setup: The one that was confirmed.
        asked: Settings whose runs in the same blocks stand in the place of the untouched script's, if any.
    """
    pairs = against(lab.pairs, setup, asked)
    return [lab.recordings[p.reference] for p in pairs], [lab.recordings[p.candidate] for p in pairs]


def _speedup_run(
    reference: Sequence[Recording],
    candidate: Sequence[Recording],
    watched: Recording,
    planned_steps: int | None,
    closings: Sequence[int],
) -> Estimate | None:
    """The whole run of so many steps: start-up, warm-up and evaluation, which no setting changes, included."""
    if planned_steps is None or len(reference) < 2:
        return None
    evaluation_s = watched.evaluation_s / max(1, len(watched.steps.total_s))

    def run_s(record: Recording) -> float:
        steady = max(0, planned_steps - record.warmup_steps) * phases_of(record).total_s
        start = (record.startup_s or 0.0) + sum(record.steps.total_s[1 : min(record.warmup_steps, planned_steps)])
        return start + steady + planned_steps * evaluation_s

    ratios = [log(run_s(a) / run_s(b)) for a, b in zip(reference, candidate, strict=True)]
    return stats.confirmed_speedup(ratios, closings=closings)


def payback_steps(extra_s: float, reference_step_s: float, candidate_step_s: float) -> int | None:
    """Training steps after which the extra start-up cost is earned back; None when it never is.

    Args:
        extra_s: Start-up and compile time that the candidate costs more [s]; below zero it starts sooner.
        reference_step_s: Mean step time of the untouched script [s].
        candidate_step_s: The same under the plan [s].
    """
    gain_s = reference_step_s - candidate_step_s
    if not gain_s > 0:
        return None
    steps = max(extra_s, 0.0) / gain_s
    return ceil(steps) if isfinite(steps) else None


def payback(reference: Sequence[Recording], candidate: Sequence[Recording]) -> int | None:
    """Steps that earn back the extra start-up and warm-up time."""
    if not reference or not candidate:
        return None
    steady = [fmean(phases_of(r).total_s for r in side) for side in (reference, candidate)]
    extra = [
        fmean((r.startup_s or 0.0) + sum(t - step for t in r.steps.total_s[1 : r.warmup_steps]) for r in side)
        for side, step in zip((reference, candidate), steady, strict=True)
    ]
    return payback_steps(extra[1] - extra[0], steady[0], steady[1])


def _mean_load(records: Sequence[Recording]) -> dict[str, float]:
    names = dict.fromkeys(name for record in records for name in record.load)
    return {name: fmean(record.load.get(name, 0.0) for record in records) for name in names}


def _peak(records: Sequence[Recording]) -> int:
    return max((r.cuda_peak_bytes or r.peak_bytes for r in records), default=0)
