"""Trials on a cluster: which are known, which are run, and what is written down of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from hotlap.lab import Lab
from hotlap.records import Recording, Trial


def run_abreast(
    lab: Lab, groups: Sequence[Sequence[Trial]], worth: Callable[[], bool], begun: Callable[[Trial], None]
) -> list[list[Recording] | None]:
    """Run trials on the lab's cluster and write them down.

    Args:
        lab: Of which the trials are.
        groups: Trials that stand beside each other: they run one after the other at one place. A group is written down
            whole, or it is run anew.
        worth: Whether there is still time for another group.
        begun: Told of each trial when it begins.

    Returns:
        The recordings of each group; None for one that was not run.
    """
    assert lab.cluster is not None
    ended = [_known(lab, group) for group in groups]
    fresh = [place for place, records in enumerate(ended) if records is None]

    def begin(trial: Trial) -> Trial | None:
        """With what is left by now as its limit; None when no group is to be begun any more."""
        if not worth() and trial.id in first:
            return None
        begun(trial)
        return replace(trial, limit_s=max(1.0, lab.left_s))

    first = {group[0].id for group in groups}
    for place, records in lab.cluster.groups([groups[place] for place in fresh], begin, lab.facts):
        for record in records:
            lab.logbook.append("recording", recording=record)
        ended[fresh[place]] = records
    for record in (record for records in ended for record in records or ()):
        lab.note(record, record.wall_s)
    return ended


def _known(lab: Lab, group: Sequence[Trial]) -> list[Recording] | None:
    """What an interrupted race recorded of the group, if it is there whole; parts of one are forgotten."""
    found = [lab.recorded(trial) for trial in group]
    whole = [record for record in found if record is not None]
    lab.known = [record for record in lab.known if not any(record is one for one in whole)]
    return whole if len(whole) == len(group) else None
