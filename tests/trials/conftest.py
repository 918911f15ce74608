"""Real trials of small scripts that write their journals themselves."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import hotlap
from hotlap.records import Outcome
from hotlap.trials.launch import Ending, Launch, Tier, best_tier, launch

SOURCE = Path(hotlap.__file__).parents[1]
DRIVER = Path(__file__).with_name("driver.py")
HEAD = """\
import json, os, signal, subprocess, sys, time
def say(kind, **fields):
    name = os.path.join(os.environ["HOTLAP_JOURNAL"], f"journal-{os.getpid()}.jsonl")
    with open(name, "a") as file:
        file.write(json.dumps({"kind": kind, **fields}) + "\\n")
"""
# What hotlap's start-up folder does for the guard, without the rest of it.
SITE = f"""\
import sys
sys.path.append({str(SOURCE)!r})
from hotlap.inside import write_guard
write_guard.install()
"""


def snapshot(folder: Path) -> dict[str, tuple[object, ...]]:
    """Everything that can be told of a tree: names, modes, times, contents."""
    found: dict[str, tuple[object, ...]] = {}
    for path in [folder, *sorted(folder.rglob("*"))]:
        status = path.lstat()
        content = ""
        if path.is_symlink():
            content = os.fspath(path.readlink())
        elif path.is_file():
            content = hashlib.sha256(path.read_bytes()).hexdigest()
        found[os.fspath(path)] = (status.st_mode, status.st_uid, status.st_mtime_ns, status.st_size, content)
    return found


@dataclass
class Place:
    """A project, a home and a folder for trials."""

    root: Path
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)
    trials: int = 0
    drivers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        for name in ("project/data/deep", "home/.cache", "site"):
            (self.root / name).mkdir(parents=True)
        (self.project / "data" / "deep" / "a.txt").write_text("a")
        (self.project / "old.txt").write_text("old")
        (self.home / "notes.txt").write_text("notes")
        (self.root / "site" / "sitecustomize.py").write_text(SITE)

    @property
    def project(self) -> Path:
        return self.root / "project"

    @property
    def home(self) -> Path:
        return self.root / "home"

    def request(self, script: str, arguments: tuple[str, ...] = (), **options: Any) -> dict[str, Any]:
        """What is to be launched, for `Launch` or for the driver."""
        (self.project / "train.py").write_text(HEAD + script, encoding="utf-8", errors="surrogateescape")
        self.trials += 1
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "PYTHONPATH": str(self.root / "site"),
            "PYTHONDONTWRITEBYTECODE": "1",
            "TEST_MARK": self.mark,
        }
        return {
            "command": (options.pop("python", sys.executable), "train.py", *arguments),
            "cwd": self.project,
            "environment": environment | options.pop("extra", {}),
            "folder": options.pop("folder", self.root / f"trial-{self.trials}"),
            "shielded": (self.project, self.home),
            "tier": Tier.NONE,
            **options,
        }

    def run(self, script: str, arguments: tuple[str, ...] = (), **options: Any) -> Ending:
        """Run a script to its end; nobody of it is left then."""
        ending = launch(Launch(**self.request(script, arguments, **options)))
        assert self.left() == []
        return ending

    def driver(self, request: dict[str, Any], *prefix: str, python: str = sys.executable, source: Path = SOURCE):
        """A parent of its own that launches this."""
        process = subprocess.Popen(
            [*prefix, python, "-X", "utf8", str(source.parent / "driver.py" if source != SOURCE else DRIVER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(source), "PYTHONDONTWRITEBYTECODE": "1"},
            cwd="/",
        )
        assert process.stdin is not None
        process.stdin.write(json.dumps(request, default=os.fspath).encode())
        process.stdin.close()
        process.stdin = None  # communicate() would flush it
        self.drivers.append(process)
        return process

    def close(self) -> None:
        """After a test that failed midway."""
        for process in self.drivers:
            if process.returncode is None:
                process.kill()
                process.communicate()

    def left(self) -> list[str]:
        """Commands of the living processes that carry this place's mark."""
        found: list[str] = []
        for folder in Path("/proc").iterdir():
            if not folder.name.isdigit():
                continue
            try:
                state = (folder / "stat").read_bytes().rpartition(b")")[2].split()[0]
                if self.mark.encode() in (folder / "environ").read_bytes() and state not in (b"Z", b"X"):
                    found.append((folder / "cmdline").read_bytes().decode(errors="replace"))
            except OSError:
                continue
        return found

    def wait_for(self, condition: Callable[[], object], limit_s: float = 10.0) -> None:
        """Wait until something is so."""
        give_up = time.monotonic() + limit_s
        while not condition():
            assert time.monotonic() < give_up, f"it did not happen; left are {self.left()}"
            time.sleep(0.02)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """A fresh place."""
    place = Place(tmp_path)
    yield place
    place.close()


@pytest.fixture
def elsewhere() -> Iterator[Path]:
    """A folder that no shield covers, and that is no temporary one."""
    home = Path.home()
    if not os.access(home, os.W_OK) or home.is_relative_to("/tmp"):
        pytest.skip("there is no folder outside /tmp to write to")
    folder = Path(tempfile.mkdtemp(prefix="hotlap-test-", dir=home))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def far(elsewhere: Path) -> Iterator[Place]:
    """A fresh place outside the temporary folder, where the guard is more lenient."""
    place = Place(elsewhere / "far")
    yield place
    place.close()


@pytest.fixture(params=list(Tier), ids=lambda tier: tier.name.lower())
def tier(request: pytest.FixtureRequest) -> Tier:
    """Each of the tiers in turn."""
    wanted: Tier = request.param
    if wanted is Tier.OVERLAY:
        needs_overlay()
    return wanted


@pytest.fixture
def overlay() -> Tier:
    """The overlay tier, where the machine has it."""
    needs_overlay()
    return Tier.OVERLAY


def needs_overlay() -> None:
    """Skip where the machine refuses namespaces."""
    best, reason = best_tier()
    if best is not Tier.OVERLAY:
        pytest.skip(reason)


@dataclass
class Nobody:
    """An ordinary user's place, Python and copy of the package."""

    place: Place
    source: Path
    python: str

    def run(self, script: str, prefix: tuple[str, ...] = (), **options: Any) -> dict[str, Any]:
        """Launch as that user, by way of a command of root's; its ending as a dictionary."""
        request = self.place.request(script, python=self.python, **options)
        for path in (self.place.root, *self.place.root.rglob("*")):
            os.chown(path, 65534, 65534, follow_symlinks=False)
        prefix = (*prefix, "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
        process = self.place.driver(request, *prefix, python=self.python, source=self.source)
        out, _ = process.communicate(timeout=60)
        ending = json.loads(out)
        ending["outcome"] = Outcome(ending["outcome"])
        return ending


@pytest.fixture
def nobody() -> Iterator[Nobody]:
    """An ordinary user beside root."""
    python = shutil.which("python3", path="/usr/bin:/usr/local/bin") or ""
    if os.geteuid() != 0:
        pytest.skip("the tests run as an ordinary user already")
    if not python or not shutil.which("setpriv"):
        pytest.skip("there is no Python or no setpriv that another user could run")
    check = "import sys; sys.exit(sys.version_info < (3, 11))"
    if subprocess.run([python, "-c", check], check=False).returncode:
        pytest.skip(f"{python} is too old")
    root = Path(tempfile.mkdtemp(prefix="hotlap-nobody-", dir="/tmp"))
    try:
        root.chmod(0o755)
        copied = root / "source"
        for part in ("__init__.py", "errors.py", "records", "trials", "inside"):
            source = SOURCE / "hotlap" / part
            (copied / "hotlap").mkdir(parents=True, exist_ok=True)
            ignored = shutil.ignore_patterns("__pycache__")
            if source.is_dir():
                shutil.copytree(source, copied / "hotlap" / part, ignore=ignored)
            else:
                shutil.copy(source, copied / "hotlap" / part)
        shutil.copy(DRIVER, root / "driver.py")
        place = Place(root / "place")
        (place.root / "site" / "sitecustomize.py").write_text(SITE.replace(str(SOURCE), str(copied)))
        yield Nobody(place, copied, python)
        place.close()
    finally:
        shutil.rmtree(root, ignore_errors=True)
