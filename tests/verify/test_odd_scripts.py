"""The judge on trainings of unusual build: what cannot be compared is said, and nothing honest is called changed."""

import pytest
from torch.ops import mkldnn

from hotlap.records import Setup, Word


def slow(kind):
    """A case for before a release."""
    return pytest.param(kind, marks=pytest.mark.slow)


@pytest.mark.parametrize("kind", ["by-hand", *map(slow, ["closure", "lbfgs", "two", "dataclass"])])
def test_another_order_of_sums_passes(judge_of, kind):
    """Closures, updates by hand, several optimizers and batches of one's own class are all compared."""
    verdict = judge_of("odd.py", kind).judge(Setup.of({"threads": 1})).verdict

    assert verdict.word.may_enter_plan, verdict


@pytest.mark.parametrize("kind", ["closure", "by-hand", *map(slow, ["lbfgs", "two"])])
def test_short_gradients_are_caught(judge_of, kind):
    """Also where the optimizer calls the model, or there is none."""
    verdict = judge_of("odd.py", kind).judge(Setup.of({"faults:Short": True})).verdict

    assert verdict.word is Word.CHANGED, verdict


@pytest.mark.slow
def test_the_targets_of_a_batch_of_ones_own_class_are_read(judge_of):
    """A dataclass is no tuple; its labels count all the same."""
    verdict = judge_of("odd.py", "dataclass").judge(Setup.of({"faults:ShiftedField": True})).verdict

    assert next(gate for gate in verdict.gates if gate.name == "events").word is Word.CHANGED


def test_a_script_that_does_not_repeat_itself_is_undecided(judge_of):
    """Its batches differ from run to run, which is no knob's fault."""
    verdict = judge_of("odd.py", "unseeded").judge(Setup.of({"threads": 1})).verdict

    assert verdict.word is Word.UNDECIDED
    assert "does not repeat itself" in verdict.reason


def test_a_state_that_is_carried_from_step_to_step_is_compared_like_weights(judge_of):
    """It follows from the weights, so rounding changes it; what a fault changes is still seen."""
    judge = judge_of("carried.py")
    knobs = ("fused-update", *(("autocast-bf16",) if mkldnn._is_mkldnn_bf16_supported() else ()))  # an LSTM needs it
    honest = [judge.judge(Setup.of({knob: True})).verdict for knob in knobs]
    fault = judge.judge(Setup.of({"faults:Gradients09": True})).verdict

    assert all(verdict.word.may_enter_plan for verdict in honest), honest
    assert fault.word is Word.CHANGED, fault


@pytest.mark.skipif(not mkldnn._is_mkldnn_bf16_supported(), reason="bfloat16 is a matter of the processor")
def test_an_optimizer_that_steps_after_the_main_one_updates_by_gradients_of_its_own(judge_of):
    """Which are as far off as the precision is; that is no change of what the script does between two steps."""
    judge = judge_of("odd.py", "after")
    honest = judge.judge(Setup.of({"autocast-bf16": True})).verdict
    fault = judge.judge(Setup.of({"faults:Short": True})).verdict

    assert honest.word is Word.EQUIVALENT, honest
    assert fault.word is Word.CHANGED, fault


def test_every_model_of_a_step_is_evaluated(judge_of):
    """Not only the one that is called first."""
    judge = judge_of("gan.py")
    honest = judge.judge(Setup.of({"fused-update": True})).verdict
    fault = judge.judge(Setup.of({"faults:InEvaluationOfTheSecond": True})).verdict

    assert honest.word.may_enter_plan, honest
    assert (fault.word, fault.gate, "of model 1" in fault.reason) == (Word.CHANGED, "evaluation", True), fault


@pytest.mark.parametrize("fault", ["NoInstall", "LateFailure"])
def test_a_knob_that_did_not_take_hold_was_not_compared(judge_of, fault):
    """The untouched script is identical to itself, which says nothing of the knob."""
    verdict = judge_of("conv_pool.py").judge(Setup.of({f"faults:{fault}": True})).verdict

    assert verdict.word is Word.UNDECIDED
    assert "could not take hold" in verdict.reason


def test_a_batch_dropped_later_is_caught(judge_of):
    """The tenth batch of an epoch lies beyond the steps whose gradients are compared."""
    verdict = judge_of("conv_pool.py").judge(Setup.of({"faults:TenthBatch": True})).verdict

    assert verdict.word is Word.CHANGED, verdict
    assert verdict.gate == "events"


def test_a_fault_beside_reduced_precision_is_caught(judge_of):
    """Gradients 1 % short drown in bfloat16's noise; at their own unit they do not."""
    verdict = judge_of("conv_pool.py").judge(Setup.of({"autocast-bf16": True, "faults:Gradients099": True})).verdict

    assert verdict.word is Word.CHANGED, verdict
