"""How long a trial may take to begin."""

from __future__ import annotations

from pathlib import Path

import pytest
from results import facts

from hotlap.knobs import ARGUMENTS
from hotlap.records import AS_WRITTEN, Outcome, Setup, Trial
from hotlap.target import resolve
from hotlap.trials.launch import best_tier
from hotlap.trials.runner import ProcessRunner, task_of

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


@pytest.mark.parametrize("argument", ["", "--wait"])
def test_a_change_may_not_use_up_the_budget_before_its_first_step(tmp_path: Path, argument: str) -> None:
    """The script as written may: it needs five seconds here, three of them are granted to what only changes it."""
    script = tmp_path / "train.py"
    script.write_text(SLOW_TO_BEGIN)
    runs = ProcessRunner(resolve((str(script),)), tmp_path / "out", best_tier()[0])
    setup, start_limit_s = (Setup.of({ARGUMENTS: argument}), 3.0) if argument else (AS_WRITTEN, 0.0)

    record = runs.run(Trial("0001-time", "time", setup, 0, 0, 0, 2.0, start_limit_s=start_limit_s))

    assert record.outcome is (Outcome.HANG if argument else Outcome.ENDED), record.reason
    assert ("no training step within 3 s" in record.reason) == bool(argument)


@pytest.mark.parametrize(("purpose", "deployed"), [("time", True), ("losses", True), ("candidate", False)])
def test_what_stands_for_the_run_serves_verified_calls_only(tmp_path: Path, purpose: str, deployed: bool) -> None:
    """The learning check itself looks at every call."""
    found = facts()
    verified = {(root.name, root.index): root.signatures[:1] for root in found.roots}
    trial = Trial("1", purpose, AS_WRITTEN, 0, 0, 10, 60.0)
    (told,) = task_of(trial, found, tmp_path, verified)["roots"]
    (every,) = task_of(trial, found, tmp_path)["roots"]

    assert (told != every) is deployed
