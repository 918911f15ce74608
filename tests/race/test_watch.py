"""A trial of the race: what it journals, and when it ends itself."""

from __future__ import annotations

import contextlib
import io
import math
from typing import Any

import pytest
import torch
from inside.conftest import HEAD, Place, place

from hotlap.inside.race.watch import Clock, Course
from hotlap.records import DIVERGED, NON_FINITE
from hotlap.trials import journals

__all__ = ["place"]

SCRIPT = """
model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))
groups = [{"params": model[0].parameters()}, {"params": model[2].parameters(), "lr": 0.001}]
optimizer = MAKE
scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 10, 0.5)
for step in range(25):
    x = torch.randn(8, 4)
    optimizer.zero_grad()
    loss = nn.functional.mse_loss(model(x), x.sum(1, keepdim=True))
    (loss * (float("nan") if step == BAD else 1)).backward()
    optimizer.step()
    scheduler.step()
    print("loss", loss.item())
    if step == 12:
        model.eval()
        model.train()
print("done")
"""
ADAM = "torch.optim.Adam(groups, lr=0.01)"


def script(make: str = ADAM, bad: int = -1) -> str:
    return SCRIPT.replace("MAKE", make).replace("BAD", str(bad))


def in_this_process(text: str) -> list[float]:
    """The losses that a script prints, without hotlap."""
    printed, threads = io.StringIO(), torch.get_num_threads()
    with contextlib.redirect_stdout(printed):
        exec(HEAD + text, {})
    torch.set_num_threads(threads)
    return [float(line.split()[1]) for line in printed.getvalue().splitlines() if line.startswith("loss")]


def test_the_script_as_written(place: Place) -> None:
    """Rates of its groups where they change, norms of some steps, the size of the state; and it runs to its end."""
    place.write(script())
    ran = place.run(purpose="race", options={"cap_s": 100.0})
    raced = ran.raced

    assert ran.printed("loss") == pytest.approx(ran.record.steps.losses)
    rates = {1: (0.01, 0.001), 11: (0.005, 0.0005), 21: (0.0025, 0.00025)}
    assert {step: pytest.approx(now) for step, now in raced.rates} == rates
    assert [step for step, _ in raced.gradient_norms] == [10, 20]
    assert all(norm > 0 for _, norm in raced.gradient_norms)
    numbers = 4 * 8 + 8 + 8 + 1
    assert raced.state_bytes == 4 * (2 * numbers + 4)  # two moments, and a count for each tensor
    assert raced.mode_calls == 8  # to and fro, of the whole and of its three layers
    assert (raced.refused, raced.killed) == ("", "")


def test_an_arm(place: Place) -> None:
    """The rates are those of the update, the losses those of the rule that was named."""
    text = script("torch.optim.SGD(groups, lr=0.2, momentum=0.9)")
    place.write(text)
    arm = "momentum lr=0.05 reference=0.1 schedule=script"
    ran = place.run(purpose="race", settings=[["optimizer-rule", arm]])
    raced = ran.raced

    assert ran.record.installed_knobs == ("optimizer-rule",)
    assert ran.record.failed_knobs == {}
    assert raced.rates[0] == (1, pytest.approx((0.1, 0.0005)))
    assert raced.state_bytes == 4 * (4 * 8 + 8 + 8 + 1)
    by_hand = in_this_process(text)
    assert ran.printed("loss")[0] == by_hand[0]
    assert ran.printed("loss")[2:] != by_hand[2:]


def test_a_loss_that_is_no_number_ends_it(place: Place) -> None:
    """In the step that shows it; the script's own end is never reached."""
    place.write(script(bad=4))
    ran = place.run(purpose="race")

    assert ran.raced.killed == NON_FINITE
    assert len(ran.record.steps.losses) == 5
    assert "done" not in ran.stdout
    end = journals.of_kind(ran.lines, "end")[-1]
    assert (end["outcome"], end["reason"]) == ("script ended early", NON_FINITE)


@pytest.mark.slow
@pytest.mark.parametrize("settings", [[], [["optimizer-rule", "script"]]], ids=["baseline", "arm"])
def test_several_closures_are_noted_and_end_an_arm(place: Place, settings: Any) -> None:
    """Variants of such a script can still be raced, so its baseline runs to the end."""
    place.write(
        """
        model = nn.Linear(4, 1)
        optimizer = torch.optim.LBFGS(model.parameters(), max_iter=3)
        def closure():
            optimizer.zero_grad()
            loss = model(torch.ones(2, 4)).pow(2).mean()
            loss.backward()
            return loss
        for _ in range(5):
            optimizer.step(closure)
        """.replace("\n        ", "\n")
    )
    ran = place.run(purpose="race", settings=settings)

    assert ran.raced.closures or settings
    assert ran.raced.refused == (
        "the script's optimizer evaluates its closure more than once per step" if settings else ""
    )
    assert len(ran.record.steps.losses) == (1 if settings else 5)


def test_a_training_under_a_plan(place: Place) -> None:
    """As in a trial: what the rule gives when a script is written with it."""
    place.write(script("torch.optim.Adam(groups, lr=0.01, weight_decay=0.2)"))
    ran = place.run(purpose="run", settings=[["optimizer-rule", "adamw lr=0.03 weight_decay=0.1"]])

    by_hand = script("torch.optim.AdamW(groups, lr=0.03, weight_decay=0.1, fused=True)").replace("0.001", "0.003")
    assert ran.printed("loss") == pytest.approx(in_this_process(by_hand), rel=1e-6)
    assert ran.stderr == ""


# -- kills


@pytest.mark.parametrize(
    ("losses", "killed"),
    [
        ([1.0] * 100, ""),
        ([2.0 * 0.9**k for k in range(60)] + [2.0] * 60, DIVERGED),
        ([2.0 * 0.9**k for k in range(60)] + [0.5] * 60, ""),  # far above its best, and far below where it began
        ([1.0, 3.0] * 50, ""),
        ([-1.0] * 30 + [-5.0] * 30, ""),
        ([1.0, None, 1.0], ""),
        ([1.0, math.inf], NON_FINITE),
        ([math.nan], NON_FINITE),
    ],
)
def test_the_course_of_a_loss(losses: list[float | None], killed: str) -> None:
    course = Course()
    found = next((why for loss in losses if (why := course.add(loss))), "")

    assert found == killed


def test_the_clock_takes_an_evaluation_for_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps of a second, with evaluations of a minute between them."""
    now = 0.0
    monkeypatch.setattr("hotlap.inside.race.watch.perf_counter", lambda: now)
    clock = Clock(cap_s=20.5)
    over = 0
    for step in range(1, 40):
        now += 60.0 if step % 10 == 5 else 1.0
        over = over or (step if clock.is_over() else 0)

    assert 10 <= over <= 21
    assert Clock(0.0).is_over() is False
