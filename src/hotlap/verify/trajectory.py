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
_LEVEL = 0.05  # of the tests; each further look has half the level of the one before, which adds up to twice this
MOST_SEEDS = 12
_VETO = 5  # the look of so strict a level, 0.3 %, at which losses take back what gates have passed


def trajectory_gate(curves: Sequence[Curve], look: int = 1) -> Gate:
    """Mean loss over the last half of the common steps, compared over paired seeds by two one-sided tests.

    Args:
        curves: Of paired trainings.
        look: The how manieth it is; those before could not tell.
    """
    pairs = [_common(curve) for curve in curves]
    if lost := _lost(pairs):
        return Gate("trajectory", Word.CHANGED, f"the loss is not finite at step {lost}, where the script's is", lost)
    pairs = [(reference, candidate) for reference, candidate in pairs if len(reference) >= _LEAST_STEPS]
    if len(pairs) < 2:
        return Gate("trajectory", Word.UNDECIDED, "too few losses were recorded")
    drop = fmean(fmean(reference[: len(reference) // 10]) - _end(reference) for reference, _ in pairs)
    if not (isfinite(drop) and drop > 0):
        return Gate("trajectory", Word.UNDECIDED, "the untouched script's loss did not fall over the steps compared")
    margin = _MARGIN * drop
    differences = [_end(candidate) - _end(reference) for reference, candidate in pairs]
    answer = equivalence(differences, margin, level=_LEVEL / 2 ** (look - 1))
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


def with_losses(
    verdict: Verdict, curves: Sequence[Curve], *, noisy: bool, exact: bool = False, look: int = 1
) -> Verdict:
    """The verdict together with the paired losses.

    Where the gates found rounding and nothing noisy, losses that cannot be told apart say no more than they did, and
    losses that differ take the verdict back.

    Args:
        verdict: By the exact gates, which saw a few steps with dropout off.
        curves: Of the confirmation pairs, as deployed.
        noisy: The precision is reduced, or the model draws randomness.
        exact: The same bits are promised, by a script that repeats them: other losses are then no noise.
        look: See `trajectory_gate`.
    """
    equal = verdict.word is Word.IDENTICAL and look == 1  # at a later look some are known to differ
    passed = verdict.word is not Word.IDENTICAL and not noisy
    gate = losses_gate(curves) if equal else trajectory_gate(curves, _VETO if passed else look)
    if gate.word is Word.UNDECIDED and equal and not exact:  # bits at the steps compared, and other losses later
        gate = trajectory_gate(curves)
    if passed and gate.word is not Word.CHANGED:
        return verdict
    return conclude((*verdict.gates, gate), seeds=len(curves), repeats=verdict.repeats)


def _common(curve: Curve) -> tuple[list[float], list[float]]:
    both = [(r, c) for r, c in zip(curve.reference, curve.candidate, strict=False) if r is not None and c is not None]
    return [r for r, _ in both], [c for _, c in both]


def _lost(pairs: Sequence[tuple[list[float], list[float]]]) -> int | None:
    """The first step at which a candidate's loss is no number, and its reference's is."""
    steps = (enumerate(zip(*pair, strict=True), start=1) for pair in pairs)
    return next((step for pair in steps for step, (r, c) in pair if isfinite(r) and not isfinite(c)), None)


def _end(losses: Sequence[float]) -> float:
    return fmean(losses[len(losses) // 2 :])
