"""Screening, one knob at a time and one group after another, then greedy combination.

A search is a generator: it yields an `Ask` for one block of trials and is sent the gains that were measured, so it
neither runs anything nor knows the time. Its measurements rank; they are never quoted.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf

from hotlap.records import AS_WRITTEN, Setting, Setup

KEEP = 0.01  # a log gain worth keeping for now; what it is really worth is for the confirmation to say
ADD = 0.015
_HOPELESS = -0.25  # alone this much slower: not tried in company either
_WEAK = 0.05
_FAR = 0.15  # company does not make up for that
_UNLIKELY = -0.10  # not screened a second time
_ROUNDS = 3
_NEAR = 0.03  # a difference in log gain that is not worth another worker process

Gains = Mapping[Setup, float]
"""Log gain over the reference of the block; a setup that failed is missing."""


@dataclass(frozen=True)
class Ask:
    """One block: the reference and the candidates, adjacent in time."""

    stage: str
    reference: Setup
    candidates: tuple[Setup, ...]


def greedy(
    groups: Iterable[Sequence[Setting]],
    conflicts: Mapping[str, Collection[str]],
    pinned: Setup = AS_WRITTEN,
    precise: Callable[[Ask], Collection[Setup]] = lambda ask: (),
    thrifty: Collection[str] = (),
) -> Generator[Ask, Gains, Setup]:
    """The fastest setup found, from single settings upwards.

    Args:
        groups: Every setting worth trying, several values of one knob among them. A group is screened beside what was
            kept of those before it, and asked for only then.
        conflicts: Knob id to the ids that cannot be on together with it.
        pinned: Settings that the user has decided on: in every setup, never dropped.
        precise: Those in an ask that one block is enough to rank.
        thrifty: Ids of the knobs of whose values the smallest is taken that is about as fast as the best.

    Yields:
        The next block to measure; to be sent the log gain of each candidate.

    Returns:
        The setup to verify and confirm; the empty one when nothing is faster.
    """
    current, gains, along = pinned, dict[Setting, float](), set[str]()
    for group in groups:
        fitting = [s for s in group if s.knob not in pinned.values and fits(s.knob, pinned, conflicts)]
        if not fitting:
            continue
        screened = yield from _screened(current, fitting, conflicts, pinned, precise)
        best = _best(screened, thrifty)
        gains |= best
        before, current = current, _taken(current, best, conflicts, pinned)
        along |= _along(before, current, best)
    return (yield from _combined(current, gains, along, conflicts, pinned, precise))


def _screened(
    current: Setup,
    settings: Sequence[Setting],
    conflicts: Mapping[str, Collection[str]],
    pinned: Setup,
    precise: Callable[[Ask], Collection[Setup]],
) -> Generator[Ask, Gains, dict[Setting, float]]:
    """Of each setting the gain it showed beside the current setup."""
    beside = {s: setup for s in settings if (setup := _added(current, s, conflicts, pinned))}
    ask = Ask("screen", current, tuple(beside.values()))
    shown = yield from _measured(ask, precise, _UNLIKELY if len(settings) > 1 else inf)
    return {s: shown[setup] for s, setup in beside.items() if setup in shown}


def _measured(
    ask: Ask, precise: Callable[[Ask], Collection[Setup]], least: float
) -> Generator[Ask, Gains, dict[Setup, float]]:
    """The gains, of those above the least one the mean of two blocks, unless one is precise."""
    once = yield ask
    again = tuple(setup for setup, gain in once.items() if gain > least and setup not in precise(ask))
    twice = (yield replace(ask, candidates=again)) if again else {}
    return {setup: (gain + twice.get(setup, gain)) / 2 for setup, gain in once.items()}


def _best(screened: Mapping[Setting, float], thrifty: Collection[str]) -> dict[Setting, float]:
    """Per knob its best value, or the smallest that is about as fast."""
    best: dict[Setting, float] = {}
    for knob in dict.fromkeys(setting.knob for setting in screened):
        own = {setting: gain for setting, gain in screened.items() if setting.knob == knob}
        near = [setting for setting in own if own[setting] > max(own.values()) - _NEAR and own[setting] > KEEP]
        if knob in thrifty and near:
            chosen = min(near, key=lambda setting: setting.value)
        else:
            chosen = max(own, key=lambda setting: own[setting])
        best[chosen] = own[chosen]
    return best


def _taken(
    current: Setup, best: Mapping[Setting, float], conflicts: Mapping[str, Collection[str]], pinned: Setup
) -> Setup:
    """The current setup with all that helped, as far as it gets along, the best first."""
    new: list[str] = []
    for setting in sorted(best, key=lambda s: -best[s]):
        setup = _added(current, setting, conflicts, pinned)
        if best[setting] > KEEP and setup and set(new) <= set(setup.values):
            current = setup
            new.append(setting.knob)
    return current


def _along(before: Setup, after: Setup, gains: Mapping[Setting, float]) -> set[str]:
    """Those taken at once with a better one, beside which they may gain nothing: two ways to the same page faults."""
    new = sorted(after.less(before).settings, key=lambda setting: -gains[setting])
    return {setting.knob for setting in new[1:]}


def _combined(
    current: Setup,
    gains: Mapping[Setting, float],
    along: Collection[str],
    conflicts: Mapping[str, Collection[str]],
    pinned: Setup,
    precise: Callable[[Ask], Collection[Setup]],
) -> Generator[Ask, Gains, Setup]:
    """One step away at a time, as long as that helps."""
    ranked = sorted(gains, key=lambda setting: -gains[setting])
    tried: set[Setup] = {AS_WRITTEN, current}
    for _ in range(_ROUNDS):
        moves = _moves(current, ranked, gains, along, conflicts, pinned)
        fresh = tuple(setup for setup in moves if setup not in tried)
        if not fresh or not current.settings:
            return current
        tried.update(fresh)
        shown = yield from _measured(Ask("combine", current, fresh), precise, KEEP)
        changed = _improved(current, shown, conflicts)
        if changed == current:
            return current
        current = changed
        tried.add(current)
    return current


def _added(current: Setup, setting: Setting, conflicts: Mapping[str, Collection[str]], pinned: Setup) -> Setup | None:
    """The setup with one more setting, in the place of what it conflicts with; None where that is the user's wish."""
    rivals = {knob for knob in current.values if not fits(setting.knob, Setup.of({knob: True}), conflicts)}
    if rivals & set(pinned.values):
        return None
    return current.without(*rivals).with_(setting.knob, setting.value)


def _moves(
    current: Setup,
    ranked: Sequence[Setting],
    gains: Mapping[Setting, float],
    along: Collection[str],
    conflicts: Mapping[str, Collection[str]],
    pinned: Setup,
) -> list[Setup]:
    """One step away: a setting added, in the place of what it conflicts with if need be, or a doubtful one left out."""
    moves: list[Setup | None] = []
    for setting in ranked:
        if setting.knob not in current.values:
            hopeless = gains[setting] <= _HOPELESS or not _may_replace(setting, current, gains, conflicts)
            moves.append(None if hopeless else _added(current, setting, conflicts, pinned))
        elif setting in current.settings and (gains[setting] < _WEAK or setting.knob in along):
            moves.append(current.without(setting.knob) if len(current.settings) > 1 else None)
    return [move for move in moves if move]


def _may_replace(
    setting: Setting, current: Setup, gains: Mapping[Setting, float], conflicts: Mapping[str, Collection[str]]
) -> bool:
    """Whether it was not far behind what it would take the place of, when each was tried."""
    rivals = [kept for kept in current.settings if not fits(setting.knob, Setup((kept,)), conflicts)]
    return all(gains[setting] > gains.get(rival, gains[setting]) - _FAR for rival in rivals)


def fits(knob: str, setup: Setup, conflicts: Mapping[str, Collection[str]]) -> bool:
    """Whether the knob gets along with everything in the setup."""
    others = setup.values
    return not any(
        other in conflicts.get(knob, ()) or knob in conflicts.get(other, ()) for other in others if other != knob
    )


def _improved(current: Setup, gains: Gains, conflicts: Mapping[str, Collection[str]]) -> Setup:
    """The current setup with every move that helped, best first, as far as they go together."""
    changed = current
    for setup, gain in sorted(gains.items(), key=lambda item: -item[1]):
        added = [s for s in setup.settings if s not in current.settings]
        removed = [s.knob for s in current.settings if s.knob not in setup.values]
        if gain <= (ADD if added else KEEP) or not set(removed) <= set(changed.values):
            continue
        moved = changed.without(*removed)
        if all(fits(s.knob, moved, conflicts) for s in added):
            for s in added:
                moved = moved.with_(s.knob, s.value)
            changed = moved if moved.settings else changed
    return changed
