"""What a trial of the race leaves behind besides its steps."""

from __future__ import annotations

from dataclasses import dataclass

NON_FINITE, DIVERGED, OUT_OF_TIME = "non-finite", "diverged", "out-of-time"


@dataclass(frozen=True)
class Raced:
    """The optimizer of one trial of a race, as it was while the script trained."""

    rates: tuple[tuple[int, tuple[float, ...]], ...] = ()
    """Step, from 1, and the learning rate with which each parameter group is updated in it; only where one changes."""
    gradient_norms: tuple[tuple[int, float], ...] = ()
    """Step and total gradient norm right before the update, before an arm's own clipping; of some steps."""
    state_bytes: int = 0
    """Of the optimizer's state at the end."""
    mode_calls: int = 0
    """How often the script called train() or eval() of the model in turn: 0 when it never does."""
    closures: bool = False
    """The optimizer calls its closure several times in one step."""
    weight_decay: float = 0.0
    """The largest of any parameter group."""
    momentum: float = 0.0
    """Of the first group, or its first beta; 0 where it has none."""
    refused: str = ""
    """Why the optimizer cannot be swapped, a clause; "" when it was."""
    killed: str = ""
    """non-finite, diverged or out-of-time when the trial ended itself early; "" when it did not."""
