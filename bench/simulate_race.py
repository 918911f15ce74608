"""What a race can promise: races of planted arms, through the protocol as it is, on a machine made of formulas.

Run: python bench/simulate_race.py [--races 200] [--seed 0] [--shape standard] [--only TEXT]
Five fields: all arms the same; the same but for the decay of the rate, which every tuned arm gets; every challenger at
a third of the pace; one challenger that is really 1.5 times better; the script itself at a third of its best rate, as a
variant of its command line. No training runs, so no machine matters.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt
from pathlib import Path

from hotlap.lab import Lab
from hotlap.logbook import Logbook
from hotlap.race.race import Wish, race
from hotlap.race.result import RaceResult
from hotlap.race.rules import RULES
from hotlap.race.simulated import SimulatedRunner, Truth
from hotlap.race.study import open_storage
from hotlap.race.trainings import Trainings
from hotlap.records import Facts, Machine, Precision
from hotlap.target import Target

BETTER = 1.5
CHALLENGERS = ("adamw", "nesterov", "muon")


@dataclass(frozen=True)
class Field:
    """What is planted."""

    truths: Mapping[str, Truth]
    gap: float = 0.05
    """What a rate that is let down gains at the end."""
    variants: tuple[str, ...] = ()
    """Of the command line, raced in place of rules."""


def truths(speed: float = 1.0, muon: float | None = None) -> dict[str, Truth]:
    """The script's own rule, and challengers at a share of its pace."""
    return {
        "script": Truth(),
        "adamw": Truth(speed),
        "nesterov": Truth(speed, best_lr=0.1),
        "muon": Truth(speed if muon is None else muon),
    }


LOW = "--lr 3.3e-4"
FIELDS = {
    "all the same": Field(truths(), gap=0.0),
    "only the decay helps": Field(truths()),
    "challengers at a third": Field(truths(1 / 3)),
    f"one {BETTER} times better": Field(truths(muon=BETTER)),
    "a third of the best rate": Field({"script": Truth(), LOW: Truth(best_lr=3e-3)}, variants=(LOW,)),
}


def facts() -> Facts:
    """Of a script that is not there."""
    machine = Machine("simulated", 1, 1, None, 1 << 30, (), "", "", "")
    precision = Precision("highest", False, False, False, False, False)
    return Facts("train.py", "", (), "", "", "cpu", 1, machine, precision, (), (), (), None, 1, 0.0, False, False)


def one_race(field: Field, shape: str, seed: int) -> RaceResult:
    """A race from top to bottom."""
    with tempfile.TemporaryDirectory(prefix="hotlap-") as name:
        folder = Path(name)
        target = Target((sys.executable, "train.py"), None, ("train.py",), sys.executable, folder)
        runner = SimulatedRunner(target, folder, facts(), field.truths, seed=seed, gap=field.gap)
        book = Logbook(folder / "logbook.jsonl")
        book.start("train.py", "", seed, "bench")
        lab = Lab(runner, book, 1e9, 1, clock=lambda: runner.spent_s)
        wish = Wish(shape=shape, variants=field.variants) if field.variants else Wish(shape=shape, only=CHALLENGERS)
        return race(Trainings(lab, wish.metric), wish, open_storage(None))


def share(count: int, of: int) -> str:
    """A share with its 95 % interval (Wilson)."""
    z, p = 1.96, count / of
    centre, half = (p + z * z / (2 * of)), z * sqrt(p * (1 - p) / of + z * z / (4 * of * of))
    low, high = ((centre + sign * half) / (1 + z * z / of) for sign in (-1, 1))
    return f"{p:6.1%} ({low:.1%} to {high:.1%})"


def row(name: str, results: list[RaceResult]) -> str:
    """What the races of a field came to."""
    winners = Counter(result.winner or "none" for result in results)
    muon = RULES["muon"].words
    claims = sum(any(f.vs_incumbent is not None and f.vs_incumbent.proven for f in r.finalists) for r in results)
    count = len(results)
    return (
        f"{name:24} no winner {share(winners['none'], count)}  effect of a rule claimed {share(claims, count)}"
        f"  won by Muon {share(winners[muon], count)}\n{'':24} {dict(winners)}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--races", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--shape", default="standard")
    parser.add_argument("--only", default="", metavar="TEXT", help="fields that hold it in their name")
    arguments = parser.parse_args()
    print(f"{arguments.races} races a field, {arguments.shape}; shares with their 95 % intervals")
    seeds = range(arguments.seed, arguments.seed + arguments.races)
    for name in (name for name in FIELDS if arguments.only in name):
        print(row(name, [one_race(FIELDS[name], arguments.shape, seed) for seed in seeds]), flush=True)


if __name__ == "__main__":
    main()
