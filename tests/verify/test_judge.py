"""The judge on real trainings: planted faults are seen, honest changes pass."""

from dataclasses import replace

import pytest

from hotlap.records import Setup, Word


@pytest.mark.usefixtures("miscompiled")
@pytest.mark.parametrize(
    "arguments",
    [pytest.param((), id="class"), pytest.param(("--sequential",), id="sequential", marks=pytest.mark.slow)],
)
def test_the_compile_fault_of_the_last_batch_is_caught(judge_of, arguments):
    """Compiled at batch 32 all is right; at the epoch's last 8 samples the convolutions get no gradient."""
    verdict = judge_of("conv_pool.py", *arguments).judge(Setup.of({"compile": True})).verdict

    assert verdict.word is Word.CHANGED
    gate = next(g for g in verdict.gates if g.word is Word.CHANGED)
    assert gate.name == "gradients"
    assert gate.step == 4  # where the small batch is served


@pytest.mark.parametrize("knob", ["fused-update", "channels-last"])
def test_honest_rounding_passes_as_rounding(judge_of, knob):
    """Another kernel, the same maths."""
    verdict = judge_of("conv_pool.py").judge(Setup.of({knob: True})).verdict

    assert verdict.word is Word.ROUNDING, verdict


@pytest.mark.parametrize("fault", ["Gradients09", "Reduced09", "ShiftedLabels", "Rate11", "NoDecay", "ZeroLayer"])
def test_planted_faults_are_caught(judge_of, fault):
    """Every one of these lets the loss fall all the same."""
    verdict = judge_of("conv_pool.py").judge(Setup.of({f"faults:{fault}": True})).verdict

    assert verdict.word is Word.CHANGED, verdict


def test_a_less_exact_kernel_is_no_rounding_and_no_fault(judge_of):
    """It breaks its promise, so it passes as a reduced precision, and only where the user allows that."""
    judge, setup = judge_of("conv_pool.py"), Setup.of({"faults:LessExact": True})
    judged = judge.judge(setup)

    assert judged.verdict.word is Word.EQUIVALENT, judged.verdict
    assert judged.loosened == ("faults:LessExact",)
    strict = replace(judge, loosens=False, _known={}, _parts={})
    assert strict.judge(setup).verdict.word is Word.CHANGED


def test_nothing_changed_is_identical(judge_of):
    """The untouched script against itself."""
    verdict = judge_of("conv_pool.py").judge(Setup()).verdict

    assert verdict.word is Word.IDENTICAL, verdict


def test_a_bias_before_batchnorm_passes_under_bf16(judge_of):
    """Its gradient is nothing but noise, so only its size can be judged."""
    verdict = judge_of("conv_norm.py").judge(Setup.of({"autocast-bf16": True})).verdict

    assert verdict.word is Word.EQUIVALENT, verdict


@pytest.mark.parametrize(
    "setup", [{"faults:DropoutOff": True}, {"faults:DropoutOff": True, "autocast-bf16": True}], ids=["alone", "in bf16"]
)
def test_dropout_left_off_is_caught(judge_of, setup):
    """The exact gates switch dropout off themselves, so it takes the one that leaves it on."""
    verdict = judge_of("conv_norm.py").judge(Setup.of(setup)).verdict

    assert verdict.word is Word.CHANGED, verdict
    assert verdict.gate == "randomness"


def test_another_checkpoint_is_caught(judge_of):
    """What trains the same and saves under other names cannot be gone on from without it."""
    verdict = judge_of("conv_norm.py").judge(Setup.of({"faults:OtherCheckpoint": True})).verdict

    assert verdict.word is Word.CHANGED, verdict
    assert verdict.gate == "checkpoint"


@pytest.mark.parametrize("fault", ["FrozenStatistics", "NoClip", "ZeroLayer"])
def test_faults_are_caught_beside_batchnorm_and_dropout(judge_of, fault):
    """Also where dropout and running statistics make the script noisier."""
    verdict = judge_of("conv_norm.py").judge(Setup.of({f"faults:{fault}": True})).verdict

    assert verdict.word is Word.CHANGED, verdict
