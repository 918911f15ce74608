"""Page-locked batches as a knob."""

from __future__ import annotations

from typing import Any
from unittest.mock import Mock

import pytest
from facts import CUDA, facts

from hotlap.knobs.data.pinned_memory import PinnedMemory
from hotlap.records import Skip


def test_on_where_batches_are_copied_to_a_device() -> None:
    assert PinnedMemory().choices(facts(**CUDA)) == (True,)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, "there is no CUDA device to copy to"),
        ({**CUDA, "loader": {"trains": False}}, "no DataLoader feeds the training"),
        ({**CUDA, "loader": {"pin_memory": True}}, "every DataLoader already pins its batches"),
    ],
)
def test_says_why_not(changes: dict[str, Any], reason: str) -> None:
    assert PinnedMemory().choices(facts(**changes)) == Skip(reason)


def test_overrides_one_thing_and_nothing_else() -> None:
    """What the user passed to the DataLoader is left alone."""
    host = Mock(spec_set=["override_loaders"])

    PinnedMemory().install(True, host)

    host.override_loaders.assert_called_once_with(pin_memory=True)
