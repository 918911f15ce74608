"""Carries a batch from one process to another through memory that both see, as bytes of its own.

A tensor arrives in private memory, with its strides, offset and storage, and tensors that shared a storage share it
still: nothing tells a batch that was carried from one that was fetched here.
"""

from __future__ import annotations

import ctypes
import io
import pickle
from typing import Any

import torch

from hotlap.loader.tree import UnfitError


class Packed:
    """A value in pieces that lie one behind the other: the sizes, the pickle, the bytes of each storage.

    Attributes:
        nbytes: What all of them take.
    """

    def __init__(self, pickled: bytes, storages: list[torch.UntypedStorage]) -> None:
        self._pickled = pickled
        self._storages = storages
        sizes = pickle.dumps([len(pickled), *(storage.nbytes() for storage in storages)])
        self._head = len(sizes).to_bytes(8, "little") + sizes
        self.nbytes = len(self._head) + len(pickled) + sum(storage.nbytes() for storage in storages)

    def write(self, memory: memoryview) -> None:
        """Put the pieces into memory of at least `nbytes`."""
        place = 0
        for piece in (self._head, self._pickled, *map(_bytes_of, self._storages)):
            memory[place : place + len(piece)] = piece
            place += len(piece)


def pack(value: Any) -> Packed:
    """Take a value to pieces; its tensors' memory is not copied before `Packed.write`.

    Raises:
        UnfitError: A tensor in it is part of a graph of gradients.
        Exception: Something in it cannot be pickled.
    """
    file = io.BytesIO()
    pickler = _Pickler(file, protocol=5, buffer_callback=lambda buffer: not _is_ours(buffer))
    pickler.dump(value)
    return Packed(file.getvalue(), list(pickler.storages.values()))


def unpack(memory: memoryview, shared: bool = False) -> Any:
    """The value that was written there, in memory of its own.

    Args:
        memory: That `Packed.write` has filled.
        shared: Its tensors shall lie in shared memory, as those do that come from torch's workers.
    """
    start = 8 + int.from_bytes(memory[:8], "little")
    length, *sizes = pickle.loads(memory[8:start])
    place = start + length
    pieces: list[memoryview] = []
    for size in sizes:
        pieces.append(memory[place : place + size])
        place += size
    kind = _SharedUnpickler if shared else pickle.Unpickler
    return kind(io.BytesIO(memory[start : start + length]), buffers=pieces).load()


class _Pickler(pickle.Pickler):
    """Hands the storages of plain tensors over beside the pickle."""

    storages: dict[int, torch.UntypedStorage]

    def __init__(self, file: io.BytesIO, **options: Any) -> None:
        super().__init__(file, **options)
        self.storages = {}
        self._carriers: dict[int, _Carrier] = {}

    def reducer_override(self, obj: Any) -> Any:
        """See `pickle.Pickler`."""
        if type(obj) is not torch.Tensor or obj.layout is not torch.strided or obj.device.type != "cpu":
            return NotImplemented
        if obj.grad_fn is not None:
            raise UnfitError("a tensor in the batch carries a graph of gradients")
        if obj.is_quantized or obj.is_nested or obj.is_conj() or obj.is_neg() or vars(obj):
            return NotImplemented
        storage = obj.untyped_storage()
        key = storage.data_ptr() or id(obj)  # those without a byte have no address
        if key not in self._carriers:
            self._carriers[key] = _Carrier(storage)
            self.storages[key] = storage
        layout = (obj.storage_offset(), tuple(obj.shape), obj.stride())
        return _tensor, (self._carriers[key], obj.dtype, *layout, obj.requires_grad)


class _SharedUnpickler(pickle.Unpickler):
    def find_class(self, module_name: str, global_name: str) -> Any:
        """See `pickle.Unpickler`."""
        if (module_name, global_name) == (__name__, _storage.__name__):
            return _shared_storage
        return super().find_class(module_name, global_name)


class _Carrier:
    """A storage that travels beside the pickle, once however many tensors lie in it."""

    def __init__(self, storage: torch.UntypedStorage) -> None:
        self._storage = storage

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _storage, (pickle.PickleBuffer(_bytes_of(self._storage)),)


def _is_ours(buffer: pickle.PickleBuffer) -> bool:
    """An array of numpy would come back as a view of the memory that carried it, so those stay in the pickle."""
    return isinstance(buffer.raw().obj, ctypes.Array)


def _bytes_of(storage: torch.UntypedStorage) -> Any:
    return memoryview((ctypes.c_ubyte * storage.nbytes()).from_address(storage.data_ptr())).cast("B")


def _storage(piece: memoryview) -> torch.UntypedStorage:
    storage = torch.UntypedStorage(len(piece))
    _bytes_of(storage)[:] = piece
    return storage


def _shared_storage(piece: memoryview) -> torch.UntypedStorage:
    if not len(piece):
        return torch.UntypedStorage(0)  # as torch sends it
    storage = torch.UntypedStorage._new_shared(len(piece))
    _bytes_of(storage)[:] = piece
    return storage


def _tensor(
    storage: torch.UntypedStorage,
    dtype: torch.dtype,
    offset: int,
    shape: tuple[int, ...],
    stride: tuple[int, ...],
    requires_grad: bool,
) -> torch.Tensor:
    tensor = torch.empty(0, dtype=dtype, device="cpu").set_(storage, offset, shape, stride)  # type: ignore[call-overload]
    return tensor.requires_grad_() if requires_grad else tensor
