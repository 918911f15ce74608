"""Loaders of other libraries for bench/loader.py, each as its documentation has it, or why there is none."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, default_collate

_THREADS = 2


class MissingError(Exception):
    """Why a library cannot take part."""


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingError(f"not installed ({error})") from None


def _columns(work: Any) -> tuple[torch.Tensor, ...]:
    if work.columns is None:
        raise MissingError("its transforms are random: nothing to convert beforehand")
    return work.columns()


_converted: dict[str, Any] = {}


def tensordict(work: Any) -> Iterable[Any]:
    """All samples in a memory map, fetched by whole batches."""
    library = _library("tensordict")
    if work.name not in _converted:
        made = {str(place): column for place, column in enumerate(_columns(work))}
        held = library.TensorDict(made, batch_size=[len(made["0"])])
        _converted[work.name] = held.memmap(work.folder / "tensordict")
    held = _converted[work.name]
    parts = lambda batch: [batch[str(place)] for place in range(len(batch.keys()))]  # noqa: E731
    return DataLoader(held, batch_size=work.batch_size, shuffle=True, collate_fn=parts)


def light(work: Any) -> Iterable[Any]:
    """Tensors in memory, fetched by whole batches in an order of its own."""
    library = _library("light_dataloader")
    return library.TensorDataLoader(_columns(work), batch_size=work.batch_size, shuffle=True)


class _Spdl:
    """The dataset's own samples, fetched by threads and handed over in order."""

    def __init__(self, work: Any) -> None:
        self._builder, self._work = _library("spdl.pipeline").PipelineBuilder, work

    def __iter__(self) -> Iterator[Any]:
        data, size = self._work.dataset, self._work.batch_size
        built = (
            self._builder()
            .add_source(BatchSampler(RandomSampler(data), size, drop_last=False))
            .pipe(
                lambda indices: default_collate([data[i] for i in indices]), concurrency=_THREADS, output_order="input"
            )
            .add_sink(_THREADS + 2)
            .build(num_threads=_THREADS)
        )
        with built.auto_stop():
            yield from built.get_iterator()


PEERS: dict[str, Callable[[Any], Iterable[Any]]] = {
    "tensordict, memory map": tensordict,
    "light-dataloader": light,
    f"SPDL, {_THREADS} threads": _Spdl,
}
