"""Knobs that are an environment: they reach the process that trains, and say when they do not fit."""

from __future__ import annotations

from pathlib import Path

import pytest
from facts import CUDA, facts

from hotlap.knobs import knob_by_id
from hotlap.knobs.hardware import allocator
from hotlap.records import AS_WRITTEN, Facts, Outcome, Setup, Skip, Trial
from hotlap.target import resolve
from hotlap.trials.launch import best_tier
from hotlap.trials.runner import ProcessRunner

SCRIPT = """
import os
import torch

print({name!r}, os.environ.get({name!r}))
weight = torch.nn.Parameter(torch.ones(4))
optimizer = torch.optim.SGD([weight], lr=0.1)
for _ in range(30):
    weight.square().sum().backward()
    optimizer.step()
"""
TROUBLED = facts(
    threads=4,
    flops_per_step=10**6,
    loader={"num_workers": 0},
    machine={"huge_pages": "madvise", "allocators": ("tcmalloc",)},
)
SETTINGS = [
    ("thread-pinning", "close", "OMP_PROC_BIND", "close"),
    ("wait-policy", "active", "OMP_WAIT_POLICY", "active"),
    ("huge-pages", "torch", "THP_MEM_ALLOC_ENABLE", "1"),
    ("huge-pages", "glibc", "GLIBC_TUNABLES", "glibc.malloc.hugetlb=1"),
]


@pytest.mark.parametrize(("knob", "value", "name", "wanted"), SETTINGS)
def test_it_reaches_the_training(tmp_path: Path, knob: str, value: str, name: str, wanted: str) -> None:
    """And only under its setup."""
    (tmp_path / "train.py").write_text(SCRIPT.format(name=name))
    runner = ProcessRunner(resolve(("train.py",), cwd=tmp_path), tmp_path / "out", best_tier()[0])
    said: list[str] = []
    for number, setup in enumerate((AS_WRITTEN, Setup.of({knob: value}))):
        record = runner.run(Trial(f"{number:04d}-time", "time", setup, 0, 0, 20, 60.0))
        assert record.outcome is Outcome.BUDGET, record.reason
        assert record.failed_knobs == {}
        said.append((tmp_path / "out" / "trials" / record.log).read_text())

    assert f"{name} {wanted}" in said[1]
    assert f"{name} {wanted}" not in said[0]


@pytest.mark.parametrize(
    ("knob", "found", "reason"),
    [
        ("thread-pinning", facts(**CUDA), "accelerator"),
        ("thread-pinning", facts(threads=4, loader={"num_workers": 2}), "workers"),
        ("thread-pinning", facts(threads=64, loader={"num_workers": 0}), "more threads than cores"),
        ("thread-pinning", facts(threads=1), "little to move about"),
        ("wait-policy", facts(threads=1), "one thread"),
        ("wait-policy", facts(threads=4, flops_per_step=10**6, machine={"quota": 2.0}), "more threads than cores"),
        ("thread-pinning", facts(threads=2, machine={"cores": 2}), "little to move about"),
        (
            "wait-policy",
            facts(threads=4, flops_per_step=10**10, loader={"num_workers": 0}),
            "operations are large or not known",
        ),
        ("huge-pages", facts(machine={"huge_pages": "never"}), "no huge pages"),
        ("huge-pages", facts(faults_per_step=5.0, machine={"huge_pages": "always"}), "too few pages"),
        ("allocator", facts(), "neither tcmalloc nor jemalloc"),
        ("allocator", facts(machine={"preload": "/usr/lib/libjemalloc.so.2"}), "another allocator"),
    ],
)
def test_it_says_why_it_does_not_fit(knob: str, found: Facts, reason: str) -> None:
    """In a clause."""
    answer = knob_by_id(knob).choices(found)

    assert isinstance(answer, Skip)
    assert reason in answer.reason


@pytest.mark.parametrize("knob", ["thread-pinning", "wait-policy", "huge-pages", "allocator"])
def test_it_fits_a_troubled_training(knob: str) -> None:
    """Threads with cores to spare, page faults, and an allocator that is installed."""
    assert not isinstance(knob_by_id(knob).choices(TROUBLED), Skip)


def test_an_allocator_is_preloaded_before_the_users_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plan names it, and its path is looked for on the machine that runs; without it nothing is preloaded."""
    knob = knob_by_id("allocator")
    monkeypatch.setattr(allocator, "installed", lambda name: f"/usr/lib/lib{name}.so")
    monkeypatch.setenv("LD_PRELOAD", "theirs.so")
    assert knob.environment("tcmalloc") == {"LD_PRELOAD": "/usr/lib/libtcmalloc.so:theirs.so"}
    monkeypatch.setattr(allocator, "installed", lambda name: "")
    assert knob.environment("tcmalloc") == {}
