"""Facts for tests: a small float32 image model on an ordinary CPU, to be changed by name."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hotlap.records import Facts, Loader, Machine, Optimizer, Precision, Root, Signature

MACHINE = Machine(
    cpu="A processor",
    cores=8,
    threads=16,
    quota=None,
    memory_bytes=64 << 30,
    flags=("avx2", "avx512f", "avx512_bf16", "amx_bf16"),
    libc="glibc 2.39",
    preload="",
    compiler="/usr/bin/g++",
)
PRECISION = Precision(
    matmul="highest",
    autocast=False,
    grad_scaler=False,
    cudnn_benchmark=False,
    cudnn_deterministic=False,
    deterministic_algorithms=False,
)
ROOT = Root(
    name="__main__:Net",
    index=0,
    parameters=1_000_000,
    parameter_shapes=((32, 3, 3, 3), (32,), (10, 31_104)),
    dtypes=("float32",),
    modules={"Net": 1, "Conv2d": 1, "Linear": 1, "ReLU": 1},
    signatures=(Signature(((64, 3, 32, 32),), ("float32",), training=True, grad=True),),
    compiled=False,
    reachable=True,
)
LOADER = Loader(
    index=0,
    dataset="torch.utils.data.dataset:TensorDataset",
    length=50_000,
    batch_size=64,
    drop_last=False,
    num_workers=0,
    pin_memory=False,
    persistent_workers=False,
    shuffles=True,
    default_collate=True,
    trains=True,
    whole_batch="",
    draws_randomness=False,
    tied="",
    pool="",
)
OPTIMIZER = Optimizer(
    name="torch.optim.adamw:AdamW",
    parameters=1_000_000,
    floating=True,
    sparse=False,
    devices=("cpu",),
    fused=False,
    foreach=False,
    main=True,
)
FACTS = Facts(
    script="train.py",
    script_sha256="0" * 64,
    argv=(),
    python="/usr/bin/python3",
    torch="2.13.0",
    device="cpu",
    world_size=1,
    machine=MACHINE,
    precision=PRECISION,
    roots=(ROOT,),
    loaders=(LOADER,),
    optimizers=(OPTIMIZER,),
    epoch_steps=782,
    threads=16,
    faults_per_step=20_000.0,
    stochastic=False,
    manual_update=False,
)
CUDA = {"device": "NVIDIA H200", "capability": 9.0}


def facts(**changes: Any) -> Facts:
    """The facts above with some of them changed.

    Args:
        changes: Fields of `Facts`; `machine`, `precision`, `root`, `loader` and `optimizer` may be dicts of changes to
            the one above.
    """
    for name, whole in (("machine", MACHINE), ("precision", PRECISION)):
        if isinstance(changes.get(name), dict):
            changes[name] = replace(whole, **changes[name])
    for name, one in (("root", ROOT), ("loader", LOADER), ("optimizer", OPTIMIZER)):
        if name in changes:
            changes[f"{name}s"] = (replace(one, **changes.pop(name)),)
    return replace(FACTS, **changes)


def no_facts() -> Facts:
    """A run in which nothing was found, on a machine of which nothing is known."""
    machine = Machine(
        cpu="", cores=1, threads=1, quota=None, memory_bytes=0, flags=(), libc="", preload="", compiler=""
    )
    return facts(machine=machine, roots=(), loaders=(), optimizers=(), epoch_steps=None, threads=1, faults_per_step=0.0)
