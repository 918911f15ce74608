"""The knob that carries an arm; the swap itself is tested in tests/race."""

from __future__ import annotations

from pathlib import Path

from facts import facts
from test_checkpoints import planned

from hotlap.knobs.optimizer.optimizer_rule import OptimizerRule
from hotlap.records import Contract, Skip
from hotlap.run import find_plan, trusted


def test_is_left_to_the_race() -> None:
    """No tune tries it, whatever the script, for it is another training."""
    assert isinstance(OptimizerRule().choices(facts()), Skip)
    assert isinstance(OptimizerRule().choices(facts(manual_update=True)), Skip)
    assert OptimizerRule.contract is Contract.RECIPE


def test_takes_what_an_arm_is() -> None:
    """The sentence of a refusal is the arm's own."""
    knob = OptimizerRule()

    assert knob.refuses("muon lr=0.02 schedule=cosine horizon=1200") is None
    assert knob.refuses("muon lr=0") == "lr must be above 0"
    assert knob.refuses(True) == "there is no rule ''"


def test_a_plan_carries_it_on_the_users_word_alone(tmp_path: Path) -> None:
    """`--allow reduced` leaves it out, also where somebody has written another contract beside it."""
    path = planned(tmp_path, {"optimizer-rule": "adamw lr=0.01 clip=1", "fused-update": True})
    path.write_text(path.read_text().replace('contract = "recipe"', 'contract = "exact"'))
    plan = find_plan(path, tmp_path)

    assert trusted(plan, Contract.RECIPE).setup().values["optimizer-rule"] == "adamw lr=0.01 clip=1"
    assert trusted(plan, Contract.REDUCED).setup().values == {"fused-update": True}
