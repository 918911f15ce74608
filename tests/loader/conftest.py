"""A host in this process, undone after each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from hotlap.inside.host import Host
from hotlap.inside.journal import Journal


@pytest.fixture
def host() -> Iterator[Host]:
    made = Host(Journal(None), {"purpose": "run", "settings": [], "roots": [], "seed": 0, "options": {}})
    torch.manual_seed(0)
    yield made
    made.undo()
