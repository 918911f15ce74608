"""Autograd graphs, for the probes that follow them from where a backward starts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from hotlap.inside.host import Host

_LONGEST = 48


def before_backward(host: Host, act: Callable[[Any, Any], None]) -> None:
    """Call `act(outputs, seeds)` before each backward, with the gradients that it starts from."""

    def backward(original: Callable[..., Any]) -> Callable[..., Any]:
        def backward(outputs: Any, *args: Any, **kwargs: Any) -> Any:
            act(outputs, args[0] if args else ())
            return original(outputs, *args, **kwargs)

        return backward

    host.wrap(torch.autograd, "_engine_run_backward", backward)


def branch(node: Any) -> Iterator[Any]:
    """The nodes along the first branch that leads on, as far as is worth following."""
    return islice(_branch(node), _LONGEST)


def _branch(node: Any) -> Iterator[Any]:
    while node is not None:
        yield node
        node = next((before for before, _ in node.next_functions if before is not None), None)


def readers(outputs: Iterable[torch.Tensor]) -> Counter[Any]:
    """Each node of the graphs behind these tensors, to how many others read what it made."""
    found: Counter[Any] = Counter()
    left = [output.grad_fn for output in outputs if output.grad_fn is not None]
    while left:
        before = [node for node, _ in left.pop().next_functions if node is not None]
        left += {node for node in before if node not in found}
        found.update(before)
    return found


def name_of(node: Any) -> str:
    """What the forward's operation is called."""
    return type(node).__name__.removesuffix("Backward0").removesuffix("Backward1")
