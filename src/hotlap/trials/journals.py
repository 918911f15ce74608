"""From the journals that a trial's processes wrote to a recording."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from hotlap.records import PHASES, Facts, Outcome, Recording, Signature, Steps, Trial
from hotlap.verify.gates import ArmRecord

_LEAST_WARMUP = 10
_HELPER_IS_PART = 0.5  # a network asked without gradients in more than this share of the steps is part of them


def lines_by_process(folder: Path) -> list[list[dict[str, Any]]]:
    """The lines of each journal, oldest process first; a torn last line is legal."""
    journals: list[list[dict[str, Any]]] = []
    for path in sorted(folder.glob("journal-*.jsonl"), key=lambda p: p.stat().st_mtime):
        lines: list[dict[str, Any]] = []
        for line in path.read_text("utf-8", "replace").splitlines():
            try:
                lines.append(json.loads(line))
            except json.JSONDecodeError:
                break
        journals.append(lines)
    return journals


def of_kind(lines: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    """The lines of that kind, in order."""
    return [line for line in lines if line["kind"] == kind]


def training_process(journals: list[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """The journal of rank 0's training process; [] when no process stepped."""
    trained = [lines for lines in journals if of_kind(lines, "first-step")]
    if not trained:
        return []
    first_rank = [lines for lines in trained if of_kind(lines, "first-step")[-1].get("rank", "0") == "0"]
    return max(first_rank or trained, key=lambda lines: sum(len(line["rows"]) for line in of_kind(lines, "steps")))


def steps_of(lines: list[dict[str, Any]]) -> tuple[Steps, list[float], float]:
    """Columns of the steps, the epoch starts [s], and the time in evaluation [s]."""
    restarts = [index for index, line in enumerate(lines) if line["kind"] == "restart"]
    lines = lines[restarts[-1] :] if restarts else lines
    rows = [row for line in of_kind(lines, "steps") for row in line["rows"]]
    losses = [value for line in of_kind(lines, "losses") for value in line["values"]]
    losses += [None] * (len(rows) - len(losses))
    in_step = _helpers_are_part(rows)
    phases: dict[str, list[float]] = {phase: [] for phase in PHASES}
    for spent, _, _, _, _, _, helper in rows:
        for phase in PHASES:
            phases[phase].append(spent.get(phase, 0.0) + (helper.get(phase, 0.0) if in_step else 0.0))
    steps = Steps(
        total_s=tuple(map(sum, zip(*phases.values(), strict=True))),
        phases_s={phase: tuple(values) for phase, values in phases.items()},
        samples=tuple(row[1] for row in rows),
        losses=tuple(losses[: len(rows)]),
        faults=tuple(row[2] for row in rows),
        compiles=tuple(row[5] for row in rows),
    )
    began = [row[4] + (row[6].get("epoch start", 0.0) if in_step else 0.0) for row in rows]
    starts = [start for start in began if start > 0]
    evaluation_s = sum(row[3] + (0.0 if in_step else sum(row[6].values())) for row in rows)
    return steps, starts, evaluation_s


def _helpers_are_part(rows: list[Any]) -> bool:
    """Whether a network that is asked without gradients is asked in most steps: a target or a teacher."""
    return sum(bool(row[6]) for row in rows) > _HELPER_IS_PART * len(rows)


def evaluations_of(lines: list[dict[str, Any]]) -> int:
    """Evaluations in the whole run, those by another network than the one that trains included."""
    rows = [row for line in of_kind(lines, "steps") for row in line["rows"]]
    helpers = 0 if _helpers_are_part(rows) else sum(bool(row[6]) for row in rows)
    return sum(line["evaluations"] for line in of_kind(lines, "closing")[-1:]) + helpers


def warmup_of(steps: Steps) -> int:
    """Steps to discard: at least ten, and all up to the last one that compiled a graph."""
    last = max((i for i in range(1, len(steps.compiles)) if steps.compiles[i] > steps.compiles[i - 1]), default=0)
    return max(_LEAST_WARMUP, last + 1)


def recording(
    trial: Trial, folder: Path, outcome: Outcome, reason: str, exit_code: int | None, wall_s: float
) -> Recording:
    """Everything that the processes of a trial wrote, as one record."""
    journals = lines_by_process(folder)
    lines = training_process(journals)
    steps, starts, evaluation_s = steps_of(lines)
    closing = (of_kind(lines, "closing") or [{}])[-1]
    first = of_kind(lines, "first-step")
    every = [line for journal in journals for line in journal]
    return Recording(
        trial=trial,
        outcome=outcome,
        reason=reason,
        exit_code=exit_code,
        wall_s=wall_s,
        startup_s=first[0]["at_s"] if first else None,
        steps=steps,
        epoch_start_s=sum(starts) / len(starts) if starts else 0.0,
        evaluation_s=evaluation_s + closing.get("evaluation_s", 0.0),
        evaluations=evaluations_of(lines),
        warmup_steps=warmup_of(steps),
        device_busy_s=None,
        peak_bytes=closing.get("peak_bytes", 0),
        cuda_peak_bytes=closing.get("cuda_peak_bytes"),
        processes=sum(bool(of_kind(journal, "first-step")) for journal in journals),
        facts=None,
        failed_probes={line["what"]: line["reason"] for line in of_kind(every, "failed")},
        failed_knobs={line["knob"]: line["reason"] for line in of_kind(every, "knob-failed")},
        installed_knobs=tuple(line["knob"] for line in of_kind(lines, "installed")),
        notes=tuple(dict.fromkeys(line["text"] for line in of_kind(every, "remark"))),
        log=str(folder.name) + "/output.log",
    )


def facts(folder: Path, script: str, sha256: str, argv: tuple[str, ...], steps: Steps, warmup: int) -> Facts | None:
    """The facts that an observed run wrote, with what the parent knows; None when it wrote none."""
    journals = lines_by_process(folder)
    written = of_kind(training_process(journals), "facts")
    if not written:
        return None
    fields = {key: value for key, value in written[-1].items() if key != "kind"}
    fields["roots"] = [root for root in fields["roots"] if root["reachable"]]
    seen = of_kind([line for journal in journals for line in journal], "fetch")
    for loader in fields["loaders"]:
        in_workers = [line["draws"] for line in seen if line["dataset"] == loader["dataset"]]
        loader["draws_randomness"] = _draws(loader, in_workers)
    faults = steps.faults[warmup:] or steps.faults
    fields |= {"script": script, "script_sha256": sha256, "argv": argv}
    fields["faults_per_step"] = sum(faults) / len(faults) if faults else 0.0
    return msgspec.convert(fields, Facts)


def _draws(loader: dict[str, Any], in_workers: list[bool | None]) -> bool | None:
    """Whether fetching draws randomness, with what the worker processes saw: any draw counts, and any doubt."""
    if loader["draws_randomness"] or True in in_workers:
        return True
    silent = loader["num_workers"] and not in_workers
    return None if silent or loader["draws_randomness"] is None or None in in_workers else False


def refusal(folder: Path) -> str:
    """Why hotlap could not work in the process that trains; "" when it could, or none was reached."""
    journals = lines_by_process(folder)
    trained = training_process(journals)
    lines = trained or [line for journal in journals for line in journal]
    return next((line["reason"] for line in of_kind(lines, "refused")), "")


def arm(folder: Path) -> ArmRecord:
    """What an arm of the learning check wrote."""
    lines = training_process(lines_by_process(folder))
    restarts = [place for place, line in enumerate(lines) if line["kind"] == "restart"]
    if restarts and of_kind(lines[: restarts[-1]], "events"):  # what was counted before were not the steps
        lines = lines[restarts[-1] :]
    calls: dict[tuple[str, int], dict[Signature, None]] = {}
    for line in of_kind(lines, "signature"):
        shapes = tuple(tuple(shape) for shape in line["shapes"])
        root = (line["root"][0], line["root"][1])
        calls.setdefault(root, {})[Signature(shapes, tuple(line["dtypes"]), line["training"], True)] = None
    lost = of_kind(lines, "not-loaded")
    return ArmRecord(
        events=tuple(of_kind(lines, "events")),
        rows={(line["what"], line["step"]): line["rows"] for line in of_kind(lines, "compared")},
        signatures={root: tuple(signatures) for root, signatures in calls.items()},
        failed=f"the state of {', '.join(lost[0]['names'])} could not be loaded" if lost else "",
    )


def with_facts(record: Recording, found: Facts | None) -> Recording:
    """The recording together with the facts of its run."""
    return replace(record, facts=found)
