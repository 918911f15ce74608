"""The logbook: everything that happened in order, one JSON line each, fsynced; the one input of every report."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import msgspec

from hotlap.errors import HotlapError
from hotlap.records import SCHEMA, Recording, Setup

_KEYS = {"target": "command", "sha256": "version of the script", "where": "machine or torch"}


class Logbook:
    """Append-only. A torn last line, from a crash in the middle of a write, is legal and ignored."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, kind: str, **fields: Any) -> None:
        """Write one event and make it durable."""
        line = msgspec.json.encode({"kind": kind, **fields}) + b"\n"
        with self.path.open("ab") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())

    def start(self, target: str, sha256: str, seed: int, version: str, where: str = "") -> None:
        """Begin a new book; the previous one is kept beside it.

        Args:
            target: The command line that is tuned.
            sha256: Hash of the script.
            seed: Of the tune.
            version: hotlap's own.
            where: The machine and the torch, if trials run here.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self.path.exists():
            self.path.replace(self.path.with_suffix(".previous.jsonl"))
        self.append("start", schema=SCHEMA, target=target, sha256=sha256, seed=seed, version=version, where=where)

    def resume(self, target: str, sha256: str, seed: int, where: str = "") -> list[Recording]:
        """What an earlier tune recorded, to go on from.

        Raises:
            HotlapError: There is nothing to go on from, or it was another script, command, seed, machine or torch.
        """
        events = self.events()
        then = events[0] if events else {}
        asked = {"target": target, "sha256": sha256, "seed": seed}
        if then.get("where"):
            asked["where"] = where
        for key, now in asked.items():
            if then.get(key) != now:
                what = f"{self.path} was written for another {_KEYS.get(key, key)} ({then.get(key)}, now {now})."
                raise HotlapError("resume-mismatch", what, fix="tune again without --resume")
        with self.path.open("r+b") as file:  # a torn line would hide what is appended to it
            file.truncate(file.read().rfind(b"\n") + 1)
        self.append("resume")
        return [msgspec.convert(event["recording"], Recording) for event in events if event["kind"] == "recording"]

    def closings(self) -> dict[Setup, tuple[int, ...]]:
        """The numbers of confirmation pairs of each setup after which a budget ended, see `stats.looks`."""
        found: dict[Setup, tuple[int, ...]] = {}
        for event in self.events():
            if event["kind"] == "closed":
                setup = msgspec.convert(event["setup"], Setup)
                found[setup] = (*found.get(setup, ()), event["pairs"])
        return found

    def losses_seen(self) -> dict[Setup, tuple[tuple[int, int], ...]]:
        """Further looks at the losses of each setup: over how many times the steps, and how many seeds."""
        found: dict[Setup, tuple[tuple[int, int], ...]] = {}
        for event in self.events():
            if event["kind"] == "losses":
                setup = msgspec.convert(event["setup"], Setup)
                found[setup] = (*found.get(setup, ()), (event["times"], event["seeds"]))
        return found

    def spent_s(self) -> float:
        """Time that the parts of an interrupted tune took, each to its last trial [s]."""
        parts_s = [0.0]
        for event in self.events():
            if event["kind"] == "resume":
                parts_s.append(0.0)
            parts_s[-1] = max(parts_s[-1], event.get("spent_s", 0.0))
        return sum(parts_s)

    def events(self) -> list[dict[str, Any]]:
        """All events, oldest first.

        Raises:
            HotlapError: There is no logbook, or a newer hotlap wrote it.
        """
        if not self.path.exists():
            raise HotlapError(
                "no-logbook", f"There is no logbook in {self.path.parent}.", fix="run `hotlap tune` first"
            )
        events: list[dict[str, Any]] = []
        for line in self.path.read_bytes().splitlines():
            try:
                events.append(json.loads(line))
            except json.JSONDecodeError:
                break
        if events and events[0].get("schema", 0) > SCHEMA:
            raise HotlapError("logbook-too-new", f"{self.path} was written by a newer hotlap.", fix="upgrade hotlap")
        return events
