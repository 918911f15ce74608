"""The guard inside the user's process."""

from __future__ import annotations

import json
import subprocess
import sys
import types
from pathlib import Path

from hotlap.inside import write_guard

from .conftest import SOURCE, Place


def _run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", f"from hotlap.inside import write_guard; write_guard.install()\n{code}"],
        env={"PYTHONPATH": str(SOURCE), "PYTHONDONTWRITEBYTECODE": "1", **environment},
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
    )


def test_nothing_happens_without_the_variable(tmp_path: Path):
    """No hook, no check."""
    done = _run(f"open({str(tmp_path / 'x')!r}, 'w').write('1'); assert write_guard._guard is None")

    assert done.returncode == 0, done.stderr
    assert (tmp_path / "x").exists()


def test_torch_save_is_checked_before_cpp_opens_the_file(far: Place):
    """A path is; a file object was when it was opened."""
    place = far
    code = f"""
import io, types
torch = types.SimpleNamespace(save=lambda obj, f, **options: print("saved", options))
torch.save = write_guard.guard_torch(torch)
torch.save(1, io.BytesIO())
torch.save(1, {str(place.project / "inside.pt")!r}, pickle_protocol=2)
torch.save(1, {str(place.home / "outside.pt")!r})
"""
    place.root.joinpath("journal").mkdir()
    guarded = {"HOTLAP_WRITE_GUARD": str(place.project), "HOTLAP_JOURNAL": str(place.root / "journal")}
    done = _run(code, **guarded)

    assert done.returncode == 125
    assert done.stderr == f"hotlap: stopped before a write to {place.home}/outside.pt\n"
    assert done.stdout == ""  # it is gone at once, with what it had not flushed
    (line,) = [path.read_text() for path in (place.root / "journal").iterdir()]
    assert json.loads(line) == {"kind": "denied-write", "path": f"{place.home}/outside.pt"}


def test_torch_save_is_the_same_without_a_guard():
    """Arguments and result go through."""
    calls: list[tuple[object, ...]] = []
    torch = types.SimpleNamespace(save=lambda *args, **options: calls.append((args, options)) or "result")

    assert write_guard.guard_torch(torch)("obj", "path", 1, key=2) == "result"
    assert calls == [(("obj", "path", 1), {"key": 2})]
