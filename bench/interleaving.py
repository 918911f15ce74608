"""Interleaving within one process against fresh processes: the same ranking, and how much sooner.

Run: python bench/interleaving.py [--blocks 6] [--seed 1] [--set malloc-thresholds=mallopt] SCRIPT [its arguments]
Every setting that can be switched between two steps is measured both ways against the untouched script, or beside the
settings named: in so many blocks of fresh processes, and in the rounds of one process. Printed are both gains with 95 %
intervals, the seconds that each way took, how well the orders agree (Kendall's tau), and how much longer fresh
processes would take to be as exact as the rounds are (seconds times squared width).
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from math import exp, log
from pathlib import Path
from statistics import fmean

from scipy.stats import kendalltau

from hotlap import ranking, stats
from hotlap.answer import phases_of
from hotlap.commands import wishes
from hotlap.knobs import all_knobs
from hotlap.lab import Lab
from hotlap.logbook import Logbook
from hotlap.records import Estimate, Pair, Setup
from hotlap.search.candidates import Request, candidates
from hotlap.target import resolve
from hotlap.trials import blocks
from hotlap.trials.launch import best_tier
from hotlap.trials.runner import ProcessRunner

_WINDOW_S = 2.5  # as in screening


def gains(pairs: Sequence[Pair]) -> dict[Setup, Estimate]:
    """Each setup's gain over the untouched script, with its interval."""
    found: dict[Setup, list[float]] = {}
    for pair in pairs:
        found.setdefault(pair.setup, []).append(blocks.log_gain(pair))
    return {setup: stats.speedup([[exp(one)] for one in logs], [[1.0]] * len(logs)) for setup, logs in found.items()}


def width(gain: Estimate) -> float:
    """Of the interval, on the scale of logarithms."""
    return log(gain.high / gain.low)


def main() -> None:
    """Measure both ways and print them side by side."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, default=6, help="of fresh processes")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--set", action="append", default=[], help="a setting that is on throughout")
    parser.add_argument("--json", action="store_true", help="one document on stdout")
    parser.add_argument("script", nargs=argparse.REMAINDER)
    args = parser.parse_args()
    target, beside = resolve(tuple(args.script)), wishes("reduced", args.set, [], []).pinned
    with tempfile.TemporaryDirectory(prefix="hotlap-interleaving-") as name:
        folder = Path(name)
        book = Logbook(folder / "logbook.jsonl")
        book.start(" ".join(target.arguments), target.sha256, args.seed, "bench")
        lab = Lab(ProcessRunner(target, folder, best_tier()[0]), book, 3600.0, args.seed)
        lab.on_trying = lambda text, spent_s: print(f"{spent_s:5.0f} s  {text}", file=sys.stderr)
        observed = lab.observe(limit_s=12.0)
        assert observed.facts is not None
        phases = phases_of(observed)
        window = blocks.window_for(phases.total_s, _WINDOW_S, observed.warmup_steps)
        singles, _ = candidates(all_knobs(), observed.facts, Request(pinned=beside), phases, {})
        setups = [beside.with_(single.knob, single.value) for single in singles]
        setups, _ = ranking.divided(observed.facts, beside, setups, window)
        if not setups:
            raise SystemExit("nothing can be switched fairly here; page faults? try --set malloc-thresholds=mallopt")
        begun_s = lab.spent_s
        inside = gains(ranking.rank(lab, "screen", beside, setups, window))
        inside_s = lab.spent_s - begun_s
        apart = gains([pair for _ in range(args.blocks) for pair in lab.block("screen", beside, setups, window)])
        apart_s = lab.spent_s - begun_s - inside_s
    order = kendalltau([inside[setup].value for setup in setups], [apart[setup].value for setup in setups]).statistic
    sooner = apart_s / inside_s * fmean((width(apart[setup]) / width(inside[setup])) ** 2 for setup in setups)
    if args.json:
        rows = {
            str(s): {way: [g[s].value, g[s].low, g[s].high] for way, g in (("rounds", inside), ("processes", apart))}
            for s in setups
        }
        print(json.dumps({"gains": rows, "rounds_s": inside_s, "processes_s": apart_s, "tau": order, "sooner": sooner}))
        return
    print(f"{'setting':<22}{'rounds':>26}{'fresh processes':>26}")
    for setup in sorted(setups, key=lambda setup: -inside[setup].value):
        shown = [f"{g.value:.3f} ({g.low:.3f} to {g.high:.3f})" for g in (inside[setup], apart[setup])]
        print(f"{setup.less(beside)!s:<22}{shown[0]:>26}{shown[1]:>26}")
    print(f"{inside_s:.0f} s in rounds, {apart_s:.0f} s in {args.blocks} blocks of fresh processes")
    print(f"order: tau {order:.2f}; as exact as the rounds, fresh processes would take {sooner:.0f} times as long")


if __name__ == "__main__":
    main()
