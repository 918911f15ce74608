"""The judge alone on a machine made of recordings: two answers, and never a yes where it could not check."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from machine import FACTS, Machine, product
from rich.console import Console

from hotlap import published
from hotlap.records import Contract, Setup, Verification, Word
from hotlap.report.document import verification_document
from hotlap.report.verification_view import verification_view
from hotlap.verification import verify

FUSED = Setup.of({"fused-update": True})
BOTH = Setup.of({"fused-update": True, "compile": True})


def verified(
    machine: Machine, setup: Setup = FUSED, budget_s: float = 900.0, allow: Contract = Contract.REDUCED
) -> Verification:
    return verify(machine.lab(budget_s), setup, allow)


def shown(found: Verification) -> str:
    console = Console(file=io.StringIO(), width=100)
    console.print(verification_view(found))
    return " ".join(console.file.getvalue().split())  # type: ignore[attr-defined]


def test_faster_and_the_same(tmp_path: Path) -> None:
    """Exit code 0, with the interval."""
    found = verified(Machine(tmp_path, product(fused_update=1.3)))

    assert (found.faster, found.same, found.exit_code) == (True, True, 0)
    assert found.speedup is not None
    assert found.speedup.low < 1.3 < found.speedup.high
    assert shown(found).startswith("Faster: 1.3")


def test_shown_again_from_its_logbook(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Number for number."""
    found = verified(Machine(tmp_path, product(fused_update=1.3)))
    published.report(tmp_path, as_json=True)

    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(verification_document(found)))


@pytest.mark.parametrize("factor", [1.0, 0.8])
def test_not_faster(tmp_path: Path, factor: float) -> None:
    """Exit code 3: learning is the same, and that is not enough."""
    found = verified(Machine(tmp_path, product(fused_update=factor)))

    assert (found.faster, found.same, found.exit_code) == (False, True, 3)
    assert shown(found).startswith("Not proven faster: ")


def test_learning_changes(tmp_path: Path) -> None:
    """Exit code 3, with the setting at fault and the first parameter; nothing is timed."""
    machine = Machine(tmp_path, product(), lambda setup: 1.0 * ("compile" in setup.values))
    found = verified(machine, BOTH)

    assert (found.faster, found.same, found.exit_code) == (None, False, 3)
    assert found.verdict.guilty == ("compile",)
    document = verification_document(found)
    assert document["first_difference"]["parameter"] == "weight"
    assert document["first_difference"]["step"] == 1
    assert document["judgement"]["guilty"] == ["compile"]
    assert shown(found).startswith("Learning changed: it does not learn the same. ")


@pytest.mark.parametrize(("allow", "same"), [(Contract.REDUCED, True), (Contract.ROUNDING, False)])
def test_no_more_is_accepted_than_allowed(tmp_path: Path, allow: Contract, same: bool) -> None:
    """What is less exact than rounding is the same only for those who take lower precision."""
    found = verified(
        Machine(tmp_path, product(fused_update=1.3), lambda setup: 1e-3 * bool(setup.settings)), allow=allow
    )

    assert found.same is same


def test_a_broken_promise(tmp_path: Path) -> None:
    """A knob that promises the same bits is held to it."""
    machine = Machine(tmp_path, product(malloc_thresholds=1.3), lambda setup: 1e-9 * bool(setup.settings))
    found = verified(machine, Setup.of({"malloc-thresholds": "mallopt"}))

    assert (found.same, found.exit_code) == (False, 3)
    assert "promises the same bits" in found.reason


def test_what_could_not_be_timed_is_no_answer(tmp_path: Path) -> None:
    """Exit code 1 when the budget ends first, although learning was shown to be the same."""
    found = verified(Machine(tmp_path, product(fused_update=1.3)), budget_s=60.0)

    assert (found.faster, found.same, found.exit_code) == (None, True, 1)
    assert "budget" in found.reason
    assert shown(found).startswith("No answer: ")


def test_what_could_not_be_judged_is_no_answer(tmp_path: Path) -> None:
    """A model without a gradient to compare is undecided: exit code 1, and no claim about its speed."""
    machine = Machine(tmp_path, product(fused_update=1.3), lambda setup: float("nan"))
    found = verified(machine)

    assert found.verdict.word in (Word.UNDECIDED, Word.CHANGED)
    assert found.exit_code != 0


def test_the_document_is_json_and_holds_no_secret(tmp_path: Path) -> None:
    """Its keys are a contract; null is no answer."""
    facts = replace(FACTS, argv=("train.py", "--token", "hunter2hunter2"))
    found = verified(Machine(tmp_path, product(fused_update=1.3), found=facts))
    text = json.dumps(verification_document(found), allow_nan=False)

    assert "hunter2" not in text
    assert list(json.loads(text)) == [
        "schema", "target", "settings", "faster", "same", "exit_code", "reason", "speedup", "verdict",
        "first_difference", "judgement", "gates", "noise", "smallest_gain", "spent_s", "facts",
    ]  # fmt: skip


REPRODUCIBLE = Setup.of({"reproducible": True})


def test_a_promise_to_repeat_is_what_is_judged(tmp_path: Path) -> None:
    """Not the speed: its price is told, and a yes is exit code 0."""
    found = verified(Machine(tmp_path, product(reproducible=0.8)), REPRODUCIBLE)

    assert (found.faster, found.same, found.exit_code) == (None, True, 0)
    assert found.speedup is not None
    assert found.speedup.high < 1.0
    assert found.verdict.gates[-1].name == "repetition"
    assert shown(found).startswith("Repeats itself: 0.8")


def test_a_broken_promise_to_repeat(tmp_path: Path) -> None:
    """Exit code 3, with the step and the tensor; nothing else is judged then."""
    found = verified(Machine(tmp_path, product(reproducible=0.8), parts=lambda setup: True), REPRODUCIBLE)
    document = verification_document(found)

    assert (found.faster, found.same, found.speedup, found.exit_code) == (None, False, None, 3)
    assert document["first_difference"]["parameter"] == "weight"
    assert document["first_difference"]["step"]
    assert shown(found).startswith("Does not repeat itself: ")


def test_what_stands_beside_such_a_promise_must_be_faster_than_it(tmp_path: Path) -> None:
    """The speed that is told is that of the whole, over the script as written."""
    machine = Machine(tmp_path, product(reproducible=0.8, fused_update=1.2), noise=0.01)
    found = verified(machine, Setup.of({"reproducible": True, "fused-update": True}))

    assert (found.faster, found.exit_code) == (True, 0)
    assert found.speedup is not None
    assert found.speedup.value == pytest.approx(0.96, rel=0.02)
