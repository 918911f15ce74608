"""What every knob in the list keeps to, whoever wrote it."""

from __future__ import annotations

import copy
import gc
import inspect
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
import torch._dynamo
import torch.utils.checkpoint
from facts import CUDA, facts, no_facts

from hotlap.inside.host import Host
from hotlap.inside.journal import Journal
from hotlap.inside.roots import Wanted
from hotlap.knobs import KNOBS, knob_by_id
from hotlap.knobs.knob import Knob, When
from hotlap.records import Contract, Facts, Signature, Skip
from hotlap.trials.runner import ordered

HEADINGS = ("## What it changes", "## Why it can help", "## When it cannot", "## Source")
HABITS = (
    *("zero_grad to zeros", "distribution", "checkpoint", "attention"),
    *("gc.collect", "torch.cuda.empty_cache", "torch.cuda.synchronize"),
)
ATTENTION = ("flash", "mem_efficient", "cudnn")
TESTS = Path(__file__).resolve().parents[1]
AREAS = ("data", "model", "optimizer", "hardware")
GRANDEST = {
    "cpu": facts(),
    "one image, one core": facts(machine={"cores": 1, "threads": 1}, threads=4, loader={"batch_size": 1}),
    "cuda": facts(**CUDA),
    "cuda without bfloat16": facts(device="Tesla T4", capability=7.5),
    "everything on": facts(
        **CUDA,
        precision={"matmul": "high", "autocast": True, "cudnn_benchmark": True, "cudnn_deterministic": True},
        root={"compiled": True, "modules": {"Net": 1, "Linear": 2}},
        loader={"pin_memory": True, "num_workers": 4, "persistent_workers": True},
        optimizer={"fused": True, "devices": ("cuda:0",)},
        faults_per_step=0.0,
    ),
    "troubled": facts(
        flops_per_step=10**6,
        collecting_s=0.01,
        denormals=0.1,
        habits=dict.fromkeys(HABITS, 1.0),
        switches={"torch.autograd.set_detect_anomaly": "on"},
        threads=4,
        loader={"num_workers": 0, "sample_cache": ""},
        machine={"huge_pages": "madvise", "allocators": ("tcmalloc",), "nodes": (8, 8)},
    ),
    "troubled on cuda": facts(
        **CUDA,
        habits=dict.fromkeys(HABITS, 1.0),
        precision={"deterministic_algorithms": True},
        root={"signatures": tuple(Signature(((8, n),), ("float32",), True, True) for n in range(1, 6))},
    ),
    "two processes": facts(**CUDA, world_size=2, root={"modules": {"DistributedDataParallel": 1, "Linear": 2}}),
    "small parameters": facts(
        root={"parameters": 100, "parameter_shapes": ((10, 5), (50,))}, optimizer={"name": "torch.optim.nadam:NAdam"}
    ),
    "more workers than cores": facts(machine={"cores": 2}, loader={"num_workers": 8, "draws_randomness": True}),
    "repeated blocks": facts(root={"blocks": 12}),
    "nothing": no_facts(),
}


def module_of(knob_id: str) -> str:
    return f"hotlap.knobs.{KNOBS[knob_id].split(':')[0]}"


BUILT = [knob_id for knob_id in KNOBS if find_spec(module_of(knob_id)) is not None]


@pytest.fixture(params=BUILT)
def knob(request: pytest.FixtureRequest) -> Knob:
    return knob_by_id(request.param)


@pytest.mark.parametrize("knob_id", KNOBS)
def test_is_there(knob_id: str) -> None:
    """Every line in the list has its file."""
    if knob_id not in BUILT:
        pytest.skip(f"{module_of(knob_id)} does not exist yet")
    assert issubclass(type(knob_by_id(knob_id)), Knob)


def test_names_itself_as_its_file_and_folder(knob: Knob) -> None:
    file = Path(inspect.getfile(type(knob)))

    assert knob.id == file.stem.replace("_", "-")
    assert knob.area == file.parent.name
    assert knob.area in AREAS
    assert KNOBS[knob.id].endswith(f":{type(knob).__name__}")
    assert isinstance(knob.contract, Contract)
    assert isinstance(knob.when, When)
    assert 0 < knob.unit < 0.1


def test_takes_hold_when_it_says(knob: Knob) -> None:
    """At the start of the process by its environment alone; else by what it installs."""
    installs, has_environment = type(knob).install is not Knob.install, type(knob).environment is not Knob.environment

    assert installs == (knob.when is not When.PROCESS)
    assert installs or has_environment


def test_all_are_installed_in_the_order_of_their_time() -> None:
    """And those of one time by name, whatever order a plan has them in."""
    wanted = dict.fromkeys(reversed(BUILT), True)
    times = [(list(When).index(knob_by_id(knob_id).when), knob_id) for knob_id, _ in ordered(wanted)]

    assert times == sorted(times)
    assert len(times) == len(BUILT)


def test_publishes_its_headings(knob: Knob) -> None:
    """The docstring is the documentation: a summary sentence, then four headings, each with text."""
    text = inspect.cleandoc(type(knob).__doc__ or "")
    sections = re.split(r"^(## .+)$", text, flags=re.MULTILINE)

    assert sections[0].strip().endswith(".")
    assert tuple(sections[1::2]) == HEADINGS
    assert all(section.strip() for section in sections[2::2])


def test_stays_small(knob: Knob) -> None:
    assert len(Path(inspect.getfile(type(knob))).read_text(encoding="utf-8").splitlines()) <= 80


def test_conflicts_are_known_and_mutual(knob: Knob) -> None:
    for other in knob.conflicts:
        assert other in KNOBS
        assert other != knob.id
        assert other not in BUILT or knob.id in knob_by_id(other).conflicts, f"{other} does not name {knob.id} back"


@pytest.mark.parametrize("case", GRANDEST)
def test_answers_with_values_or_a_reason(knob: Knob, case: str) -> None:
    """A reason is a clause that can stand after "not tried: "."""
    answer = knob.choices(GRANDEST[case])

    if isinstance(answer, Skip):
        assert_plain(answer.reason)
        return
    assert answer
    assert len(set(answer)) == len(answer)
    assert all(isinstance(value, (bool, int, float, str)) for value in answer)
    assert [knob.refuses(value) for value in answer] == [None] * len(answer)
    assert knob.refuses("no such value")


def assert_plain(reason: str) -> None:
    assert len(reason.split()) >= 4
    assert not reason.endswith((".", "!", " "))
    assert "\n" not in reason
    assert not re.search(r"facts\.|None|\(\)|\[|\{|Error|TODO", reason), reason


def test_has_something_to_offer(knob: Knob) -> None:
    """Some script makes each knob worth trying; else it is dead code. A recipe is the race's to try."""
    if knob.contract is Contract.RECIPE:
        pytest.skip("tune tries no recipe")
    cases = [*GRANDEST.values(), facts(**CUDA, precision={"cudnn_deterministic": True})]

    assert any(not isinstance(knob.choices(case), Skip) for case in cases)


def test_environment_is_text(knob: Knob) -> None:
    for value in values_of(knob):
        assert all(isinstance(part, str) for pair in knob.environment(value).items() for part in pair)


@pytest.mark.parametrize("knob_id", BUILT)
def test_import_needs_no_torch(knob_id: str) -> None:
    """The parent asks every knob, and the parent has no torch: all but what installs it does without."""
    code = (
        f"import sys; sys.modules['torch'] = None; sys.path.insert(0, {str(TESTS)!r})\n"
        "from facts import CUDA, facts, no_facts\n"
        "from hotlap.records import Skip\n"
        f"from hotlap.knobs import knob_by_id; knob = knob_by_id({knob_id!r})\n"
        "for case in (facts(), facts(**CUDA), no_facts()):\n"
        "    knob.switches(case), knob.saves_s(case)\n"
        "    if not isinstance(values := knob.choices(case), Skip):\n"
        "        [(knob.refuses(value), knob.environment(value)) for value in values]\n"
        "assert not {'numpy', 'scipy', 'msgspec', 'rich'} & set(sys.modules), sorted(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr


def test_twice_is_once_and_undo_restores(knob: Knob, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a knob does to this process and to a training, it does once, and the host can take all of it back."""
    monkeypatch.setattr(torch, "compile", lambda call: call)  # a real compilation takes a minute
    untouched, before = as_written(), fingerprint()
    for value in values_of(knob):
        results: list[Any] = []
        for times in (1, 2):
            host = new_host()
            for _ in range(times):
                knob.install(value, host)
            results.append((settings(), trained(host)))
            host.undo()
            assert fingerprint() == before
        assert results[0][0] == results[1][0]
        assert_close(results[0][1], results[1][1], 0.0)
        assert_close(results[0][1], untouched, 8 * max(knob.unit, 2.0**-20))
    assert_close(as_written(), untouched, 0.0)


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.SGD])
def test_a_switch_leaves_nothing_behind(knob: Knob, kind: type[torch.optim.Optimizer]) -> None:
    """Once switched off, the training goes on to the bit as one that begins with those weights and that state."""
    if not knob.switches(facts()):
        pytest.skip("it cannot be switched while a script trains")
    for value in values_of(knob):
        host = Host(Journal(None), {**new_host().task, "arms": [[]]})
        host.roots.install({("torch.nn.modules.container:Sequential", 0): Wanted()})
        net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Flatten(), torch.nn.Linear(144, 2))
        optimizer = kind(net.parameters(), lr=0.01)
        _steps(net, optimizer)
        changes = host.apart()
        knob.install(value, changes)
        _steps(net, optimizer)
        changes.undo()
        twin = copy.deepcopy(net)
        successor = kind(twin.parameters(), lr=0.01)
        successor.load_state_dict(copy.deepcopy(optimizer.state_dict()))
        assert optimizer.param_groups[0].keys() == successor.param_groups[0].keys()
        for trained in (net, twin):
            _steps(trained, optimizer if trained is net else successor)
        host.undo()
        assert [p.stride() for p in net.parameters()] == [p.stride() for p in twin.parameters()]
        assert all(torch.equal(one, other) for one, other in zip(net.parameters(), twin.parameters(), strict=True))
        assert [g["fused"] for g in optimizer.param_groups] == [None]


def _steps(net: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
    data = torch.utils.data.TensorDataset(torch.linspace(-1, 1, 1152).reshape(6, 3, 8, 8))
    for (batch,) in torch.utils.data.DataLoader(data, batch_size=2):
        optimizer.zero_grad()
        net(batch).pow(2).mean().backward()
        optimizer.step()


def as_written() -> list[torch.Tensor]:
    host = new_host()
    weights = trained(host)
    host.undo()
    return weights


def new_host() -> Host:
    return Host(Journal(None), {"purpose": "run", "settings": [], "roots": [], "seed": 0, "options": {}})


def values_of(knob: Knob) -> list[Any]:
    cases: list[Facts] = [*GRANDEST.values(), facts(**CUDA, precision={"cudnn_deterministic": True})]
    answers = [answer for case in cases if not isinstance(answer := knob.choices(case), Skip)]
    return list(dict.fromkeys(value for answer in answers for value in answer))


def settings() -> dict[str, Any]:
    """The switches of this process that a knob may turn."""
    get = torch._C._get_fp32_precision_getter
    return {
        "threads": torch.get_num_threads(),
        "matmul": torch.get_float32_matmul_precision(),
        "cudnn": (torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic),
        "autocast": torch.is_autocast_enabled("cpu"),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "filled": torch._C._get_deterministic_fill_uninitialized_memory(),
        "anomaly": (torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()),
        "attention": [getattr(torch.backends.cuda, f"{kernel}_sdp_enabled")() for kernel in ATTENTION],
        "stance": torch._dynamo.eval_frame._stance.stance,
        "environment": dict(os.environ),
        **{f"{backend} {what}": get(backend, what) for backend in ("mkldnn", "cuda") for what in ("matmul", "conv")},
    }


def fingerprint() -> dict[str, Any]:
    """Those, and the identity of every function that a knob may replace."""
    data = torch.utils.data
    owners = (data.DataLoader, data.dataloader, data._utils.fetch, torch.optim.Optimizer, torch.nn.Module, torch.Tensor)
    owners += (gc, torch.cuda, torch.utils.checkpoint, torch.nn.parallel.DistributedDataParallel)
    functions = {f"{o.__name__}.{name}": id(v) for o in owners for name, v in vars(o).items() if callable(v)}
    return settings() | functions


def trained(host: Host) -> list[torch.Tensor]:
    """Weights after two steps of a small model, so that what waits for the first call or update comes into it."""
    host.roots.install({("torch.nn.modules.container:Sequential", 0): Wanted()})
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Flatten(), torch.nn.Linear(144, 2))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
    for _ in range(2):
        optimizer.zero_grad()
        net(torch.linspace(-1, 1, 384).reshape(2, 3, 8, 8)).pow(2).mean().backward()
        optimizer.step()
    return [parameter.detach().clone() for parameter in net.parameters()]


def assert_close(got: list[torch.Tensor], wanted: list[torch.Tensor], tolerance: float) -> None:
    for one, other in zip(got, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance * float(other.abs().max()))
