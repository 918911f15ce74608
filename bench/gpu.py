"""Everything that hotlap claims of a CUDA device, measured on one, in parts that add to one JSON file.

Run: python bench/gpu.py PART... [--only TEXT] [--budget 3m] [--out gpu.json]
Parts: "checks" (what hotlap says of the device is so), "tunes" (each workload tuned), "peer" (what pytorch-autotune
picks for it), "compare" (each as written, under the fixed preset, under its plan and under that pick, in blocks of
fresh processes). Run from the folder that holds bench/; name few workloads with --only, for each takes minutes. A
workload that fails has a row that says so.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from math import exp
from pathlib import Path
from typing import Any

import msgspec
from gpu_checks import check_all
from gpu_peer import as_setup, picked

from hotlap import stats
from hotlap.answer import phases_of
from hotlap.ceilings import measure
from hotlap.knobs import knob_by_id
from hotlap.lab import Lab
from hotlap.logbook import Logbook
from hotlap.plan import read
from hotlap.records import AS_WRITTEN, Estimate, Facts, Setup, Skip
from hotlap.report import numbers
from hotlap.run import known_knobs
from hotlap.target import resolve
from hotlap.trials import blocks
from hotlap.trials.launch import best_tier
from hotlap.trials.runner import ProcessRunner
from hotlap.versions import torch_version

TESTS = Path(__file__).resolve().parents[1] / "tests"
PRESET = (("autocast-bf16", True), ("channels-last", True), ("compile", True), ("fused-update", True))
_WINDOW_S = 3.0


@dataclass(frozen=True)
class Workload:
    """One training."""

    name: str
    command: tuple[str, ...]

    @property
    def module(self) -> str:
        """In bench/gpu, for the other tuner."""
        return Path(self.command[0]).stem


WORKLOADS = (
    Workload("images", ("examples/images.py", "--batch-size", "512", "--epochs", "200")),
    Workload("text", ("examples/text.py", "--batch-size", "64", "--epochs", "200")),
    Workload("speech", ("examples/speech.py", "--batch-size", "128", "--epochs", "200")),
    Workload("resnet18", ("bench/gpu/resnet18.py",)),
    Workload("transformer", ("bench/gpu/transformer.py",)),
    *(Workload(f"gpt2-{rows}", ("bench/gpu/gpt2.py", "--batch-size", str(rows))) for rows in (8, 16, 32, 64)),
    Workload("resnet50", ("bench/gpu/resnet50.py",)),
    Workload("tuned", ("bench/gpu/tuned.py",)),
)


def tuned(workload: Workload, budget: str, folder: Path) -> dict[str, Any]:
    """Tune it, then compare what came of it with the script as written and with the fixed preset."""
    begun = time.monotonic()
    plan = folder / f"{workload.name}.toml"
    plan.unlink(missing_ok=True)  # one that an earlier tune left would be taken for this one's
    command = [sys.executable, "-m", "hotlap", "tune", "--json", "--budget", budget, "--plan", str(plan)]
    command += ["--out", str(folder / workload.name), *workload.command]
    row: dict[str, Any] = {"command": " ".join(workload.command)}
    with (folder / f"{workload.name}.log").open("w") as log:  # as it comes, so that a tune that is cut off can be read
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=log, text=True, check=False)
    row |= {"exit": done.returncode, "tuning_s": time.monotonic() - begun}
    try:
        told = json.loads(done.stdout)
    except ValueError:
        return {**row, "failed": (folder / f"{workload.name}.log").read_text()[-400:]}
    kept = ("speedup", "verdict", "settings", "levels", "phases", "peak_bytes", "noise", "bounds", "rejected")
    return {**row, **{key: told.get(key) for key in kept}, **_rates(told)}


def _rates(told: dict[str, Any]) -> dict[str, Any]:
    """Operations of a step, and their rate in the tuned step over that of large bfloat16 products."""
    flops, best = told["facts"].get("flops_per_step"), told["ceiling"].get("matmul_bf16_flops")
    step = told["phases"]["tuned"] or told["phases"]["baseline"] or {}
    known = flops and best and step.get("total_s")
    return {"flops": flops, "of_bf16_products": flops / step["total_s"] / best if known else None}


def peer(workload: Workload, budget_s: int, folder: Path) -> dict[str, Any]:
    """What the other tuner picks."""
    kept = folder / f"{workload.name}.peer.json"
    kept.unlink(missing_ok=True)
    row = picked(workload.module, budget_s)
    if "winner" in row:
        kept.write_text(json.dumps(row))
    return row


def compared(workload: Workload, count: int, tunes: Path) -> dict[str, Any]:
    """Blocks of fresh processes: as written, under the fixed preset, under the plan, under another tuner's pick."""
    target, folder = resolve(workload.command), tunes / f"{workload.name}-compare"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    if (compiled := tunes / workload.name / "scratch").exists():
        (folder / "scratch").symlink_to(compiled.resolve())
    book = Logbook(folder / "logbook.jsonl")
    book.start(" ".join(target.arguments), target.sha256, 1, "bench")
    lab = Lab(ProcessRunner(target, folder, best_tier()[0]), book, 3600.0, 1)
    observed = lab.observe(limit_s=6.0)
    assert observed.facts is not None
    arms = {"preset": _fitting(Setup.of(dict(PRESET)), observed.facts)}
    if (plan := tunes / f"{workload.name}.toml").exists():
        arms["plan"] = read(plan, known_knobs()).setup()
    if (peer := tunes / f"{workload.name}.peer.json").exists():
        arms["pick"] = _fitting(as_setup(json.loads(peer.read_text())["winner"]), observed.facts)
    window = blocks.window_for(phases_of(observed).total_s, _WINDOW_S, observed.warmup_steps)
    changed = [setup for setup in dict.fromkeys(arms.values()) if setup.settings]
    taken: list[dict[str, float]] = []  # log gain over the script as written of each arm that a block could time
    for _ in range(count):
        gains = {pair.setup: blocks.log_gain(pair) for pair in lab.block("confirm", AS_WRITTEN, changed, window)}
        gains[AS_WRITTEN] = 0.0
        taken.append({name: gains[setup] for name, setup in arms.items() if setup in gains})

    def over(arm: str, other: str) -> dict[str, Any] | None:
        return _ratio([gains[arm] - gains[other] for gains in taken if arm in gains and other in gains])

    return {
        "arms": {name: str(setup) for name, setup in arms.items()},
        "over_as_written": {name: _ratio([gains[name] for gains in taken if name in gains]) for name in arms},
        "plan_over_preset": over("plan", "preset"),
        "plan_over_pick": over("plan", "pick"),
        "rejected": [f"{rejected.setup}: {rejected.reason}" for rejected in lab.rejected],
    }


def _fitting(setup: Setup, facts: Facts) -> Setup:
    """Without what the script does already or cannot use."""
    return setup.without(*(knob for knob in setup.values if isinstance(knob_by_id(knob).choices(facts), Skip)))


def _ratio(logs: list[float]) -> dict[str, Any] | None:
    if not logs:
        return None
    found: Estimate = stats.speedup([[exp(log)] for log in logs], [[1.0]] * len(logs))
    return {**msgspec.to_builtins(found), "words": numbers.estimate(found)}


def machine() -> dict[str, Any]:
    """What it was measured on."""
    ceilings = measure(sys.executable)
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "torch": torch_version(sys.executable),
        "python": sys.version.split()[0],
        "device": ceilings.device,
        "ceilings": ceilings.as_ceiling,
    }


def main() -> None:
    """Run the parts that are named, and add them to the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="+", choices=("checks", "tunes", "peer", "compare"))
    parser.add_argument("--only", default="", metavar="TEXT", help="workloads or checks that hold it in their name")
    parser.add_argument("--budget", default="5m", help="of each tune")
    parser.add_argument("--peer-budget", type=int, default=120, help="of the other tuner [s]")
    parser.add_argument("--blocks", type=int, default=4, help="of each comparison")
    parser.add_argument("--folder", type=Path, default=Path(".hotlap/gpu"), help="for plans and logbooks")
    parser.add_argument("--out", type=Path, default=Path(".hotlap/gpu/gpu.json"))
    args = parser.parse_args()
    sys.path.append(str(TESTS))  # planted faults are knobs there
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(TESTS), os.environ.get("PYTHONPATH")]))
    args.folder.mkdir(parents=True, exist_ok=True)
    document = json.loads(args.out.read_text()) if args.out.exists() else {"machine": machine()}
    chosen = [workload for workload in WORKLOADS if args.only in workload.name]

    def keep(part: str, row: dict[str, Any]) -> None:
        document.setdefault(part, []).append(row)
        args.out.write_text(json.dumps(document, indent=1))

    if "checks" in args.parts:
        for row in check_all(args.only):
            keep("checks", row)
    acts: dict[str, Callable[[Workload], dict[str, Any]]] = {
        "tunes": lambda workload: tuned(workload, args.budget, args.folder),
        "peer": lambda workload: peer(workload, args.peer_budget, args.folder),
        "compare": lambda workload: compared(workload, args.blocks, args.folder),
    }
    for workload, part in ((workload, part) for workload in chosen for part in acts if part in args.parts):
        try:
            row = acts[part](workload)
        except Exception as error:  # the others go on
            row = {"failed": f"{type(error).__name__}: {error}"}
        keep(part, {"workload": workload.name, **row})
    print(json.dumps(document.get("machine")))


if __name__ == "__main__":
    main()
