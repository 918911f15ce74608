"""From the finals of a race to its answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import inf

from hotlap.race.arm import Arm
from hotlap.race.budget import Shape
from hotlap.race.finals import chosen, leader
from hotlap.race.goals import DEFAULT, Goals
from hotlap.race.result import Finalist, Metric, RaceResult, Screened
from hotlap.race.rules import RULES
from hotlap.race.trainings import Trainings

_OTHERWISE = 0.1  # of a step, from which on it is told
_BEFORE = "runs that it goes on from"


def concluded(
    trainings: Trainings,
    planned: tuple[Shape, float],
    reach: Goals,
    screened: Sequence[Screened],
    finalists: Sequence[Finalist],
    cut_short: str,
) -> RaceResult:
    """The answer, written down."""
    lab, (shape, forecast_s) = trainings.lab, planned
    won = chosen(finalists, {f.name: simplicity(f) for f in finalists})
    first = won or leader(finalists)
    assert lab.facts is not None
    notes = (*of_the_step(first, finalists), *of_its_own(finalists), *lab.notes, *([cut_short] if cut_short else []))
    result = RaceResult(
        target=" ".join(lab.runner.target.arguments),
        facts=lab.facts,
        metric=trainings.metric,
        shape=shape.name,
        seeds=max((len(finalist.runs) for finalist in finalists), default=0),
        steps=trainings.steps,
        goals=shown_goals(reach, trainings.metric),
        screened=tuple(screened),
        finalists=tuple(finalists),
        winner=won.name if won else "",
        leader=first.name if first else "",
        reason=why(won, first, cut_short),
        speedup_vs_script=first.vs_script.get(DEFAULT) if first else None,
        speedup_vs_tuned_incumbent=first.vs_incumbent if first else None,
        range_test=trainings.range_test,
        cost_s={**({_BEFORE: lab.before_s} if lab.before_s else {}), **trainings.cost_s},
        spent_s=lab.before_s + lab.spent_s,
        forecast_s=forecast_s,
        runs=trainings.runs,
        notes=notes,
    )
    lab.logbook.append("race", result=result)
    return result


def of_the_step(first: Finalist | None, finalists: Sequence[Finalist]) -> list[str]:
    """What of a rule's gain is no matter of learning: it may have a faster kernel than the script's own, or none."""
    script = next((finalist for finalist in finalists if finalist.role == "script"), None)
    if first is None or script is None or first.role not in ("incumbent", "challenger"):
        return []
    ratio = first.step_s / script.step_s
    if abs(ratio - 1) < _OTHERWISE:
        return []
    return [f"a step of {first.name} takes {ratio:.2f} times the script's own, which its time to the goal holds"]


def of_its_own(finalists: Sequence[Finalist]) -> list[str]:
    """That tuning did the script's own rule no good, where it did not; see `finals.own_best`."""
    came = {finalist.role: finalist.expected_s.get(DEFAULT) or inf for finalist in finalists}
    if came.get("incumbent", 0.0) <= came.get("script", inf):
        return []
    return ["the script's own rule is at its best as written, so that is what challengers are compared with as well"]


def simplicity(finalist: Finalist) -> tuple[int, int]:
    """What decides between equals: torch's own before a library's, then less state."""
    arm = Arm.parse(finalist.arm) if finalist.arm else None
    library = arm is not None and arm.rule in RULES and RULES[arm.rule].needs_library
    return int(library), finalist.state_bytes or 0


def shown_goals(reach: Goals, metric: Metric) -> Goals:
    """The goals as the script has the metric."""
    shown = {name: metric.shown(value) for name, value in reach.named.items()}
    return replace(reach, **shown)


def why(won: Finalist | None, first: Finalist | None, cut_short: str) -> str:
    """What decided, in one sentence."""
    if won is not None:
        return f"{won.name} is proven sooner than the script as written, and ends no worse"
    if first is None or not first.vs_script.get(DEFAULT):
        return cut_short or "no arm came to the finals"
    found = first.vs_script[DEFAULT]
    if found.proven:
        ends = "ends worse" if first.non_inferior is False else "was not shown to end as well"
        return f"{first.name} comes to the goal sooner and {ends}"
    return found.reason
