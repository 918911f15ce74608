"""Containers with little shared memory, and processes that may open few files (S38)."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = """
import hashlib, json, resource, sys
import torch
from torch.utils.data import DataLoader, Dataset
from hotlap.inside.host import Host
from hotlap.inside.journal import Journal
from hotlap.knobs import knob_by_id

knob, value, files, installed = json.loads(sys.argv[1])


class Rows(Dataset):
    def __init__(self):
        self.rows = torch.arange(64 * 50_000, dtype=torch.float32).view(64, -1)

    def __len__(self):
        return 64

    def __getitem__(self, index):
        return self.rows[index] if knob == "whole-batch-fetch" else self.rows[index] * 2


host = Host(Journal(None), {"purpose": "run", "settings": [], "roots": [], "seed": 0, "options": {}})
dataset = Rows()
if installed:
    knob_by_id(knob).install(value, host)
if files:
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
served = hashlib.sha256()
for epoch in range(3):
    for batch in DataLoader(dataset, batch_size=8):
        served.update(batch.numpy().tobytes())
print(served.hexdigest())
"""
PATHS = [("loader-workers", 2), ("fetch-ahead", True), ("sample-cache", True), ("whole-batch-fetch", True)]
_IN_LITTLE = 'mount -t tmpfs -o size={size} none /dev/shm && exec "$0" "$@"'


def served(folder: Path, asked: list[Any], shared_memory: str = "") -> subprocess.CompletedProcess[str]:
    """What a training is served, by a digest."""
    (folder / "train.py").write_text(SCRIPT)
    command = [sys.executable, "train.py", json.dumps(asked)]
    if shared_memory:
        command = ["unshare", "-m", "sh", "-c", _IN_LITTLE.format(size=shared_memory), *command]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.parametrize("path", PATHS, ids=[knob for knob, _ in PATHS])
@pytest.mark.parametrize("scarce", ["256k of shared memory", "20 open files"])
def test_s38_serves_the_same(tmp_path: Path, path: tuple[str, Any], scarce: str) -> None:
    """A batch is 1.6 MB and a worker needs several descriptors: what cannot be had is done without."""
    memory, files = ("256k", 0) if "memory" in scarce else ("", 20)
    if memory and subprocess.run(["sh", "-c", "unshare -m true"], capture_output=True, check=False).returncode:
        pytest.skip("mounting a small /dev/shm takes root")
    expected = served(tmp_path, [*path, files, False], memory)
    found = served(tmp_path, [*path, files, True], memory)

    assert expected.returncode == 0, expected.stderr
    assert found.returncode == 0, found.stderr
    assert found.stdout == expected.stdout
    assert "Traceback" not in found.stderr
    if path[0] == "loader-workers" and memory:
        assert "without workers, because unable to allocate shared memory" in found.stderr
