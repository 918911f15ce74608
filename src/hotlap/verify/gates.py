"""The gates: pure functions from what the arms wrote to an answer each.

A row of a comparison is
`[name, norm in the reference, norm here, norm of the difference, bits equal, norm of the base]`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

from hotlap.records import BEFORE_CLIPPING, Gate, Word
from hotlap.verify.arms import ArmRecord

FLOAT32_UNIT = 2.0**-23
BF16_UNIT = 2.0**-9
TF32_UNIT = 2.0**-11

# Times the noise arms' maximum. Measured on five trainings: honest knobs reach 8.1 at the float32 unit (compile beside
# BatchNorm) and 3.4 at bfloat16's; gradients a tenth short 2e5 and 12.8.
_SLACK, _REDUCED_SLACK = 32.0, 8.0
_FLOOR_UNITS = 4.0  # a gradient that the perturbations happen to leave alone still rounds
_NOISE_ONLY = 0.10  # relative spread at one float32 ulp above which a gradient cannot be compared with its reference
_ALL_NOISE = 0.5  # from here on nothing of it is left but noise: two independent roundings are sqrt(2) apart
_NEARER = 0.9  # of the reference: a gradient that is gone is off by all of it
_NEGLIGIBLE = 1e-3  # of the model's gradient: what noise that sums over a large batch may come to
_UPDATE_TOLERANCE = 1e-5  # from identical weights and gradients honest updates differ by rounding alone: measured, 0
# A kernel that forms 1 - beta2 in float32 is off by up to 2**-24 / (1 - 0.999) = 6e-5 in what the optimizer keeps, and
# by a part of it in the weights: CUDA's fused Adam by 1.29e-5, just what float32(0.999) explains.
_STATE_TOLERANCE = 1e-4

BETWEEN = "between"  # a step's update and the next step
_CHANGES = ("update", BETWEEN)


def _slack(unit: float) -> float:
    return _SLACK if unit <= FLOAT32_UNIT else _REDUCED_SLACK


@dataclass(frozen=True)
class Spread:
    """How far the noise arms are off, per (what, step, name), relative to the reference's norm."""

    float32: dict[tuple[str, int, str], float]
    unit: dict[tuple[str, int, str], float]
    slack: float | None = None
    """Times the noise that is allowed; by default what was calibrated for the unit."""

    def slack_at(self, unit: float) -> float:
        """Times the noise arms' maximum that a gap may reach."""
        return _slack(unit) if self.slack is None else self.slack

    def allows(self, place: tuple[str, int, str], unit: float) -> float:
        """The largest gap that noise explains at a place."""
        noise = max(self.unit.get(place, 0.0), self.float32.get(place, 0.0), _FLOOR_UNITS * unit)
        return self.slack_at(unit) * noise


def spread(arms: Iterable[ArmRecord]) -> dict[tuple[str, int, str], float]:
    """The largest relative error of any noise arm at each place, and the largest shrinkage under "projection"."""
    worst: dict[tuple[str, int, str], float] = {}
    for arm in arms:
        for (what, step), rows in arm.rows.items():
            places = {(what, step, row[0]): row[3] / row[1] for row in rows if row[1] and row[3] is not None}
            for group in _groups(rows) if what == "gradient" else ():
                places |= {("projection", step, name): abs(off) for name, off in shrinkage(group).items()}
            for place, value in places.items():
                worst[place] = max(worst.get(place, 0.0), value)
    return worst


def shrinkage(rows: Sequence[Sequence[Any]]) -> dict[str, float]:
    """How much of the reference's gradient is there, less one: per parameter, and for the whole model.

    The whole model's is under "", that before clipping under `BEFORE_CLIPPING`.

    Rounding points in all directions, so in a projection it cancels: gradients that all come out 10 % short are far
    outside its noise here, while each one's error norm drowns in that of bfloat16.
    """
    found: dict[str, float] = {}
    products, squares = 0.0, 0.0
    for name, reference, got, error, _, _ in rows:
        if reference and got is not None and error is not None and isfinite(got):
            product = (got**2 + reference**2 - error**2) / 2
            found[name] = product / reference**2 - 1
            products, squares = products + product, squares + reference**2
    if squares:
        found[BEFORE_CLIPPING if rows[0][0].endswith(BEFORE_CLIPPING) else ""] = products / squares - 1
    return found


def _groups(rows: Sequence[Sequence[Any]]) -> list[list[Sequence[Any]]]:
    """A model's gradients before and after clipping, which are of other lengths."""
    unclipped = [row for row in rows if row[0].endswith(BEFORE_CLIPPING)]
    clipped = [row for row in rows if not row[0].endswith(BEFORE_CLIPPING)]
    return [group for group in (clipped, unclipped) if group]


def _groups_by_step(compared: dict[int, list[list[Any]]]) -> list[tuple[int, list[Sequence[Any]]]]:
    return [(step, group) for step in sorted(compared) for group in _groups(compared[step])]


def gradient_gate(candidate: ArmRecord, noise: Spread, unit: float) -> Gate:
    """Every parameter's gradient, at every compared step, within the noise of the contract's own unit.

    Args:
        candidate: The arm on trial.
        noise: Spread of the noise arms at one float32 ulp and at `unit`.
        unit: Relative rounding error of the contract's precision.
    """
    compared = {step: rows for (what, step), rows in candidate.rows.items() if what == "gradient"}
    if not compared:
        return Gate("gradients", Word.UNDECIDED, "no gradient was compared")
    bits, worst = True, (0.0, 0.0, 0, "")
    silent = _silent_names(compared)
    for step, rows in _groups_by_step(compared):
        model = math.sqrt(sum(row[1] ** 2 for row in rows if row[1] is not None))
        for row in rows:
            gate, ratio, gap, _ = _judge_gradient(row, step, noise, unit, model, silent)
            if gate is not None:
                return gate
            bits &= row[4]
            worst = max(worst, (ratio, gap, step, row[0]))
        shrunk = _judge_projection(rows, step, noise, unit)
        if shrunk is not None:
            return shrunk
    if all(row[1] == 0 for rows in compared.values() for row in rows):
        return Gate("gradients", Word.UNDECIDED, "every gradient is zero at the compared steps")
    steps = ", ".join(str(step) for step in sorted(compared))
    if bits:
        return Gate("gradients", Word.IDENTICAL, f"all bits equal at steps {steps}")
    word = Word.ROUNDING if unit <= FLOAT32_UNIT else Word.EQUIVALENT
    slack = f"{noise.slack_at(unit):g} times the noise"
    reason = f"every gradient lies within {slack} at steps {steps}, nearest at {worst[0]:.0%} of it"
    return Gate("gradients", word, reason, step=worst[2], parameter=worst[3], gap=worst[1])


def _judge_projection(rows: Sequence[Sequence[Any]], step: int, noise: Spread, unit: float) -> Gate | None:
    """The gate that fails when gradients are systematically too short or too long; None when they are not."""
    for name, off in shrinkage(rows).items():
        place, whole = ("projection", step, name), name in ("", BEFORE_CLIPPING)
        if not whole and noise.float32.get(("gradient", step, name), 0.0) > _NOISE_ONLY:
            continue
        band = noise.allows(place, unit)
        if abs(off) > band:
            return _changed("gradients", step, f"all parameters{name}" if whole else name)(
                "the gradient is scaled", abs(off), band
            )
    return None


def _silent_names(compared: dict[int, list[list[Any]]]) -> set[str]:
    """Parameters whose gradient is exactly zero in the reference at all compared steps."""
    sounding = {row[0] for rows in compared.values() for row in rows if row[1]}
    return {row[0] for rows in compared.values() for row in rows} - sounding


def _judge_gradient(
    row: Sequence[Any], step: int, noise: Spread, unit: float, model: float, silent: set[str]
) -> tuple[Gate | None, float, float, float]:
    """One parameter at one step: the failing gate if any, its share of the limit, gap and band."""
    name, reference, got, error, equal, _ = row
    if equal:
        return None, 0.0, 0.0, 0.0
    changed = _changed("gradients", step, name)
    if got is None and reference == 0:  # what a step does without it is for the update to show
        return None, 0.0, 0.0, 0.0
    if got is None or reference is None:
        return changed("its gradient is missing in one arm"), 0.0, 0.0, 0.0
    if not isfinite(reference):
        reason = f"{name}: its gradient is not finite in the script as written"
        return Gate("gradients", Word.UNDECIDED, reason, step, name), 0.0, 0.0, 0.0
    if error is None or not (isfinite(got) and isfinite(error)):
        return changed("its gradient is not finite"), 0.0, 0.0, 0.0
    place = ("gradient", step, name)
    spread = noise.float32.get(place, 0.0)
    if spread > _NOISE_ONLY or name in silent or reference == 0:
        return _judge_quiet(row, step, spread, noise.slack_at(unit), unit, model, silent)
    gap = error / reference
    band = noise.allows(place, unit)
    if got == 0:
        return changed("its gradient is zero", gap, band), math.inf, gap, band
    if not gap <= min(band, 1.0):
        return changed("its gradient is off", gap, band), gap / band, gap, band
    return None, gap / band, gap, band


def _judge_quiet(
    row: Sequence[Any], step: int, spread: float, slack: float, unit: float, model: float, silent: set[str]
) -> tuple[Gate | None, float, float, float]:
    """A bias before BatchNorm, an attention's key bias: mathematically zero, so only its size can be judged."""
    name, reference, got, error, _, _ = row
    band = rounding = slack * max(unit, FLOAT32_UNIT) * model
    if spread >= _ALL_NOISE:
        band = max(band, min(slack * spread * reference, _NEGLIGIBLE * model))
    ratio = got / band if band else math.inf
    if name in silent and ratio > 1:
        reason = f"{name} has no gradient to compare with"
        return Gate("gradients", Word.UNDECIDED, reason, step, name), ratio, got, band
    gone = got == 0 and reference > rounding  # not even noise is left
    if gone or (reference > band and error > min(spread, _NEARER) * reference):
        reason = f"{name} has a gradient too noisy to compare"
        return Gate("gradients", Word.UNDECIDED, reason, step, name), ratio, got, band
    if reference > band:  # nearer to the reference than the noise arms are
        return None, error / reference / min(spread, _NEARER), error / reference, min(spread, _NEARER)
    changed = _changed("gradients", step, name)
    return (changed("a gradient that should vanish does not", got, band) if ratio > 1 else None), ratio, got, band


def _changed(name: str, step: int, parameter: str) -> Any:
    def gate(why: str, gap: float | None = None, band: float | None = None) -> Gate:
        numbers = f" by {gap:.3g}, where noise allows {band:.3g}" if gap is not None and band is not None else ""
        return Gate(name, Word.CHANGED, f"{parameter}: {why}{numbers}", step, parameter, gap, band)

    return gate


def update_gate(candidate: ArmRecord, noise: Spread, unit: float, stored: float = FLOAT32_UNIT) -> Gate:
    """From identical weights and gradients: the change of parameters, buffers and optimizer state.

    Of parameters also what the script does to them until the next step begins, where that is compared as well.

    Args:
        candidate: The arm on trial.
        noise: Spread of the noise arms at one float32 ulp and at `unit`.
        unit: Relative rounding error of the contract's precision.
        stored: Relative rounding error of the script's own weights.
    """
    compared = sorted((step, what, rows) for (what, step), rows in candidate.rows.items() if what in _CHANGES)
    if not any(what == "update" for _, what, _ in compared):
        return Gate("updates", Word.UNDECIDED, "no update was compared")
    bits = all(row[4] for _, _, rows in compared for row in rows)
    for step, what, rows in compared:
        for row in rows:
            gate = _judge_update(row, step - (what == BETWEEN), noise, unit, stored)
            if gate is not None:
                return gate
    moved = (row[1] for _, _, rows in compared for row in rows if not row[0].startswith("buffer "))
    if not any(moved):
        return Gate("updates", Word.UNDECIDED, "no parameter moved at the compared steps")
    word = Word.IDENTICAL if bits else Word.ROUNDING
    return Gate("updates", word, "all bits equal" if bits else "parameters, buffers and optimizer state change alike")


def _judge_update(row: Sequence[Any], step: int, noise: Spread, unit: float, stored: float) -> Gate | None:
    """The gate that fails on one tensor's change in a step; None when it is as it should be."""
    name, reference, got, error, equal, weight = row
    if equal:
        return None
    changed = _changed("updates", step, name)
    if got is None or reference is None:
        return changed("it exists in one arm only")
    if not isfinite(reference):
        return Gate("updates", Word.UNDECIDED, f"{name} is not finite in the script as written", step, name)
    if error is None or not (isfinite(got) and isfinite(error)):
        return changed("it is not finite")
    is_state = " in optimizer " in name
    tolerance, floor = _STATE_TOLERANCE if is_state else _UPDATE_TOLERANCE, _FLOOR_UNITS * stored * weight
    if name.startswith("buffer "):  # running statistics follow the activations, which carry the unit's noise
        place = ("update", step, name)
        tolerance = noise.allows(place, unit)
    band = min(tolerance, 1.0) * reference + floor
    if not error <= band or (got == 0 and reference > floor):
        relative = error / reference if reference else math.inf
        return changed("its change in the step is off", relative, band / reference if reference else 0.0)
    return None


def evaluation_gate(candidate: ArmRecord, noise: Spread, unit: float) -> Gate | None:
    """What the model answers in evaluation mode, from the reference's weights and on the steps' own inputs.

    None when the untouched model gives no tensor in evaluation mode: there is nothing that could be compared.
    """
    compared = {step: rows for (what, step), rows in candidate.rows.items() if what == "evaluation" and rows}
    if not compared:
        return None
    bits = True
    for step, rows in sorted(compared.items()):
        for name, reference, got, error, equal, _ in rows:
            bits &= equal
            if equal:
                continue
            changed = _changed("evaluation", step, name)
            if got is None or reference is None:
                return changed("it is missing in one arm: the model cannot be evaluated under this setup")
            if not isfinite(reference):
                return Gate("evaluation", Word.UNDECIDED, f"{name} is not finite in the script as written", step, name)
            place = ("evaluation", step, name)
            band = noise.allows(place, unit)
            gap = error / reference if reference else math.inf
            if not gap <= min(band, 1.0):
                return changed("the model's answer is off", gap, band)
    if bits:
        return Gate("evaluation", Word.IDENTICAL, "outputs in evaluation mode are equal to the bit")
    word = Word.ROUNDING if unit <= FLOAT32_UNIT else Word.EQUIVALENT
    return Gate("evaluation", word, "outputs in evaluation mode lie within the noise")
