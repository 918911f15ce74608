"""Another version of a script: what is only written in another way passes, what learns otherwise does not."""

from dataclasses import replace

import pytest
from scripts import SCRIPTS

from hotlap.knobs import AGAINST
from hotlap.records import Setup, Trial, Word

OTHER_MODULES = (
    ("self.conv1 = nn.Conv2d(3, 16, 3, padding=1)", "self.body = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1))"),
    ("self.conv2 = nn.Conv2d(16, 32, 3, padding=1)", "self.body.extend([nn.ReLU(), nn.Conv2d(16, 32, 3, padding=1)])"),
    ("        x = torch.relu(self.conv1(x))\n", ""),
    ("torch.relu(self.conv2(x))", "torch.relu(self.body(x))"),
)
STEP = "loss = criterion(model(inputs), labels)"
IN_BF16 = ((STEP, f"with torch.autocast('cpu', torch.bfloat16): {STEP}"),)


@pytest.fixture
def version(judge_of, tmp_path):
    """From edits of conv_pool.py to the verdict on what they make of it."""

    def verdict(*edits, script="conv_pool.py"):
        text = (SCRIPTS / script).read_text()
        for old, new in edits:
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / "other.py"
        path.write_text(text)
        judge, setup = judge_of(script), Setup.of({AGAINST: str(path)})
        observed = judge.runner.run(Trial("observe-other", "observe", setup, 0, 0, 40, 20.0))
        assert observed.facts is not None, observed.reason
        return replace(judge, version=observed.facts, _known={}, _parts={}).judge(setup).verdict

    return verdict


def test_the_same_script_is_identical(version):
    """Another file with the same text."""
    assert version().word is Word.IDENTICAL


@pytest.mark.parametrize(
    "edits",
    [
        OTHER_MODULES,
        (("optimizer.zero_grad()", "model.zero_grad(set_to_none=True)"),),
        (
            (
                "model = sequential() if args.sequential else Net()",
                "model = Net().to(memory_format=torch.channels_last)",
            ),
        ),
        (("momentum=0.9, weight_decay=1e-3", "momentum=0.9, weight_decay=1e-3, fused=True"),),
    ],
    ids=["other modules", "other zero_grad", "channels-last", "fused"],
)
def test_what_is_written_in_another_way_passes(version, edits):
    """Other names and modules are matched by place and shape; other kernels round."""
    verdict = version(*edits)

    assert verdict.word in (Word.IDENTICAL, Word.ROUNDING), verdict


def test_lower_precision_is_equivalent(version):
    """Held against the noise of the precision that it asks for."""
    verdict = version(*IN_BF16)

    assert verdict.word is Word.EQUIVALENT, verdict


@pytest.mark.slow
@pytest.mark.parametrize(
    ("edit", "gate"),
    [
        (("lr=0.01,", "lr=0.011,"), "events"),
        (("weight_decay=1e-3", "weight_decay=0"), "events"),
        (("shuffle=True", "shuffle=False"), "events"),
        (("criterion(model(inputs), labels)", "criterion(model(inputs), labels.roll(1))"), "gradients"),
        (("criterion(model(inputs), labels)", "0.9 * criterion(model(inputs), labels)"), "gradients"),
        (
            (
                "            optimizer.step()\n",
                "            model.head.bias.grad.zero_()\n            optimizer.step()\n",
            ),
            "gradients",
        ),
    ],
    ids=["rate", "decay", "order", "labels", "loss", "zeroed"],
)
def test_what_learns_otherwise_is_caught(version, edit, gate):
    """Whatever was meant by it."""
    verdict = version(edit)

    assert verdict.word is Word.CHANGED, verdict
    assert verdict.gate == gate


def test_clipping_does_not_hide_the_size_of_a_gradient(version):
    """Once it is clipped, a gradient of half the length is the same."""
    loss = "loss = nn.functional.cross_entropy(model(inputs), labels)"
    verdict = version((loss, loss.replace("= ", "= 0.5 * ")), script="conv_norm.py")

    assert verdict.word is Word.CHANGED, verdict
    assert (verdict.gate, "before clipping" in verdict.reason) == ("gradients", True)


def test_what_is_done_to_the_weights_after_an_update_is_compared(version):
    """As it is where weights are clamped, masked or averaged by hand."""
    step = "            optimizer.step()\n"
    verdict = version((step, f"{step}            model.head.weight.data.clamp_(-0.02, 0.02)\n"))

    assert verdict.word is Word.CHANGED, verdict
    assert (verdict.gate, "head.weight" in verdict.reason) == ("updates", True)


def test_faults_do_not_hide_in_a_lower_precision(version):
    """Gradients a tenth short, under autocast."""
    short = IN_BF16[0][1].replace("criterion", "0.9 * criterion")
    verdict = version((STEP, short))

    assert verdict.word is Word.CHANGED, verdict


def test_another_architecture_cannot_be_compared(version):
    """Weights of other shapes cannot be transplanted, and what could not be checked has not passed."""
    verdict = version(("Conv2d(16, 32,", "Conv2d(16, 24,"), ("32 * 8 * 8", "24 * 8 * 8"))

    assert verdict.word is Word.UNDECIDED, verdict
