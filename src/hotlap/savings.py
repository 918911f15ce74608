"""What a tune for memory adds to a result: the saving, whose it is, and the peaks themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hotlap.confirm import against, estimated
from hotlap.lab import Lab
from hotlap.records import AS_WRITTEN, Estimate, Goal, Kept, Pair, Result, Setup
from hotlap.records.views import LargestBatch
from hotlap.shares import saving
from hotlap.trials import blocks


def with_savings(
    result: Result, lab: Lab, setup: Setup, slowdown_limit: float, largest: tuple[LargestBatch, ...]
) -> Result:
    """The result of a tune for memory.

    Args:
        result: As for speed; its speed-up is what the saving costs.
        lab: Of the tune.
        setup: That was accepted; the empty one when none was.
        slowdown_limit: How much slower a step may be, as a share.
        largest: What growing the batches found.
    """
    pairs, asked = against(lab.pairs, setup), result.asked
    closings = lab.closed(setup)
    whole = estimated(pairs, blocks.log_saving, closings) if setup.settings else None
    alone, rest = against(lab.pairs, asked), against(lab.pairs, setup, asked)
    return replace(
        result,
        goal=Goal.MEMORY,
        saving=whole,
        asked_saving=estimated(alone, blocks.log_saving) if asked.settings else None,
        added_saving=estimated(rest, blocks.log_saving, closings) if asked.settings and setup != asked else None,
        slowdown_limit=slowdown_limit,
        largest=largest,
        kept=tuple(_kept(kept, setup, lab.pairs, whole, result.speedup) for kept in result.kept),
        levels={},  # are told of speed-ups
        payback_steps=None,  # what is slower earns nothing back
        peak_bytes=_peaks(lab, pairs),
    )


def _kept(kept: Kept, setup: Setup, pairs: Sequence[Pair], whole: Estimate | None, speedup: Estimate | None) -> Kept:
    if len(setup.settings) == 1:
        return replace(kept, share=speedup, saving=whole)
    return replace(kept, saving=saving(setup, kept.knob, pairs))


def _peaks(lab: Lab, pairs: Sequence[Pair]) -> tuple[int, int]:
    """Mean over the runs of what a step held at most: as written, tuned."""
    timed = [r for r in lab.recordings.values() if (r.trial.purpose, r.trial.setup) == ("time", AS_WRITTEN)]
    written = [pair.reference_bytes for pair in pairs] or [blocks.peak_bytes(r) for r in timed if not r.trial.arms]
    tuned = [pair.candidate_bytes for pair in pairs]
    return sum(written) // max(1, len(written)), sum(tuned) // max(1, len(tuned))
