"""What an arm of the comparison wrote, and the gates that ask for equality or for being there at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

from hotlap.records import Gate, Signature, Word


@dataclass(frozen=True)
class ArmRecord:
    """What one arm of the comparison wrote.

    Attributes:
        events: Per step, what the script did.
        rows: ("gradient", "update", "between" or "evaluation", step) to the rows of that comparison.
        signatures: Per root (class name, index), the training calls seen at compared steps.
        spread: Answer and gradient norms under several seeds, by name; {} in arms that did not measure them.
        checkpoint: What a checkpoint of the last compared step holds, entry by entry, without its numbers.
        failed: Why the arm could not be finished, or "".
    """

    events: tuple[dict[str, Any], ...]
    rows: dict[tuple[str, int], list[list[Any]]]
    signatures: dict[tuple[str, int], tuple[Signature, ...]] = field(default_factory=dict)
    spread: dict[str, list[float]] = field(default_factory=dict)
    checkpoint: tuple[str, ...] = ()
    failed: str = ""


def event_gate(reference: ArmRecord, candidate: ArmRecord, steps: int = 0, *, version: bool = False) -> Gate:
    """Equal, to the letter: batches with targets, hyper-parameters, counts of calls, training flags.

    Args:
        reference: The arm of the untouched script.
        candidate: The arm on trial.
        steps: How many steps must have been compared; by default all of the reference's.
        version: The candidate is another version of the script, which may be made of other modules and clear its
            gradients in another way.
    """
    least = steps or len(reference.events)
    if not any(any(event["batches"]) for event in reference.events):
        return Gate("events", Word.UNDECIDED, "no batch and no input of the model could be read")
    for ours, theirs in zip(candidate.events, reference.events, strict=False):
        for key, words in _EVENT_WORDS.items():
            mine, wanted = (_of_version(key, side[key]) if version else side[key] for side in (ours, theirs))
            if mine != wanted:
                return Gate("events", Word.CHANGED, words + _first_difference(wanted, mine), step=theirs["step"])
    both = min(len(candidate.events), len(reference.events))
    if not both or both < least:
        return Gate("events", Word.UNDECIDED, "the arm ended before all steps were compared")
    return Gate("events", Word.IDENTICAL, f"batches, calls and hyper-parameters of {both} steps are equal")


def checkpoint_gate(reference: ArmRecord, candidate: ArmRecord) -> Gate:
    """A checkpoint has the same entries, of the same shapes and types: each side can load the other's."""
    mine, wanted = (dict.fromkeys(arm.checkpoint) for arm in (candidate, reference))
    more, less = (next((e for e in a if e not in b), "") for a, b in ((mine, wanted), (wanted, mine)))
    if more or less:
        what = f"{more or 'nothing'} in the place of {less or 'nothing'}"
        return Gate("checkpoint", Word.CHANGED, f"a checkpoint would hold {what}", parameter=more or less)
    return Gate("checkpoint", Word.IDENTICAL, f"a checkpoint holds the same {len(wanted)} entries")


def reach_gate(candidate: ArmRecord, steps: Sequence[int]) -> Gate:
    """Every planned comparison was made: a step that was not reached has not passed."""
    for what in ("gradient", "update", "evaluation"):
        for step in steps:
            if (what, step) not in candidate.rows:
                return Gate("steps", Word.UNDECIDED, f"the {what} of step {step} was not compared", step)
            if what != "evaluation" and not candidate.rows[what, step]:
                return Gate("steps", Word.UNDECIDED, f"at step {step} there was no {what} to compare", step)
    return Gate("steps", Word.IDENTICAL, f"steps {', '.join(map(str, steps))} were compared")


def noise_gate(reference: ArmRecord, arms: Sequence[ArmRecord], steps: Sequence[int]) -> Gate | None:
    """Whether the noise arms, the untouched script all of them, can say what is noise; None when they can."""
    if not arms:
        return Gate("noise", Word.UNDECIDED, "the noise was not measured")
    for arm in arms:
        if arm.failed:
            return Gate("noise", Word.UNDECIDED, f"the noise could not be measured: {arm.failed}")
        same = event_gate(reference, arm, max(steps))
        if same.word is not Word.IDENTICAL:
            reason = f"the script does not repeat itself from the same seed: {same.reason}"
            return Gate("noise", Word.UNDECIDED, reason, same.step)
        for (what, step), rows in arm.rows.items():
            wrong = next((row[0] for row in rows if row[1] is None or row[3] is None or not isfinite(row[3])), None)
            if wrong is not None and what != "evaluation":  # a model may answer with a number of things that varies
                reason = f"{wrong}: its {what} is not finite, or not always there, in the script as written"
                return Gate("noise", Word.UNDECIDED, reason, step, wrong)
        if any(("gradient", step) not in arm.rows for step in steps):
            return Gate("noise", Word.UNDECIDED, "the noise was not measured at every step")
    return None


_EVENT_WORDS = {
    "batches": "a batch or its targets differ",
    "counts": "other calls were made",
    "hyper": "hyper-parameters differ",
    "flags": "training flags or dropout differ",
    "modules": "another part of the model is in training mode",
}


def _of_version(key: str, value: Any) -> Any:
    """What another version of a script must have in common with it."""
    if key == "modules":
        return []
    return {name: count for name, count in value.items() if name != "zero_grad"} if key == "counts" else value


def _first_difference(theirs: Any, ours: Any) -> str:
    if isinstance(theirs, dict):
        keys = [key for key in sorted({*theirs, *ours}) if theirs.get(key) != ours.get(key)]
        return f": {keys[0]} is {ours.get(keys[0])}, not {theirs.get(keys[0])}"
    for their, our in zip(theirs, ours, strict=False):
        if their != our:
            return _first_difference(their, our) if isinstance(their, dict) else ""
    return f": {len(ours)} instead of {len(theirs)}"


def repeats_itself(again: ArmRecord) -> bool:
    """Whether the untouched script gave the reference's bits once more; kernels that add atomically do not.

    Args:
        again: A noise arm that is off by nothing.
    """
    return all(row[4] for rows in again.rows.values() for row in rows)
