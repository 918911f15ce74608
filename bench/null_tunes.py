"""Nothing is faster than itself: whole tunes over recorded noise, in which no setting does anything.

Run: python bench/null_tunes.py record --runs 60 SCRIPT [its arguments]     (trials of the untouched script, for real)
     python bench/null_tunes.py replay --tunes 200 [--gain 0.05]            (takes a minute or two)
     python bench/null_tunes.py windows                                     (noise of a pair by length of the window)
     python bench/null_tunes.py real --tunes 20 --budget 120 SCRIPT         (whole tunes for real, of placebos)
`record` appends to a file of recordings and can be stopped and gone on with. `replay` draws the trials of each tune
from them, from a place of its own in the recordings, so that neighbours stay neighbours in time; all of hotlap but the
starting of processes is real. A tune that returns any setting made a false claim. With --gain one setting really is
that much faster, and what is counted is how often it is found, and whether the interval covers the gain. With --noise
the recordings' differences from each other are stretched or shrunk until a pair of neighbours is that noisy. `real`
starts the processes as well, and turns knobs that do nothing; its tunes add up in a file, so it can be stopped and
resumed.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import exp, log, sqrt
from pathlib import Path
from statistics import fmean, median

import msgspec
from scipy.stats import binomtest

from hotlap.knobs import knob_by_id
from hotlap.lab import Lab
from hotlap.logbook import Logbook
from hotlap.records import AS_WRITTEN, Facts, Recording, Result, Setup, Trial
from hotlap.search.candidates import Request
from hotlap.target import resolve
from hotlap.trials.blocks import LEAST_STEPS
from hotlap.trials.launch import best_tier
from hotlap.trials.recorded import RecordedRunner, stretched
from hotlap.trials.runner import ProcessRunner
from hotlap.trials.warmup import warmup_of
from hotlap.tune import CONFIRM_S, tune

_WINDOW_S = 15.0  # of a recorded trial: rounds within one process are longer than a confirmation
_WINDOWS_S = (1.0, 2.0, 3.0, 5.0, 8.0, 12.0)
PLANTED = "fused-update"


@dataclass(frozen=True)
class Pool:
    """Recordings of one script, in the order in which they ran."""

    arguments: tuple[str, ...]
    facts: Facts
    recordings: tuple[Recording, ...]


def record(arguments: Sequence[str], runs: int, path: Path) -> None:
    """Append so many trials of the untouched script."""
    target = resolve(tuple(arguments))
    with tempfile.TemporaryDirectory(prefix="hotlap-null-") as folder:
        runner = ProcessRunner(target, Path(folder), best_tier()[0])
        observed = runner.run(Trial("observe", "observe", AS_WRITTEN, 0, 0, 0, 20.0))
        assert observed.facts is not None
        if not path.exists():
            _append(path, {"arguments": target.arguments, "facts": observed.facts})
        step_s = sum(observed.steps.total_s[10:]) / len(observed.steps.total_s[10:])
        steps = 10 + max(20, round(_WINDOW_S / step_s))
        for number in range(runs):
            found = runner.run(Trial(f"{number:04d}", "time", AS_WRITTEN, number, number, steps, 90.0), observed.facts)
            _append(path, {"recording": found})
            print(f"\r{number + 1} of {runs} trials", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)


def _append(path: Path, line: dict[str, object]) -> None:
    with path.open("ab") as file:
        file.write(msgspec.json.encode(line) + b"\n")


def read(path: Path) -> Pool:
    """The recordings of a file."""
    first, *rest = path.read_bytes().splitlines()
    head = json.loads(first)
    recordings = tuple(msgspec.convert(json.loads(line)["recording"], Recording) for line in rest)
    return Pool(tuple(head["arguments"]), msgspec.convert(head["facts"], Facts), recordings)


def windows(pool: Pool) -> None:
    """Print what the noise of a pair would be if its trials were timed for less long, or longer."""
    for window_s in _WINDOWS_S:
        logs = _logs(pool, window_s)
        noise = sqrt(fmean((a - b) ** 2 for a, b in pairwise(logs)))
        print(f"{window_s:4g} s: noise of a pair {noise:.1%}")


def _logs(pool: Pool, window_s: float) -> list[float]:
    """ln of each recording's mean step, had it been a trial with so long a window."""
    count = LEAST_STEPS + round(window_s / median(pool.recordings[0].steps.total_s))
    cut = [stretched(recording.steps, [1.0] * count) for recording in pool.recordings]
    return [log(fmean(steps.total_s[warmup_of(steps).steps :])) for steps in cut]


def scaled(pool: Pool, noise: float) -> Pool:
    """The pool with the mean step times of its recordings drawn together, or apart, to that noise of a pair."""
    means = _logs(pool, CONFIRM_S)
    own = sqrt(fmean((a - b) ** 2 for a, b in pairwise([*means, means[0]])))
    factors = [exp((noise / own - 1.0) * (mean - fmean(means))) for mean in means]
    steps = [stretched(r.steps, [by] * len(r.steps.total_s)) for r, by in zip(pool.recordings, factors, strict=True)]
    recordings = tuple(replace(r, steps=s) for r, s in zip(pool.recordings, steps, strict=True))
    return replace(pool, recordings=recordings)


def replayed(pool: Pool, seed: int, budget_s: float, speed: Callable[[Setup], float]) -> Result:
    """One tune over the recordings."""
    with tempfile.TemporaryDirectory(prefix="hotlap-null-") as name:
        folder = Path(name)
        target = resolve(pool.arguments)
        runner = RecordedRunner(target, folder, pool.facts, pool.recordings, seed, speed)
        book = Logbook(folder / "logbook.jsonl")
        book.start(" ".join(target.arguments), target.sha256, seed, "bench")
        lab = Lab(runner, book, budget_s, seed, clock=lambda: runner.spent_s)
        result = tune(lab, Request()).result
        assert result is not None
        return result


def real(arguments: Sequence[str], tunes: int, budget_s: float, path: Path) -> None:
    """Append whole tunes in which only placebos are turned, until there are so many."""
    placebos = [knob_by_id(f"placebos:{name}") for name in ("Early", "Late", "Switched", "AlsoSwitched")]
    known = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), *([known] if known else [])])
    target = resolve(tuple(arguments))
    for seed in range(len(path.read_bytes().splitlines()) if path.exists() else 0, tunes):
        with tempfile.TemporaryDirectory(prefix="hotlap-null-") as folder:
            book = Logbook(Path(folder) / "logbook.jsonl")
            book.start(" ".join(target.arguments), target.sha256, seed, "bench")
            lab = Lab(ProcessRunner(target, Path(folder), best_tier()[0]), book, budget_s, seed)
            result = tune(lab, Request(), placebos).result
        assert result is not None
        kept = [k.knob for k in result.kept]
        line = {"kept": kept, "cut_short": result.cut_short, "noise": result.noise, "tuning_s": result.tuning_s}
        looked = sum(pair.stage == "confirm" for pair in result.pairs)
        _append(path, {**line, "confirmation_pairs": looked, "script": target.arguments})
        print(f"tune {seed + 1}: {', '.join(kept) or 'nothing kept'}; {result.cut_short}", file=sys.stderr)


def share(hits: int, of: int) -> str:
    """A share with its exact 95 % interval."""
    interval = binomtest(hits, of).proportion_ci(method="exact")
    return f"{hits} of {of} ({hits / of:.1%}, {interval.low:.1%} to {interval.high:.1%})"


def main() -> None:
    """Record, or replay and print what was claimed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pool", type=Path, default=Path(".hotlap/null/recordings.jsonl"))
    parser.add_argument("--json", action="store_true", help="one document on stdout")
    commands = parser.add_subparsers(dest="command", required=True)
    recording = commands.add_parser("record")
    recording.add_argument("--runs", type=int, default=60)
    recording.add_argument("script", nargs=argparse.REMAINDER)
    replaying = commands.add_parser("replay")
    replaying.add_argument("--tunes", type=int, default=200)
    replaying.add_argument("--budget", type=float, default=300.0, help="of each tune, in recorded time [s]")
    replaying.add_argument("--gain", type=float, default=0.0, help=f"that {PLANTED} really brings, as a share")
    replaying.add_argument("--noise", type=float, help="of a pair, instead of the recorded one, as a share")
    commands.add_parser("windows")
    realised = commands.add_parser("real")
    realised.add_argument("--tunes", type=int, default=20)
    realised.add_argument("--budget", type=float, default=120.0, help="of each tune [s]")
    realised.add_argument("script", nargs=argparse.REMAINDER)
    args = parser.parse_args()
    args.pool.parent.mkdir(parents=True, exist_ok=True)
    if args.command == "record":
        record(args.script, args.runs, args.pool)
        return
    if args.command == "real":
        path = args.pool.with_name("real.jsonl")
        real(args.script, args.tunes, args.budget, path)
        lines = [json.loads(line) for line in path.read_bytes().splitlines()]
        noise = fmean(line["noise"] for line in lines)
        confirmed = sum(line["confirmation_pairs"] > 0 for line in lines)
        print(f"noise of a pair {noise:.1%}; {confirmed} tunes got as far as a confirmation")
        print(f"a placebo was kept in {share(sum(bool(line['kept']) for line in lines), len(lines))} tunes")
        print(f"no answer within the budget: {share(sum(bool(line['cut_short']) for line in lines), len(lines))}")
        return
    if args.command == "windows":
        windows(read(args.pool))
        return
    pool = scaled(read(args.pool), args.noise) if args.noise else read(args.pool)

    def speed(setup: Setup) -> float:
        return 1.0 + args.gain if {PLANTED, "no-update"} & setup.values.keys() else 1.0

    results = [replayed(pool, seed, args.budget, speed) for seed in range(args.tunes)]
    proven = [result.speedup for result in results if result.speedup is not None]
    covered = sum(gain.low <= 1.0 + args.gain <= gain.high for gain in proven)
    noise = sum(result.noise for result in results) / len(results)
    if args.json:
        document = {"tunes": args.tunes, "gain": args.gain, "claims": len(proven), "covered": covered, "noise": noise}
        print(json.dumps({**document, "recordings": len(pool.recordings)}, indent=1))
        return
    print(f"{len(pool.recordings)} recordings of {' '.join(pool.arguments)}; noise of a pair {noise:.1%}")
    print(f"true gain {args.gain:.0%}: a setting was returned in {share(len(proven), args.tunes)} tunes")
    if args.gain and proven:
        print(f"the interval covers the gain in {share(covered, len(proven))} of them")
    print(f"no answer within the budget: {share(sum(bool(r.cut_short) for r in results), args.tunes)}")


if __name__ == "__main__":
    main()
