"""Shared by all tests."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:  # before torch: trainings that share their cores wait for each other's threads
    os.environ.setdefault("OMP_NUM_THREADS", "1")

TESTS = Path(__file__).parent
_COMPILED = """
import torch
from scripts.conv_pool import Net

model = Net()
torch.compile(model)(torch.randn(8, 3, 16, 16)).sum().backward()
print(int(model.conv1.weight.grad.count_nonzero()))
"""


@pytest.fixture(scope="session")
def miscompiled() -> None:
    """torch.compile loses conv_pool.py's gradients at 8 samples: torch 2.13 does so on a CPU, and 2.11 does not."""
    command = [sys.executable, "-c", _COMPILED]
    done = subprocess.run(command, cwd=TESTS, stdout=subprocess.PIPE, text=True, check=True)
    if int(done.stdout):
        pytest.skip("this torch compiles the model right")


@pytest.fixture(autouse=True)
def _test_knobs_reach_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted faults are knobs in tests/faults.py; the user's process finds them on its path."""
    known = os.environ.get("PYTHONPATH")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(TESTS), known] if known else [str(TESTS)]))
