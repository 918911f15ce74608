"""report.json of a race: its stable, tested form."""

from __future__ import annotations

from typing import Any

import msgspec

from hotlap.race.compare import Comparison
from hotlap.race.result import Finalist, RaceResult
from hotlap.records import SCHEMA
from hotlap.report.document import finite
from hotlap.report.inert import inert_result


def race_document(result: RaceResult) -> dict[str, Any]:
    """What goes into report.json; its keys are stable, and null always means "no answer", never "no"."""
    result = inert_result(result)
    won = result.finalist(result.winner)
    return finite(
        {
            "schema": SCHEMA,
            "target": result.target,
            "winner": _short(won) if won else None,
            "leader": result.leader or None,
            "proven": result.proven,
            "indicative": bool(result.speedup_vs_script and result.speedup_vs_script.indicative),
            "reason": result.reason,
            "speedup_vs_script": _comparison(result.speedup_vs_script),
            "speedup_vs_tuned_incumbent": _comparison(result.speedup_vs_tuned_incumbent),
            "metric": msgspec.to_builtins(result.metric),
            "goals": msgspec.to_builtins(result.goals),
            "steps": result.steps,
            "seeds": result.seeds,
            "arms": [_finalist(one) for one in result.finalists],
            "screened": msgspec.to_builtins(result.screened),
            "shape": result.shape,
            "runs": result.runs,
            "range_test": msgspec.to_builtins(result.range_test),
            "cost_s": result.cost_s,
            "spent_s": result.spent_s,
            "forecast_s": result.forecast_s,
            "facts": msgspec.to_builtins(result.facts),
            "notes": list(result.notes),
        }
    )


def _short(finalist: Finalist) -> dict[str, Any]:
    return {"name": finalist.name, "role": finalist.role, "arm": finalist.arm, "settings": finalist.setup.values}


def _finalist(finalist: Finalist) -> dict[str, Any]:
    return {
        **_short(finalist),
        "horizon": finalist.horizon,
        "reached": finalist.reached,
        "median_s": finalist.median_s,
        "median_ends_s": finalist.median_ends_s,
        "expected_s": finalist.expected_s,
        "step_s": finalist.step_s,
        "startup_s": finalist.startup_s,
        "final": finalist.final,
        "non_inferior": finalist.non_inferior,
        "state_bytes": finalist.state_bytes,
        "vs_script": {goal: _comparison(found) for goal, found in finalist.vs_script.items()},
        "vs_tuned_incumbent": _comparison(finalist.vs_incumbent),
        "runs": msgspec.to_builtins(finalist.runs),
        "curves": msgspec.to_builtins(finalist.curves),
    }


def _comparison(found: Comparison | None) -> dict[str, Any] | None:
    """The estimate with what it takes to read it, flat."""
    if found is None or found.speedup is None:
        return None
    written = msgspec.to_builtins(found)
    return {**written.pop("speedup"), **written, "indicative": found.indicative}
