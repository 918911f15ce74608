"""What an observed run must have shown for a tune to go on, and what later runs add to what it showed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from statistics import median

from hotlap.errors import HotlapError
from hotlap.records import Facts, Outcome, Recording
from hotlap.report.words import sentence

OBSERVED_STEPS = 12
"""Fewer than this and there is nothing to time."""
_USAGE = 2  # what argparse and its like exit with when they do not know an argument


def check_observed(record: Recording, script: Path, log: Path) -> None:
    """Whether there is something to time.

    Args:
        record: Of the observed run.
        script: For the words.
        log: Its output.

    Raises:
        HotlapError: It failed, or did not train long enough.
    """
    taken = len(record.steps.total_s)
    if record.outcome is Outcome.HANG and not taken:
        raise HotlapError(
            "no-step-yet",
            f"{script} was still running after {record.wall_s:.0f} s and had not taken its first training step.",
            fix=f"give it time to start up with a bigger --budget; its output so far is in {log}",
        )
    if record.outcome not in (Outcome.BUDGET, Outcome.ENDED):
        ours = "; options of hotlap's own come before the script" if record.exit_code == _USAGE else ""
        why = sentence(f"The untouched script ended with {record.outcome.value}: {record.reason}")
        what = f"{why} Its output is in {log}."
        raise HotlapError("script-failed", what, fix=f"make it run by itself first{ours}")
    if taken and record.facts is None:
        why = "; ".join(f"{what}: {reason}" for what, reason in record.failed_probes.items()) or "nothing was written"
        what = f"{script} trained, and hotlap could not say what it is made of ({why})."
        raise HotlapError("not-understood", what, fix=f"report it, please, with the output in {log}")
    if not taken:
        raise HotlapError(
            "no-steps",
            f"{script} ran for {record.wall_s:.0f} s and took no training step (no optimizer step, no backward).",
            fix=f"check that it trains at all; its output is in {log}",
        )
    if taken < OBSERVED_STEPS:
        ended = record.outcome is Outcome.ENDED
        what = f"{script} {'ended by itself' if ended else 'was stopped'} after {record.wall_s:.0f} s with too few"
        fix = "let it train longer" if ended else "name a bigger --budget"
        raise HotlapError("too-short", f"{what} training steps: {taken}, and {OBSERVED_STEPS} can be timed.", fix=fix)


def reseen(facts: Facts, records: Iterable[Recording]) -> Facts:
    """The facts with the page faults of the unluckiest process so far.

    Where glibc's heap ends decides whether the memory of freed tensors goes back to the kernel in every step, and
    that differs from one process of the same script to the next.

    Args:
        facts: As one run showed them.
        records: Of any trials; of those that trained for their time the steady steps count.
    """
    trained = [record for record in records if record.trial.purpose in ("observe", "time")]
    steady = [record.steps.faults[record.warmup_steps :] for record in trained]
    return replace(facts, faults_per_step=max([facts.faults_per_step, *(median(seen) for seen in steady if seen)]))
