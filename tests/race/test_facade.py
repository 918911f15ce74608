"""The optimizer as the script sees it, whatever does the update."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from hotlap.inside.host import Host

from . import tricky
from .tricky import SCRIPTS

Swapped = Callable[[str], Host]
RULES = ("adamw lr=0.013", "muon lr=0.013", "script lr=0.01 reference=0.1 clip=1")


@pytest.mark.parametrize("name", SCRIPTS)
def test_its_own_rule_gives_the_same_bits(name: str, swapped: Swapped) -> None:
    """Around the script's own class and settings nothing changes, whatever the script does with its optimizer."""
    as_written = SCRIPTS[name]()
    host = swapped("script")

    assert SCRIPTS[name]() == as_written
    assert host.failures == {}


@pytest.mark.parametrize("name", SCRIPTS)
def test_its_own_rule_in_the_facades_hands_gives_the_same(name: str, swapped: Swapped) -> None:
    """With a clip that never clips every step goes through the facade, which may update by a fused kernel."""
    as_written = SCRIPTS[name]()
    host = swapped("script clip=1e9")

    assert SCRIPTS[name]() == pytest.approx(as_written, rel=2e-5)
    assert host.failures == {}


@pytest.mark.parametrize("arm", RULES)
@pytest.mark.parametrize("name", SCRIPTS)
def test_the_script_does_not_notice_another_rule(name: str, arm: str, swapped: Swapped) -> None:
    """Its own checks hold, and the rule is not the script's."""
    as_written = SCRIPTS[name]()
    host = swapped(arm)
    losses = SCRIPTS[name]()

    assert host.failures == {}
    assert all(map(math.isfinite, losses))
    assert losses != as_written


@pytest.mark.parametrize(
    ("name", "arm", "said"),
    [
        ("subclass", "adamw lr=0.013", "what Noting.step does besides its update is left out under another rule"),
        ("subclass", "script clip=1e9", ""),
        ("third_party", "adamw lr=0.013", ""),
        ("group_ratios", "adamw lr=0.013", ""),
    ],
)
def test_a_step_of_the_scripts_own_is_not_left_out_unsaid(
    name: str, arm: str, said: str, swapped: Swapped, capsys: pytest.CaptureFixture[str]
) -> None:
    """A subclass may do more in its step than update; a class from nowhere is a rule itself."""
    swapped(arm)
    getattr(tricky, name)()
    found = capsys.readouterr().err
    assert said in found
    assert bool(said) == ("besides its update" in found)
