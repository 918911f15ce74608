"""Runs of finals, made up."""

from __future__ import annotations

from collections.abc import Sequence

from hotlap.race.compare import FinalRun


def final_run(
    seed: int, crossing: int | None, step_s: float = 0.1, steps: int = 100, final: float | None = 1.0
) -> FinalRun:
    """One run."""
    return FinalRun(f"{seed:04d}", seed, steps, step_s, final, {"default": crossing})


def final_runs(crossings: Sequence[int | None], step_s: float = 0.1, steps: int = 100) -> list[FinalRun]:
    """A run for each crossing, at seeds 1, 2, ..."""
    return [final_run(seed, crossing, step_s, steps) for seed, crossing in enumerate(crossings, start=1)]
