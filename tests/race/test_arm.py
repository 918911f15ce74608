"""An arm and its text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotlap.race.arm import SCHEDULES, Arm, likeness, points_of
from hotlap.race.rules import RULES, SCRIPT, Range

rates = st.floats(1e-9, 1e6)
shares = st.lists(st.floats(0, 1), max_size=4).map(sorted)
multipliers = st.floats(0, 10)
likenesses = st.builds(
    likeness,
    st.integers(1, 10**6),
    st.integers(0, 10**9),
    st.none() | st.booleans(),
    st.text(min_size=1).map("a:B".join),
)


@st.composite
def points(draw: st.DrawFn) -> str:
    """A piecewise linear schedule."""
    corners = [0.0, *draw(shares), 1.0]
    return "points:" + ",".join(f"{share!r}/{draw(multipliers)!r}" for share in corners)


@st.composite
def arms(draw: st.DrawFn) -> Arm:
    """Any arm."""
    schedule = draw(st.sampled_from(SCHEDULES) | points())
    rule = draw(st.sampled_from([SCRIPT, *RULES]))
    batch = draw(st.none() | st.integers(1, 10**6)) if rule == SCRIPT else None
    horizon = st.integers(1, 10**9)
    return Arm(
        rule,
        lr=draw(st.none() | rates),
        weight_decay=draw(st.none() | st.floats(0, 10)),
        momentum=draw(st.none() | st.floats(0, 0.9999)),
        schedule=schedule,
        horizon=draw(horizon if schedule not in ("script", "constant") else st.none() | horizon),
        clip=draw(st.none() | rates),
        reference=draw(st.none() | rates),
        batch=batch,
        of=draw(likenesses) if batch else "",
    )


@given(arms())
def test_its_text_is_the_arm(arm: Arm) -> None:
    """Whatever an arm says is read back as the same arm, and is one line."""
    assert Arm.parse(str(arm)) == arm
    assert str(Arm.parse(str(arm))) == str(arm)


def test_the_text_is_what_people_would_write() -> None:
    arm = Arm("muon", lr=0.02, weight_decay=0.1, schedule="cosine", horizon=1200, clip=1.0)

    assert str(arm) == "muon lr=0.02 weight_decay=0.1 schedule=cosine horizon=1200 clip=1"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "there is no rule ''"),
        ("mouon", "there is no rule 'mouon'"),
        ("adam lr", "'lr' is no setting"),
        ("adam rate=1", "'rate=1' is no setting"),
        ("adam lr=fast", "'fast' is no number"),
        ("adam lr=1 lr=2", "lr is given twice"),
        ("adam lr=0", "lr must be above 0"),
        ("adam lr=nan", "lr must be above 0"),
        ("adam weight_decay=-1", "weight_decay must be 0 or above"),
        ("adam momentum=1", "momentum must be from 0 to below 1"),
        ("adam horizon=1.5", "'1.5' is no number"),
        ("adam horizon=0", "horizon must be 1 step or more"),
        ("adam schedule=cosine", "needs a horizon"),
        ("script batch=16", "batch and of go together"),
        ("script of=8/64/shuffled/a:B", "batch and of go together"),
        ("script batch=0 of=8/64/shuffled/a:B", "batch must be 1 sample or more"),
        ("adam batch=16 of=8/64/shuffled/a:B", "batch goes with the script's own rule"),
        ("script batch=16 of=0/64/shuffled/a:B", "is not what a loader is like"),
        ("adam schedule=sine horizon=3", "there is no schedule 'sine'"),
        ("adam schedule=points:0/1 horizon=3", "must run from 0 to 1"),
        ("adam schedule=points:0/1,1 horizon=3", "is no list of share/multiplier"),
        ("adam schedule=points:0/-1,1/0 horizon=3", "a multiplier must be 0 or above"),
    ],
)
def test_refuses_with_a_sentence(text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        Arm.parse(text)


def test_points_are_corners() -> None:
    assert points_of("points:0/0,0.1/1,1/0") == ((0.0, 0.0), (0.1, 1.0), (1.0, 0.0))


def test_every_rule_starts_within_its_range() -> None:
    """And none is called like the script's own."""
    for rule in RULES.values():
        for searched in (rule.lr, rule.weight_decay):
            assert isinstance(searched, Range)
            assert searched.low <= searched.first <= searched.high
        assert rule.lr.low > 0
        assert bool(rule.default_momentum) <= bool(rule.momentum)
        assert rule.momentum in ("", "momentum", "beta1")
    assert SCRIPT not in RULES
