"""A number for all that a dataset holds: when it changes, what was kept of its samples is no longer what it gives."""

from __future__ import annotations

import ctypes
import hashlib
import pickle
import sys
from collections.abc import Iterator
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import torch

from hotlap.loader.movable import is_own, names_used, reachable
from hotlap.loader.tree import UnfitError

_LARGE_BYTES = 1 << 20
"""Arrays and tensors from here on are told apart by some of their numbers: to read all costs more than it tells."""
_MOST_BYTES = 1 << 28
_PLAIN = (bool, int, float, str, bytes, type(None))
"""What a script switches something by: globals that a function names, what it reads of them, attributes of classes."""
_PICKLES_ITSELF = ("__getstate__", "__reduce__", "__reduce_ex__")
_MOST_ITEMS = 4096
_LOOKED_AT = 4096
"""Numbers of a large array that are looked at, evenly spread."""


def digest(dataset: Any) -> int:
    """Of its attributes, as deep as they go, and of the code that makes its samples as far as it is found; 63 bits.

    Raises:
        UnfitError: It holds something that cannot be written down, such as a lock or an open file.
    """
    sink = _Sink()
    kind = type(dataset)
    try:
        codes = [vars(base).get("__getitem__") for base in kind.__mro__]
        _Writer(sink, protocol=5).dump((kind, codes, list(_called(dataset)), vars(dataset), _in_slots(dataset)))
    except UnfitError:
        raise
    except Exception as error:  # whatever its objects raise when they are to be written down
        raise UnfitError(f"it holds what cannot be watched for changes: {error}") from None
    return int.from_bytes(sink.hash.digest(), "little") >> 1 | 1


def _called(dataset: Any) -> Iterator[tuple[int, list[tuple[str, Any]]]]:
    """The functions by which a sample may be made, and those that these name: the code of each, and its globals."""
    first = [thing for thing in reachable(dataset) if isinstance(thing, FunctionType)]
    for function in reachable(*first):
        if isinstance(function, FunctionType):
            yield id(function.__code__), _plain(function)


def _plain(function: FunctionType) -> list[tuple[str, Any]]:
    names = dict.fromkeys(names_used(function.__code__))
    found: list[tuple[str, Any]] = []
    for name in names:
        value = function.__globals__.get(name)
        if _is_plain(value):
            found.append((name, value))
        elif not isinstance(value, FunctionType):  # `args` of `args.size`; a module or a class of settings
            held = _held(value)
            found += [(f"{name}.{part}", held[part]) for part in names if part in held and _is_plain(held[part])]
    return found


def _held(thing: Any) -> dict[str, Any]:
    """Attributes, those that a class inherits among them."""
    if isinstance(thing, type):
        return {name: value for base in reversed(thing.__mro__) for name, value in vars(base).items()}
    return getattr(thing, "__dict__", {})


def _is_plain(value: Any) -> bool:
    """A switch, a number or a word, or not too many of them together."""
    if type(value) is dict:
        return len(value) <= _MOST_ITEMS and all(map(_is_plain, (*value, *value.values())))
    if type(value) in (tuple, list, set, frozenset):
        return len(value) <= _MOST_ITEMS and all(map(_is_plain, value))
    return type(value) in _PLAIN


def _of_class(kind: type) -> list[tuple[str, Any]]:
    """Attributes of a class and of those below it, by which its methods may switch something."""
    return [
        (name, value)
        for base in kind.__mro__
        for name, value in sorted(vars(base).items())
        if not name.startswith("__") and _is_plain(value)
    ]


def _in_slots(thing: Any) -> list[Any]:
    names = [name for base in type(thing).__mro__ for name in vars(base).get("__slots__", ())]
    return [getattr(thing, name) for name in names if name not in ("__dict__", "__weakref__") and hasattr(thing, name)]


def _of_tensor(tensor: torch.Tensor) -> Any:
    """Its bytes where they are few, else some of them: torch does not count every write."""
    parts = tensor.data_ptr(), tuple(tensor.shape), tensor.stride(), str(tensor.dtype)
    version = None if tensor.is_inference() else tensor._version
    if tensor.device.type != "cpu" or not tensor.is_contiguous() or tensor.is_quantized:
        return *parts, version
    flat = tensor.detach().reshape(-1)
    some = flat[:: 1 if tensor.nbytes < _LARGE_BYTES else max(1, len(flat) // _LOOKED_AT)].contiguous()
    return *parts, version, ctypes.string_at(some.data_ptr(), some.nbytes) if some.nbytes else b""


def _bytes(array: Any) -> bytes | None:
    return None if array is None or array.dtype.hasobject else array.tobytes()


class _Sink:
    """A file that remembers a hash of what was written."""

    def __init__(self) -> None:
        self.hash = hashlib.blake2b(digest_size=8)
        self._left = _MOST_BYTES

    def write(self, data: Any) -> int:
        size = memoryview(data).nbytes
        self._left -= size
        if self._left < 0:
            raise UnfitError("it holds too much to be watched for changes")
        self.hash.update(data)
        return size


class _Writer(pickle.Pickler):
    def reducer_override(self, obj: Any) -> Any:
        """Tensors and large arrays by place and numbers, code by identity, all else as pickle has it."""
        if obj is _is:
            return NotImplemented
        if isinstance(obj, torch.Tensor):
            return _is, _of_tensor(obj)
        if isinstance(obj, FunctionType):
            cells = [cell.cell_contents for cell in obj.__closure__ or ()]
            return _is, (id(obj.__code__), obj.__defaults__, cells, _plain(obj))
        if isinstance(obj, MethodType):
            return _is, (id(obj.__func__), obj.__self__)
        if isinstance(obj, type):
            return _is, (id(obj), _of_class(obj))
        if isinstance(obj, (ModuleType, CodeType)):
            return _is, (id(obj),)
        if any(name in vars(base) for base in type(obj).__mro__ if is_own(base) for name in _PICKLES_ITSELF):
            raise UnfitError(f"a {type(obj).__qualname__} in it says itself how it is to be written down")
        numpy = sys.modules.get("numpy")
        if numpy is not None and type(obj) is numpy.ndarray and obj.nbytes >= _LARGE_BYTES:
            some = obj.reshape(-1)[:: max(1, obj.size // _LOOKED_AT)] if obj.flags.c_contiguous else None
            return _is, (obj.__array_interface__["data"][0], obj.shape, obj.strides, str(obj.dtype), _bytes(some))
        return NotImplemented


def _is(*parts: Any) -> None:
    """Stands for a thing in what is hashed."""
