"""The page: the same facts, inert, and nothing asked of any network."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from plotly.offline import get_plotlyjs
from results import asked, hostile, nothing, result, smaller, smaller_as_asked, undecided
from rich.console import Console

from hotlap.records import Curve, Estimate, Result
from hotlap.report import figures, numbers
from hotlap.report.console import summary
from hotlap.report.document import document
from hotlap.report.html import page

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--disable-default-apps"),
    *("--enable-logging=stderr", "--no-proxy-server", "--host-resolver-rules=MAP * ~NOTFOUND"),  # nothing gets out
    "--virtual-time-budget=5000",
)

needs_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium here: the page was NOT opened in a browser")


class Reader(HTMLParser):
    """Tags with their attributes, and the text that a reader sees."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.hidden = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.hidden = tag if tag in ("script", "style") else ""

    def handle_endtag(self, tag: str) -> None:
        self.hidden = ""

    def handle_data(self, data: str) -> None:
        if not self.hidden:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())


def seen(made: Result) -> str:
    return Reader(page(made)).text


def printed(made: Result) -> str:
    console = Console(file=io.StringIO(), width=300)
    console.print(summary(made))
    return " ".join(console.file.getvalue().split())  # type: ignore[attr-defined]


def estimates(written: Any) -> list[Estimate]:
    """Every estimate in report.json."""
    if isinstance(written, dict):
        if set(written) == {"value", "low", "high", "unit", "n"}:
            return [Estimate(**written)]
        written = list(written.values())
    return [found for item in written for found in estimates(item)] if isinstance(written, list) else []


def quantities(written: dict[str, Any]) -> list[str]:
    """Every other number in report.json, as it is shown."""
    steps = [step for step in written["phases"].values() if step]
    times = [time for step in steps for time in (step["total_s"], *step["phases_s"].values())]
    peaks = list(written["peak_bytes"].values()) if written["settings"] else [written["peak_bytes"]["baseline"]]
    shares = (written["noise"], written["smallest_gain"], written["evaluation_share"])
    gates = [gate[key] for gate in written["gates"] for key in ("gap", "band") if gate[key] is not None]
    payback = written["payback_steps"]
    return [
        *map(numbers.seconds, [*times, written["tuning_s"]]),
        *map(numbers.size, peaks),
        *map(numbers.share, shares),
        *map(numbers.small, gates),
        *([f"{numbers.count(payback)} training step"] if payback else []),
        numbers.rate(written["ceiling"]["matmul_flops"], "FLOP/s"),
        numbers.rate(written["ceiling"]["copy_bytes_s"], "B/s"),
    ]


def test_memory_leads_with_the_saving() -> None:
    """What it costs stands beside each setting, and the peaks beside the times."""
    text = " ".join(Reader(page(smaller())).text.split())

    assert "47.4 % less memory at the peak of a training step (46.8 to 47.9, n = 4)" in text
    assert "less memory at 5.3 % (3.1 to 7.5, n = 4) more time per step" in text
    assert "128 as written, 256 was run and fits" in text
    assert "as written, peak" in text
    assert "takes no more than 10 % more time" in text
    assert "takes no more than 10 % more time than with reproducible alone" in seen(smaller_as_asked())


@pytest.mark.parametrize(
    "made", [result(), nothing(), undecided(), asked()], ids=["kept", "nothing", "undecided", "asked"]
)
def test_every_number_is_in_all_three(made: Result) -> None:
    """What report.json says, the page and the terminal say too, each estimate with its interval and n."""
    written = document(made)
    shown = [numbers.estimate(found) for found in estimates(written)] + quantities(written)

    assert len(shown) > 15
    for text in (seen(made), printed(made)):
        assert [number for number in shown if number not in text] == []


def test_pairs_and_facts_are_in_the_page() -> None:
    """Every pair with both times, and all facts, for who wants to look closer."""
    text = seen(result())

    for pair in result().pairs:
        times = f"{numbers.seconds(pair.reference_s)}{numbers.seconds(pair.candidate_s)}"
        assert f"{pair.stage}{pair.block}{pair.seed}{pair.setup}{times}" in text
    assert '"faults_per_step": 1843.0' in text


def test_answer_stands_first() -> None:
    """The big number only for what is proven; else words."""
    assert "<title>Faster 1.87x (1.79 to 1.95, 6 pairs)" in page(result())
    assert "1.87x faster over the whole run (1.79 to 1.95, 6 pairs) It learns the same" in seen(result())
    assert "Nothing to gain here None of the 3 setups tried" in seen(nothing())
    assert "Not proven 1.87x (1.79 to 1.95, 6 pairs) over the whole run and" in seen(undecided())
    assert 'class="big good"' not in page(undecided())


def test_settings_can_be_copied() -> None:
    """As they stand in the plan, with the command that trains under them."""
    assert '[[settings]] knob = "whole-batch-fetch" value = true contract = "exact"' in seen(result())
    assert "hotlap run train.py --epochs 20" in seen(result())
    assert "hotlap run" not in seen(nothing())


@pytest.mark.parametrize("made", [result(), hostile()], ids=["usual", "hostile"])
def test_page_names_no_address(made: Result) -> None:
    """Nothing to load: no source, no link but the empty icon, plotly inlined once, a policy that forbids the rest."""
    text = page(made)
    reader = Reader(text)
    loads = [value for _, attrs in reader.tags for name, value in attrs.items() if name in ("src", "href", "srcset")]

    assert loads == ["data:,"]
    assert text.count(get_plotlyjs()) == 1
    assert "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:" in text
    assert len(text.encode()) < 5.5e6


def test_hostile_text_is_inert() -> None:
    """The same elements as for a usual result: no attack became one, none steers, no secret is told."""
    text = page(hostile())
    own = text.replace(get_plotlyjs(), "")

    assert [tag for tag, _ in Reader(own).tags if tag in ("script", "img", "iframe", "object")] == ["script"] * 3
    assert "on" not in {name[:2] for _, attrs in Reader(own).tags for name in attrs}
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", own)
    assert "hunter2" not in own
    assert "letmein" not in own
    assert "&lt;script&gt;" in own


def island(made: Result) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="figures">(.*?)</script>', page(made))
    assert found
    return json.loads(found[1])


def test_figures_hold_the_numbers() -> None:
    """Phases, ratios and losses as measured, in plotly's terms."""
    drawn = island(result())

    assert set(drawn) == {"anatomy", "forest", "curve-0", "curve-1", "curve-2"}
    data = drawn["anatomy"]["data"][0]
    assert (data["name"], data["y"]) == ("data", ["tuned", "as written"])
    assert data["x"] == pytest.approx([6.1, 55.4])
    plan = drawn["forest"]["data"][0]
    assert plan["x"] == [2.41]
    assert plan["error_x"]["array"] == pytest.approx([0.14])
    assert set(island(nothing(rejected=(), pairs=()))) == {"anatomy"}


def test_labels_in_figures_are_escaped() -> None:
    """Plotly reads tags in labels, so none may reach it."""
    assert all("<" not in text for text in re.findall(r'"(?:[^"\\]|\\.)*"', json.dumps(island(hostile()))))


def test_screening_is_pooled_and_shown_apart() -> None:
    """One row for each setup, its interval from the pooled noise; what was judged later is not shown twice."""
    gains = figures.screened(result())
    rows = figures.forest_rows(result())

    assert [gain.n for gain in gains.values()][:4] == [2, 2, 2, 2]
    assert all(gain.low < gain.value < gain.high for gain in gains.values())
    assert [row.label for row in rows].count("threads=4") == 1
    assert [row.kind for row in rows] == ["plan"] + ["kept"] * 3 + ["rejected"] * 3 + ["screened"] * 4


def test_long_curves_are_thinned_and_gaps_stay_gaps() -> None:
    """A page is not a recording; a loss that is no number leaves a hole in the line."""
    made = dataclasses.replace(
        result(), curves=(Curve(1, (1.0,) * 50_000, (2.0,) * 9000 + (None, float("nan")) * 9000), Curve(2, (), ()))
    )
    drawn = figures.loss_curves(made.curves)

    assert max(len(trace["x"]) for figure in drawn for trace in figure["data"]) <= figures.MOST_POINTS
    assert None in drawn[0]["data"][1]["y"]
    json.dumps(drawn, allow_nan=False)


def browse(text: str, folder: Path) -> tuple[str, str, list[str]]:
    """The document after its scripts ran, the browser's console, and what the page asked of a network."""
    file, log = folder / "report.html", folder / "net.json"
    file.write_text(text)
    command = [str(BROWSER), *FLAGS, f"--user-data-dir={folder / 'profile'}", f"--log-net-log={log}", "--dump-dom"]
    environment = {**os.environ, "HOME": str(folder), "XDG_CONFIG_HOME": str(folder), "XDG_CACHE_HOME": str(folder)}
    ran = subprocess.run(
        [*command, file.as_uri()], capture_output=True, text=True, check=True, timeout=180, env=environment
    )
    asked = [event.get("params", {}) for event in json.loads(log.read_text())["events"]]
    # What the browser asks for itself, or the user by opening the file, has no origin.
    own = {params["url"] for params in asked if params.get("initiator", "not an origin") != "not an origin"}
    return ran.stdout, ran.stderr, sorted(url for url in own if not url.startswith("data:"))


@needs_browser
@pytest.mark.parametrize(
    "made",
    [result(), nothing(), undecided(), smaller(), hostile()],
    ids=["kept", "nothing", "undecided", "smaller", "hostile"],
)
def test_a_real_browser_draws_it_offline_and_without_complaint(made: Result, tmp_path: Path) -> None:
    """All plots are drawn, the console stays empty, no request leaves, and no attack runs."""
    dom, console, asked = browse(page(made), tmp_path)

    assert "CONSOLE" not in console
    assert asked == []
    assert dom.count("data-figure=") == len(island(made)) == dom.count('class="js-plotly-plot"')
    title = re.search("<title>(.*?)</title>", dom)
    assert title
    assert title[1].endswith("hotlap report")


@needs_browser
def test_the_browser_check_can_fail(tmp_path: Path) -> None:
    """The control for the test above: a complaint and a request are both seen."""
    _, console, asked = browse(
        '<script>console.error("complaint"); fetch("http://127.0.0.1:9/asked").catch(() => 0)</script>', tmp_path
    )

    assert "CONSOLE" in console
    assert asked == ["http://127.0.0.1:9/asked"]
