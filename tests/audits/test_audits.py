"""Every audit on a real script that fails it and on one that passes it, and none on healthy ones."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any, cast
from unittest.mock import Mock

import pytest
from facts import CUDA, facts

from audits.on_a_gpu import ON_A_GPU
from audits.scripts import ALSO_FAILING, ALSO_PASSING, FAILING, HEALTHY, HEALTHY_PASSES, PASSING, script
from hotlap.answer import seen_of
from hotlap.audits import AUDITS, all_audits, audit_by_id
from hotlap.audits.audit import Audit
from hotlap.audits.judge import audited, per_step
from hotlap.knobs import KNOBS
from hotlap.records import AS_WRITTEN, PHASES, Estimate, Finding, Phases, Seen, Status, Steps, Trial
from hotlap.records.seen import (
    Compilation,
    Gradients,
    Habits,
    Operation,
    Operations,
    Scaling,
    Stream,
    Streams,
    Structure,
)
from hotlap.target import resolve
from hotlap.trials.launch import best_tier
from hotlap.trials.runner import ProcessRunner

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
SMALL = ("--layers", "2", "--width", "64", "--vocab", "500", "--batch-size", "8", "--samples", "800")
TRAININGS = (
    *(("examples/images.py", "--batch-size", "8"), ("examples/text.py", "--batch-size", "8")),
    *(("examples/speech.py", "--batch-size", "4"), ("tests/scripts/conv_norm.py",), ("tests/scripts/carried.py",)),
    *(("tests/scripts/deep.py",), ("bench/gpu/transformer.py", *SMALL, "--length", "32")),
    ("bench/gpu/gpt2.py", *SMALL, "--heads", "2", "--length", "64"),
)
TRUE_WASTE = {
    "per-tensor-update": "an optimizer as everybody writes it, on a CPU",
    "page-faults": "large activations and glibc's allocator",
    "input-wait": "speech.py reads its files in its own process",
    "bias-before-norm": "a convolution's bias before a BatchNorm, as in many tutorials",
    "math-attention": "attention with dropout, for which a CPU has no other path",
}
WRONG = (
    *("folded-batch", "double-softmax", "double-sigmoid", "nll-without-log", "broadcast-loss", "same-augmentation"),
    *("parameters-left-out", "never-a-gradient", "missing-zero-grad", "scheduler-first", "undivided-accumulation"),
    "evaluation-mode",
    *("scaler-with-bf16", "non-finite", "graph-kept-alive", "evaluation-with-gradients"),
)
FOUND = (Status.FAIL, Status.INFORMATIVE)
SEEN = Seen(facts(faults_per_step=0.0), Phases(1.0, dict.fromkeys(PHASES, 0.1)), Steps((), {}, (), (), ()))


def observed(text: str, folder: Path) -> Seen:
    """What an observed run of the script sees."""
    (folder / "work").mkdir()
    (folder / "work" / "train.py").write_text(text)
    runner = ProcessRunner(resolve(("train.py",), cwd=folder / "work"), folder / "out", best_tier()[0])
    record = runner.run(Trial("0001-observe", "observe", AS_WRITTEN, 0, 0, 0, 8.0))
    output = (folder / "out" / "trials" / record.log).read_text()
    assert record.facts is not None, output
    assert not record.failed_probes, record.failed_probes
    return seen_of(record)


def often(audit_ids: Collection[str]) -> list[Any]:
    """Those that find wrong learning run always; those that find waste, before a release."""
    marks = {"launch-bound": (pytest.mark.slow, pytest.mark.alone)}  # a busy machine's calls take long
    others = {audit_id: marks.get(audit_id, (pytest.mark.slow,)) for audit_id in audit_ids if audit_id not in WRONG}
    return [pytest.param(audit_id, marks=others.get(audit_id, ())) for audit_id in audit_ids]


@pytest.mark.parametrize("audit_id", often(FAILING))
def test_it_finds_what_is_wrong(tmp_path: Path, audit_id: str) -> None:
    """With something to say and to change."""
    found = audit_by_id(audit_id).judge(observed(script(FAILING[audit_id]), tmp_path))

    assert found.status in FOUND, found
    assert found.advice


@pytest.mark.parametrize("audit_id", often(PASSING))
def test_it_passes_what_is_right(tmp_path: Path, audit_id: str) -> None:
    """And says why; of the audits of wrong learning, and of the model, none has anything to say of that script."""
    findings = {f.audit: f for f in audited(observed(script(PASSING[audit_id]), tmp_path), all_audits())}

    assert findings[audit_id].status is Status.PASS, findings[audit_id]
    assert [f for f in findings.values() if (f.area == "model" or f.audit in WRONG) and f.status in FOUND] == []
    unchecked = [f for f in findings.values() if f.status is Status.ERROR]
    assert [f for f in unchecked if "a compiled graph hides its operations" not in f.headline] == []


@pytest.mark.parametrize(("audit_id", "parts"), ALSO_FAILING.values(), ids=ALSO_FAILING)
def test_it_finds_less_plain_cases(tmp_path: Path, audit_id: str, parts: dict[str, str]) -> None:
    """By the same scripts."""
    found = audit_by_id(audit_id).judge(observed(script(parts), tmp_path))

    assert found.status in FOUND, found


@pytest.mark.parametrize(("audit_id", "parts"), ALSO_PASSING.values(), ids=ALSO_PASSING)
def test_it_passes_what_only_looks_wrong(tmp_path: Path, audit_id: str, parts: dict[str, str]) -> None:
    """By the same scripts."""
    found = audit_by_id(audit_id).judge(observed(script(parts), tmp_path))

    assert found.status is Status.PASS, found


def test_looking_changes_nothing_that_is_learned(tmp_path: Path) -> None:
    """As far as a training is observed, with every probe, it has the losses of one that hotlap never saw."""
    parts = {
        "model": HEALTHY["model"]
        .replace("self.head(", "nn.functional.dropout(self.head(", 1)
        .replace(".flatten(1))", ".flatten(1)), 0.2, self.training)"),
        "after_step": "print(repr(loss.item()), flush=True)",
    }
    text = script(parts)
    (tmp_path / "plain.py").write_text(text)
    plain = subprocess.run([sys.executable, "plain.py"], cwd=tmp_path, capture_output=True, text=True, check=True)
    observed(text, tmp_path)

    log = tmp_path / "out" / "trials" / "0001-observe" / "output.log"
    losses = log.read_text().splitlines()
    assert len(losses) > 20
    assert losses == plain.stdout.splitlines()[: len(losses)]


def test_the_healthy_training_passes(tmp_path: Path) -> None:
    """Each of these has looked at something."""
    findings = {f.audit: f for f in audited(observed(script({}), tmp_path), all_audits())}

    assert [findings[audit_id] for audit_id in HEALTHY_PASSES if findings[audit_id].status is not Status.PASS] == []


@pytest.mark.slow
@pytest.mark.parametrize("command", TRAININGS, ids=lambda command: Path(command[0]).stem)
def test_none_cries_wolf(tmp_path: Path, command: tuple[str, ...]) -> None:
    """On trainings that learn as they should nothing is called wrong, and of waste only what is there."""
    runner = ProcessRunner(resolve(command, cwd=ROOT), tmp_path / "out", best_tier()[0])
    record = runner.run(Trial("0001-observe", "observe", AS_WRITTEN, 0, 0, 0, 40.0))
    findings = audited(seen_of(record), all_audits())

    assert [f for f in findings if audit_by_id(f.audit).misleads and f.status in FOUND] == []
    true = {*TRUE_WASTE, *(("launch-bound",) if "carried" in command[0] else ())}  # of 16 units, and rows by eight
    assert {f.audit for f in findings if f.status in FOUND} <= true
    assert [f for f in findings if f.status is Status.ERROR] == []


def test_a_model_that_is_never_in_training_mode(tmp_path: Path) -> None:
    """That may be meant, as in fine-tuning: it is told and is no fault."""
    parts = {"setup": "model.eval()", "evaluation": "pass"}
    found = audit_by_id("evaluation-mode").judge(observed(script(parts), tmp_path))

    assert found.status is Status.INFORMATIVE
    assert "from the start" in found.headline


def test_a_teacher_in_evaluation_mode_is_as_it_should_be(tmp_path: Path) -> None:
    """Though it is called with gradients on: nobody updates it."""
    parts = {"setup": "teacher = Net().eval()", "answer": "model(inputs) + 0 * teacher(inputs)"}
    found = audit_by_id("evaluation-mode").judge(observed(script(parts), tmp_path))

    assert found.status is Status.PASS


@pytest.mark.slow
def test_a_figure_in_every_step(tmp_path: Path) -> None:
    """With the time that it takes."""
    drawing = """
import sys, time, types
class Figure:
    def savefig(self, name):
        time.sleep(0.003)
sys.modules["matplotlib.figure"] = types.SimpleNamespace(Figure=Figure)
"""
    parts = {"imports": drawing, "after_step": "Figure().savefig('loss.png')"}
    found = audit_by_id("calls-every-step").judge(observed(script(parts), tmp_path))

    assert found.status is Status.FAIL
    assert "savefig 1 times" in found.headline
    assert found.wasted is not None
    assert found.wasted.value > 0.003


@pytest.mark.parametrize(
    ("quota", "load", "status"),
    [
        (None, {}, Status.NOT_APPLICABLE),
        (2.0, {"others": 0.5}, Status.ERROR),
        (2.0, {"throttled": 0.0}, Status.PASS),
        (2.0, {"throttled": 0.01}, Status.PASS),
        (2.0, {"throttled": 0.3}, Status.FAIL),
    ],
)
def test_a_spent_quota(quota: float | None, load: dict[str, float], status: Status) -> None:
    """As the control group counts it; see trials/load.py."""
    seen = replace(SEEN, facts=facts(machine={"quota": quota}), load=load)

    assert audit_by_id("cpu-throttled").judge(seen).status is status


def test_the_network_of_the_example_mixes_other_images(tmp_path: Path) -> None:
    """Fed 3x32x32 at batch 49 it trains on 64 mixed rows without an error, if the labels follow the output's length."""
    parts = {
        "imports": f"import sys\nsys.path.insert(0, {str(EXAMPLES)!r})\nimport images",
        "data": "x, y = torch.randn(490, 3, 32, 32), torch.randint(0, 10, (490,))",
        "loader": "DataLoader(dataset, batch_size=49, shuffle=True)",
        "model": "Net = images.Net",
        "answer": "(answer := model(inputs))",
        "target": "torch.randint(0, 10, (len(answer),))",
        "evaluation": "pass",
    }
    found = audit_by_id("folded-batch").judge(observed(script(parts), tmp_path))

    assert found.status is Status.FAIL
    assert found.evidence == {"samples": 49, "rows": 64}


def test_what_looking_makes_the_compiler_do_is_not_the_scripts(tmp_path: Path) -> None:
    """As many recompilations as without hotlap: one, for the evaluation without gradients."""
    parts = {"setup": "model = torch.compile(model, backend='eager', dynamic=False)"}
    count = "print(sum(bool(one.recompile_reason) for one in torch._dynamo.utils.get_compilation_metrics()))"
    (tmp_path / "plain.py").write_text(f"{script(parts)}\n{count}\n")
    done = subprocess.run([sys.executable, "plain.py"], cwd=tmp_path, capture_output=True, text=True, check=True)
    seen = observed(script(parts), tmp_path).compilation

    assert seen is not None
    assert seen.recompiles == int(done.stdout.split()[-1]) > 0
    assert "hooks" not in seen.why


def test_a_layer_exchanged_after_the_optimizer_was_built(tmp_path: Path) -> None:
    """The new one has no optimizer, and the optimizer's own parameters are stale: both are said."""
    parts = {"setup": "model.head = nn.Linear(8 * 8 * 8, 4)"}
    found = audit_by_id("parameters-left-out").judge(observed(script(parts), tmp_path))

    assert found.headline.startswith("no optimizer owns head.weight, head.bias, and 2 parameters")
    assert found.evidence == {"parameters": 2, "of_no_module": 2}


@pytest.mark.parametrize("audit_id", ON_A_GPU)
def test_it_judges_a_step_on_a_gpu(audit_id: str) -> None:
    """From what would be seen there; on a CPU it is no matter, and what was not seen is no pass."""
    audit, (wrong, right) = audit_by_id(audit_id), ON_A_GPU[audit_id]
    on_gpu = replace(SEEN, facts=facts(device="NVIDIA H100", torch="2.13.0+cu130"), habits=Habits(9, {}, False))

    assert audit.judge(replace(on_gpu, operations=Operations(wrong))).status is Status.FAIL
    assert audit.judge(replace(on_gpu, operations=Operations(right))).status is Status.PASS
    assert audit.judge(on_gpu).status is Status.ERROR
    assert audit.judge(replace(SEEN, operations=Operations(wrong))).status is Status.NOT_APPLICABLE


def test_what_a_gradient_scaler_reads_is_no_waste() -> None:
    """It has to know whether to step; what the script reads besides counts."""
    on_gpu = replace(SEEN, facts=facts(**CUDA), habits=Habits(9, {}, False), scaling=Scaling(("float16",), 9, 0))
    twice = Operation("_local_scalar_dense", ((),), (), ("float32",), 2, 8, ("cuda",))

    def waits(call: Operation) -> Finding:
        return audit_by_id("device-syncs").judge(replace(on_gpu, operations=Operations((call,))))

    assert waits(twice).evidence == {"waits": 1}
    assert waits(replace(twice, count=1)).status is Status.PASS


def test_generators_that_are_seeded_by_sample_are_no_mistake(tmp_path: Path) -> None:
    """They stand alike before the first fetch, and not after it."""
    draw = "(self.own.seed(int(i)), self.own.random())[1]"
    parts = {name: part.replace("self.own.random()", draw) for name, part in FAILING["same-augmentation"].items()}
    found = audit_by_id("same-augmentation").judge(observed(script(parts), tmp_path))

    assert found.status is Status.PASS


def test_data_parallel_matters_on_gpus_only() -> None:
    """On a CPU it is a call more."""
    whole = Structure((), (), (), 0)
    root = {"modules": {"DataParallel": 1, "Net": 1}}
    on_gpu, on_cpu = (replace(SEEN, facts=facts(root=root, **more), structure=whole) for more in (CUDA, {}))

    assert audit_by_id("data-parallel").judge(on_gpu).status is Status.FAIL
    assert audit_by_id("data-parallel").judge(on_cpu).status is Status.PASS


@pytest.mark.parametrize(
    ("streams", "status"),
    [
        ([Stream("D", 1, 0, (5,)), Stream("D", 1, 1, (5,))], Status.FAIL),
        ([Stream("D", 1, 0, (5,)), Stream("D", 2, 0, (5,))], Status.INFORMATIVE),
        ([Stream("D", 1, 0, (5, 5)), Stream("D", 1, 1, (6, 6)), Stream("D", 2, 0, (7,))], Status.PASS),
        ([Stream("D", 1, 0, ()), Stream("other", 1, 1, (5,)), Stream("other", 2, 1, (5,))], Status.PASS),
        ([], Status.ERROR),
    ],
)
def test_equal_streams_of_workers(streams: list[Stream], status: Status) -> None:
    """Within a pass over the data they are a mistake, from one to the next they may be meant; others' do not count."""
    seen = replace(SEEN, facts=facts(loader={"dataset": "D", "num_workers": 2}), streams=Streams(tuple(streams)))

    assert audit_by_id("same-augmentation").judge(seen).status is status


@pytest.mark.parametrize(
    ("scaling", "status"),
    [
        (Scaling(("bfloat16",), 9, 0), Status.FAIL),
        (Scaling(("float16",), 0, 0), Status.INFORMATIVE),
        (Scaling(("float16",), 20, 9), Status.INFORMATIVE),
        (Scaling(("float16",), 200, 2), Status.PASS),
        (Scaling(("float16",), 200, None), Status.PASS),
        (Scaling(("bfloat16",), 0, 0), Status.PASS),
        (Scaling((), 0, 0), Status.NOT_APPLICABLE),
    ],
)
def test_scaling_goes_with_the_type(scaling: Scaling, status: Status) -> None:
    """bfloat16 needs none, float16 does, and few updates are left out."""
    found = audit_by_id("scaler-with-bf16").judge(replace(SEEN, facts=facts(**CUDA), scaling=scaling))

    assert found.status is status


@pytest.mark.parametrize(
    ("compilation", "status"),
    [
        (Compilation(9, 8, "0/7: size", limit_reached=True, breaks={}, spent_s=9.0), Status.FAIL),
        (Compilation(5, 4, "0/3: size", limit_reached=False, breaks={}, spent_s=9.0), Status.INFORMATIVE),
        (Compilation(2, 0, "", limit_reached=False, breaks={"print": 1}, spent_s=9.0), Status.INFORMATIVE),
        (Compilation(3, 2, "0/1: grad_mode", limit_reached=False, breaks={}, spent_s=9.0), Status.PASS),
        (Compilation(0, 0, "", limit_reached=False, breaks={}, spent_s=0.0), Status.NOT_APPLICABLE),
    ],
)
def test_what_torch_compile_did(compilation: Compilation, status: Status) -> None:
    """Another compilation for the last batch and for the evaluation is as it must be."""
    assert audit_by_id("recompiles").judge(replace(SEEN, compilation=compilation)).status is status


@pytest.mark.parametrize(
    ("losses", "gradients", "status"),
    [
        ((1.0, float("nan")), None, Status.FAIL),
        ((1.0, 0.5), Gradients(10, 3), Status.FAIL),
        ((1.0,) * 11, Gradients(10, 0), Status.FAIL),
        ((1.0,) * 9, Gradients(10, 0), Status.PASS),
        ((None, None), None, Status.ERROR),
    ],
)
def test_numbers_that_are_none(losses: tuple[float | None, ...], gradients: Gradients | None, status: Status) -> None:
    """And a loss that stands still; where neither was seen it says so."""
    seen = replace(SEEN, steps=replace(SEEN.steps, losses=losses), gradients=gradients)

    assert audit_by_id("non-finite").judge(seen).status is status


def test_every_audit_has_a_script_that_fails_it_and_one_that_passes() -> None:
    """But for those that need a GPU or a container, which are told what would be seen there."""
    told = ON_A_GPU.keys() | {"cpu-build", "cpu-throttled"}
    assert FAILING.keys() | told == AUDITS.keys()
    assert PASSING.keys() | set(HEALTHY_PASSES) | told == AUDITS.keys()
    hidden = facts(torch="2.13.0+cpu", machine={"gpus": ("NVIDIA H200",)})
    assert audit_by_id("cpu-build").judge(replace(SEEN, facts=hidden)).status is Status.FAIL
    assert audit_by_id("cpu-build").judge(SEEN).status is Status.PASS
    idle = facts(torch="2.13.0+cu130", machine={"gpus": ("NVIDIA H200",)})
    assert audit_by_id("cpu-build").judge(replace(SEEN, facts=idle)).status is Status.INFORMATIVE


@pytest.mark.parametrize("audit", all_audits(), ids=list(AUDITS))
def test_it_keeps_to_the_form(audit: Audit) -> None:
    """Published headings, an area with its folder, knobs that there are, and an error where nothing was seen."""
    text = inspect.getdoc(type(audit)) or ""
    for heading in ("## What it finds", "## Why it costs", "## When it is right", "## Source"):
        assert heading in text
    assert AUDITS[audit.id].startswith(f"{audit.area}.")
    assert set(audit.knobs) <= KNOBS.keys()
    if audit.needs:
        assert audited(SEEN, [audit])[0].status is Status.ERROR


def test_an_audit_that_fails_keeps_no_other_from_speaking() -> None:
    """What it could not check is an error, never a pass."""

    class Broken(Audit):
        id, area = "broken", "data"

        def judge(self, seen: Seen) -> Finding:
            raise ZeroDivisionError

    found = audited(SEEN, [Broken(), audit_by_id("page-faults")])

    assert [finding.status for finding in found] == [Status.ERROR, Status.PASS]


def test_a_probe_that_failed_is_no_want_of_anything_to_see() -> None:
    """An audit that may well have nothing to look at says which of the two it was."""
    broken = replace(SEEN, failed={"rows": "RuntimeError: shapes"})
    audit = audit_by_id("folded-batch")

    assert audited(SEEN, [audit])[0].status is Status.NOT_APPLICABLE
    assert audited(broken, [audit])[0].status is Status.ERROR


@pytest.mark.parametrize(("foreach", "status"), [(None, Status.PASS), (True, Status.PASS), (False, Status.FAIL)])
def test_on_a_device_torch_updates_in_lists_unless_told_otherwise(foreach: bool | None, status: Status) -> None:
    steps = replace(SEEN.steps, phases_s={"optimizer": (0.1,) * 20})
    seen = replace(SEEN, facts=facts(**CUDA, optimizer={"foreach": foreach}), steps=steps)

    assert audit_by_id("per-tensor-update").judge(seen).status is status


def test_the_worst_comes_first() -> None:
    """A mistake in what is learned, faults by what they waste, what is worth knowing, the rest as in the list."""

    def audit(name: str, status: Status, wasted_s: float = 0.0, *, misleads: bool = False) -> Audit:
        wasted = Estimate(wasted_s, wasted_s, wasted_s, "s", 10) if wasted_s else None
        made = Mock(
            needs=(),
            looks_at=(),
            misleads=misleads,
            judge=lambda _: Finding(name, "model", status, "", wasted, {}, (), ""),
        )
        return cast("Audit", made)

    audits = [
        *(audit("fine", Status.PASS), audit("known", Status.INFORMATIVE), audit("small", Status.FAIL, 0.001)),
        *(audit("unknown", Status.ERROR), audit("large", Status.FAIL, 0.1)),
        audit("learns wrong", Status.FAIL, misleads=True),
    ]
    ranked = [finding.audit for finding in audited(SEEN, audits)]

    assert ranked == ["learns wrong", "large", "small", "known", "fine", "unknown"]


def test_what_is_wasted_has_an_interval() -> None:
    """From stretches of steps, for neighbouring steps share their luck."""
    found = per_step([0.01] * 50 + [0.03] * 50)

    assert found is not None
    assert (found.value, found.n, found.unit) == (pytest.approx(0.02), 10, "s")
    assert found.low < 0.02 < found.high
    assert per_step([0.01] * 9) is None
