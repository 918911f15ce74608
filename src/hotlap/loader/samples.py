"""Samples as bytes, and back as objects of their own: equal types, values, strides, and nobody else's memory.

A sample is a nest of tuples, lists, dicts, named tuples, plain values, tensors, arrays of numpy and images of Pillow.
Anything else is refused, as is what would come back different: a subclass, a tensor with a gradient, a palette.
"""

from __future__ import annotations

import ctypes
import math
import pickle
import sys
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch

from hotlap.loader.rows import DTYPES
from hotlap.loader.tree import UnfitError

_PLAIN = (type(None), bool, int, float, complex, str, bytes)
_NUMPY_KINDS = "biufc"
_MODES = ("L", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "LAB", "I", "F")
_ALIGN = 64
_SPREAD = 4
"""A tensor may lie in so many times its own bytes; more is a glimpse into something larger."""
Node = tuple[Any, ...]


class Freezer:
    """Takes samples apart.

    Args:
        alone: Whether the script itself will hold what comes back: then a tensor must be its memory's only owner, as
            an object that the cache makes will be. What is only collated may be a view, or be there twice.
    """

    def __init__(self, alone: bool) -> None:
        self._alone = alone
        self._parts: list[bytes] = []
        self._bytes = 0
        self._memory: set[int] = set()

    def node(self, value: Any, hole: Any = None) -> Node:
        """The form of a value, with its memory set aside; the object `hole` is left out.

        Raises:
            UnfitError: It would not come back the same.
        """
        kind = type(value)
        if hole is not None and value is hole:
            return ("hole",)
        if kind in _PLAIN:
            return ("plain", value)
        if kind in (list, tuple):
            return (kind.__name__, [self.node(item, hole) for item in value])
        if kind is dict:
            if not all(type(key) in _PLAIN for key in value):
                raise UnfitError("a dict has keys that are not plain")
            return ("dict", list(value), [self.node(item, hole) for item in value.values()])
        if _is_named(kind):
            return ("named", kind, [self.node(item, hole) for item in value])
        if kind is torch.Tensor:
            return self._tensor(value)
        module = kind.__module__.split(".")[0]
        if module == "numpy":
            return self._numpy(value)
        if module == "PIL":
            return self._image(value)
        raise UnfitError(f"a sample holds a {kind.__module__}.{kind.__qualname__}")

    def parts(self, *head: Any) -> list[bytes]:
        """All that was set aside, behind what must be known to read it, to be written one after the other.

        Raises:
            UnfitError: It is of a class that cannot be found by name.
        """
        try:
            plan = pickle.dumps(head, protocol=5)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise UnfitError(f"a sample cannot be written down: {error}") from None
        start = -(-(8 + len(plan)) // _ALIGN) * _ALIGN
        return [len(plan).to_bytes(8, "little"), plan.ljust(start - 8, b"\0"), *self._parts]

    def _keep(self, data: bytes, address: int) -> int:
        if self._alone and data and address in self._memory:
            raise UnfitError("two parts of a sample share their memory")
        self._memory.add(address)
        at = self._bytes
        padded = -(-len(data) // _ALIGN) * _ALIGN
        self._parts += [data, bytes(padded - len(data))]
        self._bytes += padded
        return at

    def _tensor(self, tensor: torch.Tensor) -> Node:
        if tensor.requires_grad or tensor.layout is not torch.strided or tensor.is_nested or tensor.dtype not in DTYPES:
            raise UnfitError("a sample holds a tensor that is not plain and dense")
        if tensor.device.type != "cpu" or tensor.is_conj() or tensor.is_neg() or vars(tensor):
            raise UnfitError("a sample holds a tensor on a device, with lazy bits or with attributes")
        extent = (
            1 + sum((size - 1) * step for size, step in zip(tensor.shape, tensor.stride())) if tensor.numel() else 0
        )
        used = extent * tensor.itemsize
        if used > _SPREAD * max(tensor.nbytes, 1024):
            raise UnfitError("a sample is a sparse view of a larger tensor")
        if not self._alone and used == tensor.nbytes and _stacks_alike(tensor.shape, tensor.stride()):
            tensor = tensor.contiguous()
            used = tensor.nbytes
        whole = tensor.untyped_storage()
        if self._alone and (whole.nbytes() != used or whole.is_shared() or not whole.resizable()):
            raise UnfitError("a sample is a view of memory that something else holds")
        data = ctypes.string_at(tensor.data_ptr(), used) if used else b""
        return ("tensor", tensor.dtype, tuple(tensor.shape), tensor.stride(), used, self._keep(data, whole.data_ptr()))

    def _numpy(self, value: Any) -> Node:
        numpy = sys.modules["numpy"]
        if isinstance(value, numpy.generic) and value.dtype.kind in _NUMPY_KINDS:
            return ("scalar", value.dtype.str, value.tobytes())
        if type(value) is not numpy.ndarray or value.dtype.kind not in _NUMPY_KINDS or not value.dtype.isnative:
            raise UnfitError("a sample holds an array of numpy that is not plain")
        order = "C" if value.flags.c_contiguous else "F" if value.flags.f_contiguous else ""
        if not order or not value.flags.writeable or (self._alone and not value.flags.owndata):
            raise UnfitError("a sample holds an array that is read-only, strided or another's memory")
        if value.strides != numpy.empty(value.shape, value.dtype, order).strides:
            raise UnfitError("a sample holds an array with unusual strides")
        address = value.__array_interface__["data"][0]
        return ("array", value.dtype.str, value.shape, order, value.size, self._keep(value.tobytes("A"), address))

    def _image(self, image: Any) -> Node:
        plain = type(image).__name__ == "Image" and image.mode in _MODES and not image.readonly
        if not plain or image.palette is not None or getattr(image, "_exif", None) is not None:
            raise UnfitError(f"a sample holds a {type(image).__name__} of mode {image.mode}, which is not copied")
        if not all(type(value) in _PLAIN or _is_flat(value) for value in image.info.values()):
            raise UnfitError("a sample holds an image with notes that are not plain")
        data = image.tobytes()
        return ("image", image.mode, image.size, dict(image.info), len(data), self._keep(data, id(image)))


@lru_cache(maxsize=64)
def _stacks_alike(shape: tuple[int, ...], strides: tuple[int, ...]) -> bool:
    """Whether a batch of such tensors has the layout that one of contiguous ones has."""
    given = torch.empty_strided(shape, strides, device="meta")
    plain = given.contiguous()
    return all(torch.stack([given] * n).stride() == torch.stack([plain] * n).stride() for n in (1, 2))


def _is_named(kind: type) -> bool:
    """Made by `namedtuple`, and not a class of somebody's below one."""
    return kind.__bases__ == (tuple,) and kind.__new__.__module__ == f"namedtuple_{kind.__name__}"


def _is_flat(value: Any) -> bool:
    return type(value) is tuple and all(type(item) in _PLAIN for item in value)


class Memory:
    """Frozen samples in memory, by offset.

    Args:
        buffer: Writable, and kept for as long as anything is read from it.
    """

    def __init__(self, buffer: Any) -> None:
        self.view = memoryview(buffer)
        self._address = ctypes.addressof(ctypes.c_char.from_buffer(buffer))

    def head(self, at: int) -> tuple[tuple[Any, ...], int]:
        """What `Freezer.parts` was given, and where the memory that was set aside begins."""
        length = int.from_bytes(self.view[at : at + 8], "little")
        return pickle.loads(self.view[at + 8 : at + 8 + length]), at + -(-(8 + length) // _ALIGN) * _ALIGN

    def copy(self, at: int, size: int, address: int) -> None:
        """So many bytes to an address."""
        ctypes.memmove(address, self._address + at, size)

    def rows(self, dtype: torch.dtype, shape: tuple[int, ...]) -> torch.Tensor:
        """Whatever could begin at a multiple of the alignment, read as tensors of this kind, (places, *shape)."""
        step, numel = _ALIGN // dtype.itemsize, math.prod(shape)
        whole = torch.frombuffer(self.view, dtype=dtype, count=len(self.view) // _ALIGN * step)
        places = (len(whole) - numel) // step + 1
        return whole.as_strided((places, *shape), (step, *torch.empty(shape, device="meta").stride()))

    def row(self, at: int) -> int:
        """Where in `rows` that is which lies there."""
        place, rest = divmod(at, _ALIGN)
        if rest:
            raise UnfitError("a sample lies at no multiple of the alignment")
        return place

    def thawed(self, node: Node, start: int, hole: Any = None) -> Any:
        """The value of a node, in memory of its own."""
        kind = node[0]
        if kind == "plain":
            return node[1]
        if kind == "tensor":
            _, dtype, shape, strides, used, at = node
            tensor = torch.empty_strided(shape, strides, dtype=dtype, device="cpu")
            self.copy(start + at, used, tensor.data_ptr())
            return tensor
        if kind in _MAKERS:
            return _MAKERS[kind]([self.thawed(item, start, hole) for item in node[1]])
        if kind == "dict":
            return dict(zip(node[1], [self.thawed(item, start, hole) for item in node[2]]))
        if kind == "named":
            return node[1]._make(self.thawed(item, start, hole) for item in node[2])
        if kind == "hole":
            return hole
        return _LEAVES[kind](self.view, start, *node[1:])


def _scalar(view: memoryview, start: int, dtype: str, data: bytes) -> Any:
    return sys.modules["numpy"].frombuffer(data, dtype)[0]


def _array(view: memoryview, start: int, dtype: str, shape: Any, order: str, size: int, at: int) -> Any:
    numpy = sys.modules["numpy"]
    return numpy.frombuffer(view, dtype, size, start + at).reshape(shape, order=order).copy(order)


def _image(view: memoryview, start: int, mode: str, size: Any, info: dict[str, Any], used: int, at: int) -> Any:
    image = sys.modules["PIL.Image"].frombytes(mode, size, view[start + at : start + at + used])
    image.info = info
    return image


_MAKERS: dict[str, Callable[[list[Any]], Any]] = {"list": list, "tuple": tuple}
_LEAVES: dict[str, Callable[..., Any]] = {"scalar": _scalar, "array": _array, "image": _image}
