"""A swap in this process, undone after each test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from hotlap.inside.host import Host
from hotlap.inside.journal import Journal
from hotlap.knobs import OPTIMIZER_RULE, knob_by_id


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
