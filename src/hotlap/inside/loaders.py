"""DataLoaders as the script built them, and what their iterators serve.

Constructor arguments are never rewritten: frameworks read them back. An override reaches a shallow copy of the loader
that only the iterator sees, so order and generators are as stock has them.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from threading import get_ident
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, WeakValueDictionary

from torch.utils.data import DataLoader, dataloader

from hotlap import marks

if TYPE_CHECKING:
    from hotlap.inside.host import Host
    from hotlap.inside.tape import Tape


class Loaders:
    """Every DataLoader of this process, and every batch it hands over."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._attributes: dict[str, Any] = {}
        self._choose: list[Callable[[Any], dict[str, Any]]] = []
        self._opened: list[Callable[[Any, Any], None]] = []
        self._make: list[Callable[[Any, Any], Any]] = []
        self.built: WeakValueDictionary[int, Any] = WeakValueDictionary()
        self._built = 0
        self._loader_of: WeakKeyDictionary[Any, int] = WeakKeyDictionary()

    def override(self, attributes: dict[str, Any]) -> None:
        """See `Host.override_loaders`."""
        self._take_over()
        self._attributes.update(attributes)

    def override_each(self, choose: Callable[[Any], dict[str, Any]]) -> None:
        """Let `choose(loader)` name the attributes to override for the loader at hand."""
        self._take_over()
        self._choose.append(choose)

    def opened(self, act: Callable[[Any, Any], None]) -> None:
        """Call `act(loader, iterator)` for each new iterator, with the loader as the script built it."""
        self._take_over()
        self._opened.append(act)

    def make(self, make: Callable[[Any, Any], Any]) -> None:
        """Let `make(loader, as it is to be)` make the iterator, the loader as the script built it; None leaves it."""
        self._take_over()
        self._make.append(make)

    def each_built(self, act: Callable[[Any], None]) -> None:
        """Call `act(loader)` for each loader right after its constructor, before the script can ask it anything."""

        def __init__(original: Callable[..., Any]) -> Callable[..., Any]:  # noqa: N807
            def init(loader: Any, *args: Any, **kwargs: Any) -> None:
                original(loader, *args, **kwargs)
                self._host.guarded("a change of a loader", lambda: act(loader))

            return init

        self._host.wrap(DataLoader, "__init__", __init__)

    def _take_over(self) -> None:
        if not self._attributes and not self._choose and not self._opened and not self._make:
            self._host.wrap(DataLoader, "_get_iterator", self._overridden)

    def _overridden(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def _get_iterator(loader: Any) -> Any:
            attributes = dict(self._attributes)
            for choose in self._choose:
                attributes.update(choose(loader))
            twin = copy.copy(loader) if attributes else loader
            for name, value in attributes.items():
                object.__setattr__(twin, name, value)
            made = (iterator for make in self._make if (iterator := make(loader, twin)) is not None)
            iterator = next(made, None)  # which may be of no length, and false
            if iterator is None:
                iterator = original(twin)
            for act in self._opened:
                act(loader, iterator)
            return iterator

        return _get_iterator

    # -- for the recorder and the gates

    def watch(self) -> None:
        """Number the loaders in the order of their construction, and their iterators with them."""

        def __init__(original: Callable[..., Any]) -> Callable[..., Any]:  # noqa: N807
            def init(loader: Any, *args: Any, **kwargs: Any) -> None:
                original(loader, *args, **kwargs)
                self.built[self._built] = loader
                self._built += 1

            return init

        self._host.wrap(DataLoader, "__init__", __init__)

    def index_of(self, loader: Any) -> int:
        """Order of construction; -1 for a loader that was not built by its constructor."""
        return next((index for index, built in self.built.items() if built is loader), -1)

    def loader_of(self, iterator: Any) -> int:
        """Index of the loader that an iterator came from; -1 when it is not known."""
        return self._loader_of.get(iterator, -1)

    def time(self, tape: Tape) -> None:
        """Mark what iterators do: their construction and first batch start an epoch, the rest is fetching."""
        note, note_long, now = tape.note, tape.note_long, tape.now
        fresh: set[int] = set()  # by id, which is cheap; one that never fetched is followed by its successor alone

        def iterate(original: Callable[..., Any]) -> Callable[..., Any]:
            def __iter__(loader: Any) -> Any:  # noqa: N807
                if not tape.foreign:
                    note_long((now() << 4 | marks.EPOCH_START, 0, 0))
                try:
                    iterator = original(loader)
                finally:
                    tape.mark(marks.FETCHED)
                if isinstance(iterator, dataloader._BaseDataLoaderIter):  # a subclass may return anything
                    fresh.add(id(iterator))
                    self._loader_of[iterator] = self.index_of(loader)
                return iterator

            return __iter__

        def fetch(original: Callable[..., Any]) -> Callable[..., Any]:
            def __next__(iterator: Any) -> Any:  # noqa: N807
                what, which = marks.FETCH, id(iterator)
                if which in fresh:
                    fresh.discard(which)
                    what = marks.EPOCH_START
                if get_ident() != tape.thread:
                    return original(iterator)
                note_long((now() << 4 | what, which, 0))
                try:
                    return original(iterator)
                finally:
                    note(now() << 4 | marks.FETCHED)

            return __next__

        self._host.wrap(DataLoader, "__iter__", iterate)
        self._host.wrap(dataloader._BaseDataLoaderIter, "__next__", fetch)

    def serve(self, change: Callable[[Any, Any], Any]) -> None:
        """Hand over `change(iterator, batch)` in place of each batch."""

        def fetch(original: Callable[..., Any]) -> Callable[..., Any]:
            def __next__(iterator: Any) -> Any:  # noqa: N807
                return change(iterator, original(iterator))

            return __next__

        self._host.wrap(dataloader._BaseDataLoaderIter, "__next__", fetch)
