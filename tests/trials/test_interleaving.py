"""A real training that is switched between settings as it runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from statistics import fmean

import pytest
from facts import facts
from scripts import SCRIPTS

from hotlap.lab import Lab
from hotlap.logbook import Logbook
from hotlap.ranking import divided, rank
from hotlap.records import AS_WRITTEN, Setup
from hotlap.target import resolve
from hotlap.trials.blocks import Window
from hotlap.trials.launch import best_tier
from hotlap.trials.runner import ProcessRunner

pytestmark = pytest.mark.alone

WINDOW = Window(warmup=10, steps=60, step_s=0.01)


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    """Of a script that trains on small images, and is taken to be steady."""
    for module in ("hotlap.lab", "hotlap.observed"):
        monkeypatch.setattr(f"{module}.OBSERVED_STEPS", 3)
    (tmp_path / "work").mkdir()
    target = resolve((str(SCRIPTS / "conv_norm.py"),), cwd=tmp_path / "work")
    book = Logbook(tmp_path / "logbook.jsonl")
    book.start("", "", 1, "test")
    lab = Lab(ProcessRunner(target, tmp_path / "out", best_tier()[0]), book, 600.0, 1)
    observed = lab.observe(5.0)
    assert observed.facts is not None
    lab.facts = replace(observed.facts, faults_per_step=0.0)
    return lab


def test_settings_are_switched_while_the_script_trains(lab: Lab) -> None:
    """One process; the sleep of 5 ms shows in its own turns and in no others, and the losses stay finite."""
    sleeps = Setup.of({"faults:Sleeps": True})
    fused, laid = Setup.of({"fused-update": True}), Setup.of({"channels-last": True})
    pairs = rank(lab, "screen", AS_WRITTEN, [sleeps, fused, laid], WINDOW)
    record = lab.recordings[pairs[0].reference]

    assert {pair.setup for pair in pairs} == {sleeps, fused, laid}
    assert all(pair.round and pair.reference == pair.candidate and pair.beside == AS_WRITTEN for pair in pairs)
    assert min(sum(pair.setup == setup for pair in pairs) for setup in (sleeps, fused, laid)) >= 4
    assert record.failed_knobs == {}
    assert record.failed_probes == {}
    longer = {s: fmean(p.candidate_s - p.reference_s for p in pairs if p.setup == s) for s in (sleeps, fused, laid)}
    assert longer[sleeps] > 0.003
    assert longer[sleeps] > max(longer[fused], longer[laid])


def test_what_cannot_be_switched_gets_processes_of_its_own(lab: Lab) -> None:
    """And the other setting stays on in both when one is left out."""
    both = Setup.of({"fused-update": True, "channels-last": True})
    part = both.without("fused-update")
    pairs = rank(lab, "leave-one-out", both, [part], WINDOW)

    assert {(pair.setup, pair.beside) for pair in pairs} == {(part, both)}
    assert lab.recordings[pairs[0].reference].trial.setup == part
    pairs = rank(lab, "screen", AS_WRITTEN, [Setup.of({"malloc-thresholds": "mallopt"})], WINDOW)
    assert [pair.round for pair in pairs] == [0]


def test_one_that_fails_is_found_out_in_processes(lab: Lab) -> None:
    """A setting that breaks the script while the others run in turn costs only itself."""
    breaks, fused = Setup.of({"faults:Breaks": True}), Setup.of({"fused-update": True})
    pairs = rank(lab, "screen", AS_WRITTEN, [breaks, fused], WINDOW)

    assert {(pair.setup, pair.round) for pair in pairs} == {(fused, 0)}
    assert [rejected.setup for rejected in lab.rejected] == [breaks]


@pytest.mark.parametrize(
    ("beside", "faults", "available", "expected"),
    [
        (Setup(), 0.0, None, {"autocast-bf16", "fused-update"}),
        (Setup(), 5000.0, None, set[str]()),
        (Setup.of({"malloc-thresholds": "mallopt"}), 5000.0, None, {"autocast-bf16", "fused-update"}),
        (Setup.of({"compile": True}), 0.0, None, {"fused-update"}),
        (Setup(), 0.0, 50, set[str]()),
    ],
    ids=["plain", "page faults", "page faults and their remedy", "compiled", "too short"],
)
def test_where_switching_is_fair(beside: Setup, faults: float, available: int | None, expected: set[str]) -> None:
    """Where one setting's turn cannot tell on the next one's."""
    candidates = [beside.with_(knob, True) for knob in ("autocast-bf16", "fused-update", "pinned-memory")]
    window = Window(10, 60, 0.01, available)
    inside, apart = divided(facts(faults_per_step=faults), beside, candidates, window)

    assert {knob for setup in inside for knob in setup.less(beside).values} == expected
    assert len(inside) + len(apart) == 3
