"""The search at work: measures what it asks for as long as the budget lasts, and tells what it left out."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from math import ceil

from hotlap import ranking
from hotlap.costs import starts_s
from hotlap.goals import Aim
from hotlap.judge import most_arms
from hotlap.knobs import all_knobs, knob_by_id
from hotlap.lab import Lab
from hotlap.records import AS_WRITTEN, Goal, Pair, Rejected, Setting, Setup
from hotlap.search.greedy import Ask, greedy
from hotlap.shares import without_passengers
from hotlap.trials import blocks
from hotlap.trials.blocks import Window

_DEAR = 0.05  # of the budget for one block


def reserve_s(lab: Lab, settings: Iterable[Setting], kept: Setup = AS_WRITTEN) -> float:
    """What the learning check of some of these settings and four confirmation pairs will take.

    What is kept so far may start later than the script as written, and be compiled anew for the check: for the shapes
    of the epoch's last batch, and without a reduced precision.
    """
    assert lab.facts is not None
    arms_s = most_arms(settings, stochastic=lab.facts.stochastic) * lab.cost_s(AS_WRITTEN, "candidate")
    return arms_s + starts_s(kept) + 4 * (lab.cost_s(AS_WRITTEN) + lab.cost_s(kept))


def search(lab: Lab, worth_trying: Callable[[], list[Setting]], pinned: Setup, screen: Window, aim: Aim) -> Setup:
    """Let the search ask for blocks until it has decided or the time for it is over; passengers are left out.

    Args:
        lab: Where trials are run.
        worth_trying: The settings to choose from, by what is known when it is called.
        pinned: Settings that the user has decided on.
        screen: How long to measure each.
        aim: What is sought.
    """
    singles = worth_trying()
    settings = (*singles, *pinned.settings)
    conflicts: Mapping[str, Collection[str]] = {knob.id: knob.conflicts for knob in all_knobs()}
    facts = lab.facts
    assert facts is not None

    def groups() -> Iterator[list[Setting]]:
        yield from ranking.grouped(facts, singles)
        yield [single for single in worth_trying() if single not in singles]  # for what the kept ones have brought up

    company = ranking.steadying(facts, screen.step_s, [knob_by_id(single.knob) for single in singles])

    def cost_s(ask: Ask, setups: Sequence[Setup]) -> float:
        return ranking.cost_s(lab, ask.reference, setups, screen, company)

    def precise(ask: Ask) -> Collection[Setup]:
        """What rounds measure is exact enough, as memory is; and what is dear is not measured twice."""
        if aim.goal is Goal.MEMORY:
            return ask.candidates
        dear = cost_s(ask, ask.candidates) > _DEAR * lab.budget_s
        return ask.candidates if dear else ranking.divided(facts, ask.reference, ask.candidates, screen, company)[0]

    thrifty = [single.knob for single in singles if knob_by_id(single.knob).thrifty]
    asking = greedy(groups(), conflicts, pinned, precise, thrifty)
    try:
        ask = next(asking)
        while True:
            affordable, kept_s = list(ask.candidates), reserve_s(lab, settings, ask.reference)
            while affordable and cost_s(ask, affordable) + kept_s > lab.left_s:
                left_out = affordable.pop().less(ask.reference)
                if ask.stage == "screen" and left_out not in (pair.setup.less(pair.beside) for pair in lab.pairs):
                    lab.reject(Rejected(left_out, "not measured: the budget is too small"))
                    lab.cut_short = f"settings were left unmeasured, for which {_wanted(lab, singles)} would about do"
            pairs = ranking.rank(lab, ask.stage, ask.reference, affordable, screen, company) if affordable else []
            lab.learnt(f"{ask.stage} against {ask.reference}: {_told(ask, pairs, aim)}")
            ask = asking.send(blocks.typical_gains(pairs, aim.worth))
    except StopIteration as decided:
        _tell_left_out(lab, decided.value, conflicts, aim)
        return without_passengers(lab, decided.value, pinned, screen, reserve_s(lab, settings, decided.value))


def _wanted(lab: Lab, singles: Sequence[Setting]) -> str:
    """A budget that would do: for one trial of every setting beside what is spent and kept in reserve."""
    wanted_s = lab.spent_s + reserve_s(lab, singles) + 1.5 * sum(lab.cost_s(Setup((single,))) for single in singles)
    wanted_s *= lab.budget_s / (lab.budget_s - lab.kept_s)
    return f"--budget {ceil(wanted_s / 60)}m"


def _told(ask: Ask, pairs: Sequence[Pair], aim: Aim) -> str:
    shown = {setup: aim.told(own) for setup, own in blocks.by_setup(pairs).items()}
    told = ", ".join(f"{_change(ask.reference, setup)} {what}" for setup, what in shown.items())
    return told or "no time left to measure"


def _change(reference: Setup, setup: Setup) -> str:
    added, removed = setup.less(reference), reference.less(setup)
    return " ".join([*([str(added)] if added.settings else []), *([f"without {removed}"] if removed.settings else [])])


def _tell_left_out(lab: Lab, found: Setup, conflicts: Mapping[str, Collection[str]], aim: Aim) -> None:
    """What was screened and is not in the setup, with what one or two pairs showed."""
    screened = [replace(p, setup=p.setup.less(p.beside)) for p in lab.pairs if p.stage == "screen"]
    ranked = blocks.typical_gains(screened, aim.worth)
    for setup, own in sorted(blocks.by_setup(screened).items(), key=lambda item: -ranked[item[0]]):
        if not set(setup.settings) <= set(found.settings):
            rivals = [knob for knob in found.values if any(knob in conflicts.get(k, ()) for k in setup.values)]
            rivals += [str(setting) for setting in found.settings if setting.knob in setup.values]
            lab.reject(Rejected(setup, aim.left_out(own, rivals)))
