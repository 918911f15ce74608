"""Are two samples or batches the same to the last bit, types and memory layout included?"""

from __future__ import annotations

import struct
import sys
from typing import Any

import torch

_PLAIN = (type(None), bool, int, str, bytes, bytearray, complex)


class IncomparableError(Exception):
    """A value of a kind that is not looked into."""


def difference(one: Any, other: Any, where: str = "batch") -> str:
    """The first difference in words; "" when there is none.

    Raises:
        IncomparableError: Nothing differs so far, but something is of a kind that is not looked into.
    """
    if type(one) is not type(other):
        return f"{where} is {type(one).__name__} here and {type(other).__name__} there"
    if isinstance(one, torch.Tensor):
        return _of_tensors(one, other, where)
    if isinstance(one, (list, tuple)):
        if len(one) != len(other):
            return f"{where} has {len(one)} items here and {len(other)} there"
        return _first(difference(a, b, f"{where}[{i}]") for i, (a, b) in enumerate(zip(one, other)))
    if isinstance(one, dict):
        if list(one) != list(other):
            return f"{where} has other keys or another order of keys"
        return _first(difference(one[key], other[key], f"{where}[{key!r}]") for key in one)
    if isinstance(one, float):
        return "" if struct.pack("d", one) == struct.pack("d", other) else f"{where} has another value"
    if isinstance(one, _PLAIN):
        return "" if one == other else f"{where} has another value"
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(one, (numpy.ndarray, numpy.generic)) and not one.dtype.hasobject:
        equal = one.dtype == other.dtype and one.shape == other.shape and one.strides == other.strides
        return "" if equal and one.tobytes() == other.tobytes() else f"{where} has other values, dtype or strides"
    raise IncomparableError(f"{where} holds a {type(one).__module__}.{type(one).__qualname__}")


def _first(differences: Any) -> str:
    return next((text for text in differences if text), "")


def _of_tensors(one: torch.Tensor, other: torch.Tensor, where: str) -> str:
    if one.layout is not torch.strided or one.is_nested or one.is_quantized:
        raise IncomparableError(f"{where} holds a tensor that is not dense")
    for name, trait in _TRAITS.items():
        if trait(one) != trait(other):
            return f"{where} has {name} {trait(one)} here and {trait(other)} there"
    return "" if torch.equal(bits(one), bits(other)) else f"{where} has other values"


_TRAITS = {
    "dtype": lambda t: t.dtype,
    "shape": lambda t: tuple(t.shape),
    "strides": lambda t: t.stride(),
    "device": lambda t: t.device,
    "requires_grad": lambda t: t.requires_grad,
    "storage offset": lambda t: t.storage_offset(),
    "storage bytes": lambda t: t.untyped_storage().nbytes(),
    "shared memory": lambda t: t.is_shared(),
    "lazy bits": lambda t: (t.is_conj(), t.is_neg()),
}


def shared(one: Any, other: Any) -> bool:
    """Whether two samples or batches hold something between them that a write to either would change in both."""
    return bool(_changeable(one) & _changeable(other))


def _changeable(batch: Any) -> set[int]:
    """Addresses of what can be written to."""
    if isinstance(batch, torch.Tensor):
        return {batch.untyped_storage().data_ptr()} - {0}
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(batch, numpy.ndarray):
        return {batch.ctypes.data} if batch.nbytes else set()
    if isinstance(batch, (str, bytes)) or not isinstance(batch, (list, tuple, dict)):
        return set()
    items = batch.values() if isinstance(batch, dict) else batch
    return set().union(*map(_changeable, items), () if isinstance(batch, tuple) else (id(batch),))


def bits(tensor: torch.Tensor) -> torch.Tensor:
    """The bytes of a dense tensor in the order of its elements, so that NaNs and zeros' signs count."""
    flat = tensor.detach().resolve_conj().resolve_neg().contiguous().reshape(-1)
    return flat.view(torch.uint8)
