"""How long a trial may take to begin."""

from __future__ import annotations

from pathlib import Path

import pytest

from hotlap.knobs import ARGUMENTS
from hotlap.records import AS_WRITTEN, Outcome, Setup, Trial
from hotlap.target import resolve
from hotlap.trials import runner
from hotlap.trials.launch import best_tier

SLOW_TO_BEGIN = """
import sys
import time

import torch

time.sleep(600 if "--wait" in sys.argv else 5)
weight = torch.nn.Parameter(torch.ones(3))
optimizer = torch.optim.SGD([weight], lr=0.1)
for _ in range(20):
    weight.square().sum().backward()
    optimizer.step()
"""


@pytest.mark.parametrize(
    ("setup", "outcome"), [(AS_WRITTEN, Outcome.ENDED), (Setup.of({ARGUMENTS: "--wait"}), Outcome.HANG)]
)
def test_a_change_may_not_use_up_the_budget_before_its_first_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setup: Setup, outcome: Outcome
):
    monkeypatch.setattr(runner, "_LEAST_START_S", 3.0)
    script = tmp_path / "train.py"
    script.write_text(SLOW_TO_BEGIN)
    runs = runner.ProcessRunner(resolve((str(script),)), tmp_path / "out", best_tier()[0])
    record = runs.run(Trial("0001-time", "time", setup, 0, 0, 0, 2.0))
    assert record.outcome is outcome, record.reason
    assert ("no training step within 3 s" in record.reason) == (outcome is Outcome.HANG)
