"""Layer sizes as a race of their own: which are worth a try, and whole races, simulated and real."""

from __future__ import annotations

import datetime
import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from itertools import accumulate
from pathlib import Path

import pytest
from facts import ROOT

from hotlap.errors import HotlapError
from hotlap.plan import read
from hotlap.race.layers import offered, to_round_up
from hotlap.race.plan import with_winner
from hotlap.race.race import NONE_RAN, NONE_SOONER, Wish
from hotlap.race.result import RaceResult
from hotlap.race.simulated import SimulatedRunner, Truth
from hotlap.records import Contract, Facts, Outcome, Recording, Trial
from hotlap.report import race_words as words
from hotlap.report.race_page import race_page
from hotlap.run import known_knobs
from race.field import FACTS, simulated

LSTM = ((33278, 650), (2600, 650), (2600, 650), (2600,), (33278, 650), (33278,))
WIDTH, VOCABULARY = "layer size 650 as 704", "layer size 33278 as 33280"
BOTH = "layer sizes 650 as 704, 33278 as 33280"
WISH = Wish(layer_sizes=True)


def of(*shapes: tuple[int, ...]) -> Facts:
    return replace(FACTS, roots=(replace(ROOT, parameter_shapes=shapes),))


def raced(folder: Path, truths: Mapping[str, Truth]) -> RaceResult:
    named = {WIDTH: "650=704", VOCABULARY: "33278=33280", BOTH: "650=704,33278=33280"}
    known = {named.get(name, name): truth for name, truth in truths.items()}
    return simulated(folder, known, WISH, found=of(*LSTM), seed_noise=0.01, loss_noise=0.01, step_noise=0.005)


def test_sizes_that_do_not_divide_are_offered_alone_and_together() -> None:
    assert [one.words for one in offered(of(*LSTM), 100)] == [WIDTH, VOCABULARY, BOTH]


@pytest.mark.parametrize(
    ("shapes", "sizes"),
    [
        (((50257, 768), (2304, 768), (768,)), [50257]),  # GPT-2
        (((500, 784), (10, 500)), [500]),  # what the data has is no layer's to change
        (((100, 784), (100, 100), (10, 100)), [100]),
        (((128, 100, 3, 3), (96, 128, 3, 3)), []),  # 100 channels come from outside
        (((90, 99), (396, 99), (396, 99), (90, 99)), [99, 90]),  # an LSTM: its four gates are no size of its own
        (((297, 99), (99, 99), (150, 99), (99, 150)), [99, 150]),  # attention's three projections
        (((64, 64), (20, 64)), []),
        (((4096, 4096), (90, 64)), []),  # next to nothing of the network
        ((), []),
    ],
)
def test_what_is_worth_a_try(shapes: tuple[tuple[int, ...], ...], sizes: list[int]) -> None:
    if sizes:
        assert [size for size, _ in to_round_up(of(*shapes))] == sizes
        return
    with pytest.raises(HotlapError) as raised:
        to_round_up(of(*shapes))
    assert raised.value.slug == "no-layer-size"


def test_a_size_that_the_machine_likes_wins_and_is_in_the_plan(tmp_path: Path) -> None:
    truths = {"script": Truth(), VOCABULARY: Truth(cost=0.7), WIDTH: Truth(cost=1.1), BOTH: Truth(cost=0.8)}
    result = raced(tmp_path, truths)
    won = result.finalist(result.winner)

    assert won is not None
    assert (won.name, won.role, won.setup.values) == (VOCABULARY, "layers", {"layer-sizes": "33278=33280"})
    assert {one.words: one.out for one in result.screened}[WIDTH].startswith("its step takes 1.1")
    assert "checkpoints have other shapes" in words.advice(result)
    assert words.effect(result).startswith("Against the script with its own rule tuned in its place: ")
    assert any("Layers of torch's own" in text for text in words.method(result))
    assert VOCABULARY in race_page(result)
    with_winner(result, tmp_path / "hotlap.toml", datetime.date(2026, 1, 2))
    (setting,) = read(tmp_path / "hotlap.toml", known_knobs()).settings
    assert (setting.knob, setting.value, setting.contract) == ("layer-sizes", "33278=33280", Contract.RECIPE)


def test_a_machine_that_does_not_care_costs_two_runs(tmp_path: Path) -> None:
    result = raced(tmp_path, {"script": Truth(), VOCABULARY: Truth(), WIDTH: Truth(cost=1.1), BOTH: Truth(cost=1.1)})

    assert (result.winner, result.reason, result.runs) == ("", NONE_SOONER, 2)
    assert words.lead(result) == "Nothing to gain"
    assert result.finalists == ()
    assert VOCABULARY in race_page(result)


def test_what_fails_tells_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A script whose forward knows its sizes: none was tried, so it is not known that none is sooner."""
    plain = SimulatedRunner.run

    def run(runner: SimulatedRunner, trial: Trial, facts: Facts | None = None) -> Recording:
        record = plain(runner, trial, facts)
        if not trial.setup.settings:
            return record
        return replace(record, outcome=Outcome.EXCEPTION, reason="RuntimeError: shape '[-1, 650]' is invalid")

    monkeypatch.setattr(SimulatedRunner, "run", run)
    result = raced(tmp_path, {"script": Truth(), VOCABULARY: Truth(), WIDTH: Truth(), BOTH: Truth()})

    assert words.lead(result) == "No answer yet"
    assert result.reason == NONE_RAN
    assert all("shape" in one.out for one in result.screened)


def test_a_step_that_takes_far_longer_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its trial ends at the window's limit with the steps that it has, and they tell enough."""
    plain = SimulatedRunner.run

    def run(runner: SimulatedRunner, trial: Trial, facts: Facts | None = None) -> Recording:
        record = plain(runner, trial, facts)
        ends = [step for step, s in enumerate(accumulate(record.steps.total_s), 1) if s > trial.limit_s]
        short = replace(record.steps, total_s=record.steps.total_s[: ends[0]]) if ends else record.steps
        return replace(record, steps=short)

    monkeypatch.setattr(SimulatedRunner, "run", run)
    truths = {"script": Truth(), VOCABULARY: Truth(cost=0.7), WIDTH: Truth(cost=200.0), BOTH: Truth(cost=1.1)}
    result = raced(tmp_path, truths)

    assert result.leader == VOCABULARY
    (wide,) = (one for one in result.screened if one.words == WIDTH)
    assert wide.step_ratio == pytest.approx(200, rel=0.1)
    assert wide.out.startswith("its step takes 20")


@pytest.mark.slow
def test_a_real_script(tmp_path: Path) -> None:
    """One of its sizes is written into its forward as well, which is told; the answer for the other is honest."""
    (tmp_path / "train.py").write_text("""
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.words, self.inner, self.head = nn.Embedding(997, 99), nn.Linear(99, 121), nn.Linear(121, 997)

    def forward(self, x):
        return self.head(torch.relu(self.inner(self.words(x)))).view(-1, 997)


torch.manual_seed(torch.initial_seed() % 1000)
model = Net()
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
words = torch.arange(997)
for step in range(400):
    x = words[torch.randint(997, (64, 8))]
    loss = nn.functional.cross_entropy(model(x), (x.flatten() * 7 + 3) % 997)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    loss.item()
""")
    command = [sys.executable, "-m", "hotlap", "race", "--json", "--layer-sizes", "--budget", "quick", "train.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    out = {one["words"]: one["out"] for one in document["screened"]}
    words, inner, narrow, together = out
    assert (words, inner, narrow) == ("layer size 997 as 1024", "layer size 121 as 128", "layer size 99 as 104")
    assert together == "layer sizes 997 as 1024, 121 as 128, 99 as 104"
    assert "shape" in out[words]
    assert "shape" in out[together]
    assert "shape" not in out[inner] + out[narrow]
