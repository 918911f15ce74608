"""What the user asked for whatever it costs: it must keep its word and learn the same, and its price is measured."""

from __future__ import annotations

from dataclasses import replace

from hotlap.answer import Answer
from hotlap.confirm import price
from hotlap.errors import HotlapError
from hotlap.goals import Aim
from hotlap.judge import Judge, Judgement
from hotlap.lab import Lab
from hotlap.proof import loosest, with_curves
from hotlap.records import Gate, Setup, Verdict
from hotlap.repetition import repetition
from hotlap.trials.blocks import Window
from hotlap.verify.verdict import broken_promise, conclude


def grant(lab: Lab, judge: Judge, asked: Setup, window: Window) -> Judgement | None:
    """The judgement on the asked-for settings by themselves; None when there are none.

    Before the search, which would be for nothing otherwise.

    Raises:
        HotlapError: They do not repeat the training as they promise, or were not shown to learn the same.
    """
    if not asked.settings:
        return None
    repeats = repetition(lab, asked, window)
    for gate in repeats:
        _must_repeat(asked, gate)
    lab.trying(f"does it learn the same? {asked}")
    judged = judge.judge(asked)
    lab.logbook.append("verdict", setup=asked, verdict=judged.verdict)
    _must_learn(asked, judged.verdict)
    verdict = judged.verdict
    return replace(judged, verdict=conclude((*verdict.gates, *repeats), verdict.seeds, repeats=verdict.repeats))


def alone(lab: Lab, answer: Answer, granted: Judgement, window: Window, aim: Aim) -> Answer:
    """The answer with the asked-for settings and nothing else, at the price that was measured.

    Raises:
        HotlapError: Their losses are not shown to be the same.
    """
    asked = answer.asked
    lab.runner.verified = granted.signatures
    found = price(lab, asked, window, aim)
    if len(found.total) < 2:
        lab.cut_short = lab.cut_short or f"the price of {asked} could not be measured in time"
        return answer
    judged = with_curves(lab, asked, window, granted, found.curves)
    _must_learn(asked, judged.verdict)
    return answer.accepted(asked, found.total, judged)


def _must_repeat(asked: Setup, gate: Gate) -> None:
    if gate.word.may_enter_plan:
        return
    if gate.step is None:
        what = f"Whether the training repeats itself under {asked} could not be checked: {gate.reason}."
        raise HotlapError("not-reproducible", what, fix="mend that in the script, or tune without that setting")
    what = f"The training does not repeat itself under {asked}: {gate.reason}."
    raise HotlapError("not-reproducible", what, fix="seed what the script takes from the clock or the system there")


def _must_learn(asked: Setup, verdict: Verdict) -> None:
    broken = broken_promise(loosest(asked), verdict)
    if broken or not verdict.word.may_enter_plan:
        what = f"{asked} was asked for and is not shown to learn the same ({verdict.word.value}): "
        raise HotlapError("asked-not-proven", f"{what}{broken or verdict.reason}.", fix="tune without that setting")
