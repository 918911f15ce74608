"""Who belongs to a trial where no PID namespace holds it together.

A process group is not enough: torchrun's ranks leave it by design, and a daemon leaves its parents too. A member is
whoever descends from the keeper, which adopts orphans, or carries the trial's id in its environment.
"""

# Plain system calls here: file names of any bytes, and a start in milliseconds.
# ruff: noqa: PTH123, PTH208

from __future__ import annotations

import os
import signal
import time
from collections.abc import Collection
from typing import NamedTuple

TRIAL_ID = "HOTLAP_TRIAL_ID"


class Process(NamedTuple):
    """A line of the process table."""

    parent: int
    start: int
    """In clock ticks since boot; tells a process from a later one with the same number."""
    alive: bool


def look(pid: int) -> Process | None:
    """The process with this number, if there is one."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    return Process(parent=int(fields[1]), start=int(fields[19]), alive=fields[0] not in (b"Z", b"X"))


def _carries(pid: int, mark: bytes) -> bool:
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return mark in file.read().split(b"\0")
    except OSError:  # gone, or somebody else's
        return False


def members(trial_id: str, root: int = 0, spare: Collection[int] = ()) -> dict[int, int]:
    """Number and start time of every living member of a trial.

    Args:
        trial_id: What its processes carry in the environment.
        root: Its descendants are members as well, the root itself is not; 0 for none.
        spare: Processes that are never members.
    """
    table = {int(name): look(int(name)) for name in os.listdir("/proc") if name.isdigit()}
    family = {root} if root else set[int]()
    grown = True
    while grown:
        young = {pid for pid, process in table.items() if process and process.parent in family} - family
        family |= young
        grown = bool(young)
    mark = f"{TRIAL_ID}={trial_id}".encode()
    excluded = {root, os.getpid(), *spare}
    return {
        pid: process.start
        for pid, process in table.items()
        if process and process.alive and pid not in excluded and (pid in family or _carries(pid, mark))
    }


def send(targets: dict[int, int], number: int) -> None:
    """Signal these processes, and never a later one that was given the same number."""
    for pid, start in targets.items():
        try:
            handle = os.pidfd_open(pid)
        except OSError:  # gone, or a kernel before 5.3
            handle = -1
        try:
            process = look(pid)
            if process is None or process.start != start:
                continue
            if handle >= 0:
                signal.pidfd_send_signal(handle, number)
            else:
                os.kill(pid, number)
        except OSError:
            continue
        finally:
            if handle >= 0:
                os.close(handle)


def sweep(trial_id: str, root: int = 0, limit_s: float = 10.0) -> bool:
    """Kill all members until nobody is left; False when somebody outlived the limit."""
    give_up = time.monotonic() + limit_s
    while time.monotonic() < give_up:
        left = members(trial_id, root)
        if not left:
            return True
        send(left, signal.SIGKILL)
        time.sleep(0.01)
    return False
