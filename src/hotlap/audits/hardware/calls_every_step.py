"""Costly calls in every step."""

from __future__ import annotations

from math import inf
from statistics import fmean
from typing import ClassVar

from hotlap.audits.audit import Audit
from hotlap.audits.judge import per_step
from hotlap.records import Finding
from hotlap.records.seen import Seen

_LIMITS = {
    "torch.save": 0.5,
    "gc.collect": 0.5,
    "torch.cuda.empty_cache": 0.5,
    "torch.cuda.synchronize": 0.5,
    "savefig": 0.5,
    "add_figure": 0.5,
    "add_histogram": 3.0,
    "print": 3.0,
}
"""Calls per step from which on it is a habit."""
_MUCH = 0.05  # of the training's time, however often


class CallsEveryStep(Audit):
    """Costly calls in every step.

    ## What it finds
    `torch.save`, `gc.collect`, `empty_cache`, `synchronize`, a figure that is saved or sent to TensorBoard once or more
    in a step, several prints or histograms, or fewer of these calls that take more than a twentieth of the time.
    ## Why it costs
    Each stops the training: a write to disk, a walk through all objects, a wait for the device, a picture drawn.
    ## When it is right
    Every few hundred steps.
    ## Source
    OneTrainer#1459: half the training time went into emptying the cache.
    """

    id: ClassVar[str] = "calls-every-step"
    area: ClassVar[str] = "hardware"
    needs: ClassVar[tuple[str, ...]] = ("habits", "costly")
    knobs: ClassVar[tuple[str, ...]] = ("forced-collection", "empty-cache", "synchronize")

    def judge(self, seen: Seen) -> Finding:
        """By counting calls, and by their own time."""
        assert seen.habits is not None
        assert seen.costly is not None
        counts = {**seen.habits.per_step, **seen.costly.per_step}
        shares = {name: fmean(spent_s) / seen.phases.total_s for name, spent_s in seen.costly.spent_s.items()}
        often = {
            name: count
            for name, count in counts.items()
            if count >= _LIMITS.get(name, inf) or shares.get(name, 0.0) > _MUCH
        }
        if not often:
            return self.passes("no costly call in every step")
        told = ", ".join(f"{name} {count:.3g} times" for name, count in often.items())
        timed = [spent_s for name, spent_s in seen.costly.spent_s.items() if name in often]
        wasted = per_step([sum(step) for step in zip(*timed, strict=True)])
        return self.fails(f"per step: {told}", "do it every few hundred steps, or not at all", wasted)
