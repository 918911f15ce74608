"""The gates: pure functions from what the arms wrote to an answer each.

A row of a comparison is
`[name, norm in the reference, norm here, norm of the difference, bits equal, norm of the base]`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from hotlap.records import Gate, Signature, Word

FLOAT32_UNIT = 2.0**-23
BF16_UNIT = 2.0**-9
TF32_UNIT = 2.0**-11

_SLACK = 8.0  # times the noise arms' maximum; channels-last reaches 4.8 times the one-ulp error (mechanics, section 4)
_FLOOR_UNITS = 4.0  # a gradient that the perturbations happen to leave alone still rounds
_NOISE_ONLY = 0.10  # relative spread at one float32 ulp above which a gradient is rounding noise itself
_UPDATE_TOLERANCE = 1e-4  # from identical weights and gradients, honest updates differ by rounding alone


@dataclass(frozen=True)
class ArmRecord:
    """What one arm of the comparison wrote.

    Attributes:
        events: Per step, what the script did.
        rows: ("gradient" or "update", step) to the rows of that comparison.
        signatures: Per root (class name, index), the training calls seen at compared steps.
        failed: Why the arm could not be finished, or "".
    """

    events: tuple[dict[str, Any], ...]
    rows: dict[tuple[str, int], list[list[Any]]]
    signatures: dict[tuple[str, int], tuple[Signature, ...]] = field(default_factory=dict)
    failed: str = ""


def event_gate(reference: ArmRecord, candidate: ArmRecord) -> Gate:
    """Equal, to the letter: batches with targets, hyper-parameters, counts of calls, training flags."""
    for ours, theirs in zip(candidate.events, reference.events, strict=False):
        for key, words in _EVENT_WORDS.items():
            if ours[key] != theirs[key]:
                return Gate(
                    "events", Word.CHANGED, words + _first_difference(theirs[key], ours[key]), step=theirs["step"]
                )
    if not candidate.events or len(candidate.events) < len(reference.events):
        return Gate("events", Word.UNDECIDED, "the arm ended before all steps were compared")
    return Gate(
        "events", Word.IDENTICAL, f"batches, calls and hyper-parameters of {len(reference.events)} steps are equal"
    )


_EVENT_WORDS = {
    "batches": "a batch or its targets differ",
    "counts": "other calls were made",
    "hyper": "hyper-parameters differ",
    "flags": "training flags or dropout differ",
}


def _first_difference(theirs: Any, ours: Any) -> str:
    if isinstance(theirs, dict):
        keys = [key for key in sorted({*theirs, *ours}) if theirs.get(key) != ours.get(key)]
        return f": {keys[0]} is {ours.get(keys[0])}, not {theirs.get(keys[0])}"
    for their, our in zip(theirs, ours, strict=False):
        if their != our:
            return _first_difference(their, our) if isinstance(their, dict) else ""
    return f": {len(ours)} instead of {len(theirs)}"


@dataclass(frozen=True)
class Spread:
    """How far the noise arms are off, per (what, step, name), relative to the reference's norm."""

    float32: dict[tuple[str, int, str], float]
    unit: dict[tuple[str, int, str], float]


def spread(arms: Iterable[ArmRecord]) -> dict[tuple[str, int, str], float]:
    """The largest relative error of any noise arm at each place, and the largest shrinkage under "projection"."""
    worst: dict[tuple[str, int, str], float] = {}
    for arm in arms:
        for (what, step), rows in arm.rows.items():
            places = {(what, step, row[0]): row[3] / row[1] for row in rows if row[1] and row[3] is not None}
            if what == "gradient":
                places |= {("projection", step, name): abs(off) for name, off in shrinkage(rows).items()}
            for place, value in places.items():
                worst[place] = max(worst.get(place, 0.0), value)
    return worst


def shrinkage(rows: Sequence[Sequence[Any]]) -> dict[str, float]:
    """How much of the reference's gradient is there, less one: per parameter, and under "" for the whole model.

    Rounding points in all directions, so in a projection it cancels: gradients that all come out 10 % short are far
    outside its noise here, while each one's error norm drowns in that of bfloat16.
    """
    found: dict[str, float] = {}
    products, squares = 0.0, 0.0
    for name, reference, got, error, _, _ in rows:
        if reference and got is not None and error is not None and math.isfinite(got):
            product = (got**2 + reference**2 - error**2) / 2
            found[name] = product / reference**2 - 1
            products, squares = products + product, squares + reference**2
    if squares:
        found[""] = products / squares - 1
    return found


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
    for step, rows in sorted(compared.items()):
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
    reason = f"every gradient lies within {_SLACK:g} times the noise at steps {steps}, nearest at {worst[0]:.0%} of it"
    return Gate("gradients", word, reason, step=worst[2], parameter=worst[3], gap=worst[1])


def _judge_projection(rows: list[list[Any]], step: int, noise: Spread, unit: float) -> Gate | None:
    """The gate that fails when gradients are systematically too short or too long; None when they are not."""
    for name, off in shrinkage(rows).items():
        place = ("projection", step, name)
        if name and noise.float32.get(("gradient", step, name), 0.0) > _NOISE_ONLY:
            continue
        band = _SLACK * max(noise.unit.get(place, 0.0), noise.float32.get(place, 0.0), _FLOOR_UNITS * unit)
        if abs(off) > band:
            return _changed("gradients", step, name or "all parameters")("the gradient is scaled", abs(off), band)
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
    if got is None or reference is None:
        return changed("its gradient is missing in one arm"), 0.0, 0.0, 0.0
    if not math.isfinite(got):
        return changed("its gradient is not finite"), 0.0, 0.0, 0.0
    place = ("gradient", step, name)
    quiet = noise.float32.get(place, 0.0) > _NOISE_ONLY or name in silent or reference == 0
    if quiet:  # a bias before BatchNorm, an attention's key bias: mathematically zero, so only its size can be judged
        band = _SLACK * max(unit, FLOAT32_UNIT) * model
        ratio = got / band if band else math.inf
        if ratio > 1 and name in silent:
            return (
                Gate("gradients", Word.UNDECIDED, f"{name} has no gradient to compare with", step, name),
                ratio,
                got,
                band,
            )
        return (changed("a gradient that should vanish does not", got, band) if ratio > 1 else None), ratio, got, band
    gap = error / reference
    band = _SLACK * max(noise.unit.get(place, 0.0), noise.float32.get(place, 0.0), _FLOOR_UNITS * unit)
    if got == 0:
        return changed("its gradient is zero", gap, band), math.inf, gap, band
    if gap > band or (band > 1 and gap > 1):
        return changed("its gradient is off", gap, band), gap / band, gap, band
    return None, gap / band, gap, band


def _changed(name: str, step: int, parameter: str) -> Any:
    def gate(why: str, gap: float | None = None, band: float | None = None) -> Gate:
        numbers = f" by {gap:.3g}, where noise allows {band:.3g}" if gap is not None and band is not None else ""
        return Gate(name, Word.CHANGED, f"{parameter}: {why}{numbers}", step, parameter, gap, band)

    return gate


def update_gate(candidate: ArmRecord, noise: Spread, unit: float) -> Gate:
    """From identical weights and gradients: the change of parameters, buffers and optimizer state."""
    compared = {step: rows for (what, step), rows in candidate.rows.items() if what == "update"}
    if not compared:
        return Gate("updates", Word.UNDECIDED, "no update was compared")
    bits = True
    for step, rows in sorted(compared.items()):
        for name, reference, got, error, equal, weight in rows:
            bits &= equal
            if equal:
                continue
            changed = _changed("updates", step, name)
            if got is None or reference is None:
                return changed("it exists in one arm only")
            if not math.isfinite(got):
                return changed("it is not finite")
            tolerance = _UPDATE_TOLERANCE
            if name.startswith("buffer "):  # running statistics follow the activations, which carry the unit's noise
                place = ("update", step, name)
                tolerance = _SLACK * max(noise.unit.get(place, 0.0), noise.float32.get(place, 0.0), _FLOOR_UNITS * unit)
            band = tolerance * reference + _FLOOR_UNITS * FLOAT32_UNIT * weight
            if error > band or (got == 0) != (reference == 0):
                relative = error / reference if reference else math.inf
                return changed("its change in the step is off", relative, band / reference if reference else 0.0)
    word = Word.IDENTICAL if bits else Word.ROUNDING
    return Gate("updates", word, "all bits equal" if bits else "parameters, buffers and optimizer state change alike")


def evaluation_gate(candidate: ArmRecord, noise: Spread, unit: float) -> Gate:
    """What the model answers in evaluation mode, from the reference's weights and on the steps' own inputs."""
    compared = {step: rows for (what, step), rows in candidate.rows.items() if what == "evaluation" and rows}
    if not compared:  # the reference has no outputs either, or the gate would see them missing
        return Gate("evaluation", Word.IDENTICAL, "the untouched model gives no output in evaluation mode to compare")
    bits = True
    for step, rows in sorted(compared.items()):
        for name, reference, got, error, equal, _ in rows:
            bits &= equal
            if equal:
                continue
            changed = _changed("evaluation", step, name)
            if got is None or reference is None:
                return changed("it is missing in one arm: the model cannot be evaluated under this setup")
            place = ("evaluation", step, name)
            band = _SLACK * max(noise.unit.get(place, 0.0), noise.float32.get(place, 0.0), _FLOOR_UNITS * unit)
            gap = error / reference if reference else math.inf
            if not gap <= band:
                return changed("the model's answer is off", gap, band)
    if bits:
        return Gate("evaluation", Word.IDENTICAL, "outputs in evaluation mode are equal to the bit")
    word = Word.ROUNDING if unit <= FLOAT32_UNIT else Word.EQUIVALENT
    return Gate("evaluation", word, "outputs in evaluation mode lie within the noise")
