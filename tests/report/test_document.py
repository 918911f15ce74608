"""report.json: frozen keys, plain JSON."""

from __future__ import annotations

import dataclasses
import json

import pytest
from results import facts, hostile, nothing, phases, result, smaller, smaller_as_asked, undecided

from hotlap.records import Result
from hotlap.report.document import check_document, document

KEYS = {
    "schema", "target", "speedup", "speedup_run", "verdict", "judgement", "gates", "settings", "levels", "phases",
    "findings", "rejected", "skipped", "tuning_s", "payback_steps", "evaluation_share", "peak_bytes", "facts",
    "goal", "saving", "slowdown_limit", "largest", "bounds", "prices", "ceiling", "noise", "load", "smallest_gain",
    "pairs", "notes", "asked", "cut_short",
}  # fmt: skip


@pytest.mark.parametrize("made", [result(), nothing(), undecided(), smaller(), hostile()])
def test_keys_are_frozen_and_json_round_trips(made: Result) -> None:
    """Other tools read this file: no key comes or goes unnoticed, and nothing in it is beyond JSON."""
    written = document(made)

    assert set(written) == KEYS
    assert json.loads(json.dumps(written, allow_nan=False)) == written
    json.dumps(written, ensure_ascii=False).encode()  # no lone surrogate


def test_a_saving_goes_through_as_it_is() -> None:
    """With what it costs, the peaks and the batches."""
    written = document(smaller())

    assert (written["goal"], written["slowdown_limit"]) == ("memory", 0.1)
    assert written["saving"]["value"] == 1.9
    assert written["settings"][0]["saving"]["value"] == 1.9
    assert written["peak_bytes"] == {"baseline": 4_000_000_000, "tuned": 2_105_000_000}
    assert [written["largest"][side]["fits"] for side in ("baseline", "tuned")] == [128, 256]
    asked = document(smaller_as_asked())["asked"]
    assert set(asked) == {"settings", "speedup", "added", "saving", "added_saving"}
    assert (asked["saving"]["value"], asked["added_saving"]["value"]) == (0.97, 1.91)


def test_inner_keys_are_frozen() -> None:
    """The records that other tools reach into."""
    written = document(result())

    assert set(written["speedup"]) == {"value", "low", "high", "unit", "n"}
    assert set(written["judgement"]) == {"gate", "reason", "seeds", "guilty"}
    assert set(written["gates"][0]) == {"name", "word", "reason", "step", "parameter", "gap", "band"}
    assert set(written["settings"][0]) == {"knob", "area", "value", "contract", "share", "saving"}
    assert set(written["rejected"][0]) == {"setup", "reason", "evidence", "verdict"}
    assert set(written["phases"]) == {"baseline", "tuned"}
    assert set(written["phases"]["tuned"]) == {"total_s", "phases_s"}
    assert set(written["peak_bytes"]) == {"baseline", "tuned"}
    assert set(written["findings"][0]) == {
        "audit", "area", "status", "headline", "wasted", "evidence", "knobs", "advice"
    }  # fmt: skip
    assert set(written["pairs"][0]) == {
        "block", "seed", "setup", "reference", "candidate", "reference_s", "candidate_s", "stage",
        "beside", "round", "reference_bytes", "candidate_bytes",
    }  # fmt: skip


def test_answers_are_the_results() -> None:
    """The numbers go through as they are."""
    written = document(result())

    assert written["speedup"]["value"] == 2.41
    assert written["verdict"] == "equivalent"
    assert written["rejected"][2] == {
        "setup": {"channels-last": True, "compile": "default"},
        "reason": "faster, but the losses leave the noise band at step 212",
        "evidence": {"value": 1.38, "low": 1.31, "high": 1.45, "unit": "x", "n": 4},
        "verdict": "changed",
    }
    assert document(nothing())["verdict"] is None
    assert document(nothing())["phases"]["tuned"] is None
    assert document(undecided())["verdict"] == "undecided"


def test_not_a_number_is_null() -> None:
    """JSON knows no NaN, and a reader of null does not take it for a number."""
    assert document(dataclasses.replace(result(), noise=float("nan")))["noise"] is None
    assert document(hostile())["gates"][0]["gap"] is None


def test_check_document() -> None:
    """What `hotlap check --json` promises, secrets struck out there too."""
    written = check_document(
        facts(argv=("--password", "abcdefgh")), phases(0.1), result().findings, {"copy_bytes_s": 1.0}
    )

    assert list(written) == ["schema", "facts", "phases", "device_phases_s", "findings", "ceiling"]
    assert "abcdefgh" not in json.dumps(written)
