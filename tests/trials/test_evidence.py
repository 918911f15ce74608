"""Causes told from text."""

from __future__ import annotations

import pytest

from hotlap.records import Outcome
from hotlap.trials import evidence

ANSWER = {
    "status": 256,
    "unstartable": "",
    "denied": "",
    "confined": False,
    "end": None,
    "interrupted": False,
    "timer": "",
    "hello": True,
    "oom_kills": 0,
}


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("OSError: [Errno 30] Read-only file system: '/data/x.pt'", "/data/x.pt"),
        ('OSError: [Errno 30] Read-only file system: "/it\'s/x"', "/it's/x"),
        ("OSError: [Errno 30] Read-only file system: 'runs/x'", "/work/runs/x"),
        ("OSError: [Errno 30] Read-only file system: b'/d/\\xff'", "/d/\udcff"),
        ("OSError: [Errno 30] Read-only file system: '/a' -> '/b'", "/a"),
        ("cp: cannot create regular file '/opt/x': Read-only file system", "/opt/x"),
        ("mkdir: cannot create directory ‘/opt/x’: Read-only file system", "/opt/x"),
        ("bash: /opt/x: Read-only file system", "/opt/x"),
        ("RuntimeError: open failed, strerror: Read-only file system, file path: /m/x.pt", "/m/x.pt"),
        ("all is well", ""),
    ],
)
def test_the_refused_path_is_found(text: str, path: str):
    """In whatever way a program says it."""
    assert evidence.refused_path(text, "/work") == path


def test_a_denied_write_is_told_from_a_read_that_was_not_permitted():
    """What Python opens is seen by the guard first, so its PermissionError is about reading."""
    copied, read = (
        "cp: cannot create regular file '/opt/x': Permission denied",
        "PermissionError: Permission denied: '/x'",
    )

    assert evidence.refused_path(copied, "/", confined=True) == "/opt/x"
    assert evidence.refused_path(read, "/", confined=True) == ""


def test_behind_an_agent_the_whole_output_tells():
    """torchrun's own traceback only says that a rank failed."""
    output = """
Traceback (most recent call last):
torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20 MiB
Traceback (most recent call last):
  File "torchrun", line 8
torch.distributed.elastic.multiprocessing.errors.ChildFailedError:
============================================================
  exitcode  : 1 (pid: 12)
"""
    assert evidence.classify(ANSWER, output, "/").outcome is Outcome.DEVICE_OOM


def test_a_crashed_rank_is_a_crash():
    """By its exit code in the agent's table."""
    output = "Traceback (most recent call last):\nx.ChildFailedError: \n  exitcode  : -11 (pid: 12)\n"

    assert evidence.classify(ANSWER, output, "/").outcome is Outcome.CRASH


def test_a_killed_rank_is_out_of_memory_only_when_the_kernel_says_so():
    """The count of kills rose, or it did not."""
    output = "Traceback (most recent call last):\nx.ChildFailedError: \n  exitcode  : -9 (pid: 12)\n"

    assert evidence.classify({**ANSWER, "oom_kills": 1}, output, "/").outcome is Outcome.HOST_OOM
    assert evidence.classify(ANSWER, output, "/").outcome is Outcome.EXCEPTION


@pytest.mark.parametrize(
    ("status", "output"),
    [
        (
            256,
            "RuntimeError: [enforce fail at alloc_cpu.cpp:124] . DefaultCPUAllocator: can't allocate memory: you tried",
        ),
        (256, 'Traceback (most recent call last):\n  File "a"\nMemoryError\n'),
        (6, "terminate called after throwing an instance of 'std::bad_alloc'"),
        (256, "Traceback (most recent call last):\nOSError: [Errno 12] Cannot allocate memory"),
    ],
)
def test_an_allocation_that_failed_is_lack_of_memory(status: int, output: str):
    """Whoever says it: torch, Python, C++ or the system."""
    assert evidence.classify({**ANSWER, "status": status}, output, "/").outcome is Outcome.HOST_OOM


def test_lack_of_memory_that_was_survived_is_no_cause():
    """What ended the script is its last exception."""
    output = "Traceback (most recent call last):\nMemoryError: a\nTraceback (most recent call last):\nKeyError: 'b'\n"

    assert evidence.classify(ANSWER, output, "/").outcome is Outcome.EXCEPTION
