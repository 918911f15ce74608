"""glibc's thresholds."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest
from facts import facts

from hotlap.knobs.hardware.malloc_thresholds import MallocThresholds
from hotlap.records import Skip

FAULTS = """
import resource, sys, torch
from hotlap.inside.host import Host
from hotlap.inside.journal import Journal
from hotlap.knobs.hardware.malloc_thresholds import MallocThresholds

def step():
    x = torch.ones(12_000_000)
    return (x * 2 + x).sum()

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        step()
    return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / 10

host = Host(Journal(None), {})
if len(sys.argv) > 1:
    MallocThresholds().install(sys.argv[1], host)
if len(sys.argv) > 2:
    host.undo()
for _ in range(10):
    step()
print(faults())
"""


def measured(*arguments: str, **environment: str) -> float:
    done = subprocess.run(
        [sys.executable, "-c", FAULTS, *arguments],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **environment},
    )
    return float(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the thresholds are glibc's")
def test_ends_the_page_faults_of_big_tensors() -> None:
    """Both ways work, and the undo brings glibc's own thresholds back."""
    untouched = measured()
    by_call = measured("mallopt")
    by_environment = measured("environment", **MallocThresholds().environment("environment"))
    undone = measured("mallopt", "undo")

    assert untouched > 10_000
    assert by_call < untouched / 4
    assert by_environment < untouched / 4
    assert undone > untouched / 2


def test_the_environment_is_asked_for_only_by_name() -> None:
    assert MallocThresholds().environment("mallopt") == {}
    assert set(MallocThresholds().environment("environment")) == {"MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"machine": {"libc": "musl"}}, "the thresholds are glibc's, and the training runs on musl"),
        (
            {"machine": {"preload": "/usr/lib/libtcmalloc.so.4"}},
            "another allocator is preloaded (/usr/lib/libtcmalloc.so.4)",
        ),
        ({"faults_per_step": 12.4}, "steps fault in too few pages (12 each; it pays from 1000)"),
    ],
)
def test_says_why_not(changes: dict[str, object], reason: str) -> None:
    assert MallocThresholds().choices(facts(**changes)) == Skip(reason)


def test_a_preloaded_library_that_is_no_allocator_is_no_obstacle() -> None:
    assert MallocThresholds().choices(facts(machine={"preload": "libiomp5.so"})) == ("mallopt",)
