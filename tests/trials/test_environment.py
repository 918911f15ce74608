"""What a trial's process finds in its environment."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hotlap.trials.environment import for_trial
from hotlap.versions import has_bytecode


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An interpreter whose torch was installed without bytecode, in an environment that writes none."""
    package = tmp_path / "packages" / "torch"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    interpreter = tmp_path / "python"
    interpreter.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    interpreter.chmod(0o755)
    monkeypatch.setenv("PYTHONPATH", str(package.parent))
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.delenv("PYTHONPYCACHEPREFIX", raising=False)
    return interpreter


def test_trials_share_a_torch_that_is_compiled_once(bare: Path, tmp_path: Path) -> None:
    """Beside the user's packages, where nothing is written."""
    assert not has_bytecode(str(bare))
    made = for_trial(tmp_path / "task", tmp_path, 1, tmp_path / "scratch", {}, has_bytecode=False)
    subprocess.run([bare, "-S", "-c", "import torch"], env=made, check=True)
    assert list((tmp_path / "scratch" / "bytecode").rglob("torch/*.pyc"))
    assert not list((tmp_path / "packages").rglob("*.pyc"))


def test_bytecode_that_is_there_is_left_alone(bare: Path, tmp_path: Path) -> None:
    """And so are the user's wishes."""
    writing = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    subprocess.run([bare, "-S", "-c", "import torch"], env=writing, check=True)
    assert has_bytecode(str(bare))
    made = for_trial(tmp_path / "task", tmp_path, 1, tmp_path / "scratch", {})
    assert made["PYTHONDONTWRITEBYTECODE"] == "1"
    assert "PYTHONPYCACHEPREFIX" not in made


def test_an_interpreter_without_torch_lacks_no_bytecode(bare: Path, tmp_path: Path) -> None:
    """That it has none is for the training to say."""
    shutil.rmtree(tmp_path / "packages")
    alone = tmp_path / "alone"
    alone.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    alone.chmod(0o755)
    assert has_bytecode(str(alone))
