"""The states of the global random generators: taken, compared, put back; and torch's other global switches."""

from __future__ import annotations

import random
import sys
from typing import Any

import torch
from torch.utils.data._utils import worker


class States:
    """The states at the moment of its making; it can be pickled."""

    def __init__(self) -> None:
        numpy = sys.modules.get("numpy")
        self.torch = torch.get_rng_state()
        self.cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
        self.python = random.getstate()
        self.numpy = numpy.random.get_state() if numpy is not None else None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, States) or len(self.cuda) != len(other.cuda):
            return False
        if not all(torch.equal(a, b) for a, b in zip([self.torch, *self.cuda], [other.torch, *other.cuda])):
            return False
        return self.python == other.python and _comparable(self.numpy) == _comparable(other.numpy)

    __hash__ = None  # type: ignore[assignment]

    def restore(self) -> None:
        """Put all of them back."""
        torch.set_rng_state(self.torch)
        if self.cuda:
            torch.cuda.set_rng_state_all(self.cuda)
        random.setstate(self.python)
        if self.numpy is not None:
            sys.modules["numpy"].random.set_state(self.numpy)


def _comparable(state: Any) -> Any:
    """A numpy state as something that compares."""
    return None if state is None else [part.tobytes() if hasattr(part, "tobytes") else part for part in state]


def seed_worker(base_seed: int, number: int) -> None:
    """Seed all of them as torch does at the start of this worker of a loader."""
    random.seed(base_seed + number)
    torch.manual_seed(base_seed + number)
    if worker.HAS_NUMPY:
        sys.modules["numpy"].random.seed(worker._generate_state(base_seed, number))


def modes() -> tuple[Any, ...]:
    """Switches of torch that decide what the same code computes."""
    stacks = torch._C._len_torch_function_stack(), torch._C._len_torch_dispatch_stack()
    grad = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
    return *stacks, *grad, torch.is_autocast_enabled("cpu"), torch.get_default_dtype()
