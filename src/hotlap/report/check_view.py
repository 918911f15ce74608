"""What `hotlap check` prints: one observed run, nothing changed and nothing claimed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from hotlap.records import Facts, Finding, Phases, Skip
from hotlap.report import numbers, roofline, words
from hotlap.report.inert import inert, inert_facts, secrets_of
from hotlap.report.lists import Choices, possible, section, skipped
from hotlap.report.lists import findings as finding_lines
from hotlap.report.steps import StepBars

_CLOCKS = (
    "Per step: what the host took to start the work, and to wait where it waits. On the device: what the device took "
    "from mark to mark, by events in one step of sixteen; what it waited for is in it."
)


def check_view(
    facts: Facts,
    phases: Phases,
    findings: Sequence[Finding],
    choices: Choices,
    *,
    on_device: Mapping[str, float] | None = None,
    samples_per_step: float | None = None,
    evaluation_share: float = 0.0,
    ceiling: Mapping[str, float] | None = None,
    notes: Sequence[str] = (),
) -> RenderableType:
    """Where a step's time goes, what is wasted, and what could be tried.

    Args:
        facts: Of the observed run.
        phases: Mean time of each phase in a steady step.
        findings: Of the audits.
        choices: For every knob, the values worth trying or why there is none.
        on_device: The same by the device's own clock [s]; none where it was not sampled.
        samples_per_step: Mean number of samples in a steady step; None when it is not known.
        evaluation_share: Share of the observed time spent in evaluation.
        ceiling: Measured limits of the machine.
        notes: What a reader should know besides.
    """
    secrets = secrets_of(facts)
    facts, found = inert_facts(facts), [inert(finding, secrets) for finding in findings]
    refused = {knob: inert(skip, secrets).reason for knob, skip in choices.items() if isinstance(skip, Skip)}
    lines: list[RenderableType] = [
        _headline(facts, phases, samples_per_step, evaluation_share),
        Text(),
        _phases(phases, on_device or {}),
    ]
    if on_device:
        lines += [Text(), Text(_CLOCKS)]
    if ceiling:
        lines += [Text(), Text(f"This machine's measured limits: {words.ceilings(dict(ceiling))}.")]
        lines += [Text(f"{reached}.")] if (reached := roofline.observed(facts, phases, ceiling)) else []
    lines += section("Findings", finding_lines(found))
    lines += section("Could be tried by `hotlap tune`", possible(choices))
    lines += section("Cannot help here", skipped(refused))
    lines += section("Notes", [Text(inert(note, secrets)) for note in notes])
    return Group(*lines)


def _headline(facts: Facts, phases: Phases, samples: float | None, evaluation_share: float) -> Text:
    text = Text.assemble((numbers.seconds(phases.total_s), "bold"), f" per training step on {facts.device}")
    if samples and phases.total_s > 0:
        text.append(f", {numbers.count(samples / phases.total_s)} samples/s")
    if evaluation_share > 0:
        text.append(f"; evaluation takes {numbers.share(evaluation_share)} of the time, outside the steps")
    return text.append(". One observed run: it shows where time goes, and proves no difference.")


def _phases(phases: Phases, on_device: Mapping[str, float]) -> Group:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    table.add_column(Text("phase"))
    table.add_column(Text("per step"), justify="right")
    table.add_column(Text("share"), justify="right")
    if on_device:
        table.add_column(Text("on the device"), justify="right")
    for name in words.phase_names(phases):
        time_s = phases.phases_s[name]
        share = numbers.share(time_s / phases.total_s) if phases.total_s > 0 else ""
        there = [Text(numbers.seconds(on_device.get(name, 0.0)))] if on_device else []
        table.add_row(Text(name), Text(numbers.seconds(time_s)), Text(share), *there)
    there = [Text(numbers.seconds(sum(on_device.values())))] if on_device else []
    table.add_row(Text("step", style="bold"), Text(numbers.seconds(phases.total_s), style="bold"), Text(""), *there)
    return Group(StepBars({"step": phases}), Text(), table)
