"""What the user asked to run: a script, a module or a launcher's command line."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from hotlap.errors import HotlapError, did_you_mean


@dataclass(frozen=True)
class Target:
    """A training as the user starts it."""

    command: tuple[str, ...]
    """The complete command line."""
    script: Path | None
    """The file that is trained with, when it is known."""
    arguments: tuple[str, ...]
    """What the user typed: script or launcher, and its arguments."""
    python: str
    cwd: Path

    @property
    def name(self) -> str:
        """A short name for folders and headings."""
        if self.script is not None:
            return self.script.stem
        return self.arguments[1].rsplit(".", 1)[-1] if self.arguments[0] == "-m" else Path(self.arguments[0]).name

    @property
    def sha256(self) -> str:
        """Hash of the script's text; "" when no file is known."""
        return hashlib.sha256(self.script.read_bytes()).hexdigest() if self.script else ""


def resolve(arguments: tuple[str, ...], python: str | None = None, cwd: Path | None = None) -> Target:
    """Turn what follows hotlap's own flags into a target.

    Args:
        arguments: `train.py ARGS`, `-m module ARGS`, or a launcher's command line.
        python: The training's interpreter; by default the active environment's `python`.
        cwd: The working folder; by default the current one.

    Raises:
        HotlapError: Nothing to run, no such script or launcher, no such interpreter.
    """
    folder = cwd or Path.cwd()
    interpreter = _interpreter(python)
    if not arguments:
        raise HotlapError("no-script", "No script was named.", fix="name one, as in `hotlap tune train.py --epochs 3`")
    first = arguments[0]
    if first == "-m":
        if len(arguments) < 2:
            raise HotlapError(
                "no-script", "-m was given without a module.", fix="name one, as in `hotlap tune -m package.train`"
            )
        return Target((interpreter, *arguments), None, arguments, interpreter, folder)
    if first.endswith(".py"):
        script = folder / first
        if not script.is_file():
            names = [path.name for path in script.parent.glob("*.py")]
            what = f"There is no file {first} in {folder}.{did_you_mean(script.name, names)}"
            raise HotlapError("no-such-script", what, fix="check the path")
        return Target((interpreter, *arguments), script.resolve(), arguments, interpreter, folder)
    if shutil.which(first) is None:
        raise HotlapError(
            "no-such-command", f"{first} is neither a Python script (*.py) nor a command on PATH.", fix="check the name"
        )
    script = next((folder / a for a in arguments if a.endswith(".py") and (folder / a).is_file()), None)
    return Target(arguments, script.resolve() if script else None, arguments, interpreter, folder)


def _interpreter(python: str | None) -> str:
    """The interpreter asked for, else the active environment's."""
    if python is not None:
        found = shutil.which(python)
        if found is None:
            raise HotlapError(
                "no-such-python", f"There is no interpreter {python}.", fix="give --python a path that exists"
            )
        return found
    active = os.environ.get("VIRTUAL_ENV") or os.environ.get("CONDA_PREFIX")
    if active and (Path(active) / "bin" / "python").exists():
        return str(Path(active) / "bin" / "python")
    import sys

    if _has_torch(sys.executable):  # hotlap was installed beside torch
        return sys.executable
    found = shutil.which("python") or shutil.which("python3")
    return found or sys.executable


def _has_torch(python: str) -> bool:
    """Whether torch lies in that interpreter's environment; found without importing it."""
    probe = "import importlib.util, sys; sys.exit(importlib.util.find_spec('torch') is None)"
    return subprocess.run([python, "-c", probe], capture_output=True, check=False).returncode == 0
