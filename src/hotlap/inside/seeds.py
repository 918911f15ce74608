"""Paired seeds: a trial's seed is mixed into the script's own.

A script that calls `torch.manual_seed(42)` would make all trials one seed; one that calls nothing would make every
process another. `torch.Generator.manual_seed` cannot be patched: such generators stay as written.
A run that is to repeat itself begins from the same seeds, and there nothing is mixed in.
"""

from __future__ import annotations

import itertools
import operator
import random
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from hotlap.inside.host import Host

_STRIDE = 1_000_003
_NAMES = ("seed", "a")  # of the one argument, in torch and numpy, and in random


def install(host: Host, seed: int) -> None:
    """Seed every global generator, and mix `seed` into what the script seeds them with. Seed 0 changes no seed."""

    def mixed(bits: int) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        def make(original: Callable[..., Any]) -> Callable[..., Any]:
            def seeded(*args: Any, **kwargs: Any) -> Any:
                names = [name for name in _NAMES if name in kwargs]
                if args:
                    args = (_mixed(args[0], seed, bits), *args[1:])
                elif names:
                    kwargs[names[0]] = _mixed(kwargs[names[0]], seed, bits)
                return original(*args, **kwargs)

            return seeded

        return make

    for owner in (torch, torch.random):
        host.wrap(owner, "manual_seed", mixed(63))
    for name in ("manual_seed", "manual_seed_all"):
        host.wrap(torch.cuda, name, mixed(63))
    host.wrap(random, "seed", mixed(63))
    numpy = _numpy()
    if numpy is not None:
        host.wrap(numpy.random, "seed", mixed(32))
    begin(host)


def begin(host: Host) -> None:
    """Seed every global generator; a script that seeds its own comes later and wins.

    numpy's generators without a seed take theirs from torch, as all of a loader worker's do already.
    """
    states = torch.get_rng_state(), random.getstate()
    host.call(lambda: torch.manual_seed(0), lambda: torch.set_rng_state(states[0]))
    host.call(lambda: random.seed(0), lambda: random.setstate(states[1]))
    numpy = _numpy()
    if numpy is not None:
        state = numpy.random.get_state()
        host.call(lambda: numpy.random.seed(0), lambda: numpy.random.set_state(state))
        host.wrap(numpy.random, "default_rng", _seeded)


def _numpy() -> Any:
    """The module, which torch has imported where there is one."""
    return sys.modules.get("numpy")


def _seeded(original: Callable[..., Any]) -> Callable[..., Any]:
    """Generators that were given no seed: each its own, in a loader worker too, and none moves another stream."""
    made = itertools.count()

    def default_rng(seed: Any = None) -> Any:
        return original([torch.initial_seed(), next(made)] if seed is None else seed)

    return default_rng


def _mixed(value: Any, seed: int, bits: int) -> Any:
    """The value with the trial's seed in it; what is no whole number stays as it is."""
    try:
        return (operator.index(value) + seed * _STRIDE) % 2**bits if seed else value
    except TypeError:
        return value
