"""In which order settings are screened, and what is kept back of the budget meanwhile."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from facts import CUDA, facts
from machine import FACTS, Machine, product

from hotlap.costs import starts_s
from hotlap.ranking import grouped
from hotlap.records import AS_WRITTEN, Setting, Setup
from hotlap.screening import reserve_s

GRAPHS = Setting("compile", "reduce-overhead")
SINGLES = [GRAPHS, Setting("compile", True), Setting("fused-update", True), Setting("pinned-memory", True)]


def test_on_a_device_one_way_to_compile_comes_early_and_the_others_last() -> None:
    """Each takes half a minute, and what takes a process for each value would never be reached."""
    names = [[str(single) for single in group] for group in grouped(facts(**CUDA), SINGLES)]

    assert names == [["fused-update"], ["compile=reduce-overhead"], ["pinned-memory"], ["compile"]]


def test_on_a_cpu_what_compiles_comes_last() -> None:
    names = [[str(single) for single in group] for group in grouped(facts(), SINGLES)]

    assert names == [["pinned-memory"], ["fused-update"], ["compile=reduce-overhead", "compile"]]


def test_what_is_kept_is_counted_in_what_is_kept_back(tmp_path: Path) -> None:
    """A pair takes longer when one of the two has to compile, and so does the learning check."""
    lab = Machine(tmp_path, product(), start_s=lambda setup: 20.0 * bool(setup.settings)).lab()
    lab.facts = replace(FACTS)
    compiled = Setup((Setting("compile", True),))

    assert reserve_s(lab, SINGLES, compiled) >= reserve_s(lab, SINGLES, AS_WRITTEN) + 5 * starts_s(compiled)
