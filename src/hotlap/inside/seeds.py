"""Paired seeds: a trial's seed is mixed into the script's own.

A script that calls `torch.manual_seed(42)` would make all trials one seed; one that calls nothing would make every
process another. `torch.Generator.manual_seed` cannot be patched: such generators stay as written.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from hotlap.inside.host import Host

_STRIDE = 1_000_003


def install(host: Host, seed: int) -> None:
    """Seed every global generator, and mix `seed` into what the script seeds them with. Seed 0 changes no seed."""

    def mixed(bits: int) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        def make(original: Callable[..., Any]) -> Callable[..., Any]:
            def seeded(value: Any = None, *args: Any, **kwargs: Any) -> Any:
                if isinstance(value, int):
                    value = (value + seed * _STRIDE) % 2**bits
                return original(value, *args, **kwargs)

            return seeded

        return make

    host.wrap(torch, "manual_seed", mixed(63))
    host.wrap(torch.random, "manual_seed", mixed(63))
    host.wrap(random, "seed", mixed(63))
    torch.manual_seed(0)
    random.seed(0)
    numpy = sys.modules.get("numpy")  # torch has imported it where there is one
    if numpy is not None:
        host.wrap(numpy.random, "seed", mixed(32))
        numpy.random.seed(0)
