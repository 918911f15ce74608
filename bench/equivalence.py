"""How often is a training under verified settings as good as one without? Trainings to their end, with paired seeds.

Run: python bench/equivalence.py [--seeds 5] run       (adds to a file, so it can be stopped and gone on with)
     python bench/equivalence.py table
Each case is a script and settings that hotlap's judge is asked about first, by the gates alone; what it refuses is not
trained with, and is told. Margins are set beforehand: the held-out number may be worse by one point of accuracy, or
by 1 % of the loss. A case is non-inferior when the one-sided 95 % bound of the mean difference over its seeds, by
Student's t, is inside the margin. Run from the folder that holds examples/.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from statistics import fmean, stdev

from planted_faults import Bench
from proof import bare, train, under
from scipy.special import stdtrit
from scipy.stats import binomtest

from hotlap.records import Setup
from hotlap.target import resolve
from hotlap.trials.runner import root_of

ROUNDING = Setup.of({"fused-update": True})
REDUCED = ROUNDING.with_("autocast-bf16", True)
IMAGES = Setup.of({"channels-last": True, "malloc-thresholds": "mallopt"})
CASES = (
    ("examples/images.py --epochs 1", IMAGES.with_("fused-update", True).with_("whole-batch-fetch", True)),
    ("examples/images.py --epochs 1", Setup.of({**IMAGES.values, **REDUCED.values})),
    ("examples/speech.py --epochs 4", ROUNDING),
    ("examples/speech.py --epochs 4", REDUCED),
    ("examples/speech.py --epochs 4", REDUCED.with_("channels-last", True)),
    ("examples/speech.py --epochs 4 --optimizer momentum", ROUNDING.with_("channels-last", True)),
    ("examples/speech.py --epochs 4 --optimizer momentum", REDUCED),
    ("examples/text.py --epochs 1", ROUNDING),
    ("examples/text.py --epochs 1", REDUCED),
    ("examples/text.py --epochs 1", ROUNDING.with_("compile", True)),
    ("examples/text.py --epochs 1 --optimizer momentum", ROUNDING),
    ("examples/text.py --epochs 1 --optimizer momentum", REDUCED),
)
POINTS, SHARE = 0.01, 0.01  # of accuracy; of a loss
WRITTEN = "as written"
_LIMIT_S = 1800.0


@dataclass(frozen=True)
class Trained:
    """One training to its end; or, without a number, why there was none."""

    script: str
    setup: str
    seed: int
    held_out: float | None
    label: str
    said: str


@dataclass(frozen=True)
class Case:
    """One script under one setup."""

    script: str
    setup: str
    verdict: str
    worse: tuple[float, ...]
    """By how much the held-out number was worse at each seed."""
    label: str
    margin: float

    @property
    def bound(self) -> float:
        """The one-sided 95 % bound of the mean difference."""
        seeds = len(self.worse)
        return fmean(self.worse) + float(stdtrit(seeds - 1, 0.95)) * stdev(self.worse) / sqrt(seeds)


def run(path: Path, seeds: int) -> None:
    """Judge and train what the file does not hold yet."""
    known = {(one.script, one.setup, one.seed) for one in read(path)}
    for script, setup in CASES:
        wanted = [seed for seed in range(seeds) if (script, str(setup), seed) not in known]
        if not wanted:
            continue
        arguments = script.split()
        with tempfile.TemporaryDirectory(prefix="hotlap-equivalence-") as name:
            folder = Path(name)
            bench = Bench(arguments, folder)
            judged = bench.judge.judge(setup)
            print(f"{script} under {setup}: {judged.verdict.word.value}", file=sys.stderr, flush=True)
            if not judged.verdict.word.may_enter_plan:
                add(
                    path,
                    Trained(script, str(setup), 0, None, "", f"{judged.verdict.word.value}: {judged.verdict.reason}"),
                )
                continue
            roots = [root_of(r.name, r.index, judged.signatures.get((r.name, r.index), ())) for r in bench.facts.roots]
            arms = {WRITTEN: bare(), str(setup): under(setup, roots, folder)}
            for seed in wanted:
                for arm, environment in arms.items():
                    if (script, arm, seed) in known:
                        continue
                    command = (*resolve(tuple(arguments)).command, "--seed", str(seed))
                    done = train(arm, seed, command, environment, _LIMIT_S, folder)
                    word = judged.verdict.word.value if arm != WRITTEN else ""
                    add(path, Trained(script, arm, seed, done.held_out, done.label, done.failed or word))
                    known.add((script, arm, seed))
                    print(f"  seed {seed}, {arm}: {done.held_out} in {done.wall_s:.0f} s", file=sys.stderr, flush=True)


def add(path: Path, one: Trained) -> None:
    """Append it."""
    with path.open("a") as file:
        file.write(json.dumps(vars(one)) + "\n")


def read(path: Path) -> list[Trained]:
    """Everything trained so far."""
    return [Trained(**json.loads(line)) for line in path.read_text().splitlines()] if path.exists() else []


def cases(trained: Sequence[Trained]) -> list[Case]:
    """The cases that have at least two pairs of seeds."""
    found: list[Case] = []
    for script, setup in dict.fromkeys((one.script, one.setup) for one in trained if one.setup != WRITTEN):
        written = {one.seed: one for one in trained if (one.script, one.setup) == (script, WRITTEN)}
        mine = [one for one in trained if (one.script, one.setup) == (script, setup) and one.held_out is not None]
        pairs = [(written[one.seed].held_out or 0.0, one.held_out or 0.0) for one in mine if one.seed in written]
        if len(pairs) < 2:
            continue
        accuracy = "accuracy" in mine[0].label
        worse = tuple(a - b if accuracy else b - a for a, b in pairs)
        margin = POINTS if accuracy else SHARE * fmean(a for a, _ in pairs)
        found.append(Case(script, setup, mine[0].said, worse, mine[0].label, margin))
    return found


def table(trained: Sequence[Trained]) -> None:
    """Print the cases, and how often the held-out number was as good."""
    print("| script | settings | verdict | held-out number | worse by (mean) | at most (95 %) | margin | as good |")
    print("|---|---|---|---|---|---|---|---|")
    found = cases(trained)
    for case in found:
        number = f"{fmean(case.worse):+.4f} | {case.bound:+.4f} | {case.margin:.4f}"
        good = "yes" if case.bound < case.margin else "not shown"
        print(f"| {case.script} | {case.setup} | {case.verdict} | {case.label} | {number} | {good} |")
    good = sum(case.bound < case.margin for case in found)
    interval = binomtest(good, len(found)).proportion_ci(method="exact")
    print(f"\nnon-inferior: {good} of {len(found)} ({interval.low:.0%} to {interval.high:.0%})")
    for one in trained:
        if one.held_out is None:
            print(f"not trained: {one.script} under {one.setup}: {one.said}")


def main() -> None:
    """Run, or print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=Path(".hotlap/equivalence/results.jsonl"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="one document on stdout")
    parser.add_argument("command", choices=("run", "table"))
    args = parser.parse_args()
    args.results.parent.mkdir(parents=True, exist_ok=True)
    if args.command == "run":
        run(args.results, args.seeds)
    if args.json:
        print(json.dumps([vars(one) for one in read(args.results)], indent=1))
    else:
        table(read(args.results))


if __name__ == "__main__":
    main()
