"""One NUMA node for the process: which one, and that it stays there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from facts import CUDA, facts

from hotlap import numa
from hotlap.inside.host import Host
from hotlap.knobs.hardware.numa_node import NumaNode
from hotlap.records import Outcome, Setup, Skip, Trial
from hotlap.target import resolve
from hotlap.trials.launch import best_tier
from hotlap.trials.runner import ProcessRunner


@pytest.mark.parametrize(
    ("changes", "offered"),
    [
        ({"machine": {"nodes": (8, 8)}}, (0,)),
        ({"machine": {"nodes": (2, 8)}}, (1,)),
        ({**CUDA, "machine": {"nodes": (8, 8)}, "device_node": 1}, (1,)),
    ],
)
def test_offers_where_the_accelerator_is_or_most_cores_are(changes: dict[str, Any], offered: tuple[int, ...]) -> None:
    assert NumaNode().choices(facts(**changes)) == offered


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({}, "one NUMA node only"),
        ({"machine": {"nodes": (0, 16)}}, "one NUMA node only"),
        ({"machine": {"nodes": (8, 8)}, "world_size": 2}, "would take the same node"),
        ({**CUDA, "machine": {"nodes": (8, 8)}}, "the kernel does not say"),
        ({**CUDA, "machine": {"nodes": (8, 8, 0)}, "device_node": 2}, "keeps the process off it"),
    ],
)
def test_says_why_not(changes: dict[str, Any], why: str) -> None:
    answer = NumaNode().choices(facts(**changes))

    assert isinstance(answer, Skip)
    assert why in answer.reason


def test_reads_what_the_kernel_tells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lists and gaps of nodes, the node of a device, and nothing where there is nothing to read."""
    nodes, devices = tmp_path / "node", tmp_path / "devices"
    for node, cores in (("node0", "0-2,8\n"), ("node2", "3\n")):
        (nodes / node).mkdir(parents=True)
        (nodes / node / "cpulist").write_text(cores)
    (nodes / "online").write_text("0,2\n")
    (devices / "0000:3b:00.0").mkdir(parents=True)
    (devices / "0000:3b:00.0" / "numa_node").write_text("2\n")
    monkeypatch.setattr(numa, "_SYSTEM", nodes)
    monkeypatch.setattr(numa, "_DEVICES", devices)

    assert numa.threads_of_node(0) == {0, 1, 2, 8}
    assert numa.threads_of_node(1) == set()
    assert numa.threads_by_node({1, 2, 3, 4}) == (2, 0, 1)
    assert [numa.node_of_device(address) for address in ("0000:3b:00.0", "0000:3c:00.0")] == [2, -1]

    monkeypatch.setattr(numa, "_SYSTEM", tmp_path / "nowhere")
    assert numa.threads_by_node({0, 1}) == ()


SCRIPT = """
import os
import torch

weight = torch.nn.Parameter(torch.ones(4))
optimizer = torch.optim.SGD([weight], lr=0.1)
for _ in range(3):
    weight.square().sum().backward()
    optimizer.step()
print("runs on", sorted(os.sched_getaffinity(0)), "with", torch.get_num_threads())
"""


def test_the_training_stays_on_its_node(tmp_path: Path) -> None:
    """In its own process: the cores of the node, and no more threads than these."""
    node = next(node for node in range(1024) if numa.threads_of_node(node) & os.sched_getaffinity(0))
    cores = sorted(numa.threads_of_node(node) & os.sched_getaffinity(0))
    script = tmp_path / "train.py"
    script.write_text(SCRIPT)
    runner = ProcessRunner(resolve((str(script),)), tmp_path / "out", best_tier()[0])
    record = runner.run(Trial("node", "time", Setup.of({"numa-node": node}), 1, 0, 0, 60.0))

    assert record.outcome is Outcome.ENDED, record.reason
    assert record.installed_knobs == ("numa-node",)
    assert f"runs on {cores}" in (tmp_path / "out" / "trials" / record.log).read_text()

    elsewhere = runner.run(Trial("elsewhere", "time", Setup.of({"numa-node": 1000}), 1, 0, 0, 60.0))
    assert "may not use the cores of NUMA node 1000" in elsewhere.failed_knobs["numa-node"]


def test_binds_and_releases(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """One core of those that there are; afterwards all of them again."""
    before, threads = os.sched_getaffinity(0), torch.get_num_threads()
    monkeypatch.setattr("hotlap.knobs.hardware.numa_node.threads_of_node", lambda node: {min(before), 4096})
    NumaNode().install(0, host)

    assert os.sched_getaffinity(0) == {min(before)}
    assert torch.get_num_threads() == 1

    host.undo()
    assert os.sched_getaffinity(0) == before
    assert torch.get_num_threads() == threads
