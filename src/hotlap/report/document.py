"""report.json: the stable, tested form of a result."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any

import msgspec

from hotlap.records import SCHEMA, Facts, Finding, Pair, Phases, Rejected, Result, Verdict, Verification
from hotlap.report.inert import inert, inert_facts, inert_result, secrets_of


def document(result: Result) -> dict[str, Any]:
    """What goes into report.json; its keys are stable, and values that are not finite are null."""
    result = inert_result(result)
    verdict = result.verdict
    return finite(
        {
            "schema": SCHEMA,
            "target": result.target,
            "goal": result.goal.value,
            "speedup": msgspec.to_builtins(result.speedup),
            "saving": msgspec.to_builtins(result.saving),
            "slowdown_limit": result.slowdown_limit,
            "largest": dict(zip(("baseline", "tuned"), msgspec.to_builtins(result.largest))),
            "speedup_run": msgspec.to_builtins(result.speedup_run),
            "verdict": verdict.word.value if verdict else None,
            "judgement": _judgement(verdict) if verdict else None,
            "gates": msgspec.to_builtins(verdict.gates) if verdict else [],
            "cut_short": result.cut_short,
            "settings": msgspec.to_builtins(result.kept),
            "levels": msgspec.to_builtins(result.levels),
            "asked": _asked(result),
            "phases": {"baseline": msgspec.to_builtins(result.baseline), "tuned": msgspec.to_builtins(result.tuned)},
            "findings": msgspec.to_builtins(result.findings),
            "rejected": [_rejected(rejected) for rejected in result.rejected],
            "skipped": result.skipped,
            "tuning_s": result.tuning_s,
            "payback_steps": result.payback_steps,
            "evaluation_share": result.evaluation_share,
            "peak_bytes": dict(zip(("baseline", "tuned"), result.peak_bytes)),
            "facts": msgspec.to_builtins(result.facts),
            "ceiling": result.ceiling,
            "bounds": msgspec.to_builtins(result.bounds),
            "prices": msgspec.to_builtins(result.prices),
            "noise": result.noise,
            "load": result.load,
            "smallest_gain": result.smallest_gain,
            "pairs": [_pair(pair) for pair in result.pairs],
            "notes": list(result.notes),
        }
    )


def check_document(
    facts: Facts,
    phases: Phases,
    findings: tuple[Finding, ...],
    ceiling: Mapping[str, float],
    on_device: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """What `hotlap check --json` prints; its keys are stable, and without a device its phases are {}."""
    return finite(
        {
            "schema": SCHEMA,
            "facts": msgspec.to_builtins(inert_facts(facts)),
            "phases": msgspec.to_builtins(phases),
            "device_phases_s": dict(on_device or {}),
            "findings": [msgspec.to_builtins(inert(finding, secrets_of(facts))) for finding in findings],
            "ceiling": dict(ceiling),
        }
    )


def verification_document(found: Verification) -> dict[str, Any]:
    """What `hotlap verify --json` prints; its keys are stable, and null is "no answer"."""
    found = inert_result(found)
    wrong = next((gate for gate in found.verdict.gates if not gate.word.may_enter_plan), None)
    return finite(
        {
            "schema": SCHEMA,
            "target": found.target,
            "settings": found.setup.values,
            "faster": found.faster,
            "same": found.same,
            "exit_code": found.exit_code,
            "reason": found.reason,
            "speedup": msgspec.to_builtins(found.speedup),
            "verdict": found.verdict.word.value,
            "first_difference": msgspec.to_builtins(wrong),
            "judgement": _judgement(found.verdict),
            "gates": msgspec.to_builtins(found.verdict.gates),
            "noise": found.noise,
            "smallest_gain": found.smallest_gain,
            "spent_s": found.spent_s,
            "facts": msgspec.to_builtins(found.facts),
        }
    )


def _asked(result: Result) -> dict[str, Any]:
    return {
        "settings": result.asked.values,
        "speedup": msgspec.to_builtins(result.asked_speedup),
        "added": msgspec.to_builtins(result.added_speedup),
        "saving": msgspec.to_builtins(result.asked_saving),
        "added_saving": msgspec.to_builtins(result.added_saving),
    }


def _pair(pair: Pair) -> dict[str, Any]:
    return {**msgspec.to_builtins(pair), "setup": pair.setup.values, "beside": pair.beside.values}


def _judgement(verdict: Verdict) -> dict[str, Any]:
    return {"gate": verdict.gate, "reason": verdict.reason, "seeds": verdict.seeds, "guilty": list(verdict.guilty)}


def _rejected(rejected: Rejected) -> dict[str, Any]:
    return {
        "setup": rejected.setup.values,
        "reason": rejected.reason,
        "evidence": msgspec.to_builtins(rejected.evidence),
        "verdict": rejected.verdict.word.value if rejected.verdict else None,
    }


def finite(value: Any) -> Any:
    """JSON has no infinity and no NaN."""
    if isinstance(value, float):
        return value if isfinite(value) else None
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value
