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
_ROUNDS = 2

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
    best = _best_values(singles, alone)
    ranked = sorted(best, key=lambda setting: -best[setting])
    current = combine((*pinned.settings, *(s for s in ranked if best[s] > KEEP)), conflicts)
    if not current.settings:
        return current
    tried: set[Setup] = {current}
    for _ in range(_ROUNDS):
        additions = [
            current.with_(s.knob, s.value)
            for s in ranked
            if s.knob not in current.values and best[s] > _HOPELESS and fits(s.knob, current, conflicts)
        ]
        removals = [
            current.without(s.knob)
            for s in ranked
            if s in current.settings and best[s] < _WEAK and len(current.settings) > 1
        ]
        fresh = tuple(setup for setup in (*additions, *removals) if setup not in tried)
        if not fresh:
            return current
        tried.update(fresh)
        gains = yield Ask("combine", current, fresh)
        changed = _improved(current, gains, conflicts)
        if changed == current:
            return current
        current = changed
        tried.add(current)
    return current


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
    """The current setup with every change that helped on its own, best first."""
    changed = current
    for setup, gain in sorted(gains.items(), key=lambda item: -item[1]):
        added = [s for s in setup.settings if s.knob not in current.values]
        removed = [s.knob for s in current.settings if s.knob not in setup.values]
        if added and gain > ADD and fits(added[0].knob, changed, conflicts):
            changed = changed.with_(added[0].knob, added[0].value)
        elif removed and gain > 0 and len(changed.settings) > 1:
            changed = changed.without(*removed)
    return changed
