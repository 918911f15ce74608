"""Batch sizes as a race of their own: which can be tried, what the clock says of them, and whole simulated races."""

from __future__ import annotations

import datetime
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from math import log
from pathlib import Path
from statistics import median
from typing import Any

import msgspec
import pytest
from facts import LOADER, ROOT

from hotlap.errors import HotlapError
from hotlap.knobs import ARGUMENTS
from hotlap.lab import Lab
from hotlap.logbook import Logbook
from hotlap.race.arm import Arm
from hotlap.race.batches import Size, loader_that_trains, offered
from hotlap.race.command import wishes
from hotlap.race.goals import DEFAULT
from hotlap.race.plan import with_winner
from hotlap.race.race import NONE_SOONER, Wish
from hotlap.race.result import Metric, RaceResult
from hotlap.race.runs import Wanted
from hotlap.race.simulated import SimulatedRunner, Truth
from hotlap.race.trainings import Run, Trainings
from hotlap.records import Facts, Loader, Recording, Setup, Trial
from hotlap.report import race_words as words
from hotlap.report.race_document import race_document
from hotlap.report.race_page import race_page
from race.field import FACTS, simulated

TRAINS = replace(LOADER, length=2048)
SIZED = replace(FACTS, loaders=(TRAINS,), epoch_steps=32)
WISH = Wish(batch_sizes=())
EQUAL = {
    "script": Truth(),
    "batch size 32": Truth(),
    "batch size 128": Truth(cost=2.0),
    "batch size 256": Truth(cost=4),
}
SOONER = Wish(batch_sizes=(), goal=0.6)
"""Short of where the script ends: a size that makes as much of its samples would be there as often as not."""
CALM: dict[str, Any] = {"seed_noise": 0.01, "loss_noise": 0.01}


def raced(folder: Path, truths: Mapping[str, Truth], wish: Wish = WISH, **more: Any) -> RaceResult:
    return simulated(folder, truths, wish, found=SIZED, **{**CALM, **more})


def outs(result: RaceResult) -> dict[str, str]:
    return {one.words: one.out for one in result.screened}


def test_a_larger_batch_that_is_really_sooner_wins(tmp_path: Path) -> None:
    """As much progress per sample at five thirds of the samples a second."""
    result = raced(tmp_path, {**EQUAL, "batch size 128": Truth(cost=1.2)}, SOONER)
    won = result.finalist(result.winner)

    assert won is not None
    assert (won.name, won.role, won.horizon) == ("batch size 128", "batch", 128)
    found = won.vs_script[DEFAULT]
    assert found.proven
    assert found.speedup is not None
    assert 1.5 < found.speedup.value < 1.85
    assert won.non_inferior
    assert result.speedup_vs_tuned_incumbent is not None
    assert result.speedup_vs_tuned_incumbent.proven


def test_a_smaller_batch_that_is_really_sooner_wins(tmp_path: Path) -> None:
    """Half of the samples a step, in three fifths of its time, and a smaller batch makes more of a sample."""
    result = raced(tmp_path, {**EQUAL, "batch size 32": Truth(1.9, cost=0.6)})

    assert result.winner == "batch size 32"
    assert set(outs(result).values()) > {""}


def test_sizes_that_the_clock_rules_out_cost_no_run(tmp_path: Path) -> None:
    """The curve of samples a second is flat, which is an answer: two baselines and some timed steps."""
    result = raced(tmp_path, EQUAL, step_noise=0.001)

    assert (result.winner, result.leader, result.reason) == ("", "", NONE_SOONER)
    assert words.lead(result) == "Nothing to gain"
    assert all("x as " in out for out in outs(result).values())
    assert result.runs == 2
    assert "finals" not in outs(result)
    assert race_document(result)["screened"][0]["samples_ratio"] == pytest.approx(0.5, rel=0.02)
    assert "samples/s" in race_page(result)


def test_a_race_of_rules_offers_them(tmp_path: Path) -> None:
    """With the layer sizes that do not divide; a script without either is offered nothing."""
    roots = (replace(ROOT, parameter_shapes=((650, 650), (650, 650))),)
    rules = Wish(only=("adamw",), shape="quick")
    truths = {"script": Truth(), "adamw": Truth()}
    (tmp_path / "without").mkdir()

    assert simulated(tmp_path, truths, rules, found=replace(SIZED, roots=roots)).notes[-1] == (
        "could be raced too, each apart: --batch-sizes (now 64) and --layer-sizes (650 as 704)"
    )
    assert not any("apart" in note for note in simulated(tmp_path / "without", truths, rules).notes)


def test_sizes_that_make_less_of_their_samples_do_not_win(tmp_path: Path) -> None:
    """Twice the samples a second, each worth half."""
    truths = {**EQUAL, "batch size 128": Truth(0.5, cost=1.0), "batch size 256": Truth(0.25, cost=1.0)}
    for seed in range(3):
        (tmp_path / str(seed)).mkdir()
        result = raced(tmp_path / str(seed), truths, seed=seed, seed_noise=0.04)

        assert not result.winner.startswith("batch size")


def test_the_sizes_that_the_user_names(tmp_path: Path) -> None:
    truths = {"script": Truth(), "batch size 96": Truth(cost=1.0)}
    result = raced(tmp_path, truths, Wish(batch_sizes=(96, 64, 4096, 2048), shape="quick"))

    assert list(outs(result)) == ["batch size 96", "batch size 2048", "batch size 4096"]
    assert outs(result)["batch size 4096"] == "the dataset has 2048 samples"
    assert outs(result)["batch size 2048"] == "the whole training would be 8 steps"
    assert result.leader == "batch size 96"


def test_a_loss_that_sums_over_its_batch_is_not_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under half of the batch it would be at the goal from the first step."""
    plain = SimulatedRunner.run

    def run(runner: SimulatedRunner, trial: Trial, facts: Facts | None = None) -> Recording:
        record = plain(runner, trial, facts)
        times = Arm.parse(str(trial.setup.values.get("optimizer-rule", "script"))).growth
        return replace(record, steps=replace(record.steps, losses=tuple(times * (x or 0) for x in record.steps.losses)))

    monkeypatch.setattr(SimulatedRunner, "run", run)
    truths = {"script": Truth(), "batch size 32": Truth(cost=0.5), "batch size 128": Truth(cost=1.0)}
    result = raced(tmp_path, {**truths, "batch size 256": Truth(cost=1.0)})

    assert all("a sum over the batch" in out for out in outs(result).values())
    assert result.winner == ""


def test_the_answer_is_told_and_written(tmp_path: Path) -> None:
    """The logbook holds it, the page shows samples and not steps, and the plan carries it as a recipe."""
    result = raced(tmp_path, {**EQUAL, "batch size 128": Truth(cost=1.2)}, SOONER)
    written = [event for event in Logbook(tmp_path / "logbook.jsonl").events() if event["kind"] == "race"]

    assert msgspec.convert(written[-1]["result"], RaceResult) == result
    assert "batch size 128 in place of 64" in words.body(result)
    assert words.effect(result).startswith("Against the script with its own rule tuned in its place: ")
    assert "128 steps where the script takes 256" in words.advice(result)
    assert "samples, in steps of the script as written" in race_page(result)


SCRIPT = """
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.set_num_threads(1)
torch.manual_seed(0)
x = torch.randn(2048, 4)
loader = DataLoader(TensorDataset(x, x.sum(1, keepdim=True)), batch_size=64, shuffle=True)
model = nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
for x, y in (batch for _ in range(4) for batch in loader):
    loss = nn.functional.mse_loss(model(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print(len(loader), loader.batch_size, optimizer.param_groups[0]["lr"])
"""


BY_HAND = """
for start in 4 * list(range(0, 2048, 64)):
    loss = nn.functional.mse_loss(model(x[start : start + 64]), x[start : start + 64].sum(1, keepdim=True))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
"""


@pytest.mark.parametrize(
    ("change", "clause"),
    [
        (lambda text: text[: text.index("for x, y")] + BY_HAND, "no DataLoader feeds its training steps"),
        (
            lambda text: text.replace("optim.SGD", "optim.Adagrad"),
            "the learning rate of Adagrad follows the batch size",
        ),
    ],
    ids=["by hand", "Adagrad"],
)
def test_a_script_that_cannot_be_resized_is_told_another_way(tmp_path: Path, change: Any, clause: str) -> None:
    """In whole runs of it: before anything is raced."""
    (tmp_path / "train.py").write_text(change(SCRIPT))
    command = [sys.executable, "-m", "hotlap", "race", "--budget", "quick", "--batch-sizes", "train.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=400, check=False)

    assert done.returncode == 1, done.stderr
    said = " ".join(done.stderr.split())
    assert clause in said
    assert "hotlap race --arm '--batch-size N' train.py" in said


def test_a_winner_is_applied_by_hotlap_run(tmp_path: Path) -> None:
    """On the user's word alone."""
    (tmp_path / "train.py").write_text(SCRIPT)
    result = raced(tmp_path, {**EQUAL, "batch size 128": Truth(cost=1.2)}, SOONER)
    plan = tmp_path / "hotlap.toml"
    with_winner(result, plan, datetime.date(2026, 1, 2))
    printed: list[str] = []
    said = ""
    for allow in (("--allow", "recipe"), ()):
        command = [sys.executable, "-m", "hotlap", "run", "--anyway", *allow, "train.py"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=True)
        printed.append(done.stdout.strip())
        said = done.stderr

    assert 'contract = "recipe"' in plan.read_text()
    assert "hotlap run --allow recipe train.py" in plan.read_text()
    assert "optimizer-rule is left out: it promises recipe, and --allow recipe applies it" in said
    assert printed == ["16 128 0.01", "32 64 0.01"]


# -- which can be tried


EVALUATES = replace(TRAINS, index=1, length=512, shuffles=False, trains=False)


@pytest.mark.parametrize(
    ("loaders", "clause"),
    [
        ((), "no DataLoader feeds its training steps"),
        ((EVALUATES,), "no DataLoader feeds its training steps"),
        ((replace(TRAINS, length=None, shuffles=None),), "is iterable"),
        ((replace(TRAINS, batch_size=None),), "not made by torch's own BatchSampler"),
        ((TRAINS, replace(TRAINS, index=1, length=512)), "2 different DataLoaders"),
        ((TRAINS, replace(TRAINS, index=1, trains=False)), "is built like the one that does"),
    ],
)
def test_what_cannot_be_resized_is_refused_with_the_way_out(loaders: tuple[Loader, ...], clause: str) -> None:
    with pytest.raises(HotlapError) as raised:
        loader_that_trains(replace(FACTS, loaders=loaders))

    assert raised.value.slug == "no-batch-size"
    assert clause in raised.value.what
    assert "--arm '--batch-size N'" in raised.value.fix


def test_loaders_built_anew_for_every_epoch_are_one() -> None:
    found = loader_that_trains(replace(FACTS, loaders=(TRAINS, EVALUATES, replace(TRAINS, index=2))))

    assert found == TRAINS
    by_sampler = replace(TRAINS, batch_size=None, by_sampler=64)
    assert loader_that_trains(replace(FACTS, loaders=(by_sampler,))).size == 64


def first_run(folder: Path, rates: tuple[tuple[int, tuple[float, ...]], ...]) -> Run:
    """A run of the script whose rates were these."""
    trainings = trainings_in(folder)
    run = trainings.baseline(1, 1e9)
    assert run.record.race is not None
    return replace(run, record=replace(run.record, race=replace(run.record.race, rates=rates)))


def trainings_in(folder: Path, **truths: Truth) -> Trainings:
    from hotlap.target import Target

    target = Target((sys.executable, "train.py"), None, ("train.py",), sys.executable, folder)
    runner = SimulatedRunner(target, folder, SIZED, {"script": Truth(), **truths}, **CALM)
    book = Logbook(folder / "logbook.jsonl")
    book.start("train.py", "", 1, "test")
    lab = Lab(runner, book, 1e9, 1, clock=lambda: runner.spent_s)
    lab.observe(10.0)
    return Trainings(lab, Metric())


def test_the_schedule_is_the_script_s_over_as_many_samples(tmp_path: Path) -> None:
    """However the script writes it: a schedule in steps would not come to its end in half of them."""
    rates = tuple((step, (0.1 * (1 - (step - 1) / 256),)) for step in range(1, 257))
    (tmp_path / "constant").mkdir()
    sizes = offered(TRAINS, (), first_run(tmp_path, rates), 256)
    constant = offered(TRAINS, (), first_run(tmp_path / "constant", ((1, (0.1,)),)), 256)

    assert [size.arm.batch for size in sizes] == [32, 128, 256]
    assert [size.arm.horizon for size in sizes] == [512, 128, 64]
    assert {size.arm.reference for size in sizes} == {0.1}
    assert all(size.arm.schedule.startswith("points:0/1,") for size in sizes)
    assert {size.arm.schedule for size in constant} == {"script"}
    assert all(Arm.parse(str(size.arm)) == size.arm for size in sizes)


def test_a_batch_of_one_has_no_half(tmp_path: Path) -> None:
    run = first_run(tmp_path, ())

    assert [s.arm.batch for s in offered(replace(TRAINS, batch_size=1), (), run, 256)] == [2, 4]
    with pytest.raises(HotlapError):
        offered(TRAINS, (64,), run, 256)


# -- curves of equally many samples


def of(size: int) -> Arm:
    return Arm("script", horizon=256 * 64 // size, batch=size, of="64/2048/shuffled/a:B")


def test_points_lie_equally_many_samples_apart(tmp_path: Path) -> None:
    """Else a larger batch would be smoothed over more of the training, and a smaller one over less."""
    truths = {f"batch size {size}": Truth() for size in (16, 128)}
    trainings = trainings_in(tmp_path, **truths)
    trainings.baseline(1, 1e9)
    curves = {}
    for size in (16, 128):
        arm = of(size)
        assert arm.horizon is not None
        curves[size] = trainings.run(Wanted(Size(arm).setup, "search", 1, "", arm.horizon)).curve

    assert {size: curve.points[0][0] for size, curve in curves.items()} == {16: 16, 128: 2}
    assert {len(curve.points) for curve in curves.values()} == {64}
    assert abs(log(median(v for _, v in curves[16].points) / median(v for _, v in curves[128].points))) < 0.1


def test_a_variant_of_the_command_line_is_known_by_what_its_steps_hold(tmp_path: Path) -> None:
    """`--arm '--batch-size 128'` is compared as fairly; what it does not say is taken for the script's own."""
    trainings = trainings_in(tmp_path)
    record = trainings.baseline(1, 1e9).record
    variant = replace(record, trial=replace(record.trial, setup=Setup.of({ARGUMENTS: "--batch-size 128"})))
    doubled, unseen = (replace(variant, steps=replace(record.steps, samples=(n,) * 256)) for n in (64, 0))

    assert [trainings.growth(one) for one in (record, doubled, unseen)] == [1.0, 2.0, 1.0]


def test_what_an_epoch_takes_to_start_falls_on_its_own_steps(tmp_path: Path) -> None:
    """An epoch has half as many batches of twice the size, and each bears twice as much of the start."""
    trainings = trainings_in(tmp_path, **{"batch size 128": Truth()})
    trainings.baseline(1, 1e9)
    record = trainings.run(Wanted(Size(of(128)).setup, "search", 1, "", 128)).record
    slow = replace(record, epoch_start_s=3.2)

    assert trainings.step_time(slow) - trainings.step_time(record) == pytest.approx(3.2 / 16)


# -- flags


def wish(**changes: Any) -> Wish:
    flags: dict[str, Any] = {"budget": "quick", "only": [], "skip": [], "arms": [], "metric": None, "mode": "min"}
    return wishes(**{**flags, "target": None, **changes})


def test_flags_become_a_wish() -> None:
    assert wish(batch_sizes=[]).batch_sizes == ()
    assert wish(batch_sizes=[96, 32]).batch_sizes == (96, 32)
    assert (wish().batch_sizes, wish().of_rules) == (None, True)


@pytest.mark.parametrize(
    "changes", [{"batch_sizes": [0]}, {"batch_sizes": [], "arms": ["--lr 1"]}, {"batch_sizes": [], "only": ["adam"]}]
)
def test_flags_that_do_not_go_together(changes: dict[str, Any]) -> None:
    with pytest.raises(HotlapError) as raised:
        wish(**changes)

    assert raised.value.slug == "bad-choice"
