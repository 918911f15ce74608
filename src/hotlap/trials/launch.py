"""Start one trial, wait for its end, and say how it ended."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from hotlap.errors import HotlapError
from hotlap.records import Outcome
from hotlap.trials import evidence, scratch, tree
from hotlap.trials.sandbox import Tier

__all__ = ["Ending", "Launch", "Tier", "best_tier", "launch"]

_TAIL_BYTES = 256 << 10  # of the output, to look for causes in
_SOURCE = str(Path(__file__).resolve().parents[2])
_BOOT = "import sys; sys.path.append(sys.argv[1]); from hotlap.trials.supervisor import main; main()"
_STOP_S = 15.0
_supervisors: set[subprocess.Popen[bytes]] = set()


@dataclass(frozen=True)
class Launch:
    """What to start, and where it may write."""

    command: tuple[str, ...]
    """As the user typed it; a path with a slash, or a name to be found on the environment's PATH."""
    cwd: Path
    environment: dict[str, str]
    """Complete; no file ever holds it."""
    folder: Path
    """The trial's own, fresh: its journals, output.log and ending.json. Outside the sandbox."""
    shielded: tuple[Path, ...]
    """Folders with a scratch layer. The copy tier copies the innermost one that holds the working folder."""
    writable: tuple[Path, ...] = ()
    """Folders really written through, as hotlap's own compile caches."""
    startup_s: float = 600
    """To the first training step, counted anew from every sign of life before it."""
    quiet_s: float = 120
    """Without a new journal line, once steps flow."""
    total_s: float = 3600
    tier: Tier = Tier.OVERLAY


@dataclass(frozen=True)
class Ending:
    """How a trial ended, by evidence."""

    outcome: Outcome
    reason: str
    """One line."""
    exit_code: int | None
    signal: int | None
    wall_s: float
    """From the start of the sandbox to the end of the process that was started."""
    denied: str
    """Path of a write that the sandbox refused; "" if none."""
    output_tail: str


def launch(launch: Launch) -> Ending:
    """Run a trial to its end and leave nobody of it behind, whatever happens.

    Raises:
        HotlapError: The sandbox cannot be built here.
    """
    for folder in (launch.folder, *launch.writable):
        folder.mkdir(parents=True, exist_ok=True)
    launch = replace(launch, folder=launch.folder.resolve())
    trial_id = secrets.token_hex(16)
    supervisor = _start()
    _supervisors.add(supervisor)
    try:
        answer = _converse(supervisor, _request(launch, trial_id))
    except BaseException:
        _stop(supervisor)
        raise
    finally:
        if supervisor.stdin:
            with suppress(OSError):
                supervisor.stdin.close()
        if supervisor.stdout:
            supervisor.stdout.close()
        supervisor.wait()
        _supervisors.discard(supervisor)
        if supervisor.returncode:  # it did not end in order, so its promises do not hold
            tree.sweep(trial_id)
            scratch.clear(str(launch.folder))
    ending = _ending(launch, answer)
    _write(launch.folder / "ending.json", ending)
    return ending


@cache
def best_tier(shielded: tuple[Path, ...] = ()) -> tuple[Tier, str]:
    """The strictest tier that works here, tried once, and what is in the way of a stricter one.

    Args:
        shielded: Folders to try it on; a temporary one alone if there are none.
    """
    if sys.platform != "linux":
        return Tier.COPY, f"scratch layers need Linux, and this is {sys.platform}"
    with tempfile.TemporaryDirectory(prefix="hotlap-") as name:
        project, folder = Path(name, "project"), Path(name, "trial")
        (project / "folder").mkdir(parents=True)
        (project / "file").write_text("old")
        try:
            ending = launch(
                Launch(
                    command=(sys.executable, "-I", "-S", "-c", _PROBE),
                    cwd=project,
                    environment={"PATH": os.environ.get("PATH", os.defpath)},
                    folder=folder,
                    shielded=(project, *shielded),
                    total_s=30,
                )
            )
        except HotlapError as error:
            return Tier.COPY, error.what
        if "works" not in ending.output_tail or (project / "file").read_text() != "old":
            return Tier.COPY, f"a write in a scratch layer failed: {ending.reason}"
    return Tier.OVERLAY, ""


_PROBE = """
import os
open("file", "a").write("new")
os.rename("file", "other")
os.rmdir("folder")
os.makedirs("folder/below")
open("/dev/shm/hotlap", "w").close()
print("works" if open("other").read() == "oldnew" and os.getpid() < 10 else "")
"""


def _start() -> subprocess.Popen[bytes]:
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
    return subprocess.Popen(
        # Neither site nor the environment's own start-up files: the supervisor needs the standard library only.
        [sys.executable, "-I", "-S", "-X", "utf8", "-c", _BOOT, _SOURCE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=kept,
        start_new_session=True,  # the terminal's Ctrl-C is for the parent, which ends the trial in order
    )


def _request(launch: Launch, trial_id: str) -> bytes:
    def text(value: str | Path) -> str:
        return os.fsencode(value).decode("utf-8", "surrogateescape")

    request = {
        "command": [text(part) for part in launch.command],
        "cwd": text(launch.cwd),
        "environment": {text(name): text(value) for name, value in launch.environment.items()},
        "folder": text(launch.folder),
        "shielded": [text(path) for path in launch.shielded],
        "writable": [text(path) for path in launch.writable],
        "startup_s": launch.startup_s,
        "quiet_s": launch.quiet_s,
        "total_s": launch.total_s,
        "tier": launch.tier.value,
        "trial_id": trial_id,
        "terminal": _terminal(),
    }
    return json.dumps(request).encode() + b"\n"


def _terminal() -> tuple[int, int] | None:
    """Columns and lines of the terminal that the user sits at."""
    if not os.isatty(0):
        return None
    columns, lines = os.get_terminal_size(0)
    return columns, lines


def _converse(supervisor: subprocess.Popen[bytes], request: bytes) -> dict[str, Any]:
    """Hand over the request and wait for the answer; the pipe stays open meanwhile."""
    assert supervisor.stdin is not None
    assert supervisor.stdout is not None
    with suppress(BrokenPipeError):
        supervisor.stdin.write(request)
        supervisor.stdin.flush()
    said = supervisor.stdout.read()
    try:
        return json.loads(said.splitlines()[-1])
    except (ValueError, IndexError):
        lines = said.decode(errors="replace").strip().splitlines()
        return {"lost": lines[-1] if lines else ""}


def _stop(supervisor: subprocess.Popen[bytes]) -> None:
    """End the trial now: the end of the pipe is the order, and a second interruption is one to kill."""
    try:
        if supervisor.stdin:
            supervisor.stdin.close()
        supervisor.wait(timeout=_STOP_S)
    except BaseException:
        supervisor.kill()


def stop_all() -> None:
    """End the trials that other threads have under way."""
    for supervisor in tuple(_supervisors):
        if supervisor.stdin:
            with suppress(OSError, ValueError):  # its thread is about to close it too
                supervisor.stdin.close()


def _ending(launch: Launch, answer: dict[str, Any]) -> Ending:
    output = _tail(launch.folder / "output.log")
    if "lost" in answer:
        reason = f"the supervisor itself was ended. {answer['lost']}".strip()
        return Ending(Outcome.KILLED, reason, None, None, 0.0, "", output)
    if answer["failed"]:
        raise HotlapError(
            "no-sandbox",
            f"The trial's sandbox ({launch.tier.value}) failed: {answer['failed']}.",
            fix="let it run on a scratch copy",
        )
    cause = evidence.classify(answer, output, str(launch.cwd))
    code, number = evidence.exit_of(answer["status"])
    reason = " ".join(cause.reason.split())
    return Ending(cause.outcome, reason, code, number, answer["wall_s"], cause.denied, output)


def _tail(path: Path) -> str:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
            return file.read().decode("utf-8", errors="replace")
    except OSError:
        return ""


def _write(path: Path, ending: Ending) -> None:
    """Leave the ending beside the journals, whole or not at all; the output has a file of its own."""
    document = {name: value for name, value in asdict(ending).items() if name != "output_tail"}
    part = path.with_suffix(".part")
    part.write_text(json.dumps(document, indent=1), encoding="utf-8")
    part.replace(path)
