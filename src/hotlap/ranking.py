"""Measurements that rank setups and give settings their shares; a claim takes fresh processes, see `confirm`.

What can be switched between two steps is measured in rounds within one process, where start-up is paid once and
neighbours are a second apart; the rest in blocks of fresh processes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hotlap.knobs import knob_by_id
from hotlap.knobs.knob import Knob
from hotlap.lab import Lab
from hotlap.records import AS_WRITTEN, Facts, Pair, Setting, Setup, Skip, Trial
from hotlap.rounds import turn_for
from hotlap.trials import blocks
from hotlap.trials.blocks import Window

_LEAST_ROUNDS = 4
_FAULT_S = 1e-6  # what a page fault costs, the zeroing of the page included
_STEADY = 0.02  # of the step, for faults


def rank(
    lab: Lab,
    stage: str,
    reference: Setup,
    candidates: Sequence[Setup],
    window: Window,
    company: Setup = AS_WRITTEN,
) -> list[Pair]:
    """Pairs of the reference with each candidate; one that fails is rejected, with the reason.

    Args:
        lab: Where they are measured.
        stage: Of the tune.
        reference: What the candidates are compared with.
        candidates: What to compare.
        window: How long to measure each.
        company: Settings that are on in every arm of the rounds. What a candidate gains beside them is not what it
            gains without; whether it gains anything shows.
    """
    assert lab.facts is not None
    inside, apart = divided(lab.facts, reference, candidates, window, company)
    pairs = in_rounds(lab, stage, reference, inside, window, company) if inside else []
    if inside and not pairs:  # one of them does not stand being switched
        apart = list(candidates)
    return pairs + (lab.block(stage, reference, apart, window) if apart else [])


def cost_s(
    lab: Lab, reference: Setup, candidates: Sequence[Setup], window: Window, company: Setup = AS_WRITTEN
) -> float:
    """What that will probably take."""
    assert lab.facts is not None
    inside, apart = divided(lab.facts, reference, candidates, window, company)
    apart_s = sum(map(lab.cost_s, [reference, *apart])) if apart else 0.0
    if not inside:
        return apart_s
    steps = _steps(len(inside) + 1, window) - window.warmup - window.steps  # more than a trial of one setup takes
    return apart_s + lab.cost_s(reference) + steps * window.step_s


def steadying(facts: Facts, step_s: float, knobs: Sequence[Knob]) -> Setup:
    """A setting of these knobs in whose company rounds are fair, where page faults forbid them otherwise."""
    if not _faults(facts, step_s):
        return AS_WRITTEN
    fitting = {knob.id: knob.choices(facts) for knob in knobs if knob.steadies_memory}
    return next((Setup.of({k: of[0]}) for k, of in fitting.items() if not isinstance(of, Skip)), AS_WRITTEN)


def _faults(facts: Facts, step_s: float) -> bool:
    """Whether so many pages are faulted in that one setting's freed memory tells on the times of the next."""
    return facts.faults_per_step * _FAULT_S > _STEADY * step_s


def divided(
    facts: Facts, reference: Setup, candidates: Sequence[Setup], window: Window, company: Setup = AS_WRITTEN
) -> tuple[list[Setup], list[Setup]]:
    """The candidates that can be switched to from the reference while it trains, and those that cannot.

    Args:
        facts: Of the script.
        reference: What the candidates are compared with.
        candidates: What to compare.
        window: How long to measure each.
        company: Settings that would be on in every arm.
    """

    def changed(candidate: Setup) -> set[str]:
        return {setting.knob for setting in set(reference.settings) ^ set(candidate.settings)}

    inside = [c for c in candidates if all(knob_by_id(knob).switches(facts) for knob in changed(c))]
    touched = {knob for candidate in inside for knob in changed(candidate)}
    beside = {**company.values, **reference.values}
    beside = {knob: value for knob, value in beside.items() if knob not in touched}
    fixed = {area for knob in beside for area in knob_by_id(knob).fixes}
    inside = [c for c in inside if not any(knob_by_id(knob).area in fixed for knob in changed(c))]
    unsteady = _faults(facts, window.step_s) and not any(knob_by_id(knob).steadies_memory for knob in beside)
    if window.apart or unsteady or _rounds_of(len(inside) + 1, window) < _LEAST_ROUNDS:
        inside = []
    return inside, [candidate for candidate in candidates if candidate not in inside]


def grouped(facts: Facts, singles: Sequence[Setting]) -> list[list[Setting]]:
    """In the order of screening.

    On a CPU what must be there from the start comes first, for an allocator steadies what is measured after it, then
    what can be switched, then what forbids switching. On a device precision and compilation, cheap to measure and
    most of what there is to gain, come before what takes a process for each value.
    """
    start: list[Setting] = []
    switched: list[Setting] = []
    fixing: list[Setting] = []
    for single in singles:
        knob = knob_by_id(single.knob)
        (fixing if knob.fixes else switched if knob.switches(facts) else start).append(single)
    if not facts.is_cuda:
        return [start, switched, fixing]
    likeliest = list({single.knob: single for single in reversed(fixing)}.values())
    return [switched, likeliest, start, [single for single in fixing if single not in likeliest]]


def _rounds_of(setups: int, window: Window) -> int:
    """As many as keep a window's steps of each setup, or as the script has steps for."""
    turn = turn_for(window.step_s)
    wanted = max(_LEAST_ROUNDS, round(window.steps / turn.keep))
    if window.available is None:
        return wanted
    return min(wanted, (window.available - window.warmup) // (setups * turn.steps))


def _steps(setups: int, window: Window) -> int:
    """Of an interleaved trial."""
    return window.warmup + _rounds_of(setups, window) * setups * turn_for(window.step_s).steps


def in_rounds(
    lab: Lab, stage: str, reference: Setup, candidates: Sequence[Setup], window: Window, company: Setup
) -> list[Pair]:
    """The pairs of one interleaved trial; none when it failed. Arguments as for `rank`."""
    lab.trying(f"{stage}: {len(candidates)} settings in turn")
    shared = Setup(tuple(s for s in reference.settings if all(s in one.settings for one in candidates)))
    extra = company.without(*reference.values)
    turn = turn_for(window.step_s)
    trial = Trial(
        id=lab.next_id("time"),
        purpose="time",
        setup=Setup.of({**extra.values, **shared.values}),
        seed=lab.seed,
        block=lab.next_block(stage),
        steps=_steps(len(candidates) + 1, window),
        limit_s=max(90.0, lab.budget_s / 2),
        start_limit_s=lab.start_limit_s(shared),
        options={"first": window.warmup, "settle": turn.settle, "keep": turn.keep},
        arms=tuple(setup.without(*shared.values) for setup in (reference, *candidates)),
    )
    record = lab.run(trial)
    if blocks.unusable(record) or record.failed_probes:
        return []
    pairs = blocks.round_pairs(record, stage)
    for pair in pairs:
        lab.keep(pair)
    alone = {Setup.of({**extra.values, **setup.values}): setup for setup in (reference, *candidates)}
    return [replace(pair, setup=alone[pair.setup], beside=alone[pair.beside]) for pair in pairs]
