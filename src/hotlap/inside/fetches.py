"""The trial that shows where fetching a batch spends its time: some batches as they are, some followed line by line.

It is never compared with another run, and what it fetches is used by nobody.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from time import perf_counter, thread_time
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import _DatasetKind

from hotlap.loader.lines import Lines, statement

if TYPE_CHECKING:
    from hotlap.inside.host import Host
    from hotlap.inside.steps import Recorder

AFTER = 3  # steps, so that what is opened and filled at first use is there
_LOOK_S = 3.0
_FEWEST, _MOST = 3, 64
_WARM = 1
"""Pairs of one plain and one followed batch; the first of them are left out."""


class FetchTrial:
    """Fetches some batches of the loader that trains, in the training's own process.

    Args:
        host: Of this process; the task's option `loader` says which loader, by order of construction.
        recorder: Tells when steps end.
    """

    def __init__(self, host: Host, recorder: Recorder) -> None:
        self._host = host
        self._recorder = recorder
        self._loader: Any = None

    def install(self) -> None:
        """After some steps, once."""
        self._host.loaders.opened(self._opened)
        self._recorder.on_end.append(self._stepped)

    def _opened(self, loader: Any, iterator: Any) -> None:
        if self._host.loaders.index_of(loader) == self._host.task["options"]["loader"]:
            self._loader = loader  # the script may keep only its iterator

    def _stepped(self, done: int) -> None:
        if done == AFTER:
            try:
                what = self._look(self._loader)
            except Exception as error:
                what = {"failed": f"{type(error).__name__}: {error}"}
            self._host.journal.write("seen", probe="fetches", what=what)

    def _look(self, loader: Any) -> dict[str, Any]:
        threads = torch.get_num_threads()
        if loader.num_workers:
            torch.set_num_threads(1)  # as torch's own workers do
        try:
            return _looked(loader)
        finally:
            torch.set_num_threads(threads)


def _looked(loader: Any) -> dict[str, Any]:
    indices, lines, pairs = _indices(loader), Lines(loader.dataset, loader.collate_fn), list[dict[str, Any]]()
    fetcher = _DatasetKind.create_fetcher(
        loader._dataset_kind, loader.dataset, loader._auto_collation, loader.collate_fn, loader.drop_last
    )
    until = perf_counter() + _LOOK_S
    while len(pairs) < _FEWEST + _WARM or (len(pairs) < _MOST and perf_counter() < until):
        try:
            pairs.append(_pair(indices, fetcher, lines))
        except StopIteration:  # of a dataset that is a stream
            break
        if len(pairs) == _WARM:
            lines.spent_ns.clear()
    return {"rows": _rows(lines), "pairs": pairs[_WARM:]}


def _pair(indices: Iterator[Any], fetcher: Any, lines: Lines) -> dict[str, Any]:
    """Fetch a batch as it is and one that is followed [s]."""
    times = [perf_counter()]
    chosen = next(indices)
    times.append(perf_counter())
    busy_s = thread_time()
    fetcher.fetch(chosen)
    busy_s = thread_time() - busy_s
    times.append(perf_counter())
    other = next(indices)
    times.append(perf_counter())
    lines.follow(lambda: fetcher.fetch(other))
    times.append(perf_counter())
    drawn_s, plain_s, _, followed_s = (end - start for start, end in pairwise(times))
    size = len(chosen) if isinstance(chosen, (list, tuple)) else 1
    return {"samples": size, "drawn_s": drawn_s, "plain_s": plain_s, "busy_s": busy_s, "followed_s": followed_s}


def _indices(loader: Any) -> Iterator[Any]:
    """What torch would ask of the dataset, epoch after epoch."""
    while True:
        yield from loader._index_sampler


def _rows(lines: Lines) -> list[list[Any]]:
    """Stage, file, line, function, text and time [ns] of each statement."""
    merged: Counter[tuple[Any, ...]] = Counter()
    for (stage, file, line, name), spent_ns in lines.spent_ns.items():
        start, text = statement(file, line) if file else (0, name)
        merged[(stage, file, start, name, text)] += spent_ns
    return [[*place, spent_ns] for place, spent_ns in merged.items()]
