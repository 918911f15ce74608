"""What a reader of a race is shown: terminal, page and document tell the same."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from report.test_html import BROWSER, Reader, browse
from results import HOSTILE
from rich.console import Console

from hotlap.race.answer import of_the_step
from hotlap.race.result import RaceResult, Row
from hotlap.report import numbers, race_words
from hotlap.report.race_document import race_document
from hotlap.report.race_page import race_page
from hotlap.report.race_view import arms_table, race_summary
from race.field import proven


@pytest.fixture
def won() -> RaceResult:
    """A proven answer."""
    pytest.importorskip("optuna")
    return proven()


def printed(result: RaceResult, width: int = 300) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(race_summary(result))
    return console.file.getvalue()  # type: ignore[attr-defined]


def unanswered(result: RaceResult) -> RaceResult:
    """The same race with three seeds."""
    found = result.speedup_vs_script
    assert found is not None
    few = replace(found, ratios=found.ratios[:3], proven=False, reason="3 seeds can prove nothing")
    return replace(result, winner="", speedup_vs_script=few, speedup_vs_tuned_incumbent=None)


def test_both_speed_ups_are_told_everywhere(won: RaceResult) -> None:
    page, text, document = Reader(race_page(won)).text, " ".join(printed(won).split()), race_document(won)

    assert won.winner
    for found in (won.speedup_vs_script, won.speedup_vs_tuned_incumbent):
        assert found is not None
        assert found.speedup is not None
        assert numbers.estimate(found.speedup) in text
        assert numbers.interval(found.speedup) in page
    assert document["winner"]["name"] == won.winner
    assert document["speedup_vs_script"]["value"] == won.speedup_vs_script.speedup.value  # type: ignore[union-attr]
    assert document["speedup_vs_tuned_incumbent"]["proven"] is True


def test_the_document_is_json_with_stable_keys(won: RaceResult) -> None:
    document = json.loads(json.dumps(race_document(won), allow_nan=False))

    assert {"winner", "arms", "speedup_vs_script", "speedup_vs_tuned_incumbent", "goals", "screened"} <= set(document)
    assert [arm["role"] for arm in document["arms"]][:2] == ["script", "incumbent"]
    assert all(len(arm["runs"]) == len(arm["curves"]) for arm in document["arms"])
    assert all(arm["startup_s"] > 0 for arm in document["arms"])


def test_few_seeds_are_called_indicative_and_every_point_is_shown(won: RaceResult) -> None:
    few = unanswered(won)
    text = " ".join(printed(few).split())

    assert text.startswith("Indicative")
    assert few.speedup_vs_script is not None
    for ratio in few.speedup_vs_script.ratios:
        assert f"{ratio:.2f}" in text
    assert race_document(few)["winner"] is None
    assert race_document(few)["indicative"] is True
    assert race_words.advice(few) == ""


def test_every_rule_is_told_with_why_it_is_out(won: RaceResult) -> None:
    page = Reader(race_page(won)).text

    for one in won.screened:
        assert one.words in page
        assert " ".join(one.out.split()) in page
    assert "no rule saves so many steps" in page


def test_the_answer_fits_eighty_columns(won: RaceResult) -> None:
    assert max(map(len, printed(won, 80).splitlines())) <= 80


def test_the_live_table_shows_what_is_known() -> None:
    console = Console(file=io.StringIO(), width=100)
    console.print(arms_table([Row("Adam", "search", 1e-3, 0.5, 1.1, "diverged"), Row("[red]SOAP[/red]")]))
    text = console.file.getvalue()  # type: ignore[attr-defined]

    assert "diverged" in text
    assert "1.10x" in text
    assert "[red]SOAP[/red]" in text


def test_what_comes_from_outside_steers_nothing(won: RaceResult) -> None:
    first, *rest = won.finalists
    owned = replace(won, target=HOSTILE, notes=(HOSTILE,), finalists=(replace(first, name=HOSTILE), *rest))
    page = race_page(owned)

    assert "<script>document.title" not in page
    assert "\x1b" not in printed(owned)
    assert not [attributes for tag, attributes in Reader(page).tags if tag == "img" or "onerror" in attributes]


@pytest.mark.skipif(BROWSER is None, reason="no Chromium here: the page was NOT opened in a browser")
@pytest.mark.parametrize("answered", [True, False])
def test_a_real_browser_draws_it_without_complaint(won: RaceResult, tmp_path: Path, answered: bool) -> None:
    result = won if answered else replace(unanswered(won), finalists=(), screened=(), range_test=None)
    page = race_page(result)
    dom, console, asked = browse(page, tmp_path)

    assert "CONSOLE" not in console
    assert asked == []
    assert dom.count("data-figure=") == len(re.findall("data-figure=", page)) == dom.count('class="js-plotly-plot"')
    assert bool(dom.count("data-figure=")) is answered


@pytest.mark.parametrize(("ratio", "told"), [(0.78, "takes 0.78 times"), (1.05, ""), (1.46, "takes 1.46 times")])
def test_what_the_step_itself_brings_is_told(won: RaceResult, ratio: float, told: str) -> None:
    """A fused kernel is no matter of learning, and neither is a rule that computes more."""
    finalists = [replace(finalist, step_s=0.1) for finalist in won.finalists]
    first = replace(next(f for f in finalists if f.role == "challenger"), step_s=0.1 * ratio)

    notes = of_the_step(first, finalists)

    assert told in " ".join(notes)
    assert bool(notes) == bool(told)
    assert of_the_step(None, finalists) == []
