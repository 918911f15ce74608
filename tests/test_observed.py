"""What an observed run must have shown."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from machine import FACTS, recording
from torch import nn

from hotlap.errors import HotlapError
from hotlap.inside.repeated import repeated
from hotlap.observed import check_observed


def test_a_training_that_hotlap_could_not_describe_is_no_script_that_does_not_train() -> None:
    """The fault is named, and whose it is."""
    seen = replace(recording(0.0, 1), facts=FACTS)
    check_observed(seen, Path("train.py"), Path("output.log"))
    failed = replace(seen, facts=None, failed_probes={"Observer._write": "AttributeError: children"})
    with pytest.raises(HotlapError, match="AttributeError: children") as found:
        check_observed(failed, Path("train.py"), Path("output.log"))

    assert found.value.slug == "not-understood"


def test_a_list_of_modules_may_have_holes() -> None:
    """As x-transformers builds its layers; one that stands in it several times is as many blocks."""
    block = nn.Sequential(nn.Linear(2, 2))
    holes = nn.ModuleList([None, *(nn.Sequential(nn.Linear(2, 2)) for _ in range(3)), None])

    assert len(repeated(nn.Sequential(holes))) == 3
    assert len(repeated(nn.ModuleList([block, block, block]))) == 3
