"""Habits of public training scripts that once led hotlap astray, each in a small script of our own (docs/corpus.md)."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

TRAINING = """
import torch
from torch import nn

model = nn.Linear(8, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)


def train(steps):
    for step in range(steps):
        optimizer.zero_grad()
        loss = model(torch.randn(16, 8)).square().mean()
        loss.backward()
        optimizer.step()
"""


def check(folder: Path, script: str, *options: str) -> subprocess.CompletedProcess[str]:
    """`hotlap check` on a script."""
    (folder / "train.py").write_text(script)
    command = [sys.executable, "-m", "hotlap", "check", "--json", "--budget", "5s", *options, "train.py"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)


def checked(folder: Path, script: str, *options: str) -> dict[str, Any]:
    """What it said of a script that it must be able to look at."""
    done = check(folder, script, *options)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_modules_may_hash_as_they_like(tmp_path: Path) -> None:
    """A metric hashes by values that it does not have yet while its base class is being built, and equals any other."""
    metric = """
class Metric(nn.Module):
    def __init__(self):
        super().__init__()
        self.values = []

    def __hash__(self):
        return hash(tuple(self.values))

    def __eq__(self, other):
        return True


metrics = [Metric(), Metric()]
train(40)
"""
    document = checked(tmp_path, TRAINING + metric)

    assert [root["name"] for root in document["facts"]["roots"]] == ["torch.nn.modules.linear:Linear"]
