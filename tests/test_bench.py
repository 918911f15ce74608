"""The measurements behind docs/measured.md: they run, and their arithmetic is right. Nothing is measured here."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import msgspec
import pytest
import torch
from machine import FACTS, recording

BENCH = Path(__file__).resolve().parent.parent / "bench"

TRAINS = """
import argparse
import torch

parser = argparse.ArgumentParser()
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--steps", type=int, default=2)
args = parser.parse_args()
torch.manual_seed(args.seed)
weight = torch.nn.Parameter(torch.randn(3))
optimizer = torch.optim.AdamW([weight], lr=0.1)
for _ in range(args.steps):
    weight.square().sum().backward()
    optimizer.step()
print(f"epoch 1: fused {optimizer.param_groups[0]['fused']}")
print(f"test loss {weight.square().sum().item():.4f}")
"""

PLAN = """
schema = 1

[plan]
date = 2026-01-01
script = "train.py"
script_sha256 = "{sha}"
argv = ["train.py"]
torch = "{torch}"
python = "python"
device = "{device}"
machine = {{ cpu = "any", cores = 1 }}

[[settings]]
knob = "fused-update"
value = true
contract = "rounding"
"""


def bench(name: str) -> ModuleType:
    """A measurement as a module."""
    spec = importlib.util.spec_from_file_location(f"bench_{name}", BENCH / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def measure(name: str, *arguments: str, cwd: Path) -> dict[str, object]:
    """Run a measurement to its end and read its document."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = (sys.executable, str(BENCH / f"{name}.py"), "--json", *arguments)
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


# -- overhead


def test_overhead_in_one_process(tmp_path: Path) -> None:
    """hotlap goes in and out of one process, and every arm has a time and all but one a cost."""
    tiny = ("--pairs", "0", "--rounds", "6", "--steps", "3", "--warmup", "1", "--width", "8")
    rows = measure("overhead", *tiny, cwd=tmp_path)["costs"]

    assert isinstance(rows, list)
    assert [row["arm"] for row in rows] == list(bench("overhead").ARMS)
    assert [row["cost"] is None for row in rows] == [True, False, False, False, False]
    assert all(row["step"]["value"] > 0 and row["step"]["n"] == 6 for row in rows)


@pytest.mark.slow
def test_overhead_between_processes(tmp_path: Path) -> None:
    """The same with a fresh process for each arm, which also says what starting costs."""
    tiny = ("--rounds", "0", "--pairs", "6", "--process-steps", "3", "--warmup", "1", "--width", "8")
    rows = measure("overhead", *tiny, cwd=tmp_path)["costs"]

    assert isinstance(rows, list)
    assert [row["start"] is None for row in rows] == [True, False, False, False, False]


def test_cost_is_what_a_step_takes_longer() -> None:
    """A step of 2.02 s instead of 2 s costs 1 %, and the interval lies around it the right way round."""
    overhead = bench("overhead")
    taken = [2.02, 2.01, 2.03, 2.02, 2.02, 2.01, 2.03, 9.0]
    steps = {arm: [2.0] * 8 for arm in overhead.ARMS} | {overhead.WATCHED: taken}
    rows = {row.arm: row for row in overhead.costs("test", steps, steps)}
    cost = rows[overhead.WATCHED].cost

    assert cost.value == pytest.approx(0.01, rel=0.01)
    assert (cost.low, cost.high) == pytest.approx((0.005, 3.5))
    assert rows[overhead.WATCHED].start.value == pytest.approx(7.14 / 8)
    assert "| 20000.0 us (10000.0 to 7000000.0, n = 8) | 1.00% (0.50% to 350.00%) |" in overhead.table(
        list(rows.values())
    )


# -- proof


@pytest.mark.parametrize(
    ("output", "label", "number"),
    [
        ("epoch 1: loss 3\ntest accuracy 0.981\n", "test accuracy", 0.981),
        ("validation 2.345 bits per character\n\n", "validation bits per character", 2.345),
        ("loss: 1.5e-05", "loss", 1.5e-05),
        ("done\n", "", None),
        ("", "", None),
    ],
)
def test_the_last_number_of_the_last_line(output: str, label: str, number: float | None) -> None:
    """It is what the script holds out for comparison, with the words around it."""
    assert bench("proof").last_number(output) == (label, number)


def test_a_training_that_diverged_has_failed(tmp_path: Path) -> None:
    """Not a number is no held-out number to average."""
    command = (sys.executable, "-c", "print('test loss nan')")
    run = bench("proof").train("preset", 0, command, dict(os.environ), 60.0, tmp_path)

    assert run.failed == "its held-out number is nan"


def test_arms_are_compared_at_equal_seeds_and_a_crash_is_told() -> None:
    """Pairs whose partner crashed are left out; the tune is added to hotlap's own time only."""
    proof = bench("proof")
    walls = {proof.WRITTEN: 30.0, proof.PRESET: 20.0, proof.PLAN: 15.0}
    runs = [
        proof.Run(arm, seed, wall + seed, 0.9 + 0.01 * seed, "test accuracy", "", ())
        for seed in range(3)
        for arm, wall in walls.items()
    ]
    runs[1] = proof.Run(proof.PRESET, 0, 1.0, None, "", "RuntimeError: no compiler", ())
    written, preset, plan = (proof.summed_up(arm, runs, 60.0) for arm in proof.ARMS)

    assert written.faster is None
    assert preset.faster.n == 2
    assert preset.faster_with_tuning is None
    assert preset.failed == "seed 0: RuntimeError: no compiler"
    assert plan.faster.value == pytest.approx(31 / 16, rel=0.01)
    assert plan.faster_with_tuning.value == pytest.approx(31 / 76, rel=0.01)
    assert plan.difference.value == 0
    assert proof.repaid_after((written, preset, plan), 60.0) == 4
    assert "| 0 | 30.0 s, 0.9 | failed | 15.0 s, 0.9 |" in proof.markdown("x", [], (written, preset, plan), runs)


@pytest.mark.slow
def test_proof_of_a_tiny_script(tmp_path: Path) -> None:
    """Three arms to their end; preset and plan are in force; a preset that cannot be started costs its row only."""
    from hotlap.versions import device_name, torch_version

    (tmp_path / "train.py").write_text(TRAINS)
    torch = torch_version(sys.executable)
    sha = hashlib.sha256(TRAINS.encode()).hexdigest()
    (tmp_path / "plan.toml").write_text(PLAN.format(sha=sha, torch=torch, device=device_name(torch)))
    options = ("--plan", "plan.toml", "--seeds", "2", "--preset", "fused-update=true", "--out", "out")
    found = measure("proof", *options, "--python", sys.executable, "train.py", "--steps", "3", cwd=tmp_path)
    runs, arms = found["runs"], found["arms"]

    assert isinstance(runs, list)
    assert isinstance(arms, list)
    assert [(run["arm"], run["seed"]) for run in runs[:4]] == [
        ("as written", 0),
        ("preset", 0),
        ("hotlap's plan", 0),
        ("preset", 1),
    ]
    assert not any(run["failed"] for run in runs)
    assert [arm["ended"] for arm in arms] == [2, 2, 2]
    fused = {name: "fused True" in (tmp_path / "out" / f"{name}-0.log").read_text() for name in ("written", "preset")}
    assert fused == {"written": False, "preset": True}
    assert "fused True" in (tmp_path / "out" / "plan-0.log").read_text()


# -- null tunes


@pytest.mark.parametrize(("gain", "claims"), [("0", range(2)), ("0.15", range(9, 11))])
def test_tunes_over_recordings(tmp_path: Path, gain: str, claims: range) -> None:
    """Where nothing is faster hardly anything is claimed, and a planted gain is found."""
    (tmp_path / "train.py").write_text("")
    pool = [{"arguments": ("train.py",), "facts": FACTS}, *({"recording": recording(0.04, n)} for n in range(90))]
    (tmp_path / "pool.jsonl").write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in pool))
    found = measure(
        "null_tunes", "--pool", "pool.jsonl", "replay", "--tunes", "10", "--budget", "900", "--gain", gain, cwd=tmp_path
    )

    assert found["tunes"] == 10
    assert found["claims"] in claims
    assert found["recordings"] == 90


def test_a_race_is_simulated_in_every_field() -> None:
    """Whole races through the protocol; a planted worse rule does not win, and shares come with their intervals."""
    pytest.importorskip("optuna")
    simulate = bench("simulate_race")
    for name, field in simulate.FIELDS.items():
        results = [simulate.one_race(field, "quick", seed=3)]

        assert name in simulate.row(name, results)
        assert results[0].finalists
    assert simulate.share(0, 100).split() == ["0.0%", "(0.0%", "to", "3.7%)"]


# -- gpu


def test_a_phase_on_a_device_is_what_its_calls_launched_on_whatever_thread() -> None:
    """From the first kernel's start to the last one's end; what another phase launched meanwhile is not in it."""
    events: list[dict[str, object]] = []
    for start in (0, 1000):
        for number, (name, at) in enumerate((("forward", 0), ("backward", 100))):
            events.append({"cat": "user_annotation", "name": name, "ts": start + at, "dur": 50})
            for kernel in range(3):
                key = start + 10 * number + kernel
                called = start + at + 10 * kernel
                events.append({"cat": "cuda_runtime", "ts": called, "tid": kernel, "args": {"correlation": key}})
                began = start + 300 + 40 * number + 10 * kernel
                events.append({"cat": "kernel", "ts": began, "dur": 8, "args": {"correlation": key}})
    spans = bench("scripts/gpu_habits").spans_in(events)

    assert spans == {"forward": 28.0, "backward": 28.0, "optimizer": None}


def test_a_pause_of_the_device_is_one_that_no_launch_explains() -> None:
    """Copies are work, work on two streams overlaps, and gaps between kernels are short."""
    work = [
        (0, 100, "kernel"),
        (50, 100, "kernel"),
        (3150, 40, "gpu_memcpy"),
        (3200, 100, "kernel"),
        (5300, 9, "kernel"),
    ]
    events = [{"cat": cat, "ts": ts, "dur": dur} for ts, dur, cat in work] + [{"cat": "cpu_op", "ts": 200, "dur": 2900}]

    assert bench("scripts/gpu_habits").idle_in(events) == (3000 + 2000) / 2


@pytest.mark.skipif(torch.cuda.is_available(), reason="there they are measured")
def test_workloads_on_a_gpu_are_told_apart_and_one_that_fails_costs_the_others_nothing(tmp_path: Path) -> None:
    """Without a device all fail here, each in a row of its own."""
    command = [sys.executable, str(BENCH / "gpu.py"), "peer", "--only", "gpt2", "--folder", str(tmp_path)]
    out = tmp_path / "gpu.json"
    out.write_text("{}")
    done = subprocess.run([*command, "--out", str(out)], capture_output=True, text=True, check=False, cwd=BENCH.parent)

    assert done.returncode == 0, done.stderr
    rows = json.loads(out.read_text())["peer"]
    assert [row["workload"] for row in rows] == ["gpt2-8", "gpt2-16", "gpt2-32", "gpt2-64"]
    assert all("failed" in row for row in rows)
