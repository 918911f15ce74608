"""What it costs a training to be watched by a trial, or to run under a plan: per step, and at the start.

Run: python bench/overhead.py [--rounds 150] [--pairs 20] [--setting channels-last=true] [--json]
Two ways of asking, both in rounds that run every arm once, in an order that rotates, against the script as written in
the same round. "stretches": one process with one thread, hotlap installed and taken out again, a fresh model each time.
The cost of a step does not depend on what the step computes, so it is measured where it is largest beside the noise, on
steps of a quarter of a millisecond, and set against one of 5 ms. "processes": fresh processes with steps of about 5 ms
and all threads, so it holds what a process brings with it, and its noise; also the cost of starting.
The arm "as written again" shows what the measurement itself can tell apart. The setting is one that changes nothing on
a network without images, so what is measured is the way to it: every call is checked against the verified shapes.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import importlib
import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, median
from time import perf_counter
from typing import Any, TypeVar

from scipy.stats import quantile_test

from hotlap import stats
from hotlap.commands import wishes
from hotlap.plan import Header, Plan, PlannedMachine, PlannedRoot, PlannedSetting, PlannedSignature, write
from hotlap.records import AS_WRITTEN, Contract, Estimate, Setup, Trial
from hotlap.report import numbers
from hotlap.run import prepare
from hotlap.target import Target
from hotlap.trials.environment import entered
from hotlap.trials.runner import root_of, task_of
from hotlap.versions import device_name, torch_version

BARE, AGAIN, WATCHED, EMPTY, SETTING = (
    "as written",
    "as written again",
    "watched by a trial",
    "`hotlap run`, empty plan",
    "`hotlap run`, one setting",
)
ARMS = (BARE, AGAIN, WATCHED, EMPTY, SETTING)
FEATURES = 256
_LEAST = 6  # values from which the median has a 95 % interval at all
_STEP_S = 0.005  # the step that a cost is set against
Measured = TypeVar("Measured")

SCRIPT = f'''\
"""Train a small network and print the mean time of a step [s]: python training.py STEPS WARMUP WIDTH BATCH DEVICE."""

import sys
from time import perf_counter

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear({FEATURES}, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 10)
        )

    def forward(self, x):
        return self.layers(x)


def train(steps, warmup, width, batch, device):
    torch.manual_seed(0)
    data = TensorDataset(torch.randn(32 * batch, {FEATURES}), torch.randint(10, (32 * batch,)))
    loader = DataLoader(data, batch_size=batch, shuffle=True)
    model, criterion = Net(width).to(device), nn.CrossEntropyLoss()
    optimizer = torch.optim.AdamW(model.parameters())
    done, total = 0, 0.0
    while True:
        for inputs, targets in loader:
            if done == warmup:
                began = perf_counter()
            if done == warmup + steps:
                return (perf_counter() - began) / steps
            inputs, targets = inputs.to(device), targets.to(device)
            optimizer.zero_grad()
            loss = criterion(model(inputs), targets)
            loss.backward()
            optimizer.step()
            total += loss.item()
            done += 1


if __name__ == "__main__":
    print(train(*map(int, sys.argv[1:5]), sys.argv[5]))
'''


@dataclass(frozen=True)
class Cost:
    """What one arm costs against the script as written."""

    how: str
    arm: str
    step: Estimate
    """Mean time of a step [s]."""
    extra: Estimate | None
    """What a step takes longer [s], the median over rounds; None for the script as written itself."""
    cost: Estimate | None
    """The same as a share: of a step of 5 ms within one process, else of the step that was measured."""
    start: Estimate | None
    """What starting takes longer [s]; None within one process."""


@dataclass(frozen=True)
class Bench:
    """What is the same for all arms."""

    folder: Path
    setting: Setup
    steps: int
    warmup: int
    width: int
    batch: int
    device: str

    @property
    def arguments(self) -> tuple[str, ...]:
        """What the script is given."""
        return (str(self.steps), str(self.warmup), str(self.width), str(self.batch), self.device)

    @property
    def target(self) -> Target:
        """The training."""
        script = self.folder / "training.py"
        command = (sys.executable, str(script), *self.arguments)
        return Target(command, script, command[1:], sys.executable, self.folder)

    def plan(self, setup: Setup, module: str) -> Plan:
        """A plan for the training, in which the network is a class of that module and its one shape is verified."""
        torch, target = torch_version(sys.executable), self.target
        header = Header(
            date=datetime.datetime.now(datetime.UTC).date(),
            script="training.py",
            script_sha256=target.sha256,
            argv=target.arguments,
            torch=torch,
            python=sys.executable,
            device=device_name(torch),
            machine=PlannedMachine(cpu="any", cores=1),
        )
        call = PlannedSignature(shapes=((self.batch, FEATURES),), dtypes=("float32",), training=True, grad=True)
        width = self.width
        shapes = ((width, FEATURES), (width,), (width, width), (width,), (10, width), (10,))
        root = PlannedRoot(name=f"{module}:Net", index=0, parameter_shapes=shapes, signatures=(call,))
        settings = tuple(PlannedSetting(knob=s.knob, value=s.value, contract=Contract.ROUNDING) for s in setup.settings)
        return Plan(header=header, settings=settings, roots=(root,))

    def watching(self, module: str) -> dict[str, object]:
        """The task of a timed trial that never ends, so that the script does."""
        task = task_of(Trial("0001-time", "time", AS_WRITTEN, 0, 0, 0, 0.0), None, self.folder)
        return {**task, "roots": [root_of(f"{module}:Net", 0, None)]}


# -- stretches of one process


def stretches(bench: Bench, rounds: int) -> dict[str, list[float]]:
    """Mean times of a step [s] by arm, one for each round."""
    sys.path.insert(0, str(bench.folder))
    importlib.import_module("torch").set_num_threads(1)
    training = importlib.import_module("training")
    from hotlap.inside import session

    tasks: dict[str, Any] = {WATCHED: bench.watching("training")}
    for arm, setup in ((EMPTY, AS_WRITTEN), (SETTING, bench.setting)):
        environment = prepare(bench.plan(setup, "training"), bench.target, bench.folder, _quiet, anyway=True)
        tasks[arm] = json.loads(Path(environment["HOTLAP_TASK"]).read_text())

    def stretch(arm: str) -> float:
        os.environ.pop("HOTLAP_JOURNAL", None)
        if arm == WATCHED:
            os.environ["HOTLAP_JOURNAL"] = str(bench.folder)
        host = session.start(tasks[arm]) if arm in tasks else None
        try:
            return training.train(bench.steps, bench.warmup, bench.width, bench.batch, bench.device)
        finally:
            if host is not None:
                host.undo()

    stretch(BARE)  # the first one warms up
    return interleaved(rounds, stretch)


def interleaved(rounds: int, measure: Callable[[str], Measured]) -> dict[str, list[Measured]]:
    """Every arm once a round, in an order that rotates."""
    measured: dict[str, list[Measured]] = {arm: [] for arm in ARMS}
    for number in range(rounds):
        first = number % len(ARMS)
        for arm in ARMS[first:] + ARMS[:first]:
            measured[arm].append(measure(arm))
        print(f"\r{number + 1} of {rounds} rounds", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return measured


def _quiet(text: str) -> None:
    """A plan made for this very run has nothing to say."""


# -- fresh processes


def processes(bench: Bench, pairs: int) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Mean times of a step, and of all that is not a timed step [s], by arm, one for each round."""
    task = bench.folder / "watching.json"
    task.write_text(json.dumps(bench.watching("__main__")))
    bare = {name: value for name, value in os.environ.items() if not name.startswith("HOTLAP_")}
    commands: dict[str, tuple[str, ...]] = dict.fromkeys((BARE, AGAIN, WATCHED), bench.target.command)
    for arm, setup in ((EMPTY, AS_WRITTEN), (SETTING, bench.setting)):
        plan = bench.folder / f"{arm.split()[-1]}.toml"
        write(bench.plan(setup, "__main__"), plan)
        options = ("--anyway", "--plan", str(plan), "--out", str(bench.folder / "out"), "--python", sys.executable)
        commands[arm] = (sys.executable, "-m", "hotlap", "run", *options, *bench.target.arguments)

    def process(arm: str) -> tuple[float, float]:
        environment = entered(task, bench.folder) if arm == WATCHED else bare
        began = perf_counter()
        done = subprocess.run(
            commands[arm], env=environment, cwd=bench.folder, capture_output=True, text=True, check=False
        )
        wall_s = perf_counter() - began
        if done.returncode:
            raise SystemExit(f"{arm} failed:\n{done.stderr}")
        step_s = float(done.stdout)
        return step_s, wall_s - step_s * bench.steps

    process(BARE)  # the first one fills the file cache
    measured = interleaved(pairs, process)
    steps = {arm: [step_s for step_s, _ in both] for arm, both in measured.items()}
    return steps, {arm: [rest_s for _, rest_s in both] for arm, both in measured.items()}


# -- numbers


def mean_of(values: Sequence[float], unit: str) -> Estimate:
    """Mean with its 95 % interval, by Student's t."""
    found = stats.equivalence(values, math.inf, unit).difference  # the interval alone, with no margin to decide on
    if found is None:
        raise ValueError(f"an interval takes at least two values, not {len(values)}")
    return found


def median_of(values: Sequence[float], unit: str) -> Estimate:
    """Median with its 95 % interval by order statistics: rounds that the machine disturbed do not move it."""
    found = quantile_test(values, p=0.5).confidence_interval(confidence_level=0.95)
    return Estimate(median(values), float(found.low), float(found.high), unit, len(values))


def costs(how: str, steps: dict[str, list[float]], starts: dict[str, list[float]] | None = None) -> list[Cost]:
    """What each arm costs against the script as written in the same round."""
    found: list[Cost] = []
    for arm in ARMS:
        extra = cost = start = None
        if arm != BARE:
            extra = median_of([here - there for here, there in zip(steps[arm], steps[BARE], strict=True)], "s")
            of_s = _STEP_S if starts is None else fmean(steps[BARE])
            cost = Estimate(extra.value / of_s, extra.low / of_s, extra.high / of_s, "share", extra.n)
            if starts is not None:
                start = mean_of([here - there for here, there in zip(starts[arm], starts[BARE], strict=True)], "s")
        found.append(Cost(how, arm, mean_of(steps[arm], "s"), extra, cost, start))
    return found


def table(found: Sequence[Cost]) -> str:
    """The markdown table for docs/measured.md."""
    lines = [
        "| measured in | arm | mean step | a step takes longer by | share of a step | start takes longer by |",
        "|---|---|---|---|---|---|",
    ]
    for row in found:
        cells = [_micro(row.extra), _percent(row.cost), numbers.estimate(row.start) if row.start else ""]
        lines.append(f"| {row.how} | {row.arm} | {numbers.centre(row.step)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _micro(extra: Estimate | None) -> str:
    if extra is None:
        return ""
    return f"{extra.value * 1e6:.1f} us ({extra.low * 1e6:.1f} to {extra.high * 1e6:.1f}, n = {extra.n})"


def _percent(cost: Estimate | None) -> str:
    return f"{cost.value:.2%} ({cost.low:.2%} to {cost.high:.2%})" if cost else ""


def main() -> None:
    """Measure, print the table or the document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=150, help="of stretches in one process; 0 leaves them out")
    parser.add_argument("--pairs", type=int, default=20, help="of fresh processes; 0 leaves them out")
    parser.add_argument("--steps", type=int, default=150, help="timed in each stretch")
    parser.add_argument("--process-steps", type=int, default=600, help="timed in each process")
    parser.add_argument("--warmup", type=int, default=20, help="steps before them")
    parser.add_argument("--width", type=int, default=512, help="of the network in fresh processes")
    parser.add_argument("--device", default="cpu", help="that the training uses")
    parser.add_argument("--setting", default="channels-last=true", help="KNOB=VALUE of the plan with one setting")
    parser.add_argument("--json", action="store_true", help="one document on stdout; all else goes to stderr")
    args = parser.parse_args()
    if any(0 < count < _LEAST for count in (args.rounds, args.pairs)):
        parser.error(f"an interval takes at least {_LEAST} rounds or pairs")
    setting = wishes("recipe", [args.setting], [], []).pinned
    found: list[Cost] = []
    with tempfile.TemporaryDirectory(prefix="hotlap-bench-") as name:
        folder = Path(name)
        (folder / "training.py").write_text(SCRIPT)
        if args.rounds:
            bench = Bench(folder, setting, args.steps, args.warmup, width=8, batch=4, device=args.device)
            found += costs("one process", stretches(bench, args.rounds))
        if args.pairs:
            bench = Bench(folder, setting, args.process_steps, args.warmup, args.width, batch=128, device=args.device)
            found += costs("fresh processes", *processes(bench, args.pairs))
    torch = torch_version(sys.executable)
    script = hashlib.sha256(SCRIPT.encode()).hexdigest()[:16]
    if args.json:
        print(
            json.dumps({"torch": torch, "script": script, **vars(args), "costs": [asdict(c) for c in found]}, indent=1)
        )
    else:
        print(f"torch {torch}, {device_name(torch)}, {len(os.sched_getaffinity(0))} cores; setting {setting}\n")
        print(table(found))


if __name__ == "__main__":
    main()
