"""What ended a trial, told from what it left behind; pure functions."""

# Plain system calls here: file names of any bytes, and a start in milliseconds.
# ruff: noqa: PTH118

from __future__ import annotations

import ast
import os
import re
import signal
from collections.abc import Mapping
from typing import Any, NamedTuple

from hotlap.records import Outcome

_EXCEPTION = re.compile(r"^([A-Za-z_][\w.]*(?:Error|Exception|Exit|Interrupt|Warning|[A-Z]\w*)(?:: .*)?)$")
# An exception that only reports the death of another process: the cause stands further up.
_WRAPPERS = ("ChildFailedError", "ProcessRaisedException", "ProcessExitedException", "CalledProcessError", "DataLoader")
_CRASHES = (signal.SIGSEGV, signal.SIGABRT, signal.SIGILL, signal.SIGFPE)
# In this order: what is short of shared memory also says that there is no space left on the device.
_PATTERNS = (
    (
        Outcome.DEVICE_OOM,
        re.compile(r"OutOfMemoryError|CUDA out of memory|CUDA error: out of memory|CU\w+_STATUS_ALLOC_FAILED"),
    ),
    (
        Outcome.SHARED_MEMORY,
        re.compile(r"[Bb]us error|insufficient shared memory|shared memory \(shm\)|</torch_\w+>|/dev/shm/.*No space"),
    ),
    (Outcome.DISK_FULL, re.compile(r"No space left on device|\[Errno 28\]|Disk quota exceeded|\[Errno 122\]")),
    (Outcome.PORT_IN_USE, re.compile(r"[Aa]ddress already in use|EADDRINUSE")),
)
# An allocation that failed in the process itself, before the kernel had to kill anybody.
_NO_MEMORY = re.compile(
    r"DefaultCPUAllocator: (?:can't allocate|not enough) memory|^MemoryError\b|std::bad_alloc|Cannot allocate memory",
    re.MULTILINE,
)
_REPR = re.compile(r"Read-only file system: (?P<repr>b?'(?:[^'\\]|\\.)*'|b?\"(?:[^\"\\]|\\.)*\")")
_OTHERS = (  # how C++ and other programs say it
    r"{words},? (?:file )?path: (?P<path>\S.*)",
    r"['‘](?P<path>[^'’]+)['’]: {words}",
    r"(?:^|[\s:])(?P<path>/[^:\n]+): {words}",
)
_KILLED_RANK = re.compile(r"exitcode\s*: -9|Signal 9|SIGKILL|killed by signal: Killed")
_CRASHED_RANK = re.compile(r"exitcode\s*: -(?:4|6|8|11)\b|Signal (?:4|6|8|11) |killed by signal: (?:Segm|Abort)")


class Cause(NamedTuple):
    """Why a trial ended."""

    outcome: Outcome
    reason: str
    denied: str = ""


class Exit(NamedTuple):
    """How the started process itself ended; both None when it was never seen to end."""

    code: int | None
    signal: int | None


def exit_of(status: int | None) -> Exit:
    """A wait status, with a shell's 128 + n read as the signal that it stands for."""
    if status is None:
        return Exit(None, None)
    code = os.waitstatus_to_exitcode(status)
    return Exit(None, -code) if code < 0 else Exit(code, None)


def classify(answer: Mapping[str, Any], output: str, cwd: str) -> Cause:
    """What ended a trial.

    Args:
        answer: What the supervisor saw.
        output: The end of what the trial printed.
        cwd: The script's working folder, which refused paths may be relative to.
    """
    code, number = exit_of(answer["status"])
    if answer["unstartable"]:
        return Cause(Outcome.EXCEPTION, f"cannot start {answer['unstartable']}")
    if answer["denied"]:
        return Cause(Outcome.BLOCKED_WRITE, f"the script writes to {answer['denied']}", answer["denied"])
    if answer["end"] is not None:
        return _by_end_line(answer["end"])
    if answer["interrupted"]:
        return Cause(Outcome.INTERRUPTED, "interrupted")
    if answer["timer"]:
        return Cause(Outcome.HANG, answer["timer"])
    if code == 0:
        if answer["hello"]:
            return Cause(Outcome.ENDED, "the script ended by itself")
        return Cause(Outcome.NOT_REACHED, "the script ended, and no process of it reported in")
    if code is not None and code > 128 and code - 128 in {*_CRASHES, signal.SIGKILL, signal.SIGBUS}:
        number = code - 128
    denied = refused_path(_telling(output), cwd, confined=answer["confined"])
    if denied and number is None:
        return Cause(Outcome.BLOCKED_WRITE, f"the script writes to {denied}", denied)
    return _by_failure(code, number, output, answer["oom_kills"])


def _by_end_line(end: Mapping[str, Any]) -> Cause:
    named = str(end.get("outcome", ""))
    for outcome in Outcome:
        if named in (outcome.value, outcome.name, outcome.name.lower()):
            return Cause(outcome, str(end.get("reason", "")) or outcome.value)
    return Cause(Outcome.BUDGET, str(end.get("reason", "")) or Outcome.BUDGET.value)


def _by_failure(code: int | None, number: int | None, output: str, oom_kills: int) -> Cause:
    last, telling = _last_exception(output), _telling(output)
    if oom_kills and (number == signal.SIGKILL or _KILLED_RANK.search(telling)):
        return Cause(Outcome.HOST_OOM, f"the kernel killed {oom_kills} processes for want of memory")
    if found := _NO_MEMORY.search(telling):
        return Cause(Outcome.HOST_OOM, _line_of(telling, found.start()))
    if number == signal.SIGBUS:
        return Cause(Outcome.SHARED_MEMORY, "bus error, which is what full shared memory looks like")
    if number in _CRASHES:
        return Cause(Outcome.CRASH, f"ended by {signal.Signals(number).name}")
    for outcome, pattern in _PATTERNS:
        if found := pattern.search(telling):
            return Cause(outcome, _line_of(telling, found.start()))
    if _CRASHED_RANK.search(telling):
        return Cause(Outcome.CRASH, "a process of the trial crashed")
    if number is not None:
        return Cause(Outcome.KILLED, f"ended by {_name(number)}, and nothing says by whom")
    if code is None:
        return Cause(Outcome.KILLED, "the process that started the script was killed")
    lines = [line for line in output.splitlines() if line.strip()]
    return Cause(Outcome.EXCEPTION, last or f"exit code {code}" + (f": {lines[-1].strip()[:300]}" if lines else ""))


def refused_path(text: str, cwd: str, *, confined: bool = False) -> str:
    """The path of a write that the sandbox refused; "" when the text tells of none.

    Args:
        text: What the trial printed.
        cwd: The path may be relative to.
        confined: Other programs' writes were denied, and not met by a read-only file system.
    """
    found = None if confined else _REPR.search(text)
    for pattern in _OTHERS:
        words = "Permission denied" if confined else "Read-only file system"
        found = found or re.search(pattern.format(words=words), text, re.MULTILINE)
    if not found:
        return ""
    path = found.groupdict().get("path") or _evaluate(found.group("repr"))
    return os.path.normpath(os.path.join(cwd, path.strip()))


def _evaluate(literal: str) -> str:
    try:
        value = ast.literal_eval(literal)
    except (ValueError, SyntaxError):
        return literal.strip("'\"")
    return os.fsdecode(value)


def _telling(output: str) -> str:
    """What ended the script: its last exception, unless that only points to another process's.

    An exception that the script survived is no cause.
    """
    last = _last_exception(output)
    return output if not last or any(word in last for word in _WRAPPERS) else last


def _last_exception(output: str) -> str:
    """The line that names the exception of the last traceback."""
    _, marker, after = output.rpartition("Traceback (most recent call last):")
    if not marker:
        return ""
    for line in after.splitlines():
        if _EXCEPTION.match(line):
            return line[:500]
    return ""


def _line_of(text: str, position: int) -> str:
    start = text.rfind("\n", 0, position) + 1
    end = text.find("\n", position)
    return text[start : end if end >= 0 else None].strip()[:500]


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
