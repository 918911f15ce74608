"""May a loader's fetching move to other processes? What can be told from the objects alone."""

from __future__ import annotations

import dis
import io
import random
import sys
import sysconfig
import time
from collections.abc import Iterator
from functools import _lru_cache_wrapper, lru_cache, partial
from pathlib import Path
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
    distributed,
)

_SAMPLERS = (
    SequentialSampler,
    RandomSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
    distributed.DistributedSampler,
)
_DEPTH = 4
_ITEMS = 32
"""Items looked at in a container."""
_OBJECTS = 2000
_ATOMS = (str, bytes, int, float, complex, bool, type(None), type, ModuleType)
_INSTALLED = tuple(
    [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    + [str(Path(file).resolve().parents[1]) for file in (__file__, torch.__file__)]
)
_HANDLES = ("h5py", "lmdb", "sqlite3", "zipfile", "tarfile", "_thread", "threading", "socket", "multiprocessing")


def reachable(*roots: Any) -> Iterator[Any]:
    """The objects that these hold in attributes, containers, closures and partials, some levels deep."""
    level, seen, names = list(roots), set[int](), set[str]()
    for _ in range(_DEPTH + 1):
        below: list[Any] = []
        for thing in level:
            if id(thing) in seen or isinstance(thing, _ATOMS) or len(seen) >= _OBJECTS:
                continue
            seen.add(id(thing))
            yield thing
            names |= set(names_used(thing.__code__)) if isinstance(thing, FunctionType) else set()
            below += _held_by(thing, names)
        level = below


def is_own(thing: type | ModuleType) -> bool:
    """Whether a class or a module is the script's own: neither Python's, nor installed, nor hotlap's."""
    module = sys.modules.get(thing.__module__) if isinstance(thing, type) else thing
    file = getattr(module, "__file__", None) or ""
    return not file.startswith(_INSTALLED) if file else getattr(module, "__name__", "") == "__main__"


def named_within(function: FunctionType) -> list[Any]:
    """What a function may read of the script's own modules and classes that it names."""
    named = [function.__globals__.get(name) for name in globals_used(function.__code__)]
    own = [vars(one) for one in named if isinstance(one, (ModuleType, type)) and is_own(one)]
    return [held[name] for held in own for name in names_used(function.__code__) if name in held]


def _held_by(thing: Any, names: set[str]) -> list[Any]:
    if isinstance(thing, torch.Tensor) or type(thing).__module__ == "numpy":
        return []
    if isinstance(thing, dict):
        return list(dict.values(thing))[:_ITEMS]
    if isinstance(thing, (list, tuple, set, frozenset)):
        return list(thing)[:_ITEMS]
    if isinstance(thing, FunctionType):
        named = [thing.__globals__[name] for name in globals_used(thing.__code__) if name in thing.__globals__]
        named += named_within(thing)
        cells = [cell.cell_contents for cell in thing.__closure__ or () if _filled(cell)]
        return [*named, *cells, *(thing.__defaults__ or ()), *(thing.__kwdefaults__ or {}).values()]
    if isinstance(thing, MethodType):
        return [thing.__self__, thing.__func__]
    if isinstance(thing, partial):
        return [thing.func, *thing.args, *thing.keywords.values()]
    return [*_methods(type(thing), names), *list(getattr(thing, "__dict__", {}).values())[:_ITEMS]]


def _methods(kind: type, called: set[str]) -> list[Any]:
    """Methods by which a sample may be fetched, those they name, and of the script's classes those named so far."""
    found: dict[str, Any] = {}
    names = ["__getitem__", "__getitems__", "__call__", "forward", *(sorted(called) if is_own(kind) else ())]
    for name in names:  # grows on the way
        method = getattr(kind, name, None)
        method = method.fget if isinstance(method, property) else method
        if name not in found and method is not None:
            found[name] = method
            names += names_used(method.__code__) if isinstance(method, FunctionType) else ()
    return list(found.values())


@lru_cache(maxsize=1024)
def names_used(code: CodeType) -> tuple[str, ...]:
    """Names of globals and attributes in a function and those that are written inside it."""
    inner = (constant for constant in code.co_consts if isinstance(constant, CodeType))
    return (*code.co_names, *(name for one in inner for name in names_used(one)))


def _filled(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True


@lru_cache(maxsize=1024)
def globals_used(code: CodeType) -> tuple[str, ...]:
    """Names of globals alone: a script's `x` is not the `x` of `self.x`."""
    inner = (constant for constant in code.co_consts if isinstance(constant, CodeType))
    own = (one.argval for one in dis.get_instructions(code) if one.opname in ("LOAD_GLOBAL", "LOAD_NAME"))
    return (*dict.fromkeys(own), *(name for one in inner for name in globals_used(one)))


def is_generator(thing: Any) -> bool:
    """A random generator of somebody's own."""
    numpy = sys.modules.get("numpy")
    kinds: tuple[type, ...] = (torch.Generator, random.Random)
    if numpy is not None:
        kinds += (numpy.random.Generator, numpy.random.RandomState, numpy.random.BitGenerator)
    return isinstance(thing, kinds)


_UNSEEDED = {
    *("default_rng", "urandom", "getrandom", "SystemRandom", "token_bytes", "uuid1", "uuid4"),
    *("time_ns", "perf_counter", "perf_counter_ns", "monotonic", "monotonic_ns"),
}


def asks_unseeded(*roots: Any) -> str:
    """The name by which their code asks for a number that no seed and no generator's state decides; "" for none."""
    for function in reachable(*roots):
        if isinstance(function, FunctionType):
            names = names_used(function.__code__)
            if found := next((name for name in names if name in _UNSEEDED), ""):
                return found
            if "time" in names and function.__globals__.get("time") in (time, time.time):
                return "time"
    return ""


def why_not_movable(loader: DataLoader[Any]) -> str:
    """Nothing when this loader's number of workers may be changed, else why not."""
    if isinstance(loader.dataset, IterableDataset) or loader._dataset_kind != 0:
        return "an iterable dataset shards by worker"
    if type(loader)._get_iterator is not DataLoader._get_iterator or type(loader).__iter__ is not DataLoader.__iter__:
        return "it iterates in its own way"
    if loader.persistent_workers or loader.worker_init_fn is not None or not loader.in_order:
        return "it configures its workers itself"
    return _why_order_moves(loader) or ("" if loader.num_workers else _why_it_stays(loader.dataset, loader.collate_fn))


def why_not_ahead(dataset: Any, collate_fn: Any, index_sampler: Any) -> str:
    """Nothing when a forked copy of this process may fetch the next batches, else why not."""
    if sys.platform != "linux":
        return "processes are forked on Linux alone"
    if torch.cuda.is_initialized():
        return "CUDA is in use, and a process must not be forked then"
    if torch.distributed.is_initialized() and type(getattr(index_sampler, "sampler", None)) not in _SAMPLERS:
        return "it has a sampler of its own, which may talk to other ranks"
    if any(map(is_generator, reachable(dataset, collate_fn))):
        return "the dataset holds a random generator of its own"
    return _why_it_stays(dataset, collate_fn, index_sampler)


_SEEDING = {"torch", "np", "numpy", "random", "seed", "manual_seed", "initial_seed", "utils", "data"}


def why_not_virtual(loader: DataLoader[Any]) -> str:
    """Nothing when one process may serve as several of this loader's workers, else why not."""
    if loader._dataset_kind != 0:
        return "an iterable dataset shards by worker"
    if type(loader)._get_iterator is not DataLoader._get_iterator or not loader.in_order:
        return "it iterates in its own way"
    if getattr(loader.multiprocessing_context, "_name", "fork") != "fork":
        return "its workers are started afresh, not forked"
    return _why_not_seeded(loader) or _why_it_stays(loader.dataset, loader.collate_fn)


def why_not_pooled(loader: DataLoader[Any]) -> str:
    """Nothing when this loader's workers may serve another epoch once they are seeded anew, else why not."""
    if sys.platform != "linux":
        return "how many files are open is seen on Linux alone"
    if loader._dataset_kind != 0:
        return "an iterable dataset ends with its workers"
    if loader.persistent_workers:
        return "the script keeps its workers itself"
    if type(loader)._get_iterator is not DataLoader._get_iterator or not loader.in_order:
        return "it iterates in its own way"
    for thing in reachable(loader.dataset, loader.collate_fn):
        if isinstance(thing, _lru_cache_wrapper):
            return "its code keeps results (functools.cache), which new workers would not have"
        if isinstance(thing, DataLoader):
            return "its dataset or its collate_fn holds a loader, whose workers would never be let go"
    return _why_not_seeded(loader) or _why_not_copied(loader.dataset, loader.collate_fn)


def _why_not_seeded(loader: DataLoader[Any]) -> str:
    """Workers draw from the generators that torch seeds, and from no others."""
    init_fn: Any = loader.worker_init_fn
    if init_fn is not None and not (
        isinstance(init_fn, FunctionType) and not init_fn.__closure__ and set(names_used(init_fn.__code__)) <= _SEEDING
    ):
        return "its worker_init_fn does more than seed"
    if any(map(is_generator, reachable(loader.dataset, loader.collate_fn))):
        return "the dataset holds a random generator of its own"
    return ""


def _why_order_moves(loader: DataLoader[Any]) -> str:
    """Workers ask for indices ahead of time; torch's samplers do not mind, unless the script holds their generator."""
    batches, sampler = loader.batch_sampler, loader.sampler
    if batches is not None and type(batches) is not BatchSampler:
        return "it has a batch sampler of its own"
    if batches is not None and loader.batch_size is None:
        sampler = getattr(batches, "sampler", None)
    if type(sampler) not in _SAMPLERS:
        return "it has a sampler of its own"
    if getattr(sampler, "generator", None) is not None:
        return "its order comes from a generator that the script holds"
    return ""


def _why_it_stays(*things: Any) -> str:
    """The script loads in its own process: what may not be copied to others by a fork."""
    if torch.multiprocessing.get_start_method(allow_none=True) not in (None, "fork") or sys.version_info >= (3, 14):
        return "worker processes would be started afresh, not forked"
    return _why_not_copied(*things)


def _why_not_copied(*things: Any) -> str:
    for thing in reachable(*things):
        if isinstance(thing, torch.Tensor) and thing.device.type != "cpu":
            return "the dataset holds tensors on a device"
        if isinstance(thing, io.IOBase) or type(thing).__module__.split(".")[0] in _HANDLES:
            return f"the dataset holds a {type(thing).__name__}"
    return ""
