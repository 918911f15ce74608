"""Screening, one knob at a time, then greedy combination.

A search is a generator: it yields an `Ask` for one block of trials and is sent the gains that were measured, so it
neither runs anything nor knows the time. Its measurements rank; they are never quoted.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass

from hotlap.records import AS_WRITTEN, Setting, Setup

KEEP = 0.01  # a log gain worth keeping for now; what it is really worth is for the confirmation to say
ADD = 0.015
_HOPELESS = -0.25  # alone this much slower: not tried in company either
_WEAK = 0.05
_UNLIKELY = -0.10  # not screened a second time
_ROUNDS = 3

Gains = Mapping[Setup, float]
"""Log gain over the reference of the block; a setup that failed is missing."""


@dataclass(frozen=True)
class Ask:
    """One block: the reference and the candidates, adjacent in time."""

    stage: str
    reference: Setup
    candidates: tuple[Setup, ...]


def greedy(
    singles: Sequence[Setting], conflicts: Mapping[str, Collection[str]], pinned: Setup = AS_WRITTEN
) -> Generator[Ask, Gains, Setup]:
    """The fastest setup found, from single settings upwards.

    Args:
        singles: Every setting worth trying, several values of one knob among them.
        conflicts: Knob id to the ids that cannot be on together with it.
        pinned: Settings that the user has decided on: in every setup, never dropped.

    Yields:
        The next block to measure; to be sent the log gain of each candidate.

    Returns:
        The setup to verify and confirm; the empty one when nothing is faster.
    """
    singles = [s for s in singles if s.knob not in pinned.values and fits(s.knob, pinned, conflicts)]
    if not singles:
        return pinned
    alone = yield Ask("screen", AS_WRITTEN, tuple(Setup((single,)) for single in singles))
    again = tuple(setup for setup, gain in alone.items() if gain > _UNLIKELY)
    if len(singles) > 1 and again:
        second = yield Ask("screen", AS_WRITTEN, again)
        alone = {setup: (gain + second.get(setup, gain)) / 2 for setup, gain in alone.items()}
    best = _best_values(singles, alone)
    ranked = sorted(best, key=lambda setting: -best[setting])
    current = combine((*pinned.settings, *(s for s in ranked if best[s] > KEEP)), conflicts)
    tried: set[Setup] = {AS_WRITTEN, current}
    for _ in range(_ROUNDS):
        moves = _moves(current, ranked, best, conflicts, pinned)
        fresh = tuple(setup for setup in moves if setup not in tried)
        if not fresh or not current.settings:
            return current
        tried.update(fresh)
        gains = yield Ask("combine", current, fresh)
        changed = _improved(current, gains, conflicts)
        if changed == current:
            return current
        current = changed
        tried.add(current)
    return current


def _moves(
    current: Setup,
    ranked: Sequence[Setting],
    best: Mapping[Setting, float],
    conflicts: Mapping[str, Collection[str]],
    pinned: Setup,
) -> list[Setup]:
    """One step away: a setting added, in the place of what it conflicts with if need be, or a weak one left out."""
    moves: list[Setup] = []
    for setting in ranked:
        if setting.knob not in current.values and best[setting] > _HOPELESS:
            rivals = [knob for knob in current.values if not fits(setting.knob, Setup.of({knob: True}), conflicts)]
            if not set(rivals) & set(pinned.values):
                moves.append(current.without(*rivals).with_(setting.knob, setting.value))
        elif setting in current.settings and best[setting] < _WEAK and len(current.settings) > 1:
            moves.append(current.without(setting.knob))
    return moves


def _best_values(singles: Sequence[Setting], alone: Gains) -> dict[Setting, float]:
    """Per knob its best value, with the gain it showed alone."""
    best: dict[str, tuple[float, Setting]] = {}
    for single in singles:
        gain = alone.get(Setup((single,)))
        if gain is not None and (single.knob not in best or gain > best[single.knob][0]):
            best[single.knob] = (gain, single)
    return {setting: gain for gain, setting in best.values()}


def combine(settings: Iterable[Setting], conflicts: Mapping[str, Collection[str]]) -> Setup:
    """All of the settings that get along, the earlier first."""
    setup = AS_WRITTEN
    for setting in settings:
        if fits(setting.knob, setup, conflicts):
            setup = setup.with_(setting.knob, setting.value)
    return setup


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
        if gain <= (ADD if added else 0.0) or not set(removed) <= set(changed.values):
            continue
        moved = changed.without(*removed)
        if all(fits(s.knob, moved, conflicts) for s in added):
            for s in added:
                moved = moved.with_(s.knob, s.value)
            changed = moved if moved.settings else changed
    return changed
