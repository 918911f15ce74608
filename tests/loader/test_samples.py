"""Samples as bytes and back: equal to the bit, in memory of their own, in this process and in forked ones."""

from __future__ import annotations

import os
from collections import namedtuple
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from hotlap.loader.compare import difference
from hotlap.loader.samples import Freezer, Memory
from hotlap.loader.store import Store

Pair = namedtuple("Pair", ["x", "y"])
DTYPES = [torch.bool, torch.uint8, torch.int64, torch.float16, torch.bfloat16, torch.float32, torch.complex64]


def returned(sample: Any, alone: bool = False) -> Any:
    """The sample, there and back."""
    freezer = Freezer(alone)
    node = freezer.node(sample)
    memory = Memory(bytearray(64) + bytearray(b"".join(freezer.parts(node))))
    (read,), start = memory.head(64)
    return memory.thawed(read, start)


@st.composite
def tensors(draw: st.DrawFn) -> torch.Tensor:
    """Any bits, dims permuted, expanded or cut."""
    dtype, shape = draw(st.sampled_from(DTYPES)), draw(st.lists(st.integers(0, 4), max_size=4))
    torch.manual_seed(draw(st.integers(0, 99)))
    made = torch.randint(0, 2 if dtype is torch.bool else 256, (*shape, dtype.itemsize), dtype=torch.uint8)
    tensor = made.view(dtype).reshape(shape).permute(draw(st.permutations(range(len(shape)))))
    if tensor.dim() and draw(st.booleans()):
        tensor = tensor[..., ::2].unsqueeze(0).expand(2, *[-1] * tensor.dim())
    return tensor


@settings(deadline=None, max_examples=200)
@given(tensors())
def test_tensors(tensor: torch.Tensor) -> None:
    """Bits, no more memory than they span, and a batch of the same layout."""
    back = returned(tensor)

    assert (back.dtype, back.shape, back.storage_offset()) == (tensor.dtype, tensor.shape, 0)
    assert back.untyped_storage().nbytes() <= max(tensor.untyped_storage().nbytes(), tensor.nbytes, 1)
    for count in (1, 2, 3):
        assert difference(torch.stack([tensor] * count), torch.stack([back] * count)) == ""


@pytest.mark.parametrize(
    "sample",
    [
        (1, 2.5, -0.0, float("nan"), 1j, None, True, "text", b"bytes"),
        [{"a": [()], 3: {}}, Pair(1, [torch.arange(3)])],
        (np.ones((2, 3)), np.asfortranarray(np.ones((2, 3))), np.zeros((0, 3)), np.array(3.0)),
        [np.float32(1.5), np.int64(-3), np.bool_(True), np.complex64(1j)],
        torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
    ],
)
def test_nests(sample: Any) -> None:
    """Types, order and values; each leaf is another object."""
    assert difference(sample, returned(sample, alone=True)) == ""


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "LAB", "I", "F"])
def test_images(mode: str) -> None:
    """Pixels, mode, size and notes; an edit in place reaches neither."""
    draw = np.random.default_rng(0)
    bands = len(Image.new(mode, (1, 1)).getbands()) * (4 if mode in "IF" else 1)
    image = Image.frombytes(mode, (7, 5), draw.bytes(35 * bands))
    image.info = {"dpi": (72, 72), "exif": b"x"}
    back = returned(image, alone=True)

    assert type(back) is type(image)
    assert (back.mode, back.size, back.info, back.readonly) == (mode, (7, 5), image.info, image.readonly)
    assert back.tobytes() == image.tobytes()
    back.putpixel((0, 0), back.getpixel((3, 3)))
    assert back.tobytes() != image.tobytes()


def test_the_store_is_shared_with_forked_processes() -> None:
    """What a child put, the parent finds; together they never take the same room."""
    store = Store(200, capacity=1 << 16)
    children = []
    for child in range(4):
        pid = os.fork()
        if not pid:
            for index in range(child, 200, 4):
                store.put(index, [bytes([index]) * 60, bytes([index]) * 40])
            os._exit(0)
        children.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * 4

    places = [store.find(index) for index in range(200)]
    assert len(set(places)) == store.count == 200
    assert all(store.memory.view[at : at + 100] == bytes([i]) * 100 for i, at in enumerate(places))
    assert store.used == 200 * 128


def test_a_full_store_says_so() -> None:
    store = Store(3, capacity=256)

    assert store.put(0, [b"x" * 200])
    assert store.put(1, [b"x" * 200]) == 0
    assert store.find(1) == 0
    assert store.count == 1


def test_off_is_for_all_processes() -> None:
    store = Store(1, capacity=256)
    pid = os.fork()
    if not pid:
        store.turn_off()
        os._exit(0)
    os.waitpid(pid, 0)

    assert store.off
