"""What is worth trying for a script, and why the rest is not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hotlap.knobs import knob_by_id
from hotlap.knobs.knob import Knob
from hotlap.records import AS_WRITTEN, Contract, Estimate, Facts, Goal, Phases, Setting, Setup, Skip

_WORTHWHILE = 0.01  # of the step: less could not be proven


@dataclass(frozen=True)
class Request:
    """What the user asked of the tune."""

    allow: Contract = Contract.REDUCED
    only: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    pinned: Setup = AS_WRITTEN
    planned_steps: int | None = None
    """Training steps that the real run will take; None when that is not known."""
    goal: Goal = Goal.SPEED
    slowdown: float = 0.10
    """How much slower a step may become where memory is the goal, as a share."""
    grow: bool = False
    """The largest batch that fits is wanted too, before and after."""

    @property
    def asked(self) -> Setup:
        """The pinned settings that are in the plan whatever they cost; the others must be faster as well."""
        return self.pinned.without(*(knob for knob in self.pinned.values if not knob_by_id(knob).suggested_only))


def candidates(
    knobs: Sequence[Knob], facts: Facts, request: Request, step: Phases, bounds: Mapping[str, Estimate]
) -> tuple[list[Setting], dict[str, str]]:
    """Every setting worth trying, and for the other knobs the reason why not.

    Args:
        knobs: All there are.
        facts: Of the script.
        request: The user's wishes.
        step: Mean phases of an observed step, which bound what some knobs could gain.
        bounds: Area to how many times faster a step is without its work, where that was measured.
    """
    settings: list[Setting] = []
    skipped: dict[str, str] = {}
    for knob in knobs:
        choices = knob.choices(facts)
        if knob.id in request.pinned.values:
            continue
        if isinstance(choices, Skip):
            skipped[knob.id] = choices.reason
        elif reason := unwanted(knob, request) or _cannot_pay(knob, request, facts, step, bounds.get(knob.area)):
            skipped[knob.id] = reason
        else:
            settings += [Setting(knob.id, value) for value in choices]
    return settings, skipped


def unwanted(knob: Knob, request: Request) -> str:
    """Why it is not the tune's to turn; "" when it is."""
    suggested = "only by --set, for that is your decision" if knob.suggested_only else ""
    return refused(knob, request) or suggested or unserved(knob, request.goal)


def unserved(knob: Knob, goal: Goal) -> str:
    """Why a knob is not tried under a goal; "" when it is."""
    if goal in knob.goals:
        return ""
    if goal is Goal.MEMORY:
        return "it is not known to save memory, which is the goal"
    return "it saves memory and costs time, which is for --goal memory"


def refused(knob: Knob, request: Request) -> str:
    """Why the user does not want it; "" when nothing speaks against it."""
    if knob.id in request.skip or (request.only and knob.id not in request.only):
        return "left out by --skip or --only"
    if knob.contract.level > request.allow.level:
        return f"its contract is {knob.contract.value}, and --allow {request.allow.value} caps it"
    return ""


def _cannot_pay(knob: Knob, request: Request, facts: Facts, step: Phases, bound: Estimate | None) -> str:
    """What a phase takes bounds what shortening it gains, unless its work costs the other phases time as well."""
    if request.goal is not Goal.SPEED or not step.total_s:
        return ""
    if (share := knob.saves_s(facts) / step.total_s) < _WORTHWHILE:
        return f"what it can save is {share:.2%} of the step"
    if not knob.phase:
        return ""
    if bound and bound.high < 1.0 + _WORTHWHILE:
        return f"a step without any {knob.area} work is at most {bound.high - 1.0:.1%} faster"
    if (bound and bound.low > 1.0 + _WORTHWHILE) or facts.is_cuda:
        return ""  # on CUDA the host's phases hold the wait for the device, wherever that falls
    share = step.phases_s[knob.phase] / step.total_s
    return f"the {knob.phase} phase is {share:.1%} of the step" if share < _WORTHWHILE else ""
