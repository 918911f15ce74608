"""What knobs gain where they are meant to: small scripts with one habit each, and the setting that undoes it.

Run: python bench/knob_gains.py [--blocks 4] [--only TEXT] [--json]
Settings that can be switched between two steps are measured in rounds within one process, the others in blocks of fresh
processes. Run from the folder that holds bench/. A setting that its knob would not try on the script is an error.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from math import exp
from pathlib import Path

from hotlap import ranking, stats
from hotlap.answer import phases_of
from hotlap.knobs import knob_by_id
from hotlap.lab import Lab
from hotlap.logbook import Logbook
from hotlap.records import AS_WRITTEN, Estimate, Setting, Setup, Skip
from hotlap.report import numbers
from hotlap.target import resolve
from hotlap.trials import blocks
from hotlap.trials.launch import best_tier
from hotlap.trials.runner import ProcessRunner

_WINDOW_S = 4.0
CASES = (
    (Setting("forced-collection", False), "collects"),
    (Setting("gc-freeze", True), "collects"),
    (Setting("checkpointing", False), "checkpoints"),
    (Setting("anomaly-detection", False), "anomaly"),
    (Setting("deterministic-algorithms", False), "deterministic"),
    (Setting("uninitialized-memory", False), "deterministic"),
    (Setting("grads-to-none", True), "zeroes"),
    (Setting("distribution-checks", False), "distributions"),
    (Setting("foreach-update", True), "nadam"),
    (Setting("fused-update", True), "deep"),
    (Setting("compile", True), "deep"),
    (Setting("compile", "blocks"), "deep"),
)


def gains(count: int, only: str) -> Iterator[tuple[Setting, str, Estimate]]:
    """Each setting's gain on its script."""
    for setting, habit in CASES:
        if only not in f"{setting} {habit}":
            continue
        target = resolve(("bench/scripts/habits.py", habit))
        with tempfile.TemporaryDirectory(prefix="hotlap-gains-") as folder:
            book = Logbook(Path(folder) / "logbook.jsonl")
            book.start(" ".join(target.arguments), target.sha256, 1, "bench")
            lab = Lab(ProcessRunner(target, Path(folder), best_tier()[0]), book, 3600.0, 1)
            observed = lab.observe(limit_s=10.0)
            assert observed.facts is not None
            offered = knob_by_id(setting.knob).choices(observed.facts)
            if isinstance(offered, Skip) or setting.value not in offered:
                sys.exit(f"{setting} would not be tried on {habit}: {offered}")
            window = blocks.window_for(phases_of(observed).total_s, _WINDOW_S, observed.warmup_steps)
            setup, pairs = Setup((setting,)), []
            while len(pairs) < count:
                pairs += ranking.rank(lab, "screen", AS_WRITTEN, [setup], window)
            logs = [blocks.log_gain(pair) for pair in pairs]
            yield setting, habit, stats.speedup([[exp(log)] for log in logs], [[1.0]] * len(logs))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, default=4)
    parser.add_argument("--only", default="", metavar="TEXT")
    parser.add_argument("--json", action="store_true", help="one document on stdout")
    args = parser.parse_args()
    found = []
    if not args.json:
        print("| setting | script | gain | n |\n|---|---|---|---|")
    for setting, habit, gain in gains(args.blocks, args.only):
        found.append({"setting": str(setting), "script": habit, **vars(gain)})
        if not args.json:
            print(f"| {setting} | habits.py {habit} | {numbers.estimate(gain)} | {gain.n} |", flush=True)
    if args.json:
        print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
