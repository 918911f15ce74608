"""Is the judge good? Faults that are known to be faults, and changes that are known to be none, on the scripts given.

Run: python bench/planted_faults.py [--results FILE] SCRIPT [its arguments]     (adds one script's answers to a file)
     python bench/planted_faults.py --oracle 12 [--steps 60] --results FILE SCRIPT [its arguments]
                                                                                (does each fault matter there?)
     python bench/planted_faults.py --oracle 12 --table --results bench/recorded/oracle.jsonl   (what it has seen)
     python bench/planted_faults.py --table [--results FILE]                    (what the file says)
Each fault of tests/faults.py is judged by the exact gates alone, without the trajectory, on its own, and again beside
bfloat16 autocast where it does not bring a reduced precision itself, for that is where faults could hide. A fault
counts where it acted: one that skips clipping does nothing to a script that never clips. Honest are the settings that
`hotlap tune` would try, and another order of the same sums. The oracle asks whether what acted also matters: with each
of so many seeds the script trains for some steps as it is, with the fault, and with one rounding error in its first
weights. A fault matters when its losses stray further than the rounding error's do, by a sign test at 1 %.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path
from statistics import fmean
from typing import TextIO

from scipy.stats import binomtest

from hotlap.answer import phases_of
from hotlap.arms import Arms
from hotlap.judge import Judge
from hotlap.knobs import all_knobs, knob_by_id
from hotlap.lab import Lab
from hotlap.logbook import Logbook
from hotlap.records import AS_WRITTEN, Outcome, Recording, Setup, Skip, Trial, Word
from hotlap.search.candidates import Request, candidates
from hotlap.target import resolve
from hotlap.trials.launch import best_tier
from hotlap.trials.runner import ProcessRunner
from hotlap.verify.arms import ArmRecord

TESTS = Path(__file__).resolve().parents[1] / "tests"
ACTED = "the fault acted"  # see tests/faults.py
FAULTS = (
    *("Gradients09", "Reduced09", "ZeroLayer", "ScaledLoss", "Rate11", "NoDecay", "NoClip", "NoMaster"),
    *("ShiftedLabels", "OneBatch", "TenthBatch", "Twice", "Stale", "OtherOrder"),
    *("DropoutOff", "FrozenStatistics", "SmallBatch", "InEvaluation"),
)
HONEST = ("LessExact",)
ROUNDING = "OneUlp"
_LIMIT_S = 300.0  # of each training of the oracle
_ORACLE_TRIES = 2
"""Seeds in which a fault may find nothing to break before it is left out."""
HIDING_PLACE = "autocast-bf16"


@dataclass(frozen=True)
class Case:
    """One setup judged on one script."""

    script: str
    setup: str
    is_fault: bool
    acted: bool
    word: Word
    reason: str


class Bench:
    """Judges setups on one script."""

    def __init__(self, arguments: Sequence[str], folder: Path) -> None:
        target = resolve(tuple(arguments))
        book = Logbook(folder / "logbook.jsonl")
        book.start(" ".join(target.arguments), target.sha256, 1, "bench")
        self.lab = Lab(ProcessRunner(target, folder, best_tier()[0]), book, 7200.0, 1)
        observed = self.lab.observe(limit_s=15.0)
        assert observed.facts is not None
        self.facts, self.phases = observed.facts, phases_of(observed)
        self._notes: set[str] = set()
        self.judge = Judge(Arms(self._arms, self.lab.next_id, observed.facts, 1, self.phases.total_s))

    def _arms(self, trials: Sequence[Trial]) -> list[tuple[Recording, ArmRecord]]:
        ended = self.lab.arms(trials)
        self._notes |= {note for record, _ in ended for note in record.notes}
        return ended

    def case(self, setup: Setup, *, is_fault: bool) -> Case:
        """Judge one setup."""
        self._notes.clear()
        verdict = self.judge.judge(setup).verdict
        script = Path(self.lab.runner.target.name).stem
        return Case(script, str(setup), is_fault, ACTED in self._notes, verdict.word, verdict.reason)

    def oracle(self, seeds: int, steps: int, file: Path) -> None:
        """Add a line for each seed that the file lacks: fault to whether it acted and strayed further than rounding."""
        script = Path(self.lab.runner.target.name).stem
        known = {seed: tried for one, seed, tried in trials(file) if one == script}
        for seed in (seed for seed in range(seeds) if seed not in known):
            plain, _ = self._losses(AS_WRITTEN, seed, steps)
            rounded, _ = self._losses(Setup.of({f"faults:{ROUNDING}": True}), seed, steps)
            known[seed] = {}
            for name in FAULTS:
                if seed >= _ORACLE_TRIES and not any(name in known[first] for first in range(_ORACLE_TRIES)):
                    continue  # it finds nothing to break in this script, and each training takes seconds
                losses, acted = self._losses(Setup.of({f"faults:{name}": True}), seed, steps)
                if acted:
                    known[seed][name] = strayed(plain, losses) > strayed(plain, rounded)
            with file.open("a") as lines:
                lines.write(json.dumps([script, seed, known[seed]]) + "\n")
            print(f"seed {seed}: {known[seed]}", file=sys.stderr)

    def judge_all(self, only: str, file: TextIO) -> None:
        """Add a line for each setup whose name holds `only`."""
        for setup, is_fault in [(setup, is_fault) for setup, is_fault in self.setups() if only in str(setup)]:
            case = self.case(setup, is_fault=is_fault)
            print(f"{case.setup}: {_word(case)}, {case.reason}", file=sys.stderr)
            file.write(json.dumps({**vars(case), "word": case.word.value}) + "\n")
            file.flush()

    def _losses(self, setup: Setup, seed: int, steps: int) -> tuple[list[float], bool]:
        trial = Trial(self.lab.next_id("oracle"), "time", setup, seed, seed, steps, _LIMIT_S)
        record = self.lab.run(trial)
        if record.outcome is Outcome.BUDGET and len(record.steps.total_s) < steps:
            raise SystemExit(f"{setup}: {steps} steps took longer than {_LIMIT_S:.0f} s; name fewer --steps")
        return [loss for loss in record.steps.losses if loss is not None], ACTED in record.notes

    def setups(self) -> list[tuple[Setup, bool]]:
        """Every setup to judge, and whether it is a fault."""
        singles, _ = candidates(all_knobs(), self.facts, Request(), self.phases, {})
        honest = [Setup((single,)) for single in singles] + [Setup.of({f"faults:{name}": True}) for name in HONEST]
        # What a precision hides does not depend on how fast it is here.
        machine = replace(self.facts.machine, flags=("bf16",))
        hides = not isinstance(knob_by_id(HIDING_PLACE).choices(replace(self.facts, machine=machine)), Skip)
        if hides and all(single.knob != HIDING_PLACE for single in singles):
            honest.append(Setup.of({HIDING_PLACE: True}))
        faults = [Setup.of({f"faults:{name}": True}) for name in FAULTS]
        exact = [setup for setup in faults if all(knob_by_id(knob).unit < 2.0**-20 for knob in setup.values)]
        hidden = [setup.with_(HIDING_PLACE, True) for setup in exact] if hides else []
        return [(setup, False) for setup in honest] + [(setup, True) for setup in (*faults, *hidden)]


def strayed(plain: Sequence[float], other: Sequence[float]) -> float:
    """Mean distance of two trainings' losses over their second half; infinite where one broke off."""
    both = list(zip(plain, other, strict=False))[len(plain) // 2 :]
    return fmean(abs(a - b) for a, b in both) if both else inf


def share(hits: int, of: int) -> str:
    """A share with its exact 95 % interval."""
    interval = binomtest(hits, of).proportion_ci(method="exact")
    return f"{hits} of {of} ({hits / of:.1%}, {interval.low:.1%} to {interval.high:.1%})"


def table(cases: Sequence[Case]) -> None:
    """Print what was judged, and how well."""
    faults = [case for case in cases if case.is_fault and case.acted]
    honest = [case for case in cases if not case.is_fault]
    scripts = list(dict.fromkeys(case.script for case in cases))
    print(f"| setup | {' | '.join(scripts)} |")
    print("|---" * (len(scripts) + 1) + "|")
    for setup in dict.fromkeys(case.setup for case in cases):
        row = {case.script: case for case in cases if case.setup == setup}
        words = [_word(row.get(script)) for script in scripts]
        print(f"| {setup.replace('faults:', '')} | {' | '.join(words)} |")
    caught = sum(case.word is Word.CHANGED for case in faults)
    print(f"\nfaults called changed: {share(caught, len(faults))}")
    refused = sum(not case.word.may_enter_plan for case in faults)
    print(f"faults kept out of a plan (changed or undecided): {share(refused, len(faults))}")
    print(f"faults called identical: {sum(case.word is Word.IDENTICAL for case in faults)}")
    passed = sum(case.word.may_enter_plan for case in honest)
    print(f"honest changes that pass: {share(passed, len(honest))}")


def trials(file: Path) -> list[tuple[str, int, dict[str, bool]]]:
    """What the oracle has tried: script, seed, and of each fault that acted whether it strayed further."""
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def tell(tried: Sequence[tuple[str, int, dict[str, bool]]]) -> None:
    """Print what the oracle saw."""
    acting = mattering = 0
    for script in dict.fromkeys(script for script, _, _ in tried):
        seeds = [faults for one, _, faults in tried if one == script]
        print(f"\n{script}: {len(seeds)} seeds")
        for name in FAULTS:
            further = [faults[name] for faults in seeds if name in faults]
            sure = bool(further) and binomtest(sum(further), len(further), alternative="greater").pvalue < 0.01
            said = f"further than rounding in {sum(further)} of {len(further)}" if further else "had nothing to break"
            print(f"{name}: {said}{', matters' if sure else ''}")
            acting, mattering = acting + bool(further), mattering + sure
    print(f"\n{mattering} of {acting} faults that acted matter")


def _word(case: Case | None) -> str:
    if case is None:
        return ""
    return case.word.value if case.acted or not case.is_fault else "nothing to break"


def main() -> None:
    """Judge one script, or print the table of all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=Path(".hotlap/faults/results.jsonl"))
    parser.add_argument("--only", default="", metavar="TEXT", help="judge the setups that hold it in their name")
    parser.add_argument("--oracle", type=int, default=0, metavar="SEEDS", help="train instead of judging")
    parser.add_argument("--steps", type=int, default=60, help="of each of these trainings")
    parser.add_argument("--table", action="store_true", help="print what was judged so far")
    parser.add_argument("--json", action="store_true", help="one document on stdout")
    parser.add_argument("script", nargs=argparse.REMAINDER)
    args = parser.parse_args()
    if args.script and not args.table:
        sys.path.append(str(TESTS))
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(TESTS), os.environ.get("PYTHONPATH")]))
        args.results.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="hotlap-faults-") as folder, args.results.open("a") as file:
            bench = Bench(args.script, Path(folder))
            if args.oracle:
                bench.oracle(args.oracle, args.steps, args.results)
            else:
                bench.judge_all(args.only, file)
    if args.oracle:
        tell(trials(args.results))
        return
    lines = [json.loads(line) for line in args.results.read_text().splitlines()]
    cases = [Case(**{**line, "word": Word(line["word"])}) for line in lines]
    if args.json:
        print(json.dumps(lines, indent=1))
    else:
        table(cases)


if __name__ == "__main__":
    main()
