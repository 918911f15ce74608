"""From what the search found to what is proven: does it learn the same, does it serve the goal, does it pay?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hotlap import stats
from hotlap.answer import Answer, confirmed, payback
from hotlap.confirm import Confirmation, confirm, estimated, further_looks, same_losses
from hotlap.goals import Aim, aim_of
from hotlap.judge import Judge, Judgement
from hotlap.knobs import knob_by_id
from hotlap.lab import Lab
from hotlap.records import AS_WRITTEN, Contract, Curve, Estimate, Gate, Goal, Rejected, Setup, Word
from hotlap.repetition import repetition
from hotlap.search.candidates import Request
from hotlap.stats import Look
from hotlap.trials import blocks
from hotlap.trials.blocks import Window
from hotlap.verify.trajectory import cannot_tell, with_losses
from hotlap.verify.verdict import broken_promise, conclude

_FAULTS = {Word.CHANGED: "changes learning", Word.UNDECIDED: "could not be shown to learn the same"}


def proven(lab: Lab, judge: Judge, setup: Setup, window: Window, answer: Answer, request: Request) -> Answer:
    """The answer with the largest part of a setup that is proven better than what was asked for, and right."""
    asked, aim = request.asked, aim_of(request)
    while setup != asked:
        setup, judged = fit_to_learn(lab, judge, setup, asked)
        if setup == asked:
            break
        repeats = repetition(lab, setup, window)
        if unkept := next((gate for gate in repeats if not gate.word.may_enter_plan), None):
            lab.reject(Rejected(setup.less(asked), unkept.reason))
            break
        lab.runner.verified = judged.signatures
        found = confirm(lab, setup, window, asked, aim)
        looked = aim.look(found.pairs, found.closings)
        judged = with_curves(lab, setup, window, judged, found.curves, repeats, enough=looked is not Look.ACCEPT)
        lab.logbook.append("confirmed", setup=setup, log_ratios=found.ratios, look=looked.value, verdict=judged.verdict)
        if looked is not Look.ACCEPT:
            setup, aim = lighter(lab, setup, found, request, aim), aim.further()
        elif not judged.verdict.word.may_enter_plan:
            setup = truer(lab, setup, found, judged, asked)
        else:
            if aim.goal is Goal.MEMORY or pays(lab, setup, found, request.planned_steps, asked):
                answer = answer.accepted(setup, found.total, judged)
            break
        if setup != asked and not lab.affordable([AS_WRITTEN, setup] * stats.LEAST):
            lab.cut_short = f"the budget ended before {setup.less(asked)} could be confirmed"
            break
    return answer


def with_curves(
    lab: Lab,
    setup: Setup,
    window: Window,
    judged: Judgement,
    curves: Sequence[Curve],
    repeats: Sequence[Gate] = (),
    *,
    enough: bool = False,
) -> Judgement:
    """The judgement together with the paired losses, and with what was found of a promise to repeat the training.

    Args:
        lab: Where more trainings are run if these cannot tell whether the losses are alike.
        setup: On trial.
        window: Of the trainings.
        judged: By the gates.
        curves: Of the paired trainings.
        repeats: What was found of that promise.
        enough: No more trainings: the setup is out in any case.
    """
    assert lab.facts is not None
    promise, repeats_itself = loosest(setup), judged.verdict.repeats and same_losses(lab)
    noisy = lab.facts.stochastic or promise is Contract.REDUCED or bool(judged.loosened)
    by_gates = replace(judged.verdict, repeats=repeats_itself)
    verdict = with_losses(by_gates, curves, noisy=noisy, exact=promise is Contract.EXACT and repeats_itself)
    more = further_looks(lab, setup, window, curves) if cannot_tell(verdict) and not enough else ()
    for look, curves in enumerate(more, start=2):
        verdict = with_losses(by_gates, curves, noisy=noisy, look=look)
        if not cannot_tell(verdict):
            break
    verdict = conclude((*verdict.gates, *repeats), verdict.seeds, repeats=verdict.repeats)
    return replace(judged, verdict=verdict, curves=tuple(curves))


def fit_to_learn(lab: Lab, judge: Judge, setup: Setup, asked: Setup = AS_WRITTEN) -> tuple[Setup, Judgement]:
    """The largest part of the setup that passes the gates, and the judgement on it; guilty settings are named.

    Args:
        lab: Where arms run.
        judge: Of the tune.
        setup: On trial.
        asked: Settings that pass by themselves and stay; when only these are left there is nothing more to judge.
    """
    while True:
        lab.trying(f"does it learn the same? {setup}")
        judged = judge.judge(setup)
        lab.logbook.append("verdict", setup=setup, verdict=judged.verdict)
        if judged.verdict.word.may_enter_plan and not broken_promise(loosest(setup), judged.verdict):
            lab.learnt(f"learns the same by the gates ({judged.verdict.word.value}): {setup}")
            return setup, judged
        found = judge.guilty(setup) if len(setup.settings) > 1 else None
        guilty, verdict = found or (tuple(setup.values), judged.verdict)
        guilty = tuple(knob for knob in guilty if knob not in asked.values) or tuple(setup.less(asked).values)
        word = broken_promise(loosest(setup), verdict) or _FAULTS[verdict.word]
        part = setup.without(*(knob for knob in setup.values if knob not in guilty))
        lab.reject(Rejected(part, f"{word}: {verdict.reason}", verdict=replace(verdict, guilty=guilty)))
        setup = setup.without(*guilty)
        if setup == asked:
            return setup, judged


def _speedup(found: Confirmation) -> Estimate | None:
    """How many times faster than what was asked for."""
    return estimated(found.pairs, blocks.log_gain, found.closings)


def loosest(setup: Setup) -> Contract:
    """The weakest promise among the settings."""
    return max((knob_by_id(s.knob).contract for s in setup.settings), key=lambda contract: contract.level)


def pays(lab: Lab, setup: Setup, found: Confirmation, planned_steps: int | None, asked: Setup = AS_WRITTEN) -> bool:
    """Whether a proven gain is earned back within the planned training; a plan that would not be is not made."""
    steps = payback(*confirmed(lab, setup, asked))
    if planned_steps is None or (steps is not None and steps <= planned_steps):
        return True
    after = f"only after {steps} steps" if steps is not None else "never"
    why = f"its slower start is earned back {after}, and {planned_steps} steps are planned"
    lab.reject(Rejected(setup.less(asked), why, _speedup(found)))
    return False


def lighter(lab: Lab, setup: Setup, found: Confirmation, request: Request, aim: Aim) -> Setup:
    """What to try instead of a setup that was not proven to serve the goal; the asked-for settings are nothing new."""
    why = lab.cut_short or aim.missed(found.pairs, found.closings)
    lab.reject(Rejected(setup.less(request.asked), why, _speedup(found)))
    other = None if lab.cut_short else aim.lighter(setup, request.pinned, found.pairs, lab.pairs, found.closings)
    return other or request.asked


def truer(lab: Lab, setup: Setup, found: Confirmation, judged: Judgement, asked: Setup = AS_WRITTEN) -> Setup:
    """What to try instead of a setup that was not confirmed for its losses: its part that promises more."""
    rest, why = setup.less(asked), f"its losses: {judged.verdict.reason}"
    lab.reject(Rejected(rest, why, _speedup(found), judged.verdict))
    reduced = [s.knob for s in rest.settings if knob_by_id(s.knob).contract.level >= Contract.REDUCED.level]
    reduced += [knob for knob in judged.loosened if knob not in asked.values]
    return setup.without(*reduced) if reduced else asked
