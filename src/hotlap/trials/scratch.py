"""The scratch copy of a project, for machines that offer no namespaces."""

# Plain system calls here: file names of any bytes, and a start in milliseconds.
# ruff: noqa: PTH101, PTH102, PTH107, PTH110, PTH112, PTH114, PTH115, PTH117, PTH118, PTH120, PTH123, PTH208, PTH211

from __future__ import annotations

import json
import os
import shutil
import stat
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import NamedTuple

NAME = "scratch"
"""Of the copy, in the trial's folder."""
LINK_BYTES = 64 << 20
"""Files above this are linked, not copied; the guard inside copies one up when it is written to."""
TOTAL_BYTES = 2 << 30
"""Where the rest is more than this, smaller files are linked as well."""
_FICLONE = 0x40049409


class _Entry(NamedTuple):
    source: str
    relative: str
    status: os.stat_result


class Scratch(NamedTuple):
    """A project and its copy."""

    project: str
    copy: str

    def path(self, path: str) -> str:
        """Where the copy has this path; others stay as they are."""
        if path == self.project or path.startswith(self.project + "/"):
            return self.copy + path[len(self.project) :]
        return path

    def argument(self, text: str, cwd: str) -> str:
        """An argument of the command, with the path in it mapped: `/p/x`, `--data=/p/x` or `../x`."""
        name, equals, value = text.rpartition("=")
        if value.startswith("/"):
            real = os.path.realpath(value)  # the project may have been named by way of a link
            return name + equals + (self.path(real) if self.path(real) != real else self.path(value))
        if value.startswith("..") and os.path.exists(os.path.join(cwd, value)):
            return name + equals + self.path(os.path.normpath(os.path.join(cwd, value)))
        return text

    def environment(self, variables: dict[str, str]) -> dict[str, str]:
        """The variables that name folders of the project."""
        path = variables.get("PYTHONPATH", "")
        mapped = os.pathsep.join(self.path(entry) for entry in path.split(os.pathsep))
        return {"PYTHONPATH": mapped} if path else {}


def copy(project: str, target: str, leave_out: Sequence[str]) -> Scratch:
    """Copy a project, with modes and times.

    Args:
        project: Real path of the folder.
        target: Where the copy is made; its parent exists.
        leave_out: Folders below the project that are no part of it, as hotlap's own output.
    """
    entries = list(_walk(project, {os.path.realpath(path) for path in (*leave_out, target)}))
    limit = _limit([entry.status.st_size for entry in entries if stat.S_ISREG(entry.status.st_mode)])
    scratch = Scratch(project, target)
    for entry in entries:
        with suppress(PermissionError):  # what cannot be read cannot be used by the script either
            _one(entry, scratch, limit)
    for entry in reversed(entries):
        made = os.path.join(target, entry.relative)
        if stat.S_ISDIR(entry.status.st_mode) and not os.path.islink(made):
            shutil.copystat(entry.source, made)
    return scratch


def clear(folder: str) -> None:
    """Take away what a trial with this folder made: its copy, and its files in the temporary folder."""
    _remove(os.path.join(folder, NAME))
    for name in os.listdir(folder):
        if name.startswith("made-"):
            for path in _lines(os.path.join(folder, name)):
                _remove(path)


def _lines(path: str) -> list[str]:
    """A torn last line is none."""
    with open(path, encoding="ascii") as file:
        return [json.loads(line) for line in file if line.endswith("\n")]


def _remove(path: str) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        for folder, _, _ in os.walk(path):
            with suppress(OSError):
                os.chmod(folder, 0o700)
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            os.remove(path)


def _walk(folder: str, leave_out: set[str], relative: str = "") -> Iterator[_Entry]:
    """Folders before what is in them."""
    yield _Entry(folder, relative, os.lstat(folder))
    try:
        inside = sorted(os.scandir(folder), key=lambda item: item.name)
    except PermissionError:
        return
    for item in inside:
        if item.path in leave_out or item.name == ".hotlap":
            continue
        below = os.path.join(relative, item.name)
        # A virtual environment knows its own path and is only read.
        if item.is_dir(follow_symlinks=False) and not os.path.exists(os.path.join(item.path, "pyvenv.cfg")):
            yield from _walk(item.path, leave_out, below)
        else:
            yield _Entry(item.path, below, item.stat(follow_symlinks=False))


def _limit(sizes: list[int]) -> int:
    limit = LINK_BYTES
    while limit > 1024 and sum(size for size in sizes if size <= limit) > TOTAL_BYTES:
        limit //= 4
    return limit


def _one(entry: _Entry, scratch: Scratch, limit: int) -> None:
    target = os.path.join(scratch.copy, entry.relative) if entry.relative else scratch.copy
    mode = entry.status.st_mode
    if stat.S_ISLNK(mode):
        os.symlink(_aim(entry.source, scratch), target)
    elif stat.S_ISDIR(mode) and os.path.exists(os.path.join(entry.source, "pyvenv.cfg")) and entry.relative:
        os.symlink(entry.source, target)
    elif stat.S_ISDIR(mode):
        os.mkdir(target, 0o700)
    elif stat.S_ISREG(mode) and entry.status.st_size > limit:
        os.symlink(entry.source, target)
    elif stat.S_ISREG(mode):
        _clone(entry.source, target)
        shutil.copystat(entry.source, target)


def _aim(source: str, scratch: Scratch) -> str:
    """What a link of the project points to in the copy: the copy of what it pointed to."""
    aim = os.readlink(source)
    real = os.path.normpath(os.path.join(os.path.dirname(source), aim))
    inside = scratch.path(real) != real
    return aim if inside and not os.path.isabs(aim) else scratch.path(real)


def _clone(source: str, target: str) -> None:
    """Share the blocks where the file system can, copy them elsewhere."""
    import fcntl

    with open(source, "rb") as old, open(target, "xb") as new:
        try:
            fcntl.ioctl(new, _FICLONE, old.fileno())
        except OSError:
            shutil.copyfileobj(old, new, 1 << 20)


def variables(copied: str, writable: Sequence[str]) -> dict[str, str]:
    """What the trial's environment says of its copy: where it may write, and that it should not write elsewhere."""
    return {
        "HOTLAP_WRITE_GUARD": os.pathsep.join([copied, *map(os.path.realpath, writable)]),
        "HOTLAP_WRITE_GUARD_SINCE": str(time.time()),  # temporary files younger than this are the trial's own
        "PYTHONDONTWRITEBYTECODE": "1",  # beside modules that lie outside the copy
    }
