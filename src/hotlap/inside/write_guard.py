"""Stops a trial in a scratch copy before it touches a file outside the copy.

Loaded inside the user's process. Where no namespace can redirect a write, an audit hook sees every call by which
Python opens, renames, removes or changes a file, and ends the process before the act. What C++ code and other programs
write raises no audit event; `torch.save`, which opens its file in C++, is checked by `guard_torch`.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from typing import Any

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_ALWAYS = ("/dev", "/proc")
_DENIED = 125
_guard: _Guard | None = None


def install() -> None:
    """Guard this process if the environment asks for it; without that, nothing happens at all."""
    global _guard
    allowed = os.environ.get("HOTLAP_WRITE_GUARD")
    if not allowed or _guard is not None:
        return
    _guard = _Guard(allowed.split(os.pathsep), os.environ.get("HOTLAP_JOURNAL", ""))
    sys.addaudithook(_guard.hook)


def guard_torch(torch_module: Any) -> Callable[..., Any]:
    """A replacement for `torch.save` that checks a path before C++ opens it."""
    original = torch_module.save

    def save(obj: Any, f: Any, *args: Any, **options: Any) -> Any:
        if _guard is not None and isinstance(f, (str, bytes, os.PathLike)):
            _guard.opens(f, "w", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        return original(obj, f, *args, **options)

    return save


class _Guard:
    def __init__(self, allowed: list[str], journal: str) -> None:
        folders = [os.path.realpath(path) for path in (*allowed, journal) if path]
        self._allowed = (*folders, *_ALWAYS)
        self._copy = folders[0]
        self._journal = journal
        # Not tempfile's answer: asking would fix it before the script may change TMPDIR.
        self._temporary = (os.path.realpath(os.environ.get("TMPDIR") or "/tmp"), "/tmp", "/var/tmp")
        self._made: set[str] = set()
        self._busy = False
        two = self._two
        self._handlers: dict[str, Callable[..., None]] = {
            "open": self.opens,
            "os.rename": two,
            "os.link": lambda old, new, old_fd=-1, new_fd=-1: self._made_name(new, new_fd),
            "os.symlink": lambda aim, name, folder=-1: self._made_name(name, folder),
            "os.mkdir": lambda path, mode=0, folder=-1: self._made_name(path, folder),
            "os.remove": self._name,
            "os.rmdir": self._name,
            "os.truncate": lambda path, length: self.opens(path, None, os.O_WRONLY),
            "os.chmod": lambda path, mode, folder=-1: self._name(path, folder),
            "os.chown": lambda path, user, group, folder=-1: self._name(path, folder),
            "os.utime": lambda path, times, ns, folder=-1: self._name(path, folder),
            "os.setxattr": lambda path, *rest: self._name(path),
            "os.removexattr": lambda path, *rest: self._name(path),
            "sqlite3.connect": self._database,
        }

    def hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Called by the interpreter at every audit event, most of which are none of ours."""
        handler = self._handlers.get(event)
        if handler is None or self._busy:
            return
        if event == "open" and not arguments[2] & _WRITES:
            return
        handler(*arguments)

    def opens(self, path: Any, mode: Any, flags: int) -> None:
        """A file is about to be opened with these flags of open(2)."""
        if isinstance(path, int) or not flags & _WRITES:  # a descriptor was checked when it was opened
            return
        name = _absolute(path, -1)
        if self._is_link_of_copy(name):
            self._copy_up(name, keep=not flags & os.O_TRUNC)
            return
        real = os.path.realpath(name)
        if flags & os.O_CREAT and not os.path.lexists(real):
            self._create(real)
        elif not os.path.isdir(real):
            self._change(real)

    def _two(self, old: Any, new: Any, old_folder: int = -1, new_folder: int = -1) -> None:
        source = _located(old, old_folder)
        if os.path.lexists(source):  # it fails by itself otherwise
            self._change(source)
            self._made_name(new, new_folder, replaces=True)

    def _name(self, path: Any, folder: int = -1) -> None:
        if not isinstance(path, int):
            located = _located(path, folder)
            if os.path.lexists(located):
                self._change(located)

    def _made_name(self, path: Any, folder: int = -1, replaces: bool = False) -> None:
        located = _located(path, folder)
        if not os.path.lexists(located):
            self._create(located)
        elif replaces:
            self._change(located)

    def _database(self, database: Any) -> None:
        if isinstance(database, int):
            return
        name = os.fsdecode(database)
        if name.startswith("file:"):
            name, _, query = name[5:].partition("?")
            if "mode=ro" in query or "mode=memory" in query:
                return
        if name and name != ":memory:":
            self.opens(name, None, os.O_RDWR | os.O_CREAT)

    def _create(self, path: str) -> None:
        """Something new at a real path; allowed in the temporary folder too."""
        if self._inside(path, self._allowed):
            return
        if self._inside(path, self._temporary):
            self._note(path)
        elif os.access(os.path.dirname(path), os.W_OK):
            self._deny(path)

    def _note(self, path: str) -> None:
        """Keep in mind what the trial made in the temporary folder, so that the next one does not find it."""
        if path in self._made:
            return
        self._made.add(path)
        self._busy = True
        try:
            self._append("made", path)
        finally:
            self._busy = False

    def _append(self, name: str, entry: Any) -> None:
        path = os.path.join(self._journal, f"{name}-{os.getpid()}.jsonl")
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.write(descriptor, json.dumps(entry).encode() + b"\n")
        os.close(descriptor)

    def _change(self, path: str) -> None:
        """Something that exists at a real path; the trial's own temporary files are its own."""
        if self._inside(path, self._allowed) or self._is_own(path):
            return
        if os.access(path, os.W_OK, follow_symlinks=False) or os.access(os.path.dirname(path), os.W_OK):
            self._deny(path)  # what the system refuses by itself is left to it

    def _is_own(self, path: str) -> bool:
        """Whether the trial made a temporary file: this process, or another of the trial since it began."""
        if path in self._made:
            return True
        since = os.environ.get("HOTLAP_WRITE_GUARD_SINCE")
        if since is None or not self._inside(path, self._temporary):
            return False
        try:
            status = os.lstat(path)
        except OSError:
            return False
        return status.st_uid == os.getuid() and _born(path, status) > float(since)

    @staticmethod
    def _inside(path: str, folders: tuple[str, ...]) -> bool:
        return any(path == folder or path.startswith(folder.rstrip("/") + "/") for folder in folders)

    def _is_link_of_copy(self, name: str) -> bool:
        """The scratch copy holds links to large files: writing through one would reach the user's."""
        if not os.path.islink(name):
            return False
        place = os.path.realpath(os.path.dirname(name))
        return self._inside(place, (self._copy,)) and not self._inside(os.path.realpath(name), self._allowed)

    def _copy_up(self, name: str, keep: bool) -> None:
        self._busy = True
        try:
            real = os.path.realpath(name)
            os.unlink(name)
            if keep and os.path.exists(real):
                shutil.copy2(real, name)
        finally:
            self._busy = False

    def _deny(self, path: str) -> None:
        """Report, and be gone before the write."""
        self._busy = True
        try:
            self._append("denied", {"kind": "denied-write", "path": path})
            os.write(2, b"hotlap: stopped before a write to " + os.fsencode(path) + b"\n")
        finally:
            os._exit(_DENIED)


def _absolute(path: Any, folder: int) -> str:
    text = os.fsdecode(path)
    if folder >= 0 and not os.path.isabs(text):
        return os.path.join(os.readlink(f"/proc/self/fd/{folder}"), text)
    return os.path.abspath(text)


def _located(path: Any, folder: int) -> str:
    """The real place of a name whose own last part is not followed."""
    head, tail = os.path.split(_absolute(path, folder).rstrip("/"))
    return os.path.join(os.path.realpath(head), tail)


def _born(path: str, status: os.stat_result) -> float:
    """When the name came to be, as well as Python can tell; a changed file looks young, so a folder counts as old."""
    return 0.0 if os.path.isdir(path) else status.st_ctime
