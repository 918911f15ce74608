"""One tune, told from top to bottom."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hotlap import stats
from hotlap.answer import Answer, confirmed, payback, phases_of
from hotlap.bounds import learn_bounds
from hotlap.confirm import confirm
from hotlap.goals import aim_of
from hotlap.growth import largest_batch
from hotlap.judge import Judge, Judgement
from hotlap.knobs import all_knobs, knob_by_id
from hotlap.knobs.knob import Knob
from hotlap.lab import Lab
from hotlap.records import AS_WRITTEN, Contract, Facts, Goal, Outcome, Phases, Recording, Rejected, Setup, Word
from hotlap.records.views import LargestBatch
from hotlap.screening import search
from hotlap.search.candidates import Request, candidates, refused
from hotlap.shares import STAGE, leave_one_out
from hotlap.stats import Look
from hotlap.trials import blocks
from hotlap.trials.blocks import Window
from hotlap.verify.trajectory import with_losses
from hotlap.verify.verdict import broken_promise

_OBSERVED_SHARE, _OBSERVED_S = 0.05, 45.0  # of the budget, and in all, unless an epoch ends before
_NOISE_SHARE = 0.12
_GROWTH_SHARE = 0.4  # where the largest batch is wanted too
_DISTURBED = 1.5  # times the pace of a later run
_SCREEN_S, CONFIRM_S = 2.5, 5.0  # windows of a trial
_FAULTS = {Word.CHANGED: "changes learning", Word.UNDECIDED: "could not be shown to learn the same"}


def tune(lab: Lab, request: Request, knobs: Sequence[Knob] | None = None) -> Answer:
    """Find the setup that is best for the goal, and proven to be so and to learn the same.

    Args:
        lab: Where trials are run.
        request: The user's wishes.
        knobs: To choose from; all by default.

    Raises:
        HotlapError: The script cannot be timed, or its baseline fails.
    """
    aim = aim_of(request)
    lab.kept_s = _GROWTH_SHARE * lab.budget_s * request.grow
    lab.trying("observing the script as written")
    observed = lab.observe(limit_s=min(max(6.0, _OBSERVED_SHARE * lab.budget_s), _OBSERVED_S))
    facts, phases = observed.facts, phases_of(observed)
    assert facts is not None
    lab.learnt(f"observed {len(observed.steps.total_s)} steps: {_in_words(phases)}")
    available = len(observed.steps.total_s) if observed.outcome is Outcome.ENDED else None
    learn_noise(lab, windows(lab, observed, available)[1], aim.goal)
    screen, window = windows(lab, observed, available, apart=aim.goal is Goal.MEMORY)
    knobs = knobs or all_knobs()
    bounds = learn_bounds(lab, screen, [knob for knob in knobs if not refused(knob, request)])
    singles, skipped = candidates(knobs, facts, request, phases, bounds)
    answer = Answer(facts=facts, skipped=skipped, goal=aim.goal, slowdown=request.slowdown)
    judge = _judge(lab, request, facts, phases)
    setup = search(lab, singles, request.pinned, screen, aim)
    while setup.settings:
        setup, judged = fit_to_learn(lab, judge, setup)
        if not setup.settings:
            break
        lab.runner.verified = judged.signatures
        pairs, curves = confirm(lab, setup, window, aim)
        ratios = [blocks.log_gain(pair) for pair in pairs]
        looked = aim.look(pairs) if len(pairs) in stats.LOOKS else Look.NOT_PROVEN
        noisy = facts.stochastic or loosest(setup) is Contract.REDUCED or bool(judged.loosened)
        verdict = with_losses(judged.verdict, curves, noisy=noisy)
        lab.logbook.append("confirmed", setup=setup, log_ratios=ratios, look=looked.value, verdict=verdict)
        if looked is Look.ACCEPT and verdict.word.may_enter_plan:
            if aim.goal is Goal.MEMORY or pays(lab, setup, ratios, request.planned_steps):
                answer = answer.accepted(setup, ratios, replace(judged, verdict=verdict), curves)
            break
        missed = "" if looked is Look.ACCEPT else aim.missed(pairs)
        part = retreat(lab, setup, missed, ratios, replace(judged, verdict=verdict))
        setup = aim.lighter(setup, request.pinned, lab.pairs) if part is None else part
    leave_one_out(lab, answer.setup, window)
    answer = replace(answer, largest=grown(lab, facts, answer.setup) if request.grow else ())
    planned = request.planned_steps or available  # a script that ended by itself has shown its length
    return answer.finished(lab, phases, noise_of(lab), planned)


def _judge(lab: Lab, request: Request, facts: Facts, step: Phases) -> Judge:
    return Judge(
        run=lab.arm,
        next_id=lab.next_id,
        facts=facts,
        seed=lab.seed,
        step_s=step.total_s,
        loosens=request.allow.level >= Contract.REDUCED.level,
    )


def _in_words(step: Phases) -> str:
    shares = ", ".join(f"{phase} {s / step.total_s:.0%}" for phase, s in step.phases_s.items() if s > 0)
    return f"{step.total_s * 1e3:.1f} ms a step ({shares})"


def windows(lab: Lab, observed: Recording, available: int | None, *, apart: bool = False) -> tuple[Window, Window]:
    """For screening and for confirmation; if the first noise pair says so, the observed run was disturbed."""
    step_s = phases_of(observed).total_s
    paces = [min(pair.reference_s, pair.candidate_s) for pair in lab.pairs if pair.stage == "noise"]
    if paces and not 1 / _DISTURBED < step_s / paces[0] < _DISTURBED:
        step_s = paces[0]
    screen, confirm = (
        replace(blocks.window_for(step_s, window_s, observed.warmup_steps, available), apart=apart)
        for window_s in (_SCREEN_S, CONFIRM_S)
    )
    return screen, confirm


def learn_noise(lab: Lab, window: Window, goal: Goal = Goal.SPEED) -> None:
    """A/A pairs: as many of three as a small part of the budget pays for; the confirmation pairs will tell more."""
    for measured in range(3):
        pair_s = 2 * lab.cost_s(AS_WRITTEN)
        if (measured + 1) * pair_s > _NOISE_SHARE * lab.budget_s or not lab.affordable([AS_WRITTEN] * 10):
            break
        lab.trying("noise: the script as written, twice")
        lab.repeat(AS_WRITTEN, window)
    noise, pairs = noise_of(lab), any(pair.stage == "noise" for pair in lab.pairs)
    what = "noise" if goal is Goal.SPEED else "noise of the times"
    taken = f"{what} {noise:.1%}" if pairs else f"{what} taken to be {noise:.1%} until pairs show it"
    bar = f": gains below about {stats.smallest_provable_gain(noise):.1%} cannot be proven"
    lab.learnt(f"{taken}{bar if goal is Goal.SPEED else ''}")


def noise_of(lab: Lab) -> float:
    """Standard deviation of a pair's log ratio, pooled over everything that was repeated."""
    groups: dict[Setup, list[float]] = {}
    for pair in lab.pairs:
        if pair.stage in ("confirm", STAGE) and not pair.round:
            groups.setdefault(pair.setup, []).append(blocks.log_gain(pair))
    same = [blocks.log_gain(pair) for pair in lab.pairs if pair.stage == "noise"]
    return stats.pooled_noise(list(groups.values()), same=same)


def fit_to_learn(lab: Lab, judge: Judge, setup: Setup) -> tuple[Setup, Judgement]:
    """The largest part of the setup that passes the gates, and the judgement on it; guilty settings are named."""
    while True:
        lab.trying(f"does it learn the same? {setup}")
        judged = judge.judge(setup)
        lab.logbook.append("verdict", setup=setup, verdict=judged.verdict)
        if judged.verdict.word.may_enter_plan and not broken_promise(loosest(setup), judged.verdict):
            lab.learnt(f"learns the same by the gates ({judged.verdict.word.value}): {setup}")
            return setup, judged
        found = judge.guilty(setup) if len(setup.settings) > 1 else None
        guilty, verdict = found or (tuple(setup.values), judged.verdict)
        word = broken_promise(loosest(setup), verdict) or _FAULTS[verdict.word]
        part = setup.without(*(knob for knob in setup.values if knob not in guilty))
        lab.reject(Rejected(part, f"{word}: {verdict.reason}", verdict=replace(verdict, guilty=guilty)))
        setup = setup.without(*guilty)
        if not setup.settings:
            return setup, judged


def loosest(setup: Setup) -> Contract:
    """The weakest promise among the settings."""
    return max((knob_by_id(s.knob).contract for s in setup.settings), key=lambda contract: contract.level)


def pays(lab: Lab, setup: Setup, ratios: list[float], planned_steps: int | None) -> bool:
    """Whether a proven gain is earned back within the planned training; a plan that would not be is not made."""
    steps = payback(*confirmed(lab, setup))
    if planned_steps is None or (steps is not None and steps <= planned_steps):
        return True
    after = f"only after {steps} steps" if steps is not None else "never"
    why = f"its slower start is earned back {after}, and {planned_steps} steps are planned"
    lab.reject(Rejected(setup, why, stats.confirmed_speedup(ratios)))
    return False


def retreat(lab: Lab, setup: Setup, missed: str, ratios: list[float], judged: Judgement) -> Setup | None:
    """What to try instead of a setup that was not confirmed, for its losses: its part that promises more.

    Returns:
        None where the losses were not the matter, and there is time to try something else.
    """
    evidence = stats.confirmed_speedup(ratios) if len(ratios) > 1 else None
    if missed:
        lab.reject(Rejected(setup, lab.cut_short or missed, evidence))
        return AS_WRITTEN if lab.cut_short else None
    lab.reject(Rejected(setup, f"its losses: {judged.verdict.reason}", evidence, judged.verdict))
    reduced = [s.knob for s in setup.settings if knob_by_id(s.knob).contract.level >= Contract.REDUCED.level]
    reduced += judged.loosened
    return setup.without(*reduced) if reduced else AS_WRITTEN


def grown(lab: Lab, facts: Facts, setup: Setup) -> tuple[LargestBatch, ...]:
    """The largest batch that fits, as written and under the setup: half of the time kept for that is each one's."""
    found: list[LargestBatch] = []
    for one in dict.fromkeys((AS_WRITTEN, setup)):
        lab.kept_s = 0.0 if found or not setup.settings else lab.kept_s / 2
        found.append(largest_batch(lab, facts, setup=one))
    return tuple(found)
