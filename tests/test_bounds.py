"""What an area could give at most: measured by leaving its work out, and used to leave out what cannot pay."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from statistics import median

import pytest
import torch
from facts import facts
from machine import STEADY, Machine, product
from scripts import SCRIPTS
from torch.utils.data import DataLoader, TensorDataset

from hotlap import ranking
from hotlap.bounds import STAGE, learn_bounds, prices_of
from hotlap.errors import HotlapError
from hotlap.inside.host import Host
from hotlap.inside.journal import Journal
from hotlap.knobs import BOUNDS, all_knobs, knob_by_id
from hotlap.lab import Lab
from hotlap.logbook import Logbook
from hotlap.records import AS_WRITTEN, PHASES, Contract, Estimate, Outcome, Phases, Setup, Skip
from hotlap.report import words
from hotlap.run import find_plan
from hotlap.search.candidates import Request, candidates, refused
from hotlap.target import resolve
from hotlap.trials.blocks import Window
from hotlap.trials.launch import best_tier
from hotlap.trials.runner import ProcessRunner

STEP = Phases(1.0, dict.fromkeys(PHASES, 0.0) | {"optimizer": 0.1, "backward": 0.9})


def test_what_an_area_could_give_is_in_the_result(tmp_path: Path) -> None:
    """Of the areas whose work can be left out of this script; the others have no number."""
    result = Machine(tmp_path, product(), found=STEADY, without_update=1.25).tune()

    assert result.bounds.keys() == {"optimizer"}
    assert result.bounds["optimizer"].value == pytest.approx(1.25, rel=0.01)
    assert any(pair.stage == STAGE for pair in result.pairs)


def test_a_small_budget_has_no_time_for_bounds(tmp_path: Path) -> None:
    """Phases bound the areas then."""
    assert Machine(tmp_path, product(), found=STEADY).tune(budget_s=90.0).bounds == {}


@pytest.mark.parametrize(
    ("bound", "reason"),
    [
        (None, ""),
        (Estimate(1.2, 1.1, 1.3, "x", 8), ""),
        (Estimate(1.02, 0.99, 1.05, "x", 8), ""),
        (Estimate(1.0, 0.99, 1.004, "x", 8), "a step without any optimizer work is at most 0.4% faster"),
    ],
)
def test_what_cannot_pay_is_skipped(bound: Estimate | None, reason: str) -> None:
    """Only when the bound is sure of it, and with the number."""
    knobs = [knob_by_id("fused-update")]
    bounds = {"optimizer": bound} if bound else {}
    _, skipped = candidates(knobs, STEADY, Request(), STEP, bounds)

    assert skipped.get("fused-update", "") == reason


def test_work_that_costs_other_phases_time_is_not_skipped_for_its_own() -> None:
    """An update may take little and yet leave the memory in a state that the next forward pays for."""
    small = Phases(1.0, dict.fromkeys(PHASES, 0.0) | {"optimizer": 0.001, "backward": 0.999})
    knobs = [knob_by_id("fused-update")]

    assert "fused-update" in candidates(knobs, STEADY, Request(), small, {})[1]
    assert candidates(knobs, STEADY, Request(), small, {"optimizer": Estimate(1.2, 1.1, 1.3, "x", 8)})[1] == {}


def test_where_nothing_can_be_left_out() -> None:
    """Workers fetch elsewhere, and an update by hand is nobody's to leave out."""
    by_hand = facts(optimizers=(), manual_update=True, loaders=())
    assert all(isinstance(knob_by_id(id_).choices(by_hand), Skip) for id_ in BOUNDS)


def test_on_an_accelerator_the_copy_is_left_out_as_well() -> None:
    """Unless the loader pins what it fetches, which must then stay on the host."""
    knob = knob_by_id("batch-in-hand")

    assert knob.choices(facts(loader={"num_workers": 0, "pin_memory": False})) == (True,)
    assert knob.choices(facts(loader={"num_workers": 0, "pin_memory": False}, device="cuda")) == ("device",)
    assert knob.choices(facts(loader={"num_workers": 0, "pin_memory": True}, device="cuda")) == (True,)


def test_the_batch_lies_where_the_accelerator_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the script's own `.to(device)` has nothing to copy."""
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device("meta"))
    host = Host(Journal(None), {})
    knob_by_id("batch-in-hand").install("device", host)
    batches = list(DataLoader(TensorDataset(torch.zeros(8, 2)), batch_size=4))
    host.undo()

    assert [batch.device.type for (batch,) in batches] == ["meta", "meta"]


@pytest.mark.parametrize("asked", [True, False])
def test_a_price_that_was_not_measured_is_told_of_what_the_script_asks_for_alone(tmp_path: Path, asked: bool) -> None:
    """A script with too few steps for rounds; `reproducible`, which it does not ask for, has no price to tell of."""
    found = replace(STEADY, precision=replace(STEADY.precision, deterministic_algorithms=asked))
    lab = Machine(tmp_path, product(), found=found).lab()
    lab.facts = found
    learn_bounds(lab, Window(warmup=10, steps=50, step_s=0.05, available=30), all_knobs())

    wanted = ["--set deterministic-algorithms=false"] if asked else []
    assert [note.partition("here: ")[2] for note in lab.notes] == wanted


def test_no_plan_can_hold_a_bound(tmp_path: Path) -> None:
    """They train wrong, so they are in no list, and a plan that names one is refused."""
    assert not set(BOUNDS) & {knob.id for knob in all_knobs()}
    assert all(knob_by_id(id_).contract is Contract.RECIPE for id_ in BOUNDS)
    plan = tmp_path / "hotlap.toml"
    plan.write_text('schema = 1\n[[settings]]\nknob = "no-update"\nvalue = true\ncontract = "recipe"\n')
    with pytest.raises(HotlapError):
        find_plan(plan, tmp_path)


def lab_of(script: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    """A lab of a real script that has been observed, where rounds may always be taken."""
    for module in ("hotlap.lab", "hotlap.observed"):
        monkeypatch.setattr(f"{module}.OBSERVED_STEPS", 3)
    monkeypatch.setattr("hotlap.ranking._STEADY", 1e9)
    (tmp_path / "work").mkdir()
    book = Logbook(tmp_path / "logbook.jsonl")
    book.start("", "", 1, "test")
    target = resolve((str(script),), cwd=tmp_path / "work")
    lab = Lab(ProcessRunner(target, tmp_path / "out", best_tier()[0]), book, 6000.0, 1)
    lab.observe(5.0)
    return lab


@pytest.mark.alone
def test_what_the_script_asks_for_has_a_price(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Measured whether or not anybody would take it off, unless the user does not want to know."""
    script = tmp_path / "careful.py"
    careful = "def main():\n    torch.use_deterministic_algorithms(True)\n    torch.autograd.set_detect_anomaly(True)"
    script.write_text((SCRIPTS / "conv_norm.py").read_text().replace("def main():", careful))
    lab = lab_of(script, tmp_path, monkeypatch)
    knobs = [knob for knob in all_knobs() if not refused(knob, Request(skip=("anomaly-detection",)))]
    bounds = learn_bounds(lab, Window(warmup=10, steps=80, step_s=0.01), knobs)
    arms = [str(Setup(arm.settings)) for record in lab.recordings.values() for arm in record.trial.arms]

    assert bounds.keys() == {"data", "optimizer"}
    assert prices_of(lab.pairs).keys() == {"deterministic-algorithms"}
    assert "deterministic-algorithms=false" in arms
    assert "with deterministic-algorithms off" in words.prices(prices_of(lab.pairs))


@pytest.mark.alone
def test_the_work_is_left_out_while_a_real_script_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fetching is cheaper with the batch in hand, updating without gradients, and the script goes on training."""
    lab = lab_of(SCRIPTS / "conv_norm.py", tmp_path, monkeypatch)
    bounds = learn_bounds(lab, Window(warmup=10, steps=80, step_s=0.01), [])
    record = next(record for record in lab.recordings.values() if record.trial.arms)

    assert (record.failed_knobs, record.failed_probes) == ({}, {})
    assert record.outcome is Outcome.BUDGET, record.reason
    assert bounds.keys() == {"data", "optimizer"}
    assert all(loss is not None for loss in record.steps.losses[1:])

    def typical(phase: str, arm: int) -> float:
        return median(s for s, of in zip(record.steps.phases_s[phase], record.steps.arms, strict=True) if of == arm)

    places = {str(Setup(arm.settings)): place for place, arm in enumerate(record.trial.arms, start=1)}
    written = places[str(AS_WRITTEN)]
    assert typical("data", places["batch-in-hand"]) < typical("data", written)
    assert typical("optimizer", places["no-update"]) < typical("optimizer", written)
    assert all(pair.stage == STAGE for pair in lab.pairs)


def test_what_the_user_does_not_want_is_no_company() -> None:
    """Page faults forbid rounds, and what would mend that was left out by --skip or --only."""
    malloc = knob_by_id("malloc-thresholds")
    faulting = facts(faults_per_step=20_000.0)

    assert ranking.steadying(faulting, 0.05, [malloc]) == Setup.of({"malloc-thresholds": "mallopt"})
    assert ranking.steadying(faulting, 0.05, []) == AS_WRITTEN
    assert ranking.steadying(STEADY, 0.05, [malloc]) == AS_WRITTEN


def test_what_can_save_next_to_nothing_is_not_tried() -> None:
    """A collection of 0.1 ms is a third of one step and nothing in another."""
    knobs = [knob_by_id("gc-freeze")]
    slow = facts(collecting_s=2e-4)
    short, long = (replace(STEP, total_s=total_s) for total_s in (0.001, 0.5))

    assert [s.knob for s in candidates(knobs, slow, Request(), short, {})[0]] == ["gc-freeze"]
    assert candidates(knobs, slow, Request(), long, {})[1] == {"gc-freeze": "what it can save is 0.04% of the step"}
