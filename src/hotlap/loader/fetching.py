"""In the helper: fetches the next batches, and refuses those that the training must fetch itself.

What is printed, warned of or logged, and what a fetch leaves behind in the dataset, belongs into the training.
"""

from __future__ import annotations

import io
import logging
import pickle
import warnings
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hotlap.loader.helper import StoppedError
from hotlap.loader.packing import Packed, pack
from hotlap.loader.snapshot import Snapshot
from hotlap.loader.states import States

if TYPE_CHECKING:
    from hotlap.inside.host import Host


@dataclass(frozen=True)
class Ready:
    """A batch that was fetched ahead."""

    indices: bytes
    before: States
    after: States | None
    """None where fetching moved no generator, so that no state matters."""
    batch: Any
    nbytes: int


class Fetching:
    """The work of a helper: one batch at each call.

    Args:
        host: Of the process that was copied.
        iterator: The DataLoader's, from whose sampler the indices come.
        stock: From indices to a batch.
        snapshot: Of what is fetched from.
    """

    def __init__(self, host: Host, iterator: Any, stock: Callable[[Any], Any], snapshot: Snapshot) -> None:
        self._host = host
        self._iterator = iterator
        self._stock = stock
        self._snapshot = snapshot
        self._said: io.StringIO | None = None

    def __call__(self) -> Packed:
        """The next batch, from a copy of the training's sampler and generators.

        Raises:
            StoppedError: The training must fetch it.
            StopIteration: There is none.
        """
        said = self._said or self._listen()
        with redirect_stdout(said), redirect_stderr(said):
            indices = self._iterator._next_index()
            before = States()
            batch = self._stock(indices)
        after = States()
        if said.getvalue():
            raise StoppedError("fetching prints, warns or logs")
        if self._snapshot.changed():
            raise StoppedError("fetching changes the dataset")
        moved = None if after == before else after
        return pack(Ready(pickle.dumps(indices), before, moved, batch, pack(batch).nbytes))

    def _listen(self) -> io.StringIO:
        """From now on hear all that is said in this process, which is the helper."""
        said = self._said = io.StringIO()

        def note(*args: Any, **kwargs: Any) -> None:
            said.write("something")

        self._host.set(warnings, "showwarning", note)
        self._host.set(logging.Logger, "handle", note)
        return said
