"""Two runs that agree to the bit: seeds, and switches that hold."""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from facts import facts

from hotlap.inside import seeds
from hotlap.inside.host import Host
from hotlap.inside.journal import Journal
from hotlap.knobs import knob_by_id
from hotlap.search.candidates import Request, unwanted
from hotlap.trials.environment import for_trial

KNOB = knob_by_id("reproducible")


@pytest.fixture
def trial() -> Iterator[Host]:
    """A host as a trial has it, seed 3 mixed in."""
    host = Host(Journal(None), {"purpose": "time", "settings": [], "roots": [], "seed": 3, "options": {}})
    yield host
    host.undo()


def draws() -> list[float]:
    return [random.random(), np.random.rand(), np.random.default_rng().random(), torch.rand(()).item()]


def test_every_stream_begins_at_the_same_place(host: Host) -> None:
    """Also a generator of numpy's that was given no seed, each a stream of its own."""
    KNOB.install(True, host)
    first, other = draws(), np.random.default_rng().random()
    host.undo()
    KNOB.install(True, host)

    assert draws() == first
    assert other != first[2]
    assert np.random.default_rng(5).random() == np.random.Generator(np.random.PCG64(5)).random()


def test_an_unseeded_generator_moves_no_other_stream(host: Host) -> None:
    KNOB.install(True, host)
    state = torch.get_rng_state()
    np.random.default_rng()

    assert torch.equal(torch.get_rng_state(), state)


def test_the_seeds_of_the_script_win(host: Host) -> None:
    KNOB.install(True, host)
    torch.manual_seed(7)
    drawn = torch.rand(())
    host.undo()

    assert drawn == torch.rand((), generator=torch.Generator().manual_seed(7))


def test_a_trial_draws_as_its_reference_does(trial: Host) -> None:
    """Which has the trial's seeds and not the knob: only so can the two be compared."""
    seeds.install(trial, 3)
    reference = draws()
    trial.undo()
    seeds.install(trial, 3)
    KNOB.install(True, trial)

    assert draws() == reference


def test_a_pair_iterates_over_sets_alike(tmp_path: Path) -> None:
    """A trial's own hash seed comes before the knob's."""
    made = for_trial(tmp_path / "task", tmp_path, 1003, tmp_path, KNOB.environment(True))

    assert KNOB.environment(True)["PYTHONHASHSEED"] == "0"
    assert made["PYTHONHASHSEED"] == "1003"
    assert made["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"


def test_the_switches_hold_against_the_script(host: Host) -> None:
    """Whichever way it sets them."""
    cudnn = torch.backends.cudnn
    before = cudnn.benchmark, cudnn.deterministic
    KNOB.install(True, host)
    cudnn.benchmark = True
    cudnn.deterministic = False
    torch.use_deterministic_algorithms(False)
    torch.set_deterministic_debug_mode("default")
    with cudnn.flags(benchmark=True, deterministic=False):
        assert (cudnn.benchmark, cudnn.deterministic) == (False, True)
    assert torch.are_deterministic_algorithms_enabled()

    host.undo()
    assert (cudnn.benchmark, cudnn.deterministic) == before
    assert not torch.are_deterministic_algorithms_enabled()


def test_a_trial_finds_out_what_a_run_warns_of(host: Host, trial: Host) -> None:
    """`put_` has no deterministic version; a script that wants an error for that gets it."""
    KNOB.install(True, trial)
    with pytest.raises(RuntimeError, match="deterministic"):
        put()
    trial.undo()
    KNOB.install(True, host)
    with pytest.warns(UserWarning, match="deterministic"):
        put()
    torch.use_deterministic_algorithms(True)
    with pytest.raises(RuntimeError, match="deterministic"):
        put()


def put() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        torch.zeros(3).put_(torch.tensor([0]), torch.tensor([1.0]))


def test_only_the_user_turns_it() -> None:
    """And then it is in the plan whatever it costs, unlike other settings that the user pins."""
    assert KNOB.choices(facts()) == (True,)
    assert unwanted(KNOB, Request()) == "only by --set, for that is your decision"
