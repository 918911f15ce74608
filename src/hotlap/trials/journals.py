"""From the journals that a trial's processes wrote to a recording."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import msgspec

from hotlap.knobs import OPTIMIZER_RULE
from hotlap.records import PHASES, Facts, Outcome, Raced, Recording, Signature, Steps, Trial
from hotlap.trials.replay import Replay, Row, helpers_are_part
from hotlap.trials.warmup import last_compile, warmup_of
from hotlap.verify.gates import ArmRecord

_NS = 1e9  # the recorder counts in nanoseconds


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
    return max(first_rank or trained, key=lambda lines: sum(line["count"] for line in of_kind(lines, "steps")))


def replayed(lines: list[dict[str, Any]], kind: str = "steps") -> Replay:
    """The marks of a process, played back.

    Args:
        lines: Its journal.
        kind: "steps" for the host's times, "device" for the device's in the steps that were sampled.
    """
    replay = Replay()
    for line in lines:
        if line["kind"] == kind:
            replay.play(line["marks"])
        elif line["kind"] == "restart":
            replay.forget()
    return replay


def steps_of(lines: list[dict[str, Any]], rows: list[Row]) -> Steps:
    """Columns of the steps."""
    lines = since_restart(lines)
    losses = [value for line in of_kind(lines, "losses") for value in line["values"]]
    losses += [None] * (len(rows) - len(losses))
    faults = [line["faults"] / line["count"] for line in of_kind(lines, "steps") for _ in range(line["count"])]
    in_step = helpers_are_part(rows)
    phases = {phase: tuple(row.phase(phase, in_step) / _NS for row in rows) for phase in PHASES}
    return Steps(
        total_s=tuple(map(sum, zip(*phases.values(), strict=True))),
        phases_s=phases,
        samples=tuple(row.samples for row in rows),
        losses=tuple(losses[: len(rows)]),
        faults=tuple(faults[: len(rows)]),
        compiles=tuple(row.graphs for row in rows),
        arms=tuple(row.arm for row in rows),
    )


def since_restart(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The lines since a bigger optimizer turned up, before which the steps were none."""
    restarts = [place for place, line in enumerate(lines) if line["kind"] == "restart"]
    return lines[restarts[-1] :] if restarts else lines


def evaluation_of(replay: Replay) -> tuple[float, int]:
    """Time in evaluation [s], and how often: those by another network than the one that trains included."""
    rest, in_step = replay.rest(), helpers_are_part(replay.rows)
    spent = sum(sum(row.spent.evaluation.values()) for row in replay.rows) + sum(rest.evaluation.values())
    count = replay.clock.evaluations
    if not in_step:
        spent += sum(sum(row.spent.helper.values()) for row in replay.rows)
        count += sum(bool(row.spent.helper) for row in replay.rows)
    return spent / _NS, count


def device_phases(lines: list[dict[str, Any]], warmup: int) -> dict[str, float]:
    """Mean time of each phase on the device [s], over the sampled steady steps; {} when none was sampled."""
    rows = [row for row in replayed(lines, "device").rows if row.number > warmup]
    return {phase: sum(row.phase(phase, True) for row in rows) / len(rows) / _NS for phase in PHASES} if rows else {}


def recording(
    trial: Trial, folder: Path, outcome: Outcome, reason: str, exit_code: int | None, wall_s: float
) -> Recording:
    """Everything that the processes of a trial wrote, as one record."""
    journals = lines_by_process(folder)
    lines = training_process(journals)
    replay = replayed(lines)
    steps = steps_of(lines, replay.rows)
    warmup = _warmup(trial, steps, on_device=bool(closing_of(lines).get("cuda_peak_bytes")))
    evaluation_s, evaluations = evaluation_of(replay)
    starts = [start / _NS for row in replay.rows if (start := row.phase("epoch start", helpers_are_part(replay.rows)))]
    closing = closing_of(lines)
    peak = (of_kind(lines, "step-peak") or [{}])[-1]
    on_device = closing.get("cuda_peak_bytes")
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
        epoch_start_s=_epoch_start_s(starts),
        evaluation_s=evaluation_s,
        evaluations=evaluations,
        warmup_steps=warmup,
        device_phases_s=device_phases(lines, warmup),
        peak_bytes=max(closing.get("peak_bytes", 0), peak.get("before_bytes", 0)),
        cuda_peak_bytes=None if on_device is None else max(on_device, peak.get("before_on_device_bytes", 0)),
        step_peak_bytes=peak.get("bytes"),
        processes=sum(bool(of_kind(journal, "first-step")) for journal in journals),
        facts=None,
        failed_probes={line["what"]: line["reason"] for line in of_kind(every, "failed")},
        failed_knobs={line["knob"]: line["reason"] for line in of_kind(every, "knob-failed")},
        installed_knobs=tuple(line["knob"] for line in of_kind(lines, "installed")),
        notes=tuple(dict.fromkeys(line["text"] for line in of_kind(every, "remark"))),
        log=str(folder.name) + "/output.log",
        seen={line["probe"]: line["what"] for line in of_kind(lines, "seen")} | streams_of(every) | metric_of(lines),
        race=raced(lines, every) if trial.purpose == "race" else None,
    )


def closing_of(lines: list[dict[str, Any]]) -> dict[str, Any]:
    """What a process wrote at its end; {} if it came to none."""
    return (of_kind(lines, "closing") or [{}])[-1]


def _warmup(trial: Trial, steps: Steps, *, on_device: bool) -> int:
    """Steps to discard: where a device is waited for, those before that, for the host's pace settles only after it."""
    planned = int(trial.options.get("peak_after", 0))
    return max(planned, last_compile(steps) + 1) if planned and on_device else warmup_of(steps).steps


def raced(lines: list[dict[str, Any]], every: list[dict[str, Any]]) -> Raced:
    """What a trial of the race saw of the optimizer.

    Args:
        lines: Of the process that trains; none when it never stepped.
        every: Of all processes: a swap may be refused before the first step.
    """
    seen = of_kind(since_restart(lines), "race")
    refused = [line["reason"] for line in of_kind(every, "knob-failed") if line["knob"] == OPTIMIZER_RULE]
    closing = seen[-1] if seen else {}
    return Raced(
        rates=tuple((step, tuple(rates)) for line in seen for step, rates in line["rates"]),
        gradient_norms=tuple((step, norm) for line in seen for step, norm in line["norms"] if norm is not None),
        state_bytes=closing.get("state_bytes", 0),
        mode_calls=closing.get("mode_calls", 0),
        closures=any(line.get("closures") for line in seen),
        weight_decay=closing.get("weight_decay", 0.0),
        momentum=closing.get("momentum", 0.0),
        refused=refused[0] if refused else "",
        killed=next((line["why"] for line in of_kind(lines, "killed")), ""),
    )


def streams_of(lines: list[dict[str, Any]]) -> dict[str, Any]:
    """The random streams that a loader's workers told of, each in a journal of its own, as one probe's; {} of none."""
    streams = [{key: value for key, value in line.items() if key != "kind"} for line in of_kind(lines, "stream")]
    return {"streams": {"streams": streams}} if streams else {}


def metric_of(lines: list[dict[str, Any]]) -> dict[str, Any]:
    """Step and value of each number that was read from the script's own output; {} of none."""
    values = [[line["step"], line["value"]] for line in of_kind(since_restart(lines), "metric")]
    return {"metric": values} if values else {}


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
        if loader["num_workers"]:
            loader["fetch_s"] = _fetching_s(journals, loader["dataset"])
            in_workers = [line["tied"] for line in seen if line["dataset"] == loader["dataset"]]
            loader["tied"], loader["pool"] = _tied(loader["tied"], in_workers), _tied(loader["pool"], in_workers)
    faults = steps.faults[warmup:] or steps.faults
    fields |= _of_probes({line["probe"]: line["what"] for line in of_kind(training_process(journals), "seen")})
    fields |= {"script": script, "script_sha256": sha256, "argv": argv}
    fields["faults_per_step"] = sum(faults) / len(faults) if faults else 0.0
    return msgspec.convert(fields, Facts)


def _epoch_start_s(starts: list[float]) -> float:
    """Mean start of an epoch, without the first where there are more: what is done once in a process is no epoch's."""
    later = starts[1:] or starts
    return sum(later) / len(later) if later else 0.0


def _of_probes(seen: dict[str, Any]) -> dict[str, Any]:
    """What knobs ask for and probes have seen; nothing of what a probe could not see."""
    return {
        "collecting_s": seen.get("collector", {}).get("per_step_s", 0.0),
        "denormals": seen.get("denormals", {}).get("share", 0.0),
        "habits": seen.get("habits", {}).get("per_step", {}),
        "switches": seen.get("switches", {}).get("on", {}),
    }


def _draws(loader: dict[str, Any], in_workers: list[bool | None]) -> bool | None:
    """Whether fetching draws randomness, with what the worker processes saw: any draw counts, and any doubt."""
    if loader["draws_randomness"] or True in in_workers:
        return True
    silent = loader["num_workers"] and not in_workers
    return None if silent or loader["draws_randomness"] is None or None in in_workers else False


def _tied(here: str, in_workers: list[str]) -> str:
    """Why fetching is tied to its processes, with what the workers saw; silence is a reason."""
    silence = "" if in_workers else "its worker processes told nothing of how they fetch"
    return here or next(filter(None, in_workers), silence)


def _fetching_s(journals: list[list[dict[str, Any]]], dataset: str) -> float | None:
    """What the workers told last of how long they take for a batch of that dataset, their median; None of none."""
    last = [[line["fetch_s"] for line in of_kind(lines, "fetched") if line["dataset"] == dataset] for lines in journals]
    told = [values[-1] for values in last if values]
    return median(told) if told else None


def refusal(folder: Path) -> str:
    """Why hotlap could not work in the process that trains; "" when it could, or none was reached."""
    journals = lines_by_process(folder)
    trained = training_process(journals)
    lines = trained or [line for journal in journals for line in journal]
    return next((line["reason"] for line in of_kind(lines, "refused")), "")


def arm(folder: Path) -> ArmRecord:
    """What an arm of the learning check wrote."""
    lines = training_process(lines_by_process(folder))
    counted = since_restart(lines)
    if of_kind(lines[: len(lines) - len(counted)], "events"):  # what was counted before were not the steps
        lines = counted
    calls: dict[tuple[str, int], dict[Signature, None]] = {}
    for line in of_kind(lines, "signature"):
        shapes = tuple(tuple(shape) for shape in line["shapes"])
        root = (line["root"][0], line["root"][1])
        call = Signature(shapes, tuple(line["dtypes"]), line["training"], True, tuple(line["manner"]))
        calls.setdefault(root, {})[call] = None
    lost = of_kind(lines, "not-loaded")
    spread = of_kind(lines, "spread")
    return ArmRecord(
        events=tuple(of_kind(lines, "events")),
        rows={(line["what"], line["step"]): line["rows"] for line in of_kind(lines, "compared")},
        signatures={root: tuple(signatures) for root, signatures in calls.items()},
        spread=spread[-1]["values"] if spread else {},
        checkpoint=tuple(saved[-1]["entries"]) if (saved := of_kind(lines, "checkpoint")) else (),
        failed=f"the state of {', '.join(lost[0]['names'])} could not be loaded" if lost else "",
    )


def with_facts(record: Recording, found: Facts | None) -> Recording:
    """The recording together with the facts of its run."""
    return replace(record, facts=found)
