"""The goal of memory: what is accepted, what is tried, and what is done when time is the matter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from facts import CUDA, facts
from hypothesis import given
from hypothesis import strategies as st
from machine import FACTS, Machine, kept, product

from hotlap import commands, stats
from hotlap.errors import HotlapError
from hotlap.goals import SAVED, Faster, Smaller
from hotlap.knobs import all_knobs, knob_by_id
from hotlap.knobs.hardware.malloc_mappings import MallocMappings
from hotlap.lab import Lab
from hotlap.records import AS_WRITTEN, Facts, Goal, Pair, Phases, Result, Setup, Skip
from hotlap.records.views import LargestBatch
from hotlap.report import words
from hotlap.search.candidates import Request, candidates
from hotlap.stats import Look
from hotlap.trials import blocks

DEEP = facts(
    root={"blocks": 12},
    loaders=(),
    epoch_steps=None,
    machine={"flags": ("avx512_bf16",), "cores": 2, "threads": 2},
    habits={"zero_grad to zeros": 1.0},
)
EVERY = "checkpoint-modules"
MEMORY = Request(goal=Goal.MEMORY)


def pair(slower: float, smaller: float, setup: Setup = AS_WRITTEN, stage: str = "confirm") -> Pair:
    """A pair whose candidate takes so many times the time, and so many times less memory."""
    return Pair(1, 1, setup, "a", "b", 1.0, slower, stage, AS_WRITTEN, 0, round(smaller * 1e9), 10**9)


few = st.lists(st.tuples(st.floats(0.7, 1.5), st.floats(0.8, 3.0)), min_size=1, max_size=13)
near = st.lists(st.tuples(st.floats(1.06, 1.12), st.floats(1.00, 1.05)), min_size=4, max_size=13)


@given(few | near, st.floats(0.0, 0.5))
def test_never_accepted_unless_both_bounds_hold(drawn: list[tuple[float, float]], slowdown: float) -> None:
    """A step whose bound is slower than allowed is not accepted, nor is a saving whose bound is under the bar."""
    pairs = [pair(*values) for values in drawn]
    if Smaller(slowdown).look(pairs) is not Look.ACCEPT:
        return
    slow, saved = ([of(p) for p in pairs] for of in (blocks.log_gain, blocks.log_saving))

    assert len(pairs) in stats.LOOKS
    assert stats.confirmed_speedup(slow).low >= 1 / (1 + slowdown) * (1 - 1e-12)
    assert stats.confirmed_speedup(saved).low >= (1 + SAVED) * (1 - 1e-12)


@pytest.mark.parametrize(
    ("slower", "smaller", "found"),
    [
        (1.05, 1.5, Look.ACCEPT),
        (1.20, 1.5, Look.DROP),
        (1.05, 1.0, Look.DROP),
        (0.80, 1.01, Look.DROP),
        (0.80, 0.5, Look.DROP),
    ],
)
def test_clear_cases_are_decided_by_four_pairs(slower: float, smaller: float, found: Look) -> None:
    pairs = [pair(slower * (1 + 1e-3 * i), smaller * (1 + 1e-4 * i)) for i in range(4)]

    assert Smaller(0.10).look(pairs) is found
    assert Smaller(0.10).look(pairs[:3]) is Look.CONTINUE


def test_all_setups_that_are_confirmed_for_memory_share_the_error() -> None:
    """Each further one has half of what the last had, so that however many there are they never spend more."""
    aims = [Smaller(0.1)]
    for _ in range(40):
        aims.append(aims[-1].further())

    assert sum(aim.share for aim in aims) == pytest.approx(1.0)
    noisy = [pair(1.05 + 0.008 * (-1) ** i, 1.5) for i in range(4)]
    assert Smaller(0.1, share=1.0).look(noisy) is Look.ACCEPT
    assert Smaller(0.1, share=0.1).look(noisy) is Look.CONTINUE


def test_what_was_not_seen_is_not_saved() -> None:
    """A trial that told no peak counts as one that saves nothing."""
    blind = replace(pair(1.0, 2.0), candidate_bytes=0)

    assert blocks.log_saving(blind) == 0.0
    assert Smaller(0.1).look([blind] * 4) is Look.DROP


def test_what_one_pair_shows_far_too_slow_ranks_last() -> None:
    """A little over the limit may be noise, and is left to the confirmation."""
    assert Smaller(0.1).worth(pair(1.3, 3.0)) < -0.9
    assert Smaller(0.1).worth(pair(1.12, 3.0)) == pytest.approx(1.0986, abs=1e-4)
    assert Faster().worth(pair(0.5, 0.5)) == pytest.approx(0.6931, abs=1e-4)


@pytest.mark.parametrize(("goal", "tried"), [(Goal.MEMORY, True), (Goal.SPEED, False)])
def test_each_goal_has_its_knobs(goal: Goal, tried: bool) -> None:
    """And the others say why they are not tried; what may serve both is."""
    step = Phases(1.0, dict.fromkeys(("data", "copy", "forward", "loss", "backward", "optimizer", "other"), 1 / 7))
    singles, skipped = candidates(all_knobs(), DEEP, Request(goal=goal), step, {})
    knobs = {setting.knob for setting in singles}

    assert (EVERY in knobs) is tried
    assert {"autocast-bf16", "grads-to-none", "fused-update"} <= knobs
    assert ("threads" in skipped or "compile" in skipped) is tried
    assert all("goal" in skipped[knob] for knob in ({"compile", "malloc-thresholds"} if tried else {EVERY}))
    assert all(goal in knob_by_id(knob).goals for knob in knobs)


def checkpointed(
    saves: dict[int, float], slows: dict[int, float]
) -> tuple[Callable[[Setup], int], Callable[[Setup], float]]:
    """What every N-th block saves and costs, as a machine is told."""

    def peak(setup: Setup) -> int:
        return round(4e9 / saves.get(int(setup.values.get(EVERY, 0)), 1.0))

    def speed(setup: Setup) -> float:
        return 1 / slows.get(int(setup.values.get(EVERY, 0)), 1.0)

    return peak, speed


def tuned(folder: Path, saves: dict[int, float], slows: dict[int, float], request: Request = MEMORY) -> Result:
    peak, speed = checkpointed(saves, slows)
    machine = Machine(folder, speed, found=DEEP, peak_bytes=peak, noise=0.01)
    return machine.tune(1800.0, request)


def test_the_most_saving_setting_that_is_fast_enough_is_kept(tmp_path: Path) -> None:
    """All blocks would save more, and cost too much."""
    result = tuned(tmp_path, {1: 3.0, 2: 1.6, 4: 1.2}, {1: 1.33, 2: 1.06, 4: 1.03})

    assert {k.knob: k.value for k in result.kept} == {EVERY: 2}
    assert result.saving is not None
    assert result.saving.value == pytest.approx(1.6)
    assert result.speedup is not None
    assert result.speedup.low > 1 / 1.1
    assert (result.kept[0].saving, result.kept[0].share) == (result.saving, result.speedup)
    assert result.peak_bytes == (4_000_000_000, 2_500_000_000)
    assert any("more than 10% slower" in r.reason for r in result.rejected if r.setup == Setup.of({EVERY: 1}))
    assert (result.goal, result.payback_steps, result.bounds) == (Goal.MEMORY, None, {})
    assert not any(pair.round for pair in result.pairs)


def test_a_setup_that_is_not_proven_fast_enough_gives_way_to_a_lighter_one(tmp_path: Path) -> None:
    """At 11 % it may pass the screening; the confirmation says no, and the next value is confirmed in its place."""
    result = tuned(tmp_path, {1: 3.0, 2: 1.6, 4: 1.2}, {1: 1.125, 2: 1.05, 4: 1.03})
    confirmed = [p.setup.values[EVERY] for p in result.pairs if p.stage == "confirm"]

    assert list(dict.fromkeys(confirmed)) == [1, 2]
    assert {k.knob: k.value for k in result.kept} == {EVERY: 2}
    assert any("not proven to be at most 10% slower" in rejected.reason for rejected in result.rejected)


def test_a_wider_limit_is_taken_at_its_word(tmp_path: Path) -> None:
    request = replace(MEMORY, slowdown=0.5)
    result = tuned(tmp_path, {1: 3.0, 2: 1.6, 4: 1.2}, {1: 1.33, 2: 1.06, 4: 1.03}, request)

    assert {k.knob: k.value for k in result.kept} == {EVERY: 1}


REPRODUCIBLE = Setup.of({"reproducible": True})


def tuned_as_asked(folder: Path, saves: dict[int, float], slows: dict[int, float]) -> Result:
    """What the user asked for takes 5 % more memory and a ninth more time."""
    peak, speed = checkpointed(saves, slows)
    machine = Machine(
        folder,
        lambda setup: speed(setup) * (0.9 if "reproducible" in setup.values else 1.0),
        found=DEEP,
        peak_bytes=lambda setup: round(peak(setup) * (1.05 if "reproducible" in setup.values else 1.0)),
        noise=0.01,
    )
    return machine.tune(1800.0, Request(goal=Goal.MEMORY, only=(EVERY,), pinned=REPRODUCIBLE))


def test_beside_what_was_asked_for_both_bounds_are_over_it_alone(tmp_path: Path) -> None:
    """It is kept whatever it costs: the sum takes more time than the limit, and what was found for memory does not."""
    result = tuned_as_asked(tmp_path, {1: 3.0, 2: 1.6}, {1: 1.125, 2: 1.05})

    assert {k.knob: k.value for k in result.kept} == {EVERY: 2, "reproducible": True}
    for found, planted in (
        (result.saving, 1.6 / 1.05), (result.asked_saving, 1 / 1.05), (result.added_saving, 1.6),
        (result.speedup, 0.9 / 1.05), (result.asked_speedup, 0.9), (result.added_speedup, 1 / 1.05),
    ):  # fmt: skip
        assert found is not None
        assert found.value == pytest.approx(planted, rel=0.02)
    assert result.speedup is not None
    assert result.speedup.high < 1 / 1.1
    assert words.lead(result) == "Less memory"
    assert any(r.setup == Setup.of({EVERY: 1}) and "at most 10% slower" in r.reason for r in result.rejected)


def test_without_a_saving_what_was_asked_for_is_the_plan(tmp_path: Path) -> None:
    """With its price in memory and in time, and no claim to save any."""
    result = tuned_as_asked(tmp_path, {}, {})

    assert kept(result) == {"reproducible"}
    assert result.saving is not None
    assert result.saving == result.asked_saving
    assert result.saving.value == pytest.approx(1 / 1.05)
    assert (result.added_saving, result.added_speedup) == (None, None)
    assert result.peak_bytes == (4_000_000_000, 4_200_000_000)
    assert words.headline(result).startswith("As asked: 5.00 % (5.00 to 5.00, n = 6) more memory at 10.6 %")
    assert "nothing was proven to save memory beside it" in words.body(result)


def test_nothing_to_save_is_an_answer(tmp_path: Path) -> None:
    """No setting saves anything, however fast; it is complete, and nothing is called proven."""
    result = Machine(tmp_path, product(fused_update=1.5), found=FACTS, peak_bytes=lambda setup: 10**9).tune(
        1800.0, MEMORY
    )

    assert kept(result) == set()
    assert (result.saving, result.speedup, result.cut_short) == (None, None, "")
    assert any("no saving seen" in rejected.reason for rejected in result.rejected)


def test_a_setup_that_changes_learning_saves_nothing(tmp_path: Path) -> None:
    """The gates are those of the goal of speed."""
    peak, speed = checkpointed({1: 3.0}, {})
    machine = Machine(
        tmp_path,
        speed,
        lambda setup: 1.0 if EVERY in setup.values else 0.0,
        found=DEEP,
        peak_bytes=peak,
    )
    result = machine.tune(1800.0, replace(MEMORY, only=(EVERY,)))

    assert kept(result) == set()
    assert any(r.verdict is not None and r.verdict.guilty == (EVERY,) for r in result.rejected)


@pytest.mark.parametrize("saves", [1.6, 1.0])
def test_batches_are_grown_last_in_the_time_kept_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, saves: float
) -> None:
    """As written and under the plan, half of it each; without a plan all of it."""
    asked: list[tuple[Setup, float]] = []

    def largest(lab: Lab, facts: Facts, setup: Setup) -> LargestBatch:
        asked.append((setup, lab.left_s + lab.spent_s))
        return LargestBatch(0, "", (), len(asked), None, None, "")

    monkeypatch.setattr("hotlap.growth.largest_batch", largest)
    result = tuned(tmp_path, {2: saves}, {}, replace(MEMORY, grow=True))
    plan = [(Setup.of({EVERY: 2}), 1800.0)] if saves > 1 else []

    assert asked == [(AS_WRITTEN, pytest.approx(1440.0 if plan else 1800.0)), *plan]
    assert [found.fits for found in result.largest] == list(range(1, 2 + len(plan)))


def test_memory_gives_freed_tensors_back_on_the_host_alone() -> None:
    """What glibc keeps is the host's memory."""
    knob = MallocMappings()

    assert knob.choices(facts()) == (True,)
    for changes in (CUDA, {"machine": {"libc": "musl"}}, {"machine": {"preload": "libjemalloc.so"}}):
        assert isinstance(knob.choices(facts(**changes)), Skip)


@pytest.mark.parametrize(("text", "share"), [("10%", 0.1), ("7.5 %", 0.075), ("0", 0.0), ("150%", 1.5)])
def test_a_slowdown_is_a_share(text: str, share: float) -> None:
    assert commands.share(text) == pytest.approx(share)


@pytest.mark.parametrize("text", ["", "fast", "-1%", "nan", "inf%", "1000000%"])
def test_what_is_no_slowdown_says_how_to_write_it(text: str) -> None:
    with pytest.raises(HotlapError, match="10%") as raised:
        commands.share(text)

    assert raised.value.slug == "bad-slowdown"


@pytest.mark.parametrize(
    ("goal", "slowdown", "grow"), [("size", None, False), ("speed", "10%", False), ("speed", None, True)]
)
def test_flags_that_do_not_go_together(goal: str, slowdown: str | None, grow: bool) -> None:
    with pytest.raises(HotlapError) as raised:
        commands.goal(goal, slowdown, grow=grow)

    assert raised.value.slug == "bad-choice"
