"""One tune, told from top to bottom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from hotlap import stats
from hotlap.answer import Answer, phases_of
from hotlap.arms import Arms
from hotlap.asked import alone, grant
from hotlap.bounds import learn_bounds
from hotlap.goals import aim_of
from hotlap.growth import grown
from hotlap.judge import Judge
from hotlap.knobs import all_knobs
from hotlap.knobs.knob import Knob
from hotlap.lab import Lab
from hotlap.observed import reseen
from hotlap.proof import proven
from hotlap.records import AS_WRITTEN, Contract, Facts, Goal, Outcome, Phases, Recording, Setting, Setup
from hotlap.screening import search
from hotlap.search.candidates import Request, candidates, refused
from hotlap.shares import STAGE, leave_one_out
from hotlap.trials import blocks
from hotlap.trials.blocks import Window

_OBSERVED_SHARE, _OBSERVED_S = 0.05, 45.0  # of the budget, and in all, unless an epoch ends before
_NOISE_SHARE = 0.08
_GROWTH_SHARE = 0.4  # where the largest batch is wanted too
_DISTURBED = 1.5  # times the pace of a later run
_SCREEN_S, CONFIRM_S = 2.5, 3.0  # windows of a trial; runs differ from each other more than their parts


def tune(lab: Lab, request: Request, knobs: Sequence[Knob] | None = None) -> Answer:
    """Find the setup that is best for the goal, and proven to be so and to learn the same.

    Args:
        lab: Where trials are run.
        request: The user's wishes.
        knobs: To choose from; all by default.

    Raises:
        HotlapError: The script cannot be timed, its baseline fails, or what was asked for does not keep its word.
    """
    aim = aim_of(request)
    lab.kept_s = _GROWTH_SHARE * lab.budget_s * request.grow
    lab.trying("observing the script as written")
    observed = lab.observe(limit_s=min(max(6.0, _OBSERVED_SHARE * lab.budget_s), _OBSERVED_S))
    facts, phases = observed.facts, phases_of(observed)
    assert facts is not None
    lab.learnt(f"observed {len(observed.steps.total_s)} steps: {_in_words(phases, observed.device_phases_s)}")
    lab.learn_ceiling()
    available = len(observed.steps.total_s) if observed.outcome is Outcome.ENDED else None
    learn_noise(lab, windows(lab, observed, available)[1], aim.goal)
    screen, window = windows(lab, observed, available, apart=aim.goal is Goal.MEMORY)
    knobs = knobs or all_knobs()
    lab.facts = reseen(facts, lab.recordings.values())
    bounds = learn_bounds(lab, screen, [knob for knob in knobs if not refused(knob, request)])

    def worth_trying() -> tuple[list[Setting], dict[str, str]]:
        return candidates(knobs, reseen(facts, lab.recordings.values()), request, phases, bounds)

    judge = _judge(lab, request, facts, phases)
    granted = grant(lab, judge, request.asked, window)
    setup = search(lab, lambda: worth_trying()[0], request.pinned, screen, aim)
    answer = Answer(facts, worth_trying()[1], request.asked, goal=aim.goal, slowdown=request.slowdown)
    answer = proven(lab, judge, setup, window, answer, request)
    if granted and not answer.setup.settings:
        answer = alone(lab, answer, granted, window, aim)
    leave_one_out(lab, answer.setup, window)
    answer = replace(answer, largest=grown(lab, facts, answer.setup) if request.grow else ())
    planned = request.planned_steps or available  # a script that ended by itself has shown its length
    return answer.finished(lab, phases, noise_of(lab), planned)


def _judge(lab: Lab, request: Request, facts: Facts, step: Phases) -> Judge:
    arms = Arms(lab.arms, lab.next_id, facts, lab.seed, step.total_s)
    return Judge(arms, loosens=request.allow.level >= Contract.REDUCED.level, ahead=lab.at_once > 1)


def _in_words(step: Phases, device_phases_s: Mapping[str, float]) -> str:
    """Where the time goes; on a device by its own clock, for the host's phases hold the wait for it."""
    phases_s = device_phases_s or step.phases_s
    shares = ", ".join(f"{phase} {s / step.total_s:.0%}" for phase, s in phases_s.items() if s > 0)
    return f"{step.total_s * 1e3:.1f} ms a step ({'on the device: ' * bool(device_phases_s)}{shares})"


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
