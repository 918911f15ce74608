"""Does a tune come near the best that there is? Every combination of a few settings, against what the plan holds.

Run: python bench/exhaustive.py [--blocks 2] --plan hotlap.toml [--knob ID ...] SCRIPT [its arguments]
The settings are those of the plan, with the knobs named beside them. Every combination of them runs in blocks of fresh
processes, in random order, the untouched script in each block. The best of so many noisy means looks better than it is,
so the plan's own combination is compared with the one that ranks first by fresh pairs of just these two.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from itertools import combinations
from math import exp
from pathlib import Path

from hotlap import stats
from hotlap.answer import phases_of
from hotlap.knobs import knob_by_id
from hotlap.lab import Lab
from hotlap.logbook import Logbook
from hotlap.records import AS_WRITTEN, Setup
from hotlap.report import numbers
from hotlap.run import find_plan
from hotlap.search.greedy import fits
from hotlap.target import resolve
from hotlap.trials import blocks
from hotlap.trials.launch import best_tier
from hotlap.trials.runner import ProcessRunner
from hotlap.tune import CONFIRM_S

_PAIRS = 6  # of the best with the plan


def every_setup(whole: Setup) -> list[Setup]:
    """All parts of it that can be on together, but for the empty one."""
    conflicts = {knob: knob_by_id(knob).conflicts for knob in whole.values}
    parts = [Setup(part) for size in range(1, len(whole.settings) + 1) for part in combinations(whole.settings, size)]
    return [part for part in parts if all(fits(knob, part, conflicts) for knob in part.values)]


def sweep(lab: Lab, planned: Setup, setups: Sequence[Setup], count: int) -> None:
    """Measure them all, print them by rank, and compare the first with the plan."""
    observed = lab.observe(limit_s=15.0)
    window = blocks.window_for(phases_of(observed).total_s, CONFIRM_S, observed.warmup_steps)
    pairs = [pair for _ in range(count) for pair in lab.block("screen", AS_WRITTEN, setups, window)]
    gains = blocks.typical_gains(pairs)
    ranked = sorted(gains, key=lambda setup: -gains[setup])
    for rank, setup in enumerate(ranked, start=1):
        print(f"{rank:3} {exp(gains[setup]):.2f}x  {setup}{'  <- the plan' if setup == planned else ''}", flush=True)
    if ranked[0] == planned:
        print("the plan is the first of all combinations")
        return
    more = [pair for _ in range(_PAIRS) for pair in lab.block("confirm", planned, [ranked[0]], window)]
    ratio = stats.speedup([[pair.reference_s] for pair in more], [[pair.candidate_s] for pair in more])
    print(f"the first is {numbers.estimate(ratio)} times as fast as the plan")


def main() -> None:
    """Sweep and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plan", type=Path, required=True)
    parser.add_argument("--knob", action="append", default=[], metavar="ID=VALUE", help="besides those of the plan")
    parser.add_argument("--blocks", type=int, default=2)
    parser.add_argument("script", nargs=argparse.REMAINDER)
    args = parser.parse_args()
    target = resolve(tuple(args.script))
    planned = find_plan(args.plan, target.cwd).setup()
    beside = dict(text.partition("=")[::2] for text in args.knob)
    whole = Setup.of({**{knob: value or True for knob, value in beside.items()}, **planned.values})
    setups = every_setup(whole)
    print(f"{len(setups)} combinations of {whole}", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="hotlap-exhaustive-") as folder:
        book = Logbook(Path(folder) / "logbook.jsonl")
        book.start(" ".join(target.arguments), target.sha256, 1, "bench")
        lab = Lab(ProcessRunner(target, Path(folder), best_tier()[0]), book, 7200.0, 1)
        sweep(lab, planned, setups, args.blocks)


if __name__ == "__main__":
    main()
