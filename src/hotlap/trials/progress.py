"""What the journals of a running trial say so far, read while they grow."""

# Plain system calls here: file names of any bytes, and a start in milliseconds.
# ruff: noqa: PTH116, PTH118, PTH123, PTH208

from __future__ import annotations

import json
import os
import time
from typing import Any

_PREFIXES = ("journal-", "denied-")
_LATE = (b'"end"', b'"denied-write"', b'"hello"')  # once the steps flow, only these lines are worth parsing


class Progress:
    """Follows every journal in a trial's folder."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._offsets: dict[str, int] = {}
        self._torn: dict[str, bytes] = {}
        self.hello = False
        """Some process reported in."""
        self.stepping = False
        """The first training step was seen."""
        self.end: dict[str, Any] | None = None
        """The first line of kind "end"."""
        self.denied = ""
        """Path of a write that was stopped from inside."""
        self.grown_at = time.monotonic()

    def poll(self) -> None:
        """Take in what was written since the last call."""
        try:
            names = [name for name in os.listdir(self._folder) if name.startswith(_PREFIXES)]
        except OSError:
            return
        for name in names:
            if name.endswith(".jsonl"):
                self._read(name)

    def _read(self, name: str) -> None:
        path = os.path.join(self._folder, name)
        offset = self._offsets.get(name, 0)
        try:
            if os.stat(path).st_size <= offset:
                return
            with open(path, "rb") as file:
                file.seek(offset)
                fresh = file.read()
        except OSError:
            return
        self._offsets[name] = offset + len(fresh)
        self.grown_at = time.monotonic()
        *lines, self._torn[name] = (self._torn.get(name, b"") + fresh).split(b"\n")
        for line in lines:
            if not self.stepping or any(word in line for word in _LATE):
                self._take(line)

    def _take(self, line: bytes) -> None:
        try:
            entry = json.loads(line)
            kind = entry["kind"]
        except (ValueError, TypeError, KeyError):
            return
        if kind == "hello":
            self.hello = True
        elif kind == "steps":
            self.stepping = True
        elif kind == "end" and self.end is None:
            self.end = entry
        elif kind == "denied-write" and not self.denied:
            self.denied = str(entry.get("path", ""))
