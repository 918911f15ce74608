"""What is known of a call of a root."""

from __future__ import annotations

from collections import UserDict
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import nn

from hotlap.inside.calls import Frozen, frozen_of, signature, tensors_in
from hotlap.records import OPAQUE

X = torch.zeros(2, 3)


@dataclass
class Masked:
    tensors: torch.Tensor
    mask: torch.Tensor


class Graph:
    """As a library of graphs has it: a store within, that is a mapping and not a dict."""

    def __init__(self, **tensors: torch.Tensor) -> None:
        self.store = UserDict(tensors)
        self.store.data["again"] = X

    def to(self, device: Any) -> Graph:
        return self


class Opaque:
    def __init__(self) -> None:
        self.hidden = X


@pytest.mark.parametrize(
    ("given", "count"),
    [
        ((X, [X, (X,)], {"a": X}), 4),
        ((Masked(X, X),), 2),
        ((Graph(x=X, edges=X),), 3),
        ((UserDict(a=X),), 1),
        ((1, "a", None, nn.Linear(1, 1), Opaque(), torch.float32), 0),
    ],
)
def test_tensors_are_found_in_batches_of_any_class(given: Any, count: int) -> None:
    """Not in modules or in objects that are no batches."""
    assert len(tensors_in(given)) == count


@pytest.mark.parametrize(
    ("args", "kwargs", "manner"),
    [
        ((X,), {}, ()),
        ((X, 3, 0.5), {}, ()),
        ((X, None), {"training": True, "reduce": "mean"}, ("None", "True", "mean")),
        ((Opaque(),), {}, (OPAQUE,)),
        (({"image": X, "text": ["a dog", "a cat"], "id": "17"},), {}, ()),
        ((), {}, ()),
    ],
)
def test_switches_are_part_of_a_call(args: Any, kwargs: Any, manner: tuple[str, ...]) -> None:
    """And numbers are not, nor the words in a batch."""
    assert signature(args, kwargs)[2] == manner


def test_what_is_frozen_is_told_by_place() -> None:
    assert frozen_of([True, True]) == ""
    assert frozen_of([False, False, True, False]) == "frozen 0-1 3-3"


def test_freezing_is_seen_at_the_next_look() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    frozen = Frozen(net)

    assert frozen() == ""
    net[1].requires_grad_(False)
    assert frozen() == "frozen 2-3"
    net[1].requires_grad_(True)
    assert frozen() == ""
