"""Small trainings run for real, with the recorder inside, and what they wrote."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hotlap.records import Outcome, Raced, Recording, Setup, Trial
from hotlap.trials import environment, journals

HEAD = """
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
torch.manual_seed(0)
torch.set_num_threads(1)
"""


@dataclass
class Ran:
    """One process tree that has ended."""

    folder: Path
    stdout: str
    stderr: str
    code: int

    @property
    def journals(self) -> list[list[dict[str, Any]]]:
        return journals.lines_by_process(self.folder)

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Of the process whose training counts."""
        return journals.training_process(self.journals)

    @property
    def record(self) -> Recording:
        trial = Trial("test", "time", Setup(), 0, 0, 0, 0.0)
        return journals.recording(trial, self.folder, Outcome.ENDED, "", self.code, 0.0)

    @property
    def raced(self) -> Raced:
        """What it saw as a trial of the race."""
        every = [line for journal in self.journals for line in journal]
        return journals.raced(self.lines, every)

    @property
    def facts(self) -> dict[str, Any]:
        return journals.of_kind(self.lines, "facts")[-1]

    def printed(self, word: str) -> list[float]:
        """The numbers on the script's own lines that begin with the word."""
        return [float(line.split()[1]) for line in self.stdout.splitlines() if line.split()[:1] == [word]]


class Place:
    """A folder of its own, and ways to run what lies there."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.cwd = root / "work"
        self.cwd.mkdir()
        self._count = 0

    def write(self, text: str, name: str = "train.py", head: str = HEAD) -> Path:
        path = self.cwd / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(head + textwrap.dedent(text))
        return path

    def environment(self, **task: Any) -> dict[str, str]:
        self._count += 1
        self.folder = self.root / f"trial-{self._count}"
        self.folder.mkdir()
        plain = {"purpose": "time", "settings": [], "roots": [], "seed": 0, "steps": 0, "limit_s": 0, "options": {}}
        path = self.folder / "task.json"
        path.write_text(json.dumps({**plain, **task}))
        return environment.entered(path, self.folder)

    def run(self, *command: str, extra: dict[str, str] | None = None, **task: Any) -> Ran:
        """Run a command, by default the script, under a task."""
        env = {**self.environment(**task), **(extra or {})}
        done = subprocess.run(
            command or (sys.executable, "train.py"),
            cwd=self.cwd,
            env=env,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return Ran(self.folder, done.stdout, done.stderr, done.returncode)

    def observe(self, text: str, **task: Any) -> Ran:
        """Observe a script to its own end."""
        self.write(text)
        ran = self.run(purpose="observe", **task)
        assert ran.code == 0, ran.stderr
        return ran

    def trial(self, observed: Ran, **task: Any) -> Ran:
        """Time a script whose roots are known by now."""
        roots = [{"name": r["name"], "index": r["index"]} for r in observed.facts["roots"] if r["reachable"]]
        ran = self.run(roots=roots, **task)
        assert ran.code == 0, ran.stderr
        return ran


@pytest.fixture
def place(tmp_path: Path) -> Place:
    for name in [name for name in os.environ if name.startswith("HOTLAP_")]:
        del os.environ[name]
    return Place(tmp_path)
