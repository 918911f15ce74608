"""Getting inside: every way to start a training is reached, and the user's process stays the user's."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from hotlap.errors import HotlapError
from hotlap.records import Setup, Trial
from hotlap.target import resolve
from hotlap.trials import journals
from hotlap.trials.environment import STARTUP
from hotlap.trials.launch import Tier
from hotlap.trials.runner import ProcessRunner

from .conftest import HEAD, Place

TRAIN = """
def train(steps=3):
    model = nn.Linear(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for _ in range(steps):
        optimizer.zero_grad()
        model(torch.randn(8, 4)).mean().backward()
        optimizer.step()
"""


def test_the_process_is_the_users(place: Place) -> None:
    """`__main__`, arguments, paths, pickling, the user's sitecustomize, and no package of hotlap's but hotlap."""
    site = place.root / "site"
    (site / "numpy_of_mine").mkdir(parents=True)
    (site / "sitecustomize.py").write_text("import sys\nsys.mine = __file__\n")
    place.write(
        """
import copy, io, os, pickle, sys, importlib.util
assert importlib.util.find_spec("torch") is not None
"""
        + HEAD
        + TRAIN
        + f"""
class Net(nn.Linear):
    def __getstate__(self):
        return self.__dict__.copy()
assert __name__ == "__main__" and __file__.endswith("train.py") and sys.argv == ["train.py", "--epochs", "3"]
assert sys.modules["__main__"].Net is Net
assert sys.mine == {str(site / "sitecustomize.py")!r} and sys.modules["sitecustomize"].__file__ == sys.mine
assert {str(STARTUP)!r} not in sys.path
assert type(torch.__loader__).__name__ == "SourceFileLoader" and "exec_module" not in vars(torch.__loader__)
assert not {{"msgspec", "rich", "typer", "psutil"}} & set(sys.modules)
assert not [f for f in sys.meta_path if type(f).__name__ == "_TorchWaiter"]
torch.manual_seed(seed=1)
model = Net(4, 1)
keys = list(model.state_dict())
assert keys == ["weight", "bias"]
x = torch.randn(2, 4)
file = io.BytesIO()
torch.save(model, file)
file.seek(0)
copies = copy.deepcopy(model), pickle.loads(pickle.dumps(model)), torch.load(file, weights_only=False)
for twin in (*copies, copy.copy(model)):  # the last one shares its weights with the model
    assert torch.equal(twin(x), model(x)) and type(twin) is Net and list(twin.state_dict()) == keys
    assert twin._compiled_call_impl is None
    with torch.no_grad():
        twin.weight.zero_()
        twin.bias.zero_()
    assert twin(x).abs().sum() == 0
assert "_compiled_call_impl" not in vars(model._replicate_for_data_parallel())
model.compile(backend="eager")
assert torch.allclose(model(x), torch.compile(model, backend="eager")(x))
train()
""",
        head="",
    )
    ran = place.run(
        sys.executable,
        "train.py",
        "--epochs",
        "3",
        extra={"PYTHONPATH": f"{STARTUP}:{site}"},
        roots=[{"name": "__main__:Net", "index": 0}],
    )

    assert ran.code == 0, ran.stderr
    assert ran.stderr == ""
    assert len(ran.record.steps.total_s) == 3


def test_a_module_is_reached(place: Place) -> None:
    """`-m package.train`, with torch imported by a .pth file before hotlap comes."""
    place.write(TRAIN + "train()\nassert __spec__.name == 'package.train'\n", "package/train.py")
    ran = place.run(sys.executable, "-m", "package.train")

    assert ran.code == 0, ran.stderr
    assert len(ran.record.steps.total_s) == 3


@pytest.mark.slow
def test_torch_imported_before_us(place: Place) -> None:
    """A .pth file may import torch before any sitecustomize runs."""
    place.write(TRAIN + "train()\n")
    site = place.root / "early"
    site.mkdir()
    source = str(STARTUP.parents[2])
    (site / "sitecustomize.py").write_text(
        f"import torch, sys\nsys.path.append({source!r})\nfrom hotlap.inside import bootstrap\nbootstrap.enter()\n"
    )
    ran = place.run(extra={"PYTHONPATH": str(site)})

    assert ran.code == 0, ran.stderr
    assert len(ran.record.steps.total_s) == 3


@pytest.mark.slow
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_loader_workers_record_nothing(place: Place, method: str) -> None:
    """They load; they neither step nor end anything."""
    place.write(
        TRAIN
        + f"""
if __name__ == "__main__":
    data = TensorDataset(torch.randn(32, 4))
    model = nn.Linear(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for _ in range(2):
        for (x,) in DataLoader(data, batch_size=8, num_workers=2, multiprocessing_context={method!r}):
            model(x).mean().backward()
            optimizer.step()
"""
    )
    ran = place.run()

    assert ran.code == 0, ran.stderr
    assert ran.record.processes == 1
    assert len(ran.record.steps.total_s) == 8


@pytest.mark.slow
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_trainings_in_child_processes(place: Place, method: str) -> None:
    """The children are the ones that train; the parent only starts them."""
    place.write(
        TRAIN
        + f"""
if __name__ == "__main__":
    context = torch.multiprocessing.get_context({method!r})
    children = [context.Process(target=train, args=(5,)) for _ in range(2)]
    [child.start() for child in children]
    [child.join() for child in children]
    assert not any(child.exitcode for child in children)
"""
    )
    ran = place.run()

    assert ran.code == 0, ran.stderr
    assert ran.record.processes == 2
    assert len(ran.record.steps.total_s) == 5
    assert journals.of_kind(ran.lines, "closing")


@pytest.mark.slow
def test_torchrun(place: Place) -> None:
    """Every rank reports, the first one's record counts, and the agent never steps."""
    place.write(
        """
import torch.distributed as dist
dist.init_process_group("gloo")
model = nn.parallel.DistributedDataParallel(nn.Linear(4, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
for _ in range(6):
    model(torch.randn(8 + dist.get_rank(), 4)).mean().backward()
    optimizer.step()
dist.destroy_process_group()
"""
    )
    ran = place.run(
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        "train.py",
        purpose="observe",
    )

    assert ran.code == 0, ran.stderr
    assert len(ran.journals) == 3
    assert ran.record.processes == 2
    assert ran.record.steps.samples == (8,) * 6
    assert ran.facts["world_size"] == 2


def runner(place: Place, python: tuple[str, ...]) -> ProcessRunner:
    return ProcessRunner(resolve((*python, "train.py"), cwd=place.cwd), place.root / "out", Tier.NONE)


def test_an_isolated_interpreter_is_never_a_baseline(place: Place) -> None:
    """`python -I` reads no PYTHONPATH: said, and not measured."""
    place.write("print('trained')\n", head="")

    with pytest.raises(HotlapError, match="never got inside") as raised:
        runner(place, (sys.executable, "-I")).run(Trial("one", "time", Setup(), 0, 0, 5, 5.0))
    assert raised.value.slug == "not-reached"


def test_an_old_torch_is_named(place: Place) -> None:
    """Without the features that hotlap needs nothing is installed, and the message says why."""
    (place.cwd / "torch").mkdir()
    (place.cwd / "torch" / "__init__.py").write_text("__version__ = '2.9.1rc2+cu121'\n")
    place.write("import torch\nprint('trained')\n", head="")

    with pytest.raises(HotlapError, match=r"torch 2\.9\.1rc2\+cu121 is too old") as raised:
        runner(place, (sys.executable,)).run(Trial("one", "time", Setup(), 0, 0, 5, 5.0))
    assert raised.value.slug == "not-installed"


def test_only_compile_workers_are_left_alone(place: Place) -> None:
    """A script in a folder of that name is a training like any other."""
    (place.cwd / "torch.py").write_text("__version__ = '1.0'\n")
    path = place.write("import torch\n", "compile_worker/train.py", head="")
    env = {"PYTHONPATH": f"{STARTUP}:{place.cwd}"}
    assert "too old" in place.run(sys.executable, str(path), extra=env).stderr

    worker = place.write("import torch\n", "torch/_inductor/compile_worker/__main__.py", head="")
    assert place.run(sys.executable, str(worker), extra=env).stderr == ""


def test_inside_needs_no_package_of_the_parents(tmp_path: Path) -> None:
    """The training may live in an environment without msgspec, rich, or hotlap itself."""
    source = str(STARTUP.parents[2])
    code = f"import sys; sys.path.insert(0, {source!r}); import hotlap.inside.bootstrap, hotlap.inside.journal"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
