"""What cannot be swapped runs as written, and says why."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import distributed as dist
from torch import nn, optim
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.utils.data import DataLoader, IterableDataset

from hotlap.inside.host import Host
from hotlap.inside.race import refusals

Swapped = Callable[..., Host]


class Sam(optim.Optimizer):
    """Sharpness-aware minimization as it is published: it builds another optimizer over the same groups."""

    def __init__(self, params: Any, base: type[optim.Optimizer], **kwargs: Any) -> None:
        super().__init__(params, kwargs)
        self.base = base(self.param_groups, **kwargs)

    def step(self, closure: Any = None) -> None:
        self.base.step()


class Sharp(Sam):
    """As it is published: its step needs the closure, and takes it for the second of its two gradients."""

    def step(self, closure: Any = None) -> None:
        assert closure is not None
        torch.enable_grad()(closure)()
        self.base.step()


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 1))


def train(model: nn.Module, optimizer: Any, steps: int = 3, *, closure: bool = False) -> list[float]:
    losses: list[float] = []
    for _ in range(steps):

        def evaluate() -> torch.Tensor:
            optimizer.zero_grad()
            loss = model(torch.linspace(-1, 1, 32).reshape(8, 4)).pow(2).mean()
            loss.backward()
            return loss

        losses.append(evaluate().item())
        optimizer.step(*[evaluate] * closure)
    return losses


def lbfgs() -> list[float]:
    model = network()
    return train(model, optim.LBFGS(model.parameters(), max_iter=3), closure=True)


def wrapped() -> list[float]:
    model = network()
    return train(model, Sam(model.parameters(), optim.SGD, lr=0.1))


def sharp() -> list[float]:
    model = network()
    return train(model, Sharp(model.parameters(), optim.SGD, lr=0.1), closure=True)


def sparse() -> list[float]:
    torch.manual_seed(0)
    table = nn.Embedding(4, 2, sparse=True)
    optimizer = optim.SGD(table.parameters(), lr=0.1)
    table(torch.tensor([1])).sum().backward()
    optimizer.step()
    return table.weight.flatten().tolist()


def maximizing() -> list[float]:
    model = network()
    return train(model, optim.SGD(model.parameters(), lr=0.1, maximize=True))


def compiled() -> list[float]:
    model = network()
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    optimizer.step = torch.compile(optimizer.step, backend="eager")
    return train(model, optimizer)


def sharded() -> list[float]:
    """FSDP as torch has it, over a group of one."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        model = network()
        fully_shard(model, mesh=init_device_mesh("cpu", (1,)))
        return train(model, optim.SGD(model.parameters(), lr=0.1))
    finally:
        dist.destroy_process_group()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch, when it compiles
@pytest.mark.parametrize(
    ("script", "clause"),
    [
        (lbfgs, refusals.CLOSURES),
        (wrapped, refusals.WRAPS),
        (sharp, refusals.WRAPS),
        (sharded, "the parameters are sharded over several processes"),
        (sparse, "its gradients are sparse"),
        (maximizing, "it maximizes"),
        (compiled, "the script compiles its optimizer's step"),
    ],
)
def test_it_runs_as_written_and_says_why(
    script: Callable[[], list[float]], clause: str, swapped: Swapped, capsys: pytest.CaptureFixture[str]
) -> None:
    """To the bit, since nothing was updated before."""
    as_written = script()
    host = swapped("adamw lr=0.01")

    assert script() == as_written
    assert host.failures == {"optimizer-rule": clause}
    assert capsys.readouterr().err.count(clause) == 1


def adversaries() -> None:
    """Two networks that learn from each other, each by its own optimizer."""
    models = network(), network()
    optimizers = [optim.Adam(model.parameters(), lr=0.01) for model in models]
    for _ in range(2):
        for model, optimizer in zip(models, optimizers, strict=True):
            train(model, optimizer, steps=1)


def test_several_optimizers_in_turn_void_a_trial(swapped: Swapped) -> None:
    host = swapped("adamw lr=0.01")
    adversaries()

    assert host.failures == {"optimizer-rule": refusals.SEVERAL}


def test_several_optimizers_in_turn_are_remarked_in_a_training(
    swapped: Swapped, capsys: pytest.CaptureFixture[str]
) -> None:
    """Weights were updated by then; the plan's word is kept for each of them."""
    host = swapped("adamw lr=0.01", purpose="run")
    adversaries()

    assert host.failures == {}
    assert refusals.SEVERAL in capsys.readouterr().err


@pytest.mark.parametrize("kind", [optim.Adam, optim.Adagrad])
def test_no_matrix_of_a_hidden_layer(kind: Callable[..., Any], swapped: Swapped) -> None:
    """The script's own step finds its state as it left it."""
    host = swapped("muon lr=0.01")
    model = nn.Sequential(nn.Linear(4, 1))
    train(model, kind(model.parameters(), lr=0.01))

    assert host.failures == {"optimizer-rule": refusals.NO_MATRIX}


def test_matrices_under_a_script_that_fills_its_state(swapped: Swapped) -> None:
    """Adagrad's sums are there from the start, and are no reason against matrices."""
    host = swapped("muon lr=0.01")
    model = network()
    optimizer = optim.Adagrad(model.parameters(), lr=0.01)
    train(model, optimizer)

    assert host.failures == {}
    assert optimizer.state[model[2].weight].keys() == {"matrices"}


def test_no_epoch_to_be_seen(swapped: Swapped) -> None:
    """Gradient descent is not applicable without a loader, and with one that does not know its length."""

    class Stream(IterableDataset[torch.Tensor]):
        def __iter__(self) -> Any:
            return iter(torch.ones(8, 4))

    for batches in ([torch.ones(4, 4)] * 2, DataLoader(Stream(), batch_size=4)):
        host = swapped("gradient-descent lr=0.1")
        model = network()
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        for x in batches:
            model(x).sum().backward()
            optimizer.step()
        assert host.failures == {"optimizer-rule": refusals.NO_LOADER}


def test_no_rate_to_scale(swapped: Swapped) -> None:
    """Of a script that begins with 0 the peak must be told."""
    for arm, refused in (("sgd lr=0.1", True), ("sgd lr=0.1 reference=0.5", False), ("sgd schedule=constant", True)):
        host = swapped(arm)
        model = network()
        train(model, optim.SGD(model.parameters(), lr=0.0))
        assert bool(host.failures) is refused


def test_a_library_that_is_not_there(swapped: Swapped, monkeypatch: pytest.MonkeyPatch) -> None:
    """Never another rule in silence."""
    real = importlib.import_module

    def without(name: str, package: str | None = None) -> ModuleType:
        if name == "pytorch_optimizer":
            raise ImportError(name)
        return real(name, package)

    monkeypatch.setattr(importlib, "import_module", without)
    model = network()
    as_written = train(model, optim.SGD(model.parameters(), lr=0.1))
    host = swapped("lion lr=0.01")
    model = network()

    assert train(model, optim.SGD(model.parameters(), lr=0.1)) == as_written
    assert host.failures == {
        "optimizer-rule": "Lion comes from pytorch-optimizer, which the script's interpreter does not have"
    }


def test_averages_need_statistics_of_their_own(swapped: Swapped) -> None:
    host = swapped("schedule-free-adamw lr=0.01")
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 1))
    train(model, optim.SGD(model.parameters(), lr=0.1))

    assert host.failures == {"optimizer-rule": refusals.NO_MODE}


def test_a_checkpoint_of_another_rule_starts_fresh(swapped: Swapped, capsys: pytest.CaptureFixture[str]) -> None:
    """In both directions, and said each time; groups are taken over."""
    model = network()
    script = optim.Adam(model.parameters(), lr=0.1)
    train(model, script)
    saved = script.state_dict()
    swapped("momentum lr=0.01")
    model = network()
    optimizer = optim.Adam(model.parameters(), lr=0.5)
    optimizer.load_state_dict(saved)
    assert "not of the rule momentum" in capsys.readouterr().err
    assert optimizer.param_groups[0]["lr"] == 0.1
    train(model, optimizer)
    ours = optimizer.state_dict()

    swapped("adamw lr=0.01")
    other = optim.Adam(model.parameters(), lr=0.5)
    other.load_state_dict(ours)
    assert "not of the rule adamw" in capsys.readouterr().err
    train(model, other)


def test_plain_torch_loads_a_checkpoint_with_fresh_state(swapped: Swapped) -> None:
    """Without hotlap the optimizer begins anew, and the groups are the script's own."""
    host = swapped("muon lr=0.01")
    model = network()
    optimizer = optim.Adam(model.parameters(), lr=0.5)
    train(model, optimizer)
    saved = optimizer.state_dict()
    host.undo()
    plain = optim.Adam(model.parameters(), lr=0.1)
    plain.load_state_dict(saved)
    train(model, plain)

    assert plain.param_groups[0]["lr"] == 0.5
    assert not hasattr(plain, "_swap")
