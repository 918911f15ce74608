"""Where fetching spends its time: every part is charged to the line or the transform that caused it."""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import Dataset, IterableDataset
from torch.utils.data import _DatasetKind as Kind
from torch.utils.data._utils.collate import default_collate

import hotlap.loader
from hotlap.loader.lines import FETCHER, Lines, is_own, statement

NAP_S = 0.004


def nap(times: int = 1) -> None:
    """Take a time that cannot be overlooked."""
    time.sleep(times * NAP_S)


class Chain:
    """As torchvision and others write it."""

    def __init__(self, *transforms: Any) -> None:
        self.transforms = list(transforms)

    def __call__(self, x: Any) -> Any:
        for transform in self.transforms:
            x = transform(x)
        return x


class Crop:
    """A transform."""

    def __call__(self, x: Any) -> Any:
        time.sleep(3 * NAP_S)
        return x


class Flip(nn.Module):
    """One that is a module."""

    def forward(self, x: Any) -> Any:
        time.sleep(2 * NAP_S)
        return x


class Photos(Dataset[Any]):
    """Reads, then transforms."""

    def __init__(self) -> None:
        self.transform = Chain(Crop(), Chain(Flip()))

    def __getitem__(self, index: int) -> Any:
        x = self.read(index)
        return self.transform(x)

    def read(self, index: int) -> Any:
        nap(4)
        return torch.tensor(
            [index],
        )


class Stream(IterableDataset[Any]):
    """Comes by itself."""

    def __iter__(self) -> Any:
        for index in range(8):
            time.sleep(2 * NAP_S)
            yield index


def fetched(dataset: Any, collate: Any = default_collate, indices: Any = (0, 1)) -> Lines:
    """The lines of one batch."""
    kind = Kind.Iterable if isinstance(dataset, IterableDataset) else Kind.Map
    fetcher, lines = Kind.create_fetcher(kind, dataset, True, collate, False), Lines(dataset, collate)
    lines.follow(lambda: fetcher.fetch(list(indices)))
    return lines


def naps(lines: Lines) -> Counter[str]:
    """Of each statement or name, its time in naps."""
    found: Counter[str] = Counter()
    for (_, file, line, name), spent_ns in lines.spent_ns.items():
        found[statement(file, line)[1] if file else name] += round(spent_ns / 1e9 / NAP_S)  # type: ignore[assignment]
    return found


def test_lines_and_members_of_chains_have_their_own() -> None:
    """A chain within a chain too; what a helper does stands at the helper's line."""
    found = naps(fetched(Photos()))

    assert found["time.sleep(times * NAP_S)"] >= 8
    assert found["Crop"] >= 6
    assert found["Flip"] >= 4
    assert found["x = self.read(index)"] < found["time.sleep(times * NAP_S)"]
    assert found["return self.transform(x)"] < found["Flip"]


def test_all_time_is_charged() -> None:
    """To the last microsecond, but for what following takes."""
    dataset = Photos()
    lines = Lines(dataset, default_collate)
    fetcher = Kind.create_fetcher(Kind.Map, dataset, True, default_collate, False)
    started = time.perf_counter_ns()
    lines.follow(lambda: fetcher.fetch([0, 1, 2]))
    took_ns = time.perf_counter_ns() - started

    assert 0.9 * took_ns <= sum(lines.spent_ns.values()) <= took_ns


def test_the_collation_is_told_apart() -> None:
    """Torch's own as a whole, the script's by its lines."""

    def collate(samples: Any) -> Any:
        nap(3)
        return default_collate(samples)

    own, stock = fetched(Photos(), collate), fetched(Photos())
    stages = {stage for stage, file, _, _ in own.spent_ns if file}

    assert stages == {"sample", "collate"}
    assert ("collate", "", 0, "default_collate") in stock.spent_ns
    assert own.spent_ns[FETCHER] < sum(own.spent_ns.values()) / 2


def test_a_stream_is_followed_from_batch_to_batch() -> None:
    """Its generator stops at one line and goes on from there."""
    dataset = Stream()
    lines = Lines(dataset, default_collate)
    fetcher = Kind.create_fetcher(Kind.Iterable, dataset, True, default_collate, False)
    for _ in range(3):
        lines.follow(lambda: fetcher.fetch([0, 0]))

    assert naps(lines)["time.sleep(2 * NAP_S)"] >= 12


def test_an_error_passes_and_nobody_is_followed_any_more() -> None:
    """Whoever traced before does so again."""

    class Broken(Photos):
        def read(self, index: int) -> Any:
            raise KeyError(index)

    before = sys.gettrace()
    with pytest.raises(KeyError):
        fetched(Broken())

    assert sys.gettrace() is before


def test_statements_are_found_from_any_of_their_lines() -> None:
    """A call over several lines is one row; what stands inside a block is not a part of it."""
    lines = Path(__file__).read_text(encoding="utf-8").splitlines()
    number = {text.strip(): place for place, text in enumerate(lines, start=1)}

    assert statement(__file__, number["[index],"])[1] == "return torch.tensor( \u2026"
    assert statement(__file__, number["x = transform(x)"])[1] == "x = transform(x)"
    assert statement("/nowhere.py", 3) == (3, "")


@pytest.mark.parametrize(
    ("file", "own"),
    [
        ("/home/somebody/hotlap/train.py", True),
        ("train.py", True),
        (os.__file__, False),
        (torch.__file__, False),
        (hotlap.loader.__file__, False),
        ("/usr/lib/python3/dist-packages/PIL/Image.py", False),
        ("<frozen importlib._bootstrap>", False),
    ],
)
def test_the_scripts_own_code_is_what_no_library_holds(file: str, own: bool) -> None:
    """Wherever it lies, if only it is not installed."""
    assert is_own(file) is own


def test_a_dataset_of_a_library_is_followed_through_its_own_lines() -> None:
    """Whatever its class is; what it calls in its library stands at its lines."""
    source = "def made(i):\n    return i\nclass Store:\n    def __getitem__(self, i):\n        return made(i)\n"
    names: dict[str, Any] = {}
    exec(compile(source, "/usr/lib/python3/dist-packages/store.py", "exec"), names)
    places = {(file, line) for _, file, line, _ in fetched(names["Store"]()).spent_ns}

    assert {line for file, line in places if file.endswith("store.py")} == {4, 5}
