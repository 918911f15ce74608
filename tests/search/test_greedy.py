"""The search against machines that are made up: what it asks for, and what it finds."""

from __future__ import annotations

import random
from math import log

import pytest

from hotlap.records import AS_WRITTEN, Setting, Setup
from hotlap.search.greedy import greedy

CONFLICTS = {"autocast": ("matmul",), "matmul": ("autocast",), "workers": ("whole",), "whole": ("workers",)}


def found(machine, singles, conflicts=CONFLICTS, pinned=AS_WRITTEN, thrifty=()):
    """Let the search ask a machine, a function from a setup to how many times faster it is."""
    asking = greedy([singles], conflicts, pinned, thrifty=thrifty)
    asked = []
    try:
        ask = next(asking)
        while True:
            asked.append(ask)
            gains = {c: log(machine(c) / machine(ask.reference)) for c in ask.candidates if machine(c)}
            ask = asking.send(gains)
    except StopIteration as decided:
        return decided.value, asked


def product(**factors):
    """A machine on which settings multiply."""

    def machine(setup):
        speed = 1.0
        for knob in setup.values:
            speed *= factors[knob]
        return speed

    return machine


@pytest.mark.parametrize(
    ("speeds", "expected"),
    [
        ({1: 1.20, 2: 1.22, 3: 1.23}, {"workers": 1}),
        ({1: 1.10, 2: 1.22, 3: 1.23}, {"workers": 2}),
        ({0: 0.99, 1: 1.005, 2: 1.02}, {"workers": 2}),  # one worker is no gain to begin with
        ({1: 0.9, 2: 0.95}, {}),
    ],
)
def test_of_workers_the_fewest_that_are_about_as_fast(speeds, expected):
    """A process that gains less than 3 % is not worth its memory."""
    singles = [Setting("workers", count) for count in sorted(speeds, reverse=True)]
    setup, _ = found(lambda setup: speeds.get(setup.values.get("workers"), 1.0), singles, thrifty=["workers"])

    assert setup == Setup.of(expected)


def test_nothing_to_try_asks_nothing():
    """Without candidates the script stays as written, at no cost."""
    assert found(product(), []) == (AS_WRITTEN, [])


def test_nothing_faster_keeps_the_script_as_written():
    """Slower settings do not come into the plan."""
    setup, _ = found(product(a=0.9, b=0.99), [Setting("a", True), Setting("b", True)])

    assert setup == AS_WRITTEN


def test_everything_that_helps_is_combined():
    """Independent gains add up; what hurts stays out."""
    setup, _ = found(product(a=1.3, b=1.1, c=0.8), [Setting(k, True) for k in "abc"])

    assert setup == Setup.of({"a": True, "b": True})


def test_a_setting_that_helps_only_in_company_is_found():
    """Channels-last is slower alone and faster with bfloat16."""

    def machine(setup):
        knobs = set(setup.values)
        speed = 1.4 if "autocast" in knobs else 1.0
        return speed * (1.2 if knobs >= {"autocast", "layout"} else 0.97 if "layout" in knobs else 1.0)

    setup, _ = found(machine, [Setting("autocast", True), Setting("layout", True)])

    assert setup == Setup.of({"autocast": True, "layout": True})


def test_a_rival_takes_the_place_of_what_it_conflicts_with():
    """Autocast gains nothing alone and much once page faults are gone; its rival must not keep it out."""

    def machine(setup):
        knobs = set(setup.values)
        if {"autocast", "matmul"} <= knobs:
            return None
        speed = (1.2 if "malloc" in knobs else 1.0) * (1.05 if "matmul" in knobs else 1.0)
        return speed * (1.5 if knobs >= {"autocast", "malloc"} else 0.99 if "autocast" in knobs else 1.0)

    setup, _ = found(machine, [Setting(k, True) for k in ("matmul", "autocast", "malloc")])

    assert setup == Setup.of({"autocast": True, "malloc": True})


@pytest.mark.parametrize(("behind", "tried"), [(0.1, True), (0.2, False)])
def test_a_rival_that_was_far_behind_is_not_tried_again(behind, tried):
    """TF32 in the place of bfloat16 would be compiled anew for nothing."""
    asking = greedy([[Setting("autocast", True), Setting("matmul", True)]], CONFLICTS)
    bf16, tf32 = Setup.of({"autocast": True}), Setup.of({"matmul": True})

    next(asking)
    asking.send({bf16: 0.4, tf32: 0.4 - behind})
    if tried:
        assert asking.send({bf16: 0.4, tf32: 0.4 - behind}).candidates == (tf32,)
    else:
        with pytest.raises(StopIteration) as decided:
            asking.send({bf16: 0.4, tf32: 0.4 - behind})
        assert decided.value.value == bf16


def test_what_looked_good_by_luck_is_measured_again():
    """One pair of fresh processes differs from the next by more than what is worth keeping."""
    asking = greedy([[Setting("a", True), Setting("b", True)]], CONFLICTS)
    a, b, both = Setup.of({"a": True}), Setup.of({"b": True}), Setup.of({"a": True, "b": True})

    assert next(asking).candidates == (a, b)
    assert asking.send({a: 0.4, b: -0.06}).candidates == (a, b)
    assert asking.send({a: 0.4, b: -0.06}).candidates == (both,)
    assert asking.send({both: 0.06}).candidates == (both,)
    with pytest.raises(StopIteration) as decided:
        asking.send({both: -0.06})
    assert decided.value.value == a


def test_a_group_is_asked_for_when_those_before_it_are_done():
    """What the kept settings have brought up can then be answered: page faults, say."""
    kept = []

    def groups():
        yield [Setting("a", True)]
        kept.append(len(asked))
        yield [Setting("malloc", True)]

    asked: list[Setup] = []
    machine = product(a=1.5, malloc=1.4)
    asking = greedy(groups(), CONFLICTS)
    ask = next(asking)
    with pytest.raises(StopIteration) as decided:
        while True:
            asked.append(ask.reference)
            ask = asking.send({c: log(machine(c) / machine(ask.reference)) for c in ask.candidates})

    assert kept == [1]
    assert asked[1] == Setup.of({"a": True})
    assert decided.value.value == Setup.of({"a": True, "malloc": True})


def test_a_passenger_is_left_out():
    """What looked good alone and brings nothing in company goes."""

    def machine(setup):
        knobs = set(setup.values)
        return (1.5 if "a" in knobs else 1.0) * (1.03 if knobs == {"b"} else 0.99 if "b" in knobs else 1.0)

    setup, _ = found(machine, [Setting("a", True), Setting("b", True)])

    assert setup == Setup.of({"a": True})


def test_the_best_value_of_a_knob_is_taken():
    """One value a knob."""
    speed = {1: 1.1, 2: 1.3, 4: 1.2}
    singles = [Setting("workers", n) for n in speed]
    setup, _ = found(lambda s: speed.get(s.values.get("workers"), 1.0), singles)

    assert setup == Setup.of({"workers": 2})


def test_a_candidate_that_failed_is_not_built_upon():
    """A setup for which nothing was measured is out."""
    setup, asked = found(
        lambda s: 0 if "bad" in s.values else 1.2 ** len(s.values), [Setting("bad", 1), Setting("a", 1)]
    )

    assert setup == Setup.of({"a": 1})
    assert not any("bad" in c.values for ask in asked[1:] for c in ask.candidates)


def test_what_the_user_pinned_is_in_every_answer():
    """Even if it is slower: it is the user's word."""
    setup, _ = found(
        product(a=1.3, slow=0.8), [Setting("a", True), Setting("slow", True)], pinned=Setup.of({"slow": True})
    )

    assert setup == Setup.of({"a": True, "slow": True})


@pytest.mark.parametrize("seed", range(50))
def test_it_ends_and_never_combines_rivals(seed):
    """Whatever is measured, the number of blocks is bounded and conflicts are kept apart."""
    luck = random.Random(seed)
    speeds: dict[Setup, float] = {}
    singles = [Setting(k, True) for k in ("autocast", "matmul", "workers", "whole", "c", "d", "e")]
    setup, asked = found(lambda s: speeds.setdefault(s, luck.lognormvariate(0.05, 0.2)), singles)

    assert len(asked) <= 2 + 2 * 3  # each block at most twice: the screening, three rounds of combining
    for ask in asked:
        for candidate in (*ask.candidates, setup):
            assert not {"autocast", "matmul"} <= set(candidate.values)
            assert not {"workers", "whole"} <= set(candidate.values)
