"""What a scenario sees of batches, generators and errors, as plain data that compares."""

from __future__ import annotations

import hashlib
import random
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader
from torch.utils.data.dataloader import _BaseDataLoaderIter

_END = ("end",)
_OURS = re.compile(r'  File "[^"]*/hotlap/[^"]*", line \d+, in \w+\n(    .*\n)+')
_LOOP = re.compile(r'  File "[^"]*/worker.py", line \d+, in _worker_loop\n(    .*\n)+')
_LINE = re.compile(r'(File "[^"]*"), line \d+')
_ADDRESS = re.compile(r"0x[0-9a-f]+")
_PIDS = re.compile(r"pid\(?s?\)? ?\d+(, \d+)*")


def described(thing: Any, storages: dict[int, int] | None = None) -> Any:
    """Types, values, memory layout, and which tensors share memory with which."""
    storages = {} if storages is None else storages
    kind = f"{type(thing).__module__}.{type(thing).__qualname__}"
    if isinstance(thing, torch.Tensor):
        return (kind, *_tensor(thing, storages))
    if isinstance(thing, (np.ndarray, np.generic)):
        owns = (thing.flags.owndata, thing.flags.writeable) if isinstance(thing, np.ndarray) else ()
        return (kind, str(thing.dtype), thing.shape, thing.strides, *owns, thing.tobytes())
    if isinstance(thing, dict):
        return (kind, [(key, described(value, storages)) for key, value in thing.items()])
    if isinstance(thing, (list, tuple)):
        return (kind, [described(item, storages) for item in thing])
    if isinstance(thing, (str, bytes, int, float, complex, type(None))):
        return (kind, repr(thing))
    return (kind, described(vars(thing), storages)) if hasattr(thing, "__dict__") else (kind, "opaque")


def _tensor(tensor: torch.Tensor, storages: dict[int, int]) -> Iterator[Any]:
    yield from (str(tensor.dtype), tuple(tensor.shape), str(tensor.layout), str(tensor.device), tensor.requires_grad)
    if tensor.layout is not torch.strided or tensor.is_nested:
        yield str(tensor)
        return
    storage = tensor.untyped_storage()
    yield from (tensor.stride(), tensor.storage_offset(), tensor.is_pinned(), tensor.is_conj(), tensor.is_neg())
    yield {"bytes": storage.nbytes(), "shared": tensor.is_shared(), "resizable": storage.resizable()}
    yield storages.setdefault(storage.data_ptr(), len(storages)) if storage.nbytes() else None
    flat = tensor.detach().resolve_conj().resolve_neg().contiguous().reshape(-1).view(torch.uint8)
    yield hashlib.sha256(bytes(flat.tolist())).hexdigest()


def states(*generators: torch.Generator | None) -> tuple[str, ...]:
    """Fingerprints of the global generators, and of these."""
    own = [generator.get_state().tolist() for generator in generators if generator is not None]
    every = (torch.get_rng_state().tolist(), random.getstate(), str(np.random.get_state()), *own)
    return tuple(hashlib.sha256(repr(state).encode()).hexdigest()[:12] for state in every)


def seeded() -> None:
    """Start every generator anew."""
    torch.manual_seed(11)
    random.seed(11)
    np.random.seed(11)


def outcome(act: Callable[[], Any]) -> Any:
    """What an action returns, described; or the type and the text of what it raises, without hotlap's own frames."""
    try:
        return described(act())
    except StopIteration:
        return _END
    except BaseException as error:
        known = (type(error.__context__).__qualname__, type(error.__cause__).__qualname__)
        return ("raised", type(error).__qualname__, *known, scrubbed(str(error)), described(error.args[1:]))


def scrubbed(text: str) -> str:
    """Without what differs between any two runs, and without the frames of hotlap itself and of the worker's loop."""
    return _PIDS.sub("pid", _ADDRESS.sub("0x", _LINE.sub(r"\1", _LOOP.sub("", _OURS.sub("", text)))))


def warned(caught: list[warnings.WarningMessage]) -> list[tuple[str, str]]:
    """Category and text of each warning."""
    return [(warning.category.__name__, scrubbed(str(warning.message))) for warning in caught]


@contextmanager
def noted(events: list[Any]) -> Iterator[None]:
    """Append the warnings that are given meanwhile."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    events.append(("warned", warned(caught)))


def _torch_class(thing: Any) -> str:
    """The public part of its kind: which private class of torch's iterates may differ."""
    return "_BaseDataLoaderIter" if isinstance(thing, _BaseDataLoaderIter) else type(thing).__qualname__


def history(
    make: Callable[[], DataLoader[Any]],
    *,
    epochs: int = 2,
    stop: int = 99,
    between: Callable[[DataLoader[Any], int], Any] | None = None,
    after: Callable[[DataLoader[Any], Any], Any] | None = None,
) -> list[Any]:
    """Everything that a training loop can see of a loader.

    Args:
        make: Builds the loader, after all generators were seeded.
        epochs: How many times it is iterated.
        stop: The loop is left after so many batches.
        between: Called before each epoch with the loader and the epoch's number.
        after: Called after each batch with the loader and the batch; what it returns is part of the history.
    """
    seeded()
    loader, events = make(), list[Any]()
    owned = (loader.generator, getattr(loader.sampler, "generator", None))
    for epoch in range(epochs):
        if between is not None:
            between(loader, epoch)
        iterator = iter(loader)
        events.append(("iter", _torch_class(iterator), states(*owned)))
        for _ in range(stop):
            batch: list[Any] = []
            seen = outcome(lambda batch=batch, iterator=iterator: batch.append(next(iterator)) or batch[0])
            events.append((seen, states(*owned)))
            if seen == _END:
                break
            if batch and after is not None:
                events.append(("after", described(after(loader, batch[0]))))
        del iterator
        events.append(("left", states(*owned)))
    return events
