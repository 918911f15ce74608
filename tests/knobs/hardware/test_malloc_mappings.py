"""A mapping for each large tensor."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

HELD = """
import torch
from hotlap.inside.host import Host
from hotlap.inside.journal import Journal
from hotlap.inside.process import resident
from hotlap.knobs.hardware.malloc_mappings import MallocMappings

def held():
    before = resident()[0]
    tensors = [torch.ones(1 << 20) for _ in range(40)]  # of 4 MiB each
    del tensors[:-1]  # the last one lies on top of the others
    return resident()[0] - before

torch.ones(7 << 20)  # once it is freed, glibc puts tensors of less than its 28 MiB into the heap
as_written = held()
MallocMappings().install(True, Host(Journal(None), {}))
print(as_written, held())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the threshold is glibc's")
def test_what_is_freed_is_given_back() -> None:
    """A live tensor above freed ones keeps them in the process; with a mapping each, they are gone."""
    done = subprocess.run([sys.executable, "-c", HELD], capture_output=True, text=True, check=True)
    as_written, mapped = map(int, done.stdout.split())

    assert as_written > 100 << 20
    assert mapped < 20 << 20
