"""Shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

TESTS = Path(__file__).parent


@pytest.fixture(autouse=True)
def _test_knobs_reach_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted faults are knobs in tests/faults.py; the user's process finds them on its path."""
    known = os.environ.get("PYTHONPATH")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(TESTS), known] if known else [str(TESTS)]))
