"""What the knobs for DistributedDataParallel share."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from hotlap.records import Facts, Skip

if TYPE_CHECKING:
    from hotlap.inside.host import Host


def not_used(facts: Facts) -> Skip | None:
    """Why its knobs are not for this script; None when they are."""
    if facts.world_size < 2:
        return Skip("the training is one process, which sends no gradients")
    if not any("DistributedDataParallel" in root.modules for root in facts.roots):
        return Skip("no model is wrapped in DistributedDataParallel")
    return None


def construct(host: Host, **options: Any) -> None:
    """Let every wrapper be built with these keyword arguments, whatever the script passes."""
    _around(host, lambda build, wrapper, args, kwargs: build(wrapper, *args, **kwargs | options))


def built(host: Host, act: Callable[[Any], Any]) -> None:
    """Call `act` with every wrapper once it is built."""

    def building(build: Callable[..., None], wrapper: Any, args: Any, kwargs: Any) -> None:
        build(wrapper, *args, **kwargs)
        act(wrapper)

    _around(host, building)


def _around(host: Host, building: Callable[[Callable[..., None], Any, Any, Any], None]) -> None:
    from torch.nn.parallel import DistributedDataParallel

    def make(original: Callable[..., None]) -> Callable[..., None]:
        def construct(wrapper: Any, *args: Any, **kwargs: Any) -> None:
            building(original, wrapper, args, kwargs)

        return construct

    host.wrap(DistributedDataParallel, "__init__", make)
