"""Do two runs of one seed agree to the bit?"""

from __future__ import annotations

from hotlap.records import Gate, Outcome, Recording, Word

NAME = "repetition"
_Parting = tuple[int, int, str, str]
"""Step, 0 for its loss and 1 for what it left behind, name, and what is to be said."""


def repetition_gate(first: Recording, second: Recording) -> Gate:
    """Every loss, and everything that learns after some steps and the last.

    IDENTICAL when all bits are equal; UNDECIDED else, with the step where the runs part. Without a step they could not
    be compared.
    """
    for run in (first, second):
        if why := _unfinished(run):
            return Gate(NAME, Word.UNDECIDED, f"two runs could not be compared: {why}")
    taken = [len(run.steps.losses) for run in (first, second)]
    hashes = [{int(step): names for step, names in run.seen["hashes"].items()} for run in (first, second)]
    common = sorted(hashes[0].keys() & hashes[1].keys())
    if not any(hashes[0][step] for step in common):
        return Gate(NAME, Word.UNDECIDED, "two runs could not be compared: nothing that learns was found")
    partings = [
        *_losses(first, second),
        *(p for step in common for p in _states(step, hashes[0][step], hashes[1][step])),
    ]
    shorter = min((first, second), key=lambda run: len(run.steps.losses))
    if taken[0] != taken[1] and shorter.outcome is Outcome.ENDED:  # and was not stopped by the clock
        partings.append((min(taken) + 1, 0, "", f"one run takes {taken[0]} steps and the other {taken[1]}"))
    if partings:
        step, _, name, what = min(partings)
        return Gate(NAME, Word.UNDECIDED, f"two runs of one seed part at step {step}: {what}", step, name)
    kept = f"{min(taken)} losses, and {len(hashes[0][common[-1]])} tensors after step {common[-1]}"
    return Gate(NAME, Word.IDENTICAL, f"two runs of one seed agree to the bit in {kept}")


def _unfinished(run: Recording) -> str:
    """Why a run says nothing; "" when it does."""
    if not_as_asked := {**run.failed_knobs, **run.failed_probes}:
        what, reason = next(iter(not_as_asked.items()))
        return f"{what} could not take hold: {reason}"
    if run.outcome not in (Outcome.BUDGET, Outcome.ENDED):
        return f"{run.outcome.value}: {run.reason}"
    return "" if run.seen.get("hashes") else "a run took no training step"


def _losses(first: Recording, second: Recording) -> list[_Parting]:
    """The first loss that differs, if any; one that is no number is the same as another such."""
    for step, (one, other) in enumerate(zip(first.steps.losses, second.steps.losses, strict=False), start=1):
        if repr(one) != repr(other):
            return [(step, 0, "", f"the loss is {one} in one and {other} in the other")]
    return []


def _states(step: int, first: dict[str, str], second: dict[str, str]) -> list[_Parting]:
    """The first tensor that differs after a step, if any, and how many do."""
    names = [name for name in {**first, **second} if first.get(name) != second.get(name)]
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return [(step, 1, names[0], f"{names[0]}{more} differ{'' if more else 's'} after it")] if names else []
