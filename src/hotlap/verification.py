"""The judge alone: is a given setup faster, and does it learn the same?"""

from __future__ import annotations

from dataclasses import replace

from hotlap import stats
from hotlap.answer import phases_of
from hotlap.arms import Arms
from hotlap.confirm import confirm, price
from hotlap.judge import Judge, Judgement
from hotlap.knobs import AGAINST
from hotlap.lab import Lab
from hotlap.proof import loosest, with_curves
from hotlap.records import Contract, Estimate, Outcome, Setup, Verdict, Verification, Word
from hotlap.repetition import promised, repetition
from hotlap.stats import Look
from hotlap.trials import blocks
from hotlap.tune import CONFIRM_S, learn_noise, noise_of
from hotlap.verify.verdict import broken_promise, conclude


def verify(lab: Lab, setup: Setup, allow: Contract) -> Verification:
    """Judge a setup, then time it on fresh pairs; one that changes learning, or breaks a promise, is not timed.

    Settings that promise to repeat the training are held to that, and others beside them must be faster than these.

    Raises:
        HotlapError: The script cannot be timed, or its baseline fails.
    """
    lab.trying("observing the script as written")
    observed = lab.observe(limit_s=max(6.0, 0.05 * lab.budget_s))
    facts, phases = observed.facts, phases_of(observed)
    assert facts is not None
    available = len(observed.steps.total_s) if observed.outcome is Outcome.ENDED else None
    window = blocks.window_for(phases.total_s, CONFIRM_S, observed.warmup_steps, available)
    version = None
    if AGAINST in setup.values:
        lab.trying(f"observing {setup.values[AGAINST]}")
        version = lab.observe_version(setup, limit_s=max(6.0, 0.05 * lab.budget_s))
    repeats, asked = repetition(lab, setup, window), promised(setup)
    if any(not gate.word.may_enter_plan for gate in repeats):
        parted = any(gate.step is not None for gate in repeats)
        return _answer(lab, setup, None, False if parted else None, None, conclude(repeats, 1), repeats[0].reason)
    loosens = allow.level >= Contract.REDUCED.level
    arms = Arms(lab.arms, lab.next_id, facts, lab.seed, phases.total_s)
    judge = Judge(arms, loosens, version, ahead=lab.at_once > 1)
    lab.trying(f"does it learn the same? {setup}")
    judged = judge.judge(setup)
    lab.logbook.append("verdict", setup=setup, verdict=judged.verdict)
    same = _same(setup, judged)
    lab.learnt(f"learning: {judged.verdict.word.value}: {judged.verdict.reason}")
    if not same:
        verdict = _with_guilty(judge, setup, judged.verdict)
        reason = broken_promise(loosest(setup), verdict) or verdict.reason
        return _answer(lab, setup, None, same, None, verdict, reason)
    learn_noise(lab, window)
    lab.runner.verified = judged.signatures
    found = price(lab, setup, window) if setup == asked else confirm(lab, setup, window, asked)
    looked = stats.look(found.ratios, closings=found.closings)
    judged = with_curves(lab, setup, window, judged, found.curves, repeats)
    same = _same(setup, judged)
    faster = None if setup == asked else {Look.ACCEPT: True, Look.CONTINUE: None}.get(looked, False)
    speedup = stats.confirmed_speedup(found.total, closings=found.closings) if len(found.total) > 1 else None
    unanswered = lab.cut_short or (lab.rejected[-1].reason if lab.rejected else "it could not be timed")
    words = {True: "proven faster", False: "not proven faster", None: unanswered}
    about = repeats[0].reason if setup == asked else words[faster]
    return _answer(lab, setup, faster, same, speedup, judged.verdict, f"{about}; {judged.verdict.reason}")


def _same(setup: Setup, judged: Judgement) -> bool | None:
    if judged.verdict.word is Word.UNDECIDED:
        return None
    return judged.verdict.word.may_enter_plan and not broken_promise(loosest(setup), judged.verdict)


def _with_guilty(judge: Judge, setup: Setup, verdict: Verdict) -> Verdict:
    """The verdict with the settings at fault, where some of several are."""
    found = judge.guilty(setup) if len(setup.settings) > 1 and verdict.word is Word.CHANGED else None
    return replace(found[1] if found else verdict, guilty=found[0] if found else tuple(setup.values))


def _answer(
    lab: Lab,
    setup: Setup,
    faster: bool | None,
    same: bool | None,
    speedup: Estimate | None,
    verdict: Verdict,
    reason: str,
) -> Verification:
    assert lab.facts is not None
    noise = noise_of(lab)
    target, smallest = " ".join(lab.runner.target.arguments), stats.smallest_provable_gain(noise)
    found = Verification(
        target=target,
        facts=lab.facts,
        setup=setup,
        faster=faster,
        same=same,
        speedup=speedup,
        verdict=verdict,
        reason=reason,
        noise=noise,
        smallest_gain=smallest,
        spent_s=lab.spent_s,
        for_speed=setup != promised(setup),
    )
    lab.logbook.append("verification", found=found)
    return found
