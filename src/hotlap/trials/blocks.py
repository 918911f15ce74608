"""Blocks: the reference and the candidates once each, adjacent in time, in an order drawn from the seed."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import isfinite, log
from statistics import fmean

from hotlap.records import Facts, Outcome, Pair, Recording, Setup
from hotlap.rounds import turns
from hotlap.stats import bad_blocks
from hotlap.trials.warmup import counted

LEAST_STEPS = 10
_FEWEST, _FEW_S = 12, 10.0  # of a window: steps that are slow need not be twenty
_EXTREME = 0.2  # of the rounds, at each end


@dataclass(frozen=True)
class Window:
    """How long to measure: steps to discard and steps to keep, the same in every trial of a block."""

    warmup: int
    steps: int
    step_s: float
    """Of the untouched script, roughly."""
    available: int | None = None
    """Steps after which the script ends by itself; None when that was not seen."""
    apart: bool = False
    """Each setup gets a process of its own: what is compared cannot be told apart within one."""
    limit_s: float = 0.0
    """Time after which a trial ends with the steps that it has; 0 for a share of the budget."""


def window_for(step_s: float, window_s: float, warmup: int, available: int | None = None) -> Window:
    """A window of at least 20 steps, or 12 that take ten seconds, and `window_s`; shorter where a script ends before.

    A warm-up that took long in the observed run is planned with half a window; what it really is, each run shows.
    """
    step_s = max(step_s, 1e-6)
    steps = max(min(20, round(_FEW_S / step_s)), _FEWEST, round(window_s / step_s))
    warmup = min(warmup, max(LEAST_STEPS, steps // 2))
    if available is not None and warmup + steps > available:
        warmup = min(warmup, max(1, available // 5))
        steps = available - warmup
    return Window(warmup, steps, step_s, available)


def order(seed: int, block: int, setups: Sequence[Setup]) -> list[Setup]:
    """The setups of a block in random order."""
    shuffled = list(setups)
    random.Random(f"{seed}-{block}").shuffle(shuffled)
    return shuffled


def failed(record: Recording) -> str:
    """Why a recording is none of a training under its setup; "" when it is."""
    if record.failed_knobs:
        knob, reason = next(iter(record.failed_knobs.items()))
        return f"{knob} could not take hold: {reason}"
    if record.outcome not in (Outcome.BUDGET, Outcome.ENDED):
        return f"{record.outcome.value}: {record.reason}"
    return ""


def unusable(record: Recording) -> str:
    """Why a recording cannot be timed; "" when it can."""
    if why := failed(record):
        return why
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
    places = counted(record.steps, record.warmup_steps if first is None else first, last)
    start = record.epoch_start_s / facts.epoch_steps if facts.epoch_steps else 0.0
    return fmean(record.steps.total_s[place] for place in places) + start


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
        beside=reference.trial.setup,
        reference_bytes=peak_bytes(reference),
        candidate_bytes=peak_bytes(candidate),
    )


def peak_bytes(record: Recording) -> int:
    """The most memory that was held during the steps, or since the process was started where theirs is not known."""
    return record.step_peak_bytes or record.cuda_peak_bytes or record.peak_bytes


def round_pairs(record: Recording, stage: str) -> list[Pair]:
    """The pairs of each round of an interleaved trial: its first arm with every other one.

    Steps with another number of samples than most (an epoch's last batch) count for nobody, unless most differ.
    """
    trial, steps = record.trial, record.steps
    usual, often = Counter(steps.samples).most_common(1)[0]
    odd = often > len(steps.samples) / 2
    times = [None if odd and n != usual else s for s, n in zip(steps.total_s, steps.samples, strict=True)]
    beside, *setups = [Setup.of({**trial.setup.values, **arm.values}) for arm in trial.arms]
    return [
        Pair(trial.block, trial.seed, setup, trial.id, trial.id, means[1], means[place], stage, beside, number)
        for number, means in enumerate(turns(steps.arms, times, len(trial.arms)), start=1)
        for place, setup in enumerate(setups, start=2)
    ]


def log_gain(pair: Pair) -> float:
    """ln of how many times faster the candidate was."""
    return log(pair.reference_s / pair.candidate_s)


def log_saving(pair: Pair) -> float:
    """ln of how many times less memory the candidate held at most; what was not seen is not saved."""
    if not (pair.reference_bytes and pair.candidate_bytes):
        return 0.0
    return log(pair.reference_bytes / pair.candidate_bytes)


def by_setup(pairs: Iterable[Pair]) -> dict[Setup, list[Pair]]:
    """The pairs of each setup."""
    found: dict[Setup, list[Pair]] = {}
    for pair in pairs:
        found.setdefault(pair.setup, []).append(pair)
    return found


def typical(values: Iterable[float]) -> float:
    """The mean without the highest and the lowest fifth, to rank by.

    A round is a few steps, and one slow step in it outweighs all others; a claim is made of plain means.
    """
    ranked = sorted(values)
    cut = int(_EXTREME * len(ranked))
    return fmean(ranked[cut : len(ranked) - cut])


def typical_gains(pairs: Sequence[Pair], worth: Callable[[Pair], float] = log_gain) -> dict[Setup, float]:
    """What each setup is worth by its pairs, to rank by."""
    return {setup: typical(map(worth, own)) for setup, own in by_setup(pairs).items()}


def undisturbed(pairs: Sequence[Pair]) -> list[Pair]:
    """The pairs of one setup without those in which the machine was disturbed, judged by their baselines alone."""
    bad = bad_blocks([pair.reference_s for pair in pairs])
    return [pair for place, pair in enumerate(pairs) if place not in bad]
