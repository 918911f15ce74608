"""A training to its end in three arms with paired seeds: as written, under a fixed preset, under hotlap's plan.

Run: python bench/proof.py [--plan hotlap.toml] [--seeds 3] [--budget 5m] [--json] SCRIPT [its arguments]
The script must take --seed N and print the held-out number as the last number of its last line. For each seed the arms
run one after another, in an order that rotates. The wall clock is that of the whole command, with start-up, compilation
and evaluation; compile caches start empty in every run. Without --plan, `hotlap tune` makes one first, and its time is
counted. The preset is what is usually advised, on for every call of the model and not tried or checked beforehand. A
ratio compares the runs of one seed; an interval is a 95 % interval over seeds, so with three of them it is wide.
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from time import perf_counter

from hotlap import stats
from hotlap.commands import wishes
from hotlap.knobs import knob_by_id
from hotlap.plan import Plan
from hotlap.records import Estimate, Setup
from hotlap.report import numbers
from hotlap.run import find_plan
from hotlap.target import Target, resolve
from hotlap.trials.environment import entered
from hotlap.trials.runner import ordered, root_of
from hotlap.versions import device_name, torch_version

WRITTEN, PRESET, PLAN = ARMS = ("as written", "preset", "hotlap's plan")
USUAL = ("autocast-bf16=true", "channels-last=true", "compile=true", "fused-update=true")
_NUMBER = re.compile(r"[-+]?\d*\.?\d+(?:[eE][-+]?\d+)?")


@dataclass(frozen=True)
class Run:
    """One training from start to end."""

    arm: str
    seed: int
    wall_s: float
    held_out: float | None
    """The last number of the last line; None when there is none."""
    label: str
    """What that line calls it."""
    failed: str
    """Why it did not come to its end, or ""."""
    notes: tuple[str, ...]
    """What hotlap said on the way."""


@dataclass(frozen=True)
class Arm:
    """What one arm comes to."""

    arm: str
    ended: int
    """Runs that came to their end with a finite number."""
    wall_s: float | None
    """Mean over them."""
    faster: Estimate | None
    """Times faster than as written, tuning not counted; None for as written, or fewer than two pairs."""
    faster_with_tuning: Estimate | None
    """The same if the tune is paid for by a single training; None where nothing was tuned."""
    held_out: float | None
    """Mean over the runs that ended."""
    difference: Estimate | None
    """Held-out number less that of as written at the same seed."""
    failed: str
    notes: tuple[str, ...]


# -- running


def tuned(script: Sequence[str], python: str, out: Path, budget: str) -> tuple[Path, float]:
    """A plan made by `hotlap tune`, and the time that took [s]."""
    plan = out / "hotlap.toml"
    options = ("--python", python, "--out", str(out / "tune"), "--plan", str(plan), "--budget", budget)
    began = perf_counter()
    done = subprocess.run(
        (sys.executable, "-m", "hotlap", "tune", *options, *script), stdout=sys.stderr, env=bare(), check=False
    )
    if done.returncode:
        raise SystemExit(f"hotlap tune gave no answer (exit code {done.returncode})")
    return plan, perf_counter() - began


def bare() -> dict[str, str]:
    """The user's environment, with no trace of hotlap."""
    return {name: value for name, value in os.environ.items() if not name.startswith("HOTLAP_")}


def under(setup: Setup, roots: Sequence[dict[str, object]], folder: Path) -> dict[str, str]:
    """The environment in which a training runs under these settings, as `hotlap run` would start it."""
    task = {
        "purpose": "run",
        "settings": ordered(setup.values),
        "roots": roots,
        "seed": 0,
        "steps": 0,
        "limit_s": 0,
        "options": {},
    }
    path = folder / "task.json"
    path.write_text(json.dumps(task))
    environment = entered(path, None)
    for knob, value in setup.values.items():
        environment |= knob_by_id(knob).environment(value)
    return environment


def train(
    arm: str, seed: int, command: Sequence[str], environment: dict[str, str], limit_s: float, folder: Path
) -> Run:
    """Train once, to the end; the output is kept in the folder."""
    with tempfile.TemporaryDirectory(prefix="hotlap-proof-") as caches:
        fresh = {"TORCHINDUCTOR_CACHE_DIR": f"{caches}/inductor", "TRITON_CACHE_DIR": f"{caches}/triton"}
        began = perf_counter()
        try:
            done = subprocess.run(
                command, env=environment | fresh, capture_output=True, text=True, check=False, timeout=limit_s
            )
            code, out, err = done.returncode, done.stdout, done.stderr
        except subprocess.TimeoutExpired:
            code, out, err = -1, "", f"not done after {limit_s:.0f} s"
        wall_s = perf_counter() - began
    (folder / f"{arm.split()[-1]}-{seed}.log").write_text(f"{out}\n--- stderr\n{err}")
    label, held_out = last_number(out)
    said = [line.strip() for line in err.splitlines() if line.strip()]
    failed = ""
    if code:
        failed = said[-1] if said else f"exit code {code}"
    elif held_out is None:
        failed = "its last line holds no number"
    elif not math.isfinite(held_out):
        failed = f"its held-out number is {held_out}"
    told = (line.removeprefix("hotlap: ") for line in said if line.startswith("hotlap: "))
    notes = tuple(dict.fromkeys(note for note in told if not note.startswith("other arguments")))  # the seed is ours
    return Run(arm, seed, wall_s, held_out, label, failed, notes)


def last_number(output: str) -> tuple[str, float | None]:
    """The last line's last number and the words around it."""
    lines = [line for line in output.splitlines() if line.strip()]
    if not lines:
        return "", None
    if (words := lines[-1].split())[-1].lower() in ("nan", "inf", "-inf"):
        return " ".join(words[:-1]), float(words[-1])
    found = list(_NUMBER.finditer(lines[-1]))
    if not found:
        return "", None
    last = found[-1]
    label = f"{lines[-1][: last.start()]} {lines[-1][last.end() :]}"
    return " ".join(label.split()).strip(" :="), float(last.group())


def run_all(seeds: int, first: int, start: Callable[[str, int], Run]) -> list[Run]:
    """Every arm with every seed."""
    runs: list[Run] = []
    for number in range(seeds):
        turn = number % len(ARMS)
        for arm in ARMS[turn:] + ARMS[:turn]:
            run = start(arm, first + number)
            runs.append(run)
            said = run.failed or f"{run.label} {run.held_out}"
            print(f"seed {run.seed}, {arm}: {numbers.seconds(run.wall_s)}, {said}", file=sys.stderr, flush=True)
    return runs


# -- numbers


def summed_up(arm: str, runs: Sequence[Run], tuning_s: float | None) -> Arm:
    """What an arm comes to, in pairs with the runs as written."""
    reference = {run.seed: run for run in runs if run.arm == WRITTEN and not run.failed}
    mine = [run for run in runs if run.arm == arm]
    ended = [run for run in mine if not run.failed]
    pairs = [(reference[run.seed], run) for run in ended if run.seed in reference] if arm != WRITTEN else []
    compared = len(pairs) >= 2
    extra = tuning_s if arm == PLAN else None
    return Arm(
        arm=arm,
        ended=len(ended),
        wall_s=fmean(run.wall_s for run in ended) if ended else None,
        faster=ratio(pairs, 0.0) if compared else None,
        faster_with_tuning=ratio(pairs, extra) if compared and extra is not None else None,
        held_out=fmean(run.held_out or 0.0 for run in ended) if ended else None,
        difference=difference(pairs) if compared else None,
        failed="; ".join(f"seed {run.seed}: {run.failed}" for run in mine if run.failed),
        notes=tuple(dict.fromkeys(note for run in mine for note in run.notes)),
    )


def ratio(pairs: Sequence[tuple[Run, Run]], extra_s: float) -> Estimate:
    """Times faster, with so much time added to the arm's own."""
    return stats.speedup([[ours.wall_s] for ours, _ in pairs], [[arm.wall_s + extra_s] for _, arm in pairs])


def difference(pairs: Sequence[tuple[Run, Run]]) -> Estimate | None:
    """Mean difference of the held-out number; the test's interval alone, with no margin to decide on."""
    return stats.equivalence([(b.held_out or 0.0) - (a.held_out or 0.0) for a, b in pairs], math.inf).difference


def repaid_after(arms: Sequence[Arm], tuning_s: float | None) -> int | None:
    """Trainings that earn the tune back; None when they never do, or nothing was tuned."""
    walls = {arm.arm: arm.wall_s for arm in arms}
    before, after = walls[WRITTEN], walls[PLAN]
    if tuning_s is None or before is None or after is None or not after < before:
        return None
    return math.ceil(tuning_s / (before - after))


# -- output


def markdown(title: str, about: Sequence[str], arms: Sequence[Arm], runs: Sequence[Run]) -> str:
    """A section for docs/measured.md."""
    label = next((run.label for run in runs if run.label), "held-out number")
    lines = [f"### {title}", "", *(f"- {line}" for line in about), ""]
    lines += [
        f"| arm | wall clock | times faster | tune included | {label} | difference |",
        "|---|---|---|---|---|---|",
    ]
    for arm in arms:
        cells = [arm.arm, numbers.seconds(arm.wall_s) if arm.wall_s else "did not end"]
        cells += [numbers.estimate(gain) if gain else "" for gain in (arm.faster, arm.faster_with_tuning)]
        cells += [f"{arm.held_out:.4g}" if arm.held_out is not None else ""]
        cells += [numbers.estimate(arm.difference) if arm.difference else ""]
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", f"| seed | {' | '.join(ARMS)} |", "|---|---|---|---|"]
    for seed in sorted({run.seed for run in runs}):
        row = {run.arm: run for run in runs if run.seed == seed}
        lines.append(f"| {seed} | {' | '.join(_cell(row[arm]) for arm in ARMS)} |")
    lines += [f"\n{arm.arm} failed: {arm.failed}." for arm in arms if arm.failed]
    lines += [f"\n{arm.arm} said: {'; '.join(arm.notes)}." for arm in arms if arm.notes]
    return "\n".join(lines)


def _cell(run: Run) -> str:
    return "failed" if run.failed else f"{numbers.seconds(run.wall_s)}, {run.held_out:g}"


def described(target: Target, plan: Plan, preset: Setup, tuning_s: float | None, repaid: int | None) -> list[str]:
    """What was compared, and on what."""
    torch = torch_version(target.python)
    machine = plan.header.machine
    tune = "the plan was given, so tuning is not counted" if tuning_s is None else f"tune: {numbers.seconds(tuning_s)}"
    if tuning_s is not None and plan.settings:
        tune += f", earned back after {repaid} such trainings" if repaid else ", not earned back"
    made = f", tuned on {machine.cpu}, {machine.cores} cores"
    return [
        f"torch {torch}, {device_name(torch)}{made}, {datetime.datetime.now(datetime.UTC).date()}",
        f"hotlap's plan: {plan.setup()}",
        f"preset: {preset}",
        tune,
    ]


def main() -> None:
    """Train in every arm, print the section or the document."""
    args = _arguments()
    script = (args.script, *args.arguments)
    target = resolve(script, args.python)
    out: Path = (args.out or Path(".hotlap") / "proof" / target.name).resolve()
    out.mkdir(parents=True, exist_ok=True)
    preset = wishes("recipe", args.preset or list(USUAL), [], []).pinned
    path, tuning_s = (args.plan.resolve(), None) if args.plan else tuned(script, target.python, out, args.budget)
    plan = find_plan(path, target.cwd)
    every_call = [
        root_of(root.name, root.index, None) for root in plan.roots
    ]  # nobody verified a fixed recipe's shapes
    environments = {WRITTEN: bare(), PRESET: under(preset, every_call, out), PLAN: bare()}
    options = ("--plan", str(path), "--out", str(out), "--python", target.python)
    commands: dict[str, tuple[str, ...]] = dict.fromkeys((WRITTEN, PRESET), target.command)
    commands[PLAN] = (sys.executable, "-m", "hotlap", "run", *options, *target.arguments)

    def start(arm: str, seed: int) -> Run:
        return train(arm, seed, (*commands[arm], "--seed", str(seed)), environments[arm], args.limit, out)

    runs = run_all(args.seeds, args.first_seed, start)
    arms = [summed_up(arm, runs, tuning_s) for arm in ARMS]
    about = described(target, plan, preset, tuning_s, repaid_after(arms, tuning_s))
    if args.json:
        document = {"script": script, "about": about, "tuning_s": tuning_s}
        document |= {"arms": [asdict(arm) for arm in arms], "runs": [asdict(run) for run in runs]}
        print(json.dumps(document, indent=1))
    else:
        print(markdown(" ".join(script), about, arms, runs))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plan", type=Path, help="a plan that was made before; without it `hotlap tune` makes one")
    parser.add_argument("--budget", default="5m", help="of that tune")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--preset", action="append", metavar="KNOB=VALUE", help=f"instead of {', '.join(USUAL)}")
    parser.add_argument("--limit", type=float, default=7200.0, help="for one training [s]")
    parser.add_argument("--python", help="the training's interpreter")
    parser.add_argument("--out", type=Path, help="for the plan and the output of every run; .hotlap/proof/<script>")
    parser.add_argument("--json", action="store_true", help="one document on stdout; all else goes to stderr")
    parser.add_argument("script")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="the script's own")
    args = parser.parse_args()
    if args.seeds < 2:
        parser.error("--seeds: an interval takes at least two")
    return args


if __name__ == "__main__":
    main()
