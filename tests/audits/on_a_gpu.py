"""For each audit of what only a GPU shows, the operations of a step that fails it and of one that passes it."""

from __future__ import annotations

from hotlap.records.seen import Operation

_BATCH = ((64, 3, 32, 32),)
_HEADS = (8, 12, 704, 64)


def _copy(*places: str) -> Operation:
    return Operation("_to_copy", _BATCH, _BATCH, ("float32", "float32"), 1, 1_572_864, places)


def _attention(*more: tuple[int, ...], keys: int = 704) -> Operation:
    inputs = (_HEADS, (8, 12, keys, 64), (8, 12, keys, 64), *more)
    dtypes = ("bfloat16",) * (len(inputs) + 1)
    return Operation("_scaled_dot_product_cudnn_attention", inputs, (_HEADS,), dtypes, 12, 1, ("cuda",))


def _read(place: str) -> Operation:
    return Operation("_local_scalar_dense", ((),), (), ("float32",), 2, 8, (place,))


_MASKED = Operation("index", ((9,), (9,)), ((4,),), ("float32", "bool", "float32"), 1, 61, ("cuda",))
_CHOSEN = Operation("index", ((9,), (4,)), ((4,),), ("bool", "int64", "bool"), 1, 45, ("cuda",))
_MASK = (1, 1, 704, 704)
ON_A_GPU: dict[str, tuple[tuple[Operation, ...], tuple[Operation, ...]]] = {
    "device-syncs": (
        (_read("cuda"), _MASKED, _copy("cuda", "cpu")),
        (_read("cpu"), _CHOSEN, _copy("cuda", "pinned"), _copy("pinned", "cuda"), _copy("cuda")),
    ),
    "pageable-copies": ((_copy("cpu", "cuda"),), (_copy("pinned", "cuda"), _copy("cuda", "cpu"))),
    "made-on-host": ((_copy("made", "cuda"),), (_copy("cpu", "cuda"), _copy("pinned", "cuda"))),
    "cudnn-attention-nan": ((_attention(_MASK),), (_attention(), _attention(_MASK, keys=640))),
}
