"""The cache of samples as a knob."""

from __future__ import annotations

from pathlib import Path

import torch
from facts import facts
from loader.cacheable import Compose, Crop, Photos, ToTensor, make_files
from torch.utils.data import DataLoader

from hotlap.inside.host import Host
from hotlap.knobs.data.sample_cache import SampleCache
from hotlap.records import Skip


def test_on_where_a_training_loader_allows_it() -> None:
    assert SampleCache().choices(facts(loader={"sample_cache": ""})) == (True,)


def test_says_what_is_in_the_way() -> None:
    """The reason found inside reaches the user, and what was not looked at was not found to be right."""
    drawn = facts(loader={"dataset": "__main__:Words", "sample_cache": "fetching draws randomness"})

    assert SampleCache().choices(drawn) == Skip("Words: fetching draws randomness")
    assert isinstance(SampleCache().choices(facts()), Skip)


def test_skips_without_a_training_loader() -> None:
    answer = SampleCache().choices(facts(loader={"trains": False, "sample_cache": ""}))

    assert answer == Skip("no DataLoader feeds the training")


def test_a_later_epoch_is_the_same(host: Host, tmp_path: Path) -> None:
    """To the bit, with what torch sets aside by default."""
    loader = DataLoader(Photos(make_files(tmp_path), Compose([Crop(), ToTensor()])), 4, shuffle=True)
    torch.manual_seed(7)
    expected = [*loader, *loader]
    SampleCache().install(True, host)
    torch.manual_seed(7)
    served = [*loader, *loader]

    assert all(torch.equal(a, b) for one, other in zip(expected, served, strict=True) for a, b in zip(one, other))
