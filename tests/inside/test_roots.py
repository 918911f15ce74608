"""What a root's call goes through, in this process."""

from __future__ import annotations

import subprocess
import sys
from collections import UserDict
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import nn

from hotlap.inside.host import Host
from hotlap.inside.journal import Journal
from hotlap.inside.roots import Wanted

Call = Callable[..., Any]

PROGRAM = """
import torch
from hotlap.inside.host import Host
from hotlap.inside.roots import Wanted
from hotlap.inside.journal import Journal

host = Host(Journal(None), {"purpose": "PURPOSE"})


def broken(root, call):
    def failing(*args, **kwargs):
        raise RuntimeError("no compiler")

    return failing


host.rewrite_roots(broken, 0)
host.roots.install({("torch.nn.modules.linear:Linear", 0): Wanted()})
model = torch.nn.Linear(2, 1)
for _ in range(2):
    model(torch.ones(1, 2)).sum().backward()
print("trained", model.weight.grad.tolist())
with torch.no_grad():
    print("evaluated", tuple(model(torch.ones(3, 2)).shape))
host.undo()
print("left", "_compiled_call_impl" in vars(model))
"""


@pytest.mark.parametrize(("purpose", "code"), [("run", 0), ("time", 1)])
def test_a_setting_that_fails_costs_a_trial_and_never_a_training(purpose: str, code: int) -> None:
    """The real training goes on as written, and says so; a trial fails, for that is what it is there to find out."""
    program = PROGRAM.replace("PURPOSE", purpose)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=100, check=False)

    assert done.returncode == code, done.stderr
    assert "no compiler" in done.stderr
    if purpose == "run":
        assert "trained [[2.0, 2.0]]" in done.stdout
        assert "evaluated (3, 1)" in done.stdout
        assert "left False" in done.stdout


class Doubled(nn.Module):
    """Answers twice its input."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * x * self.weight


@pytest.fixture
def host() -> Iterator[Host]:
    one = Host(Journal(None), {"purpose": "run"})
    yield one
    one.undo()


def negative(root: nn.Module, call: Call) -> Call:
    return lambda *args, **kwargs: -call(*args, **kwargs)


@pytest.mark.parametrize(("shapes", "sign"), [([(2,)], -1), (None, -1), ([(3,)], 1), ([(2,), (2,)], 1)])
def test_another_model_than_the_verified_one_runs_as_written(
    host: Host, shapes: list[tuple[int, ...]] | None, sign: int, capfd: pytest.CaptureFixture[str]
) -> None:
    """Same class, same place, other parameters: the width was changed on the command line, say."""
    host.rewrite_roots(negative, 0)
    host.roots.install({(f"{__name__}:Doubled", 0): Wanted(None, shapes)})
    model = Doubled()
    for _ in range(2):
        assert model(torch.ones(2)).tolist() == [2 * sign, 2 * sign]

    assert capfd.readouterr().err.count("other parameters than in the plan") == (sign == 1)


@pytest.mark.parametrize("rewritten", [False, True])
def test_a_model_that_the_script_compiles_after_it_was_found(host: Host, rewritten: bool) -> None:
    """The user's compiled call is inside of ours, also when it comes after the first call."""
    if rewritten:
        host.rewrite_roots(negative, 0)
    calls: list[str] = []
    host.roots.observe(lambda root, call: lambda *args: calls.append("ours") or call(*args))
    host.roots.install({(f"{__name__}:Doubled", 0): Wanted()})
    model, sign = Doubled(), -1 if rewritten else 1
    model(torch.ones(2))
    model.compile(backend=lambda graph, inputs: calls.append("compiled") or graph.forward)

    assert model(torch.ones(2)).tolist() == [2 * sign, 2 * sign]
    assert calls == ["ours", "ours", "compiled"]


def test_only_the_manner_that_was_verified_is_rewritten(host: Host) -> None:
    """A switch among the arguments, or weights frozen since, may lead to operations that nobody compared."""

    class Switched(Doubled):
        def forward(self, x: torch.Tensor, twice: bool = True) -> torch.Tensor:
            return super().forward(x) if twice else x * self.weight

    seen: list[bool] = []

    def layer(root: nn.Module, call: Call) -> Call:
        return lambda *args, **kwargs: seen.append(True) or call(*args, **kwargs)

    host.rewrite_roots(layer, 0)
    call = (((2,),), ("float32",), ())
    host.roots.install({(f"{__name__}:{Switched.__qualname__}", 0): Wanted(served=frozenset({call}))})
    model, x = Switched(), torch.ones(2, requires_grad=True)

    model(x)
    assert len(seen) == 1
    model(x, twice=False)
    model.weight.requires_grad_(False)
    model(x)
    assert len(seen) == 1
    model.weight.requires_grad_(True)
    model(x)
    assert len(seen) == 2


def test_a_batch_that_cannot_be_looked_at_is_served_as_written(host: Host) -> None:
    """It costs the training nothing."""

    class Lazy(UserDict[str, torch.Tensor]):
        def values(self) -> Any:
            raise KeyError("not there yet")

    class Reading(Doubled):
        def forward(self, batch: Lazy) -> torch.Tensor:
            return super().forward(batch["x"])

    host.rewrite_roots(lambda root, call: lambda *args, **kwargs: torch.zeros(()), 0)
    host.roots.install({(f"{__name__}:{Reading.__qualname__}", 0): Wanted(served=frozenset())})

    assert Reading()(Lazy(x=torch.ones(2))).tolist() == [2.0, 2.0]
