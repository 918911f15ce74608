"""Another batch size for the loader that trains.

It is changed as the loader is built: its length follows, and with it all that a script computes from that. Evaluation
keeps its own: a loader is known by what it is like, and one that is like another one is refused before a race.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hotlap.loader.fetch_watch import dataset_name
from hotlap.loader.inspect import shuffles, size_of
from hotlap.race.arm import Arm, likeness

if TYPE_CHECKING:
    from hotlap.inside.host import Host

_GROWTH = {  # of the rate with the batch, as a power (Malladi et al. 2022, arXiv 2205.10287)
    **dict.fromkeys(("Adam", "AdamW", "NAdam", "RAdam", "Adamax", "RMSprop"), 0.5),
    **dict.fromkeys(("SGD", "ASGD"), 1.0),
}


class BatchSize:
    """Resizes the loaders that an arm means.

    Attributes:
        found: One was built; without, the script is another one than was raced, and trains as written.
    """

    def __init__(self, arm: Arm, host: Host) -> None:
        self.found = False
        self._arm = arm
        self._host = host

    def install(self) -> None:
        """Look at every loader that is built from now on."""
        self._host.loaders.each_built(self._built)

    def _built(self, loader: Any) -> None:
        if (size := size_of(loader)) is None:
            return
        try:
            length = len(loader.dataset)
        except (TypeError, NotImplementedError):
            return
        if likeness(size, length, shuffles(loader), dataset_name(loader.dataset)) == self._arm.of:
            assert self._arm.batch is not None
            self._host.resize(loader, self._arm.batch)
            self.found = True


def rate_growth(kind: type, growth: float) -> float | None:
    """Times its rate that an optimizer is given under a batch so many times as large; None where no rule is known."""
    power = next((_GROWTH[c.__name__] for c in kind.__mro__ if c.__name__ in _GROWTH), None)
    return None if power is None else growth**power


def second_moment(group: dict[str, Any], growth: float) -> dict[str, Any]:
    """The decay of the mean square of gradients such that its half-life is as many samples as before.

    Args:
        group: Of the script's optimizer.
        growth: Of the batch.
    """
    if len(group.get("betas", ())) == 2:
        first, second = group["betas"]
        return {"betas": (first, second**growth)}
    return {"alpha": group["alpha"] ** growth} if "alpha" in group and "eps" in group else {}  # RMSprop; ASGD has none
