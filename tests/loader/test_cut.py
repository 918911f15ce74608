"""Which `__getitem__` only hands on what its transform gave, and which Compose calls its parts in turn."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils.data import Dataset

from hotlap.loader.cut import chain, why_not_cut
from loader.cacheable import Backwards, Compose, ComposeModule, Module, Photos, Resize

MORE = "does more with its transform than to hand the result on"


class Held(Dataset[Any]):
    """Something with a transform."""

    def __init__(self) -> None:
        self.items = [[1], [2]]
        self.transform: Any = Resize()

    def read(self, i: int) -> Any:
        return self.items[i]


class Assigned(Held):
    def __getitem__(self, i):
        x = self.read(i)
        if self.transform:
            x = self.transform(x)
        return x, i


class Returned(Held):
    def __getitem__(self, i):
        return {"x": self.transform(self.items[i]), "y": [i, (i,)]}


class Conditional(Held):
    def __getitem__(self, i):
        x = self.items[i]
        i = 0 if self.transform is None else 1
        x = self.transform(x) if self.transform is not None else x
        return [x, i]


class Opened(Held):
    def __getitem__(self, i):
        with memoryview(b"") as view:
            y = self.transform(view)
        return [y]


class Used(Held):
    def __getitem__(self, i):
        x = self.transform(self.items[i])
        return x, len(x)


class Changed(Held):
    def __getitem__(self, i):
        x = self.transform(self.items[i])
        x = x + x
        return [x]


class InputUsed(Held):
    """A transform that works in place would change it."""

    def __getitem__(self, i):
        x = self.items[i]
        y = self.transform(x)
        return y, x


class Twice(Held):
    def __getitem__(self, i):
        return self.transform(self.items[i]), self.transform(self.items[i])


class Looped(Held):
    def __getitem__(self, i):
        x = self.items[i]
        for _ in range(2):
            x = self.transform(x)
        return x


class Guarded(Held):
    def __getitem__(self, i):
        try:
            return self.transform(self.items[i])
        except ValueError:
            return None


class Named(Held):
    def __getitem__(self, i):
        transform = self.transform
        return transform(self.items[i])


class Passed(Held):
    def __getitem__(self, i):
        return self.transform(apply(self, i))


class Inherited(Returned):
    def __getitem__(self, i):
        return super().__getitem__(i), self.transform(i)


class Parts(Held):
    def __getitem__(self, i):
        return self.transform(self.items[i])[0]


class Both(Held):
    def __getitem__(self, i):
        return self.transform(self.items[i], i)


class Without(Held):
    def __init__(self) -> None:
        super().__init__()
        self.transform = None

    def __getitem__(self, i):
        return self.items[i]


class Property(Held):
    transform: Any = None

    def __getitem__(self, i):
        return self.transform(self.items[i])


class Lazy(Returned):
    def __getattr__(self, name):
        raise AttributeError(name)


def apply(dataset: Any, i: int) -> Any:
    return dataset.transform(i)


@pytest.mark.parametrize("kind", [Assigned, Returned, Conditional, Opened])
def test_hands_on(kind: Any) -> None:
    assert why_not_cut(kind()) == ""


@pytest.mark.parametrize(
    "kind", [Used, Changed, InputUsed, Twice, Looped, Guarded, Named, Passed, Inherited, Parts, Both]
)
def test_does_more(kind: Any) -> None:
    """A result or an input that is looked at anywhere else could differ from one draw to the next."""
    assert MORE in why_not_cut(kind())


@pytest.mark.parametrize(
    ("kind", "reason"), [(Without, "no transform"), (Property, "no transform"), (Lazy, "no plain")]
)
def test_is_no_candidate(kind: Any, reason: str) -> None:
    assert reason in why_not_cut(kind())


def test_a_compose_is_its_parts() -> None:
    """One that calls them in another way is a transform like any other."""
    parts = [Resize(), Resize()]

    assert chain(Compose(parts)) is parts
    assert why_not_cut(Photos([], Compose(parts))) == ""
    for whole in (Backwards(parts), Resize(), Compose(tuple(parts)), lambda x: x):
        assert chain(whole) == (whole,)


class Negated(ComposeModule):
    def forward(self, *inputs: Any) -> Any:
        return -super().forward(*inputs)


def test_modules_are_taken_apart_where_nothing_stands_between() -> None:
    """Hooks, other forwards and patches are the script's."""
    parts = [Module(Resize()), Module(Resize())]
    for whole in (ComposeModule(parts), torch.nn.Sequential(*parts)):
        assert list(chain(whole)) == parts
        handle = whole.register_forward_hook(lambda *_: None)
        assert chain(whole) == (whole,)
        handle.remove()
        whole.forward = lambda x: x  # type: ignore[method-assign]
        assert chain(whole) == (whole,)
    assert len(chain(Negated(parts))) == 1
    assert len(chain(Module(Resize()))) == 1
