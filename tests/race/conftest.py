"""A swap in this process, undone after each test."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from hotlap.inside.host import Host
from hotlap.inside.journal import Journal
from hotlap.knobs import OPTIMIZER_RULE, knob_by_id


@pytest.fixture(autouse=True, scope="package")
def quick() -> Iterator[None]:
    """Networks this small gain nothing from threads; and a search for modules passes by what was there before."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()
    torch.set_num_threads(threads)


@pytest.fixture
def swapped() -> Iterator[Callable[[str], Host]]:
    """Put an arm in, in place of the one before it; the host tells of refusals."""
    hosts: list[Host] = []

    def swap(arm: str, **task: Any) -> Host:
        while hosts:
            hosts.pop().undo()
        plain = {"purpose": "time", "settings": [], "roots": [], "seed": 0, "options": {}}
        host = Host(Journal(None), {**plain, **task})
        knob_by_id(OPTIMIZER_RULE).install(arm, host)
        hosts.append(host)
        return host

    torch.manual_seed(0)
    yield swap
    while hosts:
        hosts.pop().undo()
