"""The last gate: do paired trainings lose alike? "No difference found", never proof."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from statistics import fmean

from hotlap.records import Curve, Gate, Verdict, Word
from hotlap.stats import Sameness, equivalence
from hotlap.verify.verdict import conclude

_MARGIN = 0.02  # of the drop in loss that the untouched script achieved
_LEAST_STEPS = 20
_LEVEL, _SECOND_LEVEL = 0.05, 0.025  # of the tests, and of those of a second look over more seeds
MOST_SEEDS = 12


def trajectory_gate(curves: Sequence[Curve], *, again: bool = False) -> Gate:
    """Mean loss over the last half of the common steps, compared over paired seeds by two one-sided tests.

    Args:
        curves: Of paired trainings.
        again: Fewer of these were compared before, and could not tell.
    """
    pairs = [_common(curve) for curve in curves]
    pairs = [(reference, candidate) for reference, candidate in pairs if len(reference) >= _LEAST_STEPS]
    if len(pairs) < 2:
        return Gate("trajectory", Word.UNDECIDED, "too few losses were recorded")
    drop = fmean(fmean(reference[: len(reference) // 10]) - _end(reference) for reference, _ in pairs)
    if not (isfinite(drop) and drop > 0):
        return Gate("trajectory", Word.UNDECIDED, "the untouched script's loss did not fall over the steps compared")
    margin = _MARGIN * drop
    differences = [_end(candidate) - _end(reference) for reference, candidate in pairs]
    answer = equivalence(differences, margin, level=_SECOND_LEVEL if again else _LEVEL)
    steps = min(len(reference) for reference, _ in pairs)
    found = answer.difference
    gap = found.value if found else None
    if answer.decision is Sameness.EQUIVALENT:
        reason = f"no difference in loss found over {steps} steps and {len(pairs)} seeds, margin {margin:.2g}"
        return Gate("trajectory", Word.EQUIVALENT, reason, gap=gap, band=margin)
    if answer.decision is Sameness.DIFFERENT:
        return Gate(
            "trajectory", Word.CHANGED, f"the loss over the last half differs by {gap:.2g}", gap=gap, band=margin
        )
    reason = f"{len(pairs)} seeds cannot tell a difference in loss of {margin:.2g} from the noise"
    return Gate("trajectory", Word.UNDECIDED, reason, gap=gap, band=margin)


def cannot_tell(verdict: Verdict) -> bool:
    """Whether the losses were compared over too few seeds for what they differ by."""
    return any(g.name == "trajectory" and g.word is Word.UNDECIDED and g.gap is not None for g in verdict.gates)


def losses_gate(curves: Sequence[Curve]) -> Gate:
    """For a setup whose every bit was equal: the losses of the paired trainings must be equal too.

    The exact gates see a few steps, and with dropout off; these see a whole window as it is deployed.
    """
    pairs = [_common(curve) for curve in curves]
    if not pairs or any(len(reference) < _LEAST_STEPS for reference, _ in pairs):
        return Gate("losses", Word.UNDECIDED, "too few losses were recorded")
    for reference, candidate in pairs:
        step = next((i for i, (r, c) in enumerate(zip(reference, candidate, strict=True), 1) if r != c), None)
        if step is not None:
            return Gate("losses", Word.UNDECIDED, f"every bit was equal, but the loss of step {step} is not", step)
    return Gate("losses", Word.IDENTICAL, f"all losses of {len(pairs)} paired trainings are equal to the bit")


def with_losses(verdict: Verdict, curves: Sequence[Curve], *, noisy: bool, again: bool = False) -> Verdict:
    """The verdict together with the paired losses.

    Args:
        verdict: By the exact gates, which saw a few steps with dropout off.
        curves: Of the confirmation pairs, as deployed.
        noisy: The precision is reduced, or the model draws randomness.
        again: See `trajectory_gate`.
    """
    if verdict.word is not Word.IDENTICAL and not noisy:
        return verdict
    gate = losses_gate(curves) if verdict.word is Word.IDENTICAL else trajectory_gate(curves, again=again)
    if gate.word is Word.UNDECIDED:  # equal bits at the steps compared, and other losses later: dropout, say
        gate = trajectory_gate(curves, again=again)
    return conclude((*verdict.gates, gate), seeds=len(curves), repeats=verdict.repeats)


def _common(curve: Curve) -> tuple[list[float], list[float]]:
    both = [(r, c) for r, c in zip(curve.reference, curve.candidate, strict=False) if r is not None and c is not None]
    return [r for r, _ in both], [c for _, c in both]


def _end(losses: Sequence[float]) -> float:
    return fmean(losses[len(losses) // 2 :])
