"""Blocks: the reference and the candidates once each, adjacent in time, in an order drawn from the seed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite, log

from hotlap.records import Facts, Outcome, Pair, Recording, Setup
from hotlap.stats import bad_blocks

LEAST_STEPS = 10


@dataclass(frozen=True)
class Window:
    """How long to measure: steps to discard and steps to keep, the same in every trial of a block."""

    warmup: int
    steps: int


def window_for(step_s: float, window_s: float, warmup: int, available: int | None = None) -> Window:
    """A window of at least 20 steps and `window_s`, shortened when the script has fewer steps."""
    steps = max(20, round(window_s / max(step_s, 1e-6)))
    if available is not None and warmup + steps > available:
        warmup = min(warmup, max(1, available // 5))
        steps = available - warmup
    return Window(warmup, steps)


def order(seed: int, block: int, setups: Sequence[Setup]) -> list[Setup]:
    """The setups of a block in random order."""
    shuffled = list(setups)
    random.Random(f"{seed}-{block}").shuffle(shuffled)
    return shuffled


def unusable(record: Recording) -> str:
    """Why a recording cannot be timed; "" when it can."""
    if record.failed_knobs:
        knob, reason = next(iter(record.failed_knobs.items()))
        return f"{knob} could not take hold: {reason}"
    if record.outcome not in (Outcome.BUDGET, Outcome.ENDED):
        return f"{record.outcome.value}: {record.reason}"
    if any(loss is not None and not isfinite(loss) for loss in record.steps.losses):
        return Outcome.NON_FINITE.value
    if len(record.steps.total_s) - record.warmup_steps < LEAST_STEPS:
        return f"only {len(record.steps.total_s)} steps, {record.warmup_steps} of them warm-up"
    return ""


def step_s(record: Recording, facts: Facts, first: int | None = None, last: int | None = None) -> float:
    """Mean time per training step [s], with the cost of starting an epoch spread over its steps.

    Args:
        record: A usable recording.
        facts: Of the script.
        first: Steps to leave out at the beginning; by default the recording's own warm-up.
        last: Number of the last step to count.
    """
    steps = record.steps.total_s[record.warmup_steps if first is None else first : last]
    start = record.epoch_start_s / facts.epoch_steps if facts.epoch_steps else 0.0
    return sum(steps) / len(steps) + start


def paired(reference: Recording, candidate: Recording, facts: Facts, stage: str) -> Pair:
    """Two usable recordings of a block at equal step numbers."""
    first = max(reference.warmup_steps, candidate.warmup_steps)
    last = min(len(reference.steps.total_s), len(candidate.steps.total_s))
    if last - first < LEAST_STEPS:  # a late recompilation: each by its own steps
        times = step_s(reference, facts), step_s(candidate, facts)
    else:
        times = step_s(reference, facts, first, last), step_s(candidate, facts, first, last)
        work = [sum(record.steps.samples[first:last]) for record in (reference, candidate)]
        if all(work) and work[0] != work[1]:  # an episode's length follows the weights: compare by the sample
            times = times[0], times[1] * work[0] / work[1]
    return Pair(
        block=candidate.trial.block,
        seed=candidate.trial.seed,
        setup=candidate.trial.setup,
        reference=reference.trial.id,
        candidate=candidate.trial.id,
        reference_s=times[0],
        candidate_s=times[1],
        stage=stage,
    )


def log_gain(pair: Pair) -> float:
    """ln of how many times faster the candidate was."""
    return log(pair.reference_s / pair.candidate_s)


def undisturbed(pairs: Sequence[Pair]) -> list[Pair]:
    """The pairs of one setup without those in which the machine was disturbed, judged by their baselines alone."""
    bad = bad_blocks([pair.reference_s for pair in pairs])
    return [pair for place, pair in enumerate(pairs) if place not in bad]
