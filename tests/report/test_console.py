"""The terminal: the answer first, every number, and nothing that steers it."""

from __future__ import annotations

import dataclasses
import io
from typing import Any

import pytest
from results import (
    HOSTILE,
    asked,
    hostile,
    nothing,
    phases,
    result,
    smaller,
    smaller_as_asked,
    times,
    undecided,
    verdict,
)
from rich.console import Console, RenderableType

from hotlap.records import Finding, Goal, Rejected, Result, Setup, Skip, Status, Word
from hotlap.report import numbers
from hotlap.report.clean import clean
from hotlap.report.console import check_view, summary


def show(view: RenderableType, width: int = 80, **options: Any) -> str:
    console = Console(file=io.StringIO(), width=width, **options)
    console.print(view)
    return console.file.getvalue()  # type: ignore[attr-defined]


def flat(text: str) -> str:
    return " ".join(text.split())


def test_first_sentence_is_the_answer() -> None:
    """The whole run before the step, each with its interval and n, and learning in words."""
    assert flat(show(summary(result()))).startswith(
        "Faster: 1.87x (1.79 to 1.95, 6 pairs) over the whole run and 2.41x (2.28 to 2.55, 6 pairs) per training step; "
        "it learns the same, within the noise of training."
    )


def test_step_answers_when_the_run_is_not_known() -> None:
    """Without a known length the answer is per step."""
    assert flat(show(summary(result(speedup_run=None)))).startswith(
        "Faster: 2.41x (2.28 to 2.55, 6 pairs) per training step; it learns the same"
    )


def test_memory_answers_with_the_saving_and_its_cost() -> None:
    """Both with their intervals, and per setting too."""
    shown = flat(show(summary(smaller()), width=200))
    saved = "47.4 % (46.8 to 47.9, n = 4) less memory at 5.3 % (3.1 to 7.5, n = 4) more time per step"

    assert shown.startswith(f"Less memory: {saved}; it learns the same, within the noise of training.")
    assert f"checkpoint-modules=2 rounding {saved}" in shown
    assert "memory 3.73 GiB as written, 1.96 GiB tuned" in shown
    assert "largest batch 128 as written, 256 was run and fits, about 300 by extrapolation, tuned" in shown
    assert "paid back" not in shown


def test_a_share_of_memory_that_was_not_measured_is_said_so() -> None:
    kept = tuple(dataclasses.replace(k, share=None, saving=None) for k in smaller().kept)

    assert "checkpoint-modules=2 rounding not measured" in flat(show(summary(smaller(kept=kept)), width=200))


def test_nothing_to_save_names_both_bars() -> None:
    empty = nothing(goal=Goal.MEMORY, slowdown_limit=0.1, rejected=())

    assert "would have to save more than 2.0 % of memory at no more than 10 % more time" in flat(show(summary(empty)))


@pytest.mark.parametrize(
    ("changes", "lead"),
    [
        ({"verdict": verdict(word=Word.CHANGED)}, "Learning changed: "),
        ({"verdict": None}, "Not proven: "),
        ({"speedup_run": times(1.02, 0.97, 1.07)}, "Not proven faster: "),
        ({"speedup_run": times(0.9, 0.85, 0.95)}, "Slower: "),
        ({"speedup_run": None, "speedup": None}, "Not proven faster: no speed-up is proven; "),
    ],
)
def test_never_claims_more_than_its_weakest_part(changes: dict[str, Any], lead: str) -> None:
    """Only proven speed with proven learning is called faster."""
    assert show(summary(result(**changes)), 200).startswith(lead)


def test_what_was_asked_for_is_told_with_its_price() -> None:
    """A loss is no gain and no fault: it is what the user wanted."""
    text = flat(show(summary(asked()), 200))

    assert text.startswith("As asked: 0.960x (0.940 to 0.980, 4 pairs) per training step; reproducible alone is 0.910x")
    assert "and the rest 1.055x (1.030 to 1.080, 4 pairs) on top" in text
    alone = asked(added_speedup=None, kept=asked().kept[:1])
    assert "nothing was proven faster beside it" in flat(show(summary(alone), 200))
    assert "paid back" not in flat(show(summary(alone), 200))


def test_what_was_asked_for_has_its_price_in_memory_too() -> None:
    """More memory is called so, and neither a saving of less than nothing."""
    text = flat(show(summary(smaller_as_asked()), 200))

    assert text.startswith(
        "Less memory: 45.9 % (45.4 to 46.5, n = 4) less memory at 5.3 % (3.1 to 7.5, n = 4) more time"
    )
    assert "reproducible alone takes 3.1 % (2.0 to 4.2, n = 4) more memory at 9.9 % (7.5 to 12.4, n = 4) more" in text
    assert "and the rest 47.6 % (47.1 to 48.2, n = 4) less memory at 6.4 % (4.2 to 8.7, n = 4) more" in text


def test_nothing_to_gain_says_what_could_have_been_found() -> None:
    """An empty plan is an answer, with what was tried, and loud about the noise."""
    text = flat(show(summary(nothing())))

    assert text.startswith(
        "Nothing to gain here: none of the 3 setups tried is proven faster with the same learning; "
        "the smallest gain that could have been proven is 8.3 %."
    )
    assert "This machine is noisy: one run differs from the next by 7.2 %" in text
    assert "paid back" not in text


def test_noise_that_was_not_measured_is_not_told_as_one() -> None:
    """Without a pair of fresh processes the noise is an assumption, and is called so."""
    measured = result()
    ranked = tuple(dataclasses.replace(pair, round=1) for pair in measured.pairs)

    assert "one run differs from the next by" in flat(show(summary(measured)))
    for pairs in ((), ranked):
        assumed = flat(show(summary(dataclasses.replace(measured, pairs=pairs))))
        assert "one run is taken to differ from the next by" in assumed


def test_nothing_fits() -> None:
    """With no setup to try there is none to count."""
    assert show(summary(nothing(rejected=())), 200).startswith("Nothing to gain here: no setting fits this script")


def test_undecided_is_never_passed() -> None:
    """What could not be checked has not passed, and the gate says why."""
    text = flat(show(summary(undecided())))

    assert text.startswith("Not proven: ")
    assert "whether it learns the same could not be decided" in text
    assert "undecided (by trajectory, 2 seeds): two untouched runs differ by more than the margin." in text


@pytest.mark.parametrize("width", [80, 120])
def test_fits_the_terminal(width: int) -> None:
    """No line is wider than the terminal; the usual result is about a screen."""
    lines = show(summary(result()), width).splitlines()

    assert max(map(len, lines)) <= width
    assert len(lines) <= 62


def test_payback_in_steps_and_time() -> None:
    """In steps and in time; a start that costs nothing more is said to."""
    assert "after 212 training steps (18.6 s)" in show(summary(result()))
    assert "from the first step" in show(summary(result(payback_steps=None)))
    assert "never: no gain" in show(summary(result(payback_steps=None, speedup=None, speedup_run=None)))


def test_long_lists_are_folded() -> None:
    """At most ten rows of each list; the rest is counted."""
    many = tuple(Rejected(Setup.of({"threads": n}), "slower") for n in range(14))

    assert "and 4 more setups in the report" in show(summary(result(rejected=many)))
    assert "threads=10" not in show(summary(result(rejected=many)))


@pytest.mark.parametrize("color_system", [None, "truecolor"])
def test_hostile_text_is_inert(color_system: Any) -> None:
    """No markup is obeyed, no control character and no secret comes through."""
    text = show(summary(hostile()), 400, color_system=color_system, force_terminal=color_system is not None)

    assert "[red]loud[/red]" in text
    for attack in ("\x1b]", "\x9b", "\x07", "\u202e", "\u2066", "hunter2"):
        assert attack not in text
    assert color_system or "\x1b" not in text


def check(**changes: Any) -> RenderableType:
    made: Result = result()
    choices = {"compile": ("default", HOSTILE), "fused-update": (True,), "pinned-memory": Skip(f"no CUDA {HOSTILE}")}
    options: dict[str, Any] = {"samples_per_step": 127.9, "evaluation_share": 0.114, "ceiling": made.ceiling}
    return check_view(made.facts, made.baseline, made.findings, choices, **{**options, **changes})


def test_check_shows_where_time_goes() -> None:
    """Phases in ms and %, samples per second, evaluation, what can be tried and what cannot."""
    text = flat(show(check(notes=("short run",)), 120))

    assert text.startswith("212 ms per training step on cpu, 604 samples/s; evaluation takes 11 % of the time")
    assert "data 55.4 ms 26 %" in text
    assert "The device waits for input: 26.2 % (25.1 to 27.4, n = 6)" in text
    assert "fused-update Update all parameters" in text
    assert f"compile = default | {clean(HOSTILE)}" in text
    assert "pinned-memory no CUDA" in text
    assert "float32 products 431 GFLOP/s" in text
    assert "short run" in text


def test_check_shows_both_clocks_where_there_is_a_device() -> None:
    assert "on the device" not in show(check(), 120)
    text = flat(show(check(on_device={"data": 0.001, "forward": 0.25}), 120))

    assert "data 55.4 ms 26 % 1.00 ms" in text
    assert "251 ms" in text
    assert "by events in one step of sixteen" in text


def test_check_without_samples_or_time() -> None:
    """Nothing is made up for a run that measured little."""
    nothing_seen = check_view(result().facts, phases(0.0), (), {})

    assert "samples" not in show(nothing_seen)


def test_failed_finding_without_numbers() -> None:
    """A headline alone is enough."""
    found = (Finding("a", "data", Status.FAIL, "Something waits", None, {}, (), ""),)

    assert "Something waits\n" in show(summary(result(findings=found)), 60).replace(" \n", "\n").replace(" " * 2, "")


def test_totals_carry_interval_and_n() -> None:
    """The table ends with what all settings give together."""
    assert f"all together, per step {numbers.estimate(times(2.41, 2.28, 2.55, 6))}" in flat(show(summary(result())))
