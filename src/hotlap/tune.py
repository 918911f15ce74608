"""One tune, told from top to bottom."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from math import expm1

from hotlap import stats
from hotlap.answer import Answer, phases_of
from hotlap.judge import Judge, Judgement
from hotlap.knobs import all_knobs, knob_by_id
from hotlap.lab import Lab
from hotlap.records import AS_WRITTEN, Contract, Curve, Facts, Phases, Rejected, Setting, Setup, Skip, Verdict, Word
from hotlap.search.greedy import Gains, greedy
from hotlap.stats import Look
from hotlap.trials import blocks
from hotlap.trials.blocks import Window
from hotlap.verify.trajectory import trajectory_gate
from hotlap.verify.verdict import conclude

_OBSERVED_SHARE = 0.05  # of the budget at most, unless an epoch ends before
_NOISE_SHARE = 0.12
_SCREEN_S, _CONFIRM_S = 2.5, 5.0  # windows of a trial
_JUDGE_ARMS = 9
_WORTHWHILE = 0.01  # of the step: what could be proven at all


@dataclass(frozen=True)
class Request:
    """What the user asked of the tune."""

    allow: Contract = Contract.REDUCED
    only: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    pinned: Setup = AS_WRITTEN


def tune(lab: Lab, request: Request) -> Answer:
    """Find the fastest setup that is proven faster and proven to learn the same.

    Raises:
        HotlapError: The script cannot be timed, or its baseline fails.
    """
    lab.say("observing the script as written")
    observed = lab.observe(limit_s=max(6.0, _OBSERVED_SHARE * lab.budget_s))
    facts = observed.facts
    assert facts is not None
    singles, skipped = candidates(facts, request, phases_of(observed))
    step_s = blocks.step_s(observed, facts, min(observed.warmup_steps, len(observed.steps.total_s) // 2))
    available = len(observed.steps.total_s) if observed.outcome.value == "script ended early" else None
    screen = blocks.window_for(step_s, _SCREEN_S, observed.warmup_steps, available)
    window = blocks.window_for(step_s, _CONFIRM_S, observed.warmup_steps, available)

    learn_noise(lab, window)
    answer = Answer(facts=facts, skipped=skipped)
    judge = Judge(run=lab.arm, next_id=lab.next_id, facts=facts, seed=lab.seed)
    setup = search(lab, singles, request.pinned, screen, window)
    while setup.settings:
        setup, judged = fit_to_learn(lab, judge, setup)
        if not setup.settings:
            break
        ratios, curves = confirm(lab, setup, window)
        looked = stats.look(ratios) if len(ratios) in stats.LOOKS else Look.NOT_PROVEN
        verdict = with_trajectory(judged.verdict, setup, facts, curves)
        if looked is Look.ACCEPT and verdict.word.may_enter_plan:
            answer = answer.accepted(setup, ratios, replace(judged, verdict=verdict), curves)
            break
        setup = retreat(lab, setup, looked, ratios, verdict)
    answer = shares(lab, answer, window) if answer.setup.settings else answer
    return answer.finished(lab, phases_of(observed), noise_of(lab))


def candidates(facts: Facts, request: Request, step: Phases) -> tuple[list[Setting], dict[str, str]]:
    """Every setting worth trying, and for the other knobs the reason why not."""
    settings: list[Setting] = []
    skipped: dict[str, str] = {}
    for knob in all_knobs():
        choices = knob.choices(facts)
        if isinstance(choices, Skip):
            skipped[knob.id] = choices.reason
        elif knob.id in request.skip or (request.only and knob.id not in request.only):
            skipped[knob.id] = "left out by --skip or --only"
        elif knob.contract.level > request.allow.level:
            skipped[knob.id] = f"its contract is {knob.contract.value}, and --allow {request.allow.value} caps it"
        elif knob.phase and step.phases_s[knob.phase] < _WORTHWHILE * step.total_s:
            share = step.phases_s[knob.phase] / step.total_s
            skipped[knob.id] = f"the {knob.phase} phase is {share:.1%} of the step, and no more could be gained"
        elif knob.suggested_only:
            skipped[knob.id] = "only by --set: it undoes what the script asks for"
        else:
            settings += [Setting(knob.id, value) for value in choices]
    return settings, skipped


def learn_noise(lab: Lab, window: Window) -> None:
    """A/A pairs: as many of three as a small part of the budget pays for."""
    for _ in range(3):
        lab.say("noise: the script as written, twice")
        lab.repeat(AS_WRITTEN, window)
        if 2 * lab.cost_s(AS_WRITTEN) > _NOISE_SHARE * lab.budget_s / 3 or not lab.affordable([AS_WRITTEN] * 10):
            return


def noise_of(lab: Lab) -> float:
    """Standard deviation of a pair's log ratio, pooled over everything that was repeated."""
    groups: dict[Setup, list[float]] = {}
    for pair in lab.pairs:
        if pair.stage in ("noise", "confirm", "leave-one-out"):
            groups.setdefault(pair.setup, []).append(blocks.log_gain(pair))
    return stats.pooled_noise(list(groups.values()))


def reserve_s(lab: Lab) -> float:
    """What the learning check and four confirmation pairs will take."""
    arm_s = lab.cost_s(AS_WRITTEN, "candidate")
    return _JUDGE_ARMS * arm_s + 8 * lab.cost_s(AS_WRITTEN)


def search(lab: Lab, singles: list[Setting], pinned: Setup, screen: Window, window: Window) -> Setup:
    """Let the search ask for blocks until it has decided or the time for it is over."""
    conflicts: Mapping[str, Collection[str]] = {
        s.knob: knob_by_id(s.knob).conflicts for s in (*singles, *pinned.settings)
    }
    asking = greedy(singles, conflicts, pinned)
    gains: Gains = {}
    try:
        ask = next(asking)
        while True:
            affordable = list(ask.candidates)
            while affordable and not lab.affordable([ask.reference, *affordable], reserve_s(lab)):
                lab.reject(Rejected(affordable.pop(), "not measured: the budget is too small"))
            pairs = lab.block(ask.stage, ask.reference, affordable, screen) if affordable else []
            gains = {pair.setup: blocks.log_gain(pair) for pair in pairs}
            for setup, gain in gains.items():
                lab.say(f"{ask.stage}: {setup} {expm1(gain):+.0%}")
            ask = asking.send(gains)
    except StopIteration as decided:
        return decided.value


def fit_to_learn(lab: Lab, judge: Judge, setup: Setup) -> tuple[Setup, Judgement]:
    """The largest part of the setup that passes the gates, and the judgement on it; guilty settings are named."""
    while True:
        lab.say(f"does it learn the same? {setup}")
        judged = judge.judge(setup)
        lab.logbook.append("verdict", setup=setup, verdict=judged.verdict)
        if judged.verdict.word.may_enter_plan:
            return setup, judged
        found = judge.guilty(setup) if len(setup.settings) > 1 else None
        guilty, verdict = found or (tuple(setup.values), judged.verdict)
        word = "changes learning" if verdict.word is Word.CHANGED else "could not be shown to learn the same"
        part = setup.without(*(knob for knob in setup.values if knob not in guilty))
        lab.reject(Rejected(part, f"{word}: {verdict.reason}", verdict=replace(verdict, guilty=guilty)))
        setup = setup.without(*guilty)
        if not setup.settings:
            return setup, judged


def confirm(lab: Lab, setup: Setup, window: Window) -> tuple[list[float], list[Curve]]:
    """Fresh pairs until a look decides, the pairs run out or the budget ends."""
    ratios: list[float] = []
    curves: list[Curve] = []
    while len(ratios) < stats.LOOKS[-1]:
        if not lab.affordable([AS_WRITTEN, setup]):
            lab.notes.append(f"the budget ended after {len(ratios)} confirmation pairs")
            break
        lab.say(f"confirming, pair {len(ratios) + 1}: {setup}")
        for pair in lab.block("confirm", AS_WRITTEN, [setup], window):
            ratios.append(blocks.log_gain(pair))
            losses = [lab.recordings[trial].steps.losses for trial in (pair.reference, pair.candidate)]
            curves.append(Curve(pair.seed, losses[0], losses[1]))
        if len(ratios) in stats.LOOKS and stats.look(ratios) is not Look.CONTINUE:
            break
        if len(curves) == 0:
            break  # the candidate failed here, which has been written down
    return ratios, curves


def with_trajectory(verdict: Verdict, setup: Setup, facts: Facts, curves: list[Curve]) -> Verdict:
    """The verdict together with the paired losses, where precision is reduced or the model draws randomness."""
    reduced = any(knob_by_id(s.knob).contract.level >= Contract.REDUCED.level for s in setup.settings)
    if verdict.word is Word.IDENTICAL or not (reduced or facts.stochastic):
        return verdict
    return conclude((*verdict.gates, trajectory_gate(curves)), seeds=len(curves))


def retreat(lab: Lab, setup: Setup, looked: Look, ratios: list[float], verdict: Verdict) -> Setup:
    """What to try instead of a setup that was not confirmed: the part that promises more."""
    evidence = stats.confirmed_speedup(ratios) if len(ratios) > 1 else None
    if looked is not Look.ACCEPT:
        lab.reject(Rejected(setup, "not proven faster", evidence))
        return AS_WRITTEN
    lab.reject(Rejected(setup, f"its losses: {verdict.reason}", evidence, verdict))
    reduced = [s.knob for s in setup.settings if knob_by_id(s.knob).contract.level >= Contract.REDUCED.level]
    return setup.without(*reduced) if reduced else AS_WRITTEN


def shares(lab: Lab, answer: Answer, window: Window) -> Answer:
    """Leave one out: each kept setting's own share, as long as the budget lasts."""
    parts = [answer.setup.without(knob) for knob in answer.setup.values]
    if len(parts) < 2:
        return answer
    for _ in range(4):
        if not lab.affordable([answer.setup, *parts]):
            break
        lab.block("leave-one-out", answer.setup, parts, window)
    return answer
