"""Two runs held against each other: where they part is named, and what could not be compared has not passed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from machine import recording

from hotlap.lab import Lab
from hotlap.logbook import Logbook
from hotlap.records import Outcome, Recording, Setup, Steps, Word
from hotlap.repetition import promised, repetition
from hotlap.target import resolve
from hotlap.trials.blocks import Window
from hotlap.trials.launch import best_tier
from hotlap.trials.runner import ProcessRunner
from hotlap.verify.repetition import repetition_gate

HASHES = {"1": {"weight": "a", "bias": "b"}, "2": {"weight": "c", "bias": "d"}, "4": {"weight": "e", "bias": "f"}}
REPRODUCIBLE = Setup.of({"reproducible": True})


def run(losses: tuple[float | None, ...] = (0.4, 0.3, 0.2, 0.1), hashes: Any = HASHES, **changes: Any) -> Recording:
    plain = replace(recording(0.0, 1), steps=Steps(losses=losses), seen={"hashes": hashes} if hashes else {})
    return replace(plain, **changes)


def test_equal_to_the_bit() -> None:
    gate = repetition_gate(run(), run())

    assert gate.word is Word.IDENTICAL
    assert "4 losses, and 2 tensors after step 4" in gate.reason


def test_hashes_of_nothing_are_no_evidence() -> None:
    """No tensor that learns was found in either run."""
    gate = repetition_gate(run(hashes={"1": {}}), run(hashes={"1": {}}))

    assert (gate.word, gate.step) == (Word.UNDECIDED, None)
    assert "nothing that learns" in gate.reason


def test_losses_that_are_no_number_are_alike() -> None:
    """A step without a loss, or with one that is NaN, in both."""
    losses = (0.4, None, float("nan"), 0.1)

    assert repetition_gate(run(losses), run((0.4, None, float("nan"), 0.1))).word is Word.IDENTICAL


@pytest.mark.parametrize(
    ("other", "step", "parameter", "words"),
    [
        (run((0.4, 0.3, 0.25, 0.1)), 3, "", "the loss is 0.2 in one and 0.25 in the other"),
        (run((0.4, 0.3, 0.2, None)), 4, "", "the loss is 0.1 in one and None in the other"),
        (run(hashes={**HASHES, "4": {"weight": "e", "bias": "x"}}), 4, "bias", "bias differs after it"),
        (run(hashes={**HASHES, "2": {"weight": "x", "bias": "x"}}), 2, "weight", "weight and 1 more differ"),
        (run((0.4, 0.3, 0.25, 0.1), {**HASHES, "2": {"weight": "x", "bias": "d"}}), 2, "weight", "step 2: weight"),
        (run((0.4, 0.3), {k: HASHES[k] for k in "12"}), 3, "", "one run takes 4 steps and the other 2"),
        (run(hashes={**HASHES, "4": {"weight": "e"}}), 4, "bias", "bias differs"),
    ],
)
def test_the_first_parting_is_named(other: Recording, step: int, parameter: str, words: str) -> None:
    """Whichever run it is that is the other one."""
    for gate in (repetition_gate(run(), other), repetition_gate(other, run())):
        assert (gate.word, gate.step, gate.parameter) == (Word.UNDECIDED, step, parameter)
    assert words in repetition_gate(run(), other).reason


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (run(outcome=Outcome.EXCEPTION, reason="RuntimeError: no deterministic"), "RuntimeError: no deterministic"),
        (run(failed_knobs={"reproducible": "no numpy"}), "reproducible could not take hold"),
        (run(failed_probes={"Repeat._ended": "no room"}), "Repeat._ended could not take hold"),
        (run(hashes=None), "took no training step"),
    ],
)
def test_what_could_not_be_compared_has_no_step(other: Recording, words: str) -> None:
    gate = repetition_gate(run(), other)

    assert (gate.word, gate.step) == (Word.UNDECIDED, None)
    assert words in gate.reason


def test_a_run_that_the_clock_stopped_is_compared_as_far_as_it_came() -> None:
    """It took fewer steps than the other, which says nothing of the training."""
    short = run((0.4, 0.3), {key: HASHES[key] for key in "12"}, outcome=Outcome.BUDGET)

    assert repetition_gate(run(), short).word is Word.IDENTICAL


def test_only_some_settings_promise_it() -> None:
    assert promised(Setup.of({"reproducible": True, "fused-update": True})) == REPRODUCIBLE


SCRIPT = """
import os, time, torch
weight = torch.nn.Parameter(torch.rand(3))
optimizer = torch.optim.SGD([weight], lr=0.1)
for step in range(1, 13):
    loss = (weight * torch.rand(3)).pow(2).sum()
    loss.backward()
    if step == 6:
        {leak}
    optimizer.step()
    optimizer.zero_grad()
"""


@pytest.mark.parametrize(
    ("leak", "step", "words"),
    [
        ("weight.grad += os.urandom(1)[0] + 256 * os.urandom(1)[0]", 7, "the loss is"),
        pytest.param(
            "weight.grad.put_(torch.tensor([0]), torch.tensor([1.0]))",
            None,
            "put_ does not have a deterministic",
            marks=pytest.mark.slow,
        ),
        pytest.param("pass", 0, "", marks=pytest.mark.slow),
        pytest.param("weight.grad += time.time() % 1", 7, "the loss is", marks=pytest.mark.slow),
    ],
    ids=["urandom", "no deterministic version", "nothing", "time"],
)
def test_what_leaks_into_a_training_is_found(tmp_path: Path, leak: str, step: int | None, words: str) -> None:
    """At the first loss that shows it."""
    (tmp_path / "train.py").write_text(SCRIPT.format(leak=leak))
    book = Logbook(tmp_path / "logbook.jsonl")
    book.start("", "", 1, "test")
    target = resolve((str(tmp_path / "train.py"),), cwd=tmp_path)
    lab = Lab(ProcessRunner(target, tmp_path / "out", best_tier()[0]), book, 600.0, 1)
    (gate,) = repetition(lab, REPRODUCIBLE, Window(warmup=2, steps=10, step_s=0.01))

    assert gate.word is (Word.IDENTICAL if step == 0 else Word.UNDECIDED)
    assert gate.step == (step or None)
    assert words in gate.reason
