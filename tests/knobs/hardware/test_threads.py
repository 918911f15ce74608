"""The number of threads."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from facts import CUDA, facts

from hotlap.inside.host import Host
from hotlap.knobs.hardware.threads import Threads
from hotlap.records import Skip


@pytest.mark.parametrize(
    ("changes", "values"),
    [
        ({"threads": 16}, (8, 4, 1)),  # 8 cores with two threads each
        ({"threads": 8}, (16, 4, 1)),
        ({"threads": 1}, (8, 16, 4)),
        ({"threads": 16, "root": {"parameters": 5_000}}, (1, 8, 4)),
        ({"threads": 16, "machine": {"quota": 2.5}}, (2, 1)),
        ({"threads": 16, "machine": {"quota": 0.5}}, (1,)),
        ({"threads": 1, "world_size": 4}, (2, 4)),
        ({"threads": 2, "machine": {"cores": 2, "threads": 2}}, (1,)),
        ({"threads": 16, "machine": {"quota": 4.0}, **CUDA}, (4, 2, 1)),
    ],
)
def test_offers_what_the_process_may_use_and_never_what_it_has(
    changes: dict[str, Any], values: tuple[int, ...]
) -> None:
    assert Threads().choices(facts(**changes)) == values


def test_says_why_not() -> None:
    assert Threads().choices(facts(threads=1, machine={"cores": 1, "threads": 1})) == Skip(
        "the process may use one core only, and runs one thread"
    )
    assert isinstance(Threads().choices(facts(**CUDA)), Skip)


def test_holds_against_the_script(host: Host) -> None:
    """What the script sets after `import torch` is replaced before the first update, and comes back on undo."""
    written = torch.get_num_threads()
    Threads().install(written + 1, host)
    assert torch.get_num_threads() == written + 1

    torch.set_num_threads(written + 2)
    weight = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.SGD([weight], lr=0.1)
    weight.sum().backward()
    optimizer.step()
    assert torch.get_num_threads() == written + 1

    host.undo()
    assert torch.get_num_threads() == written
