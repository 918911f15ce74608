"""An arm of a race: an update rule with its settings, as one line of text.

The text is the value of the knob `optimizer-rule`, so it is how an arm reaches the user's process and how it stands in
a plan. Standard library only: both worlds read it.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, fields

from hotlap.race.rules import RULES, SCRIPT

SCHEDULES = ("script", "constant", "linear", "cosine", "one-cycle", "wsd")
POINTS = "points:"


@dataclass(frozen=True)
class Arm:
    """One arm; a field that is None is as the script has it.

    Raises:
        ValueError: With a sentence, when the fields make no arm.

    >>> str(Arm("muon", lr=0.02, schedule="cosine", horizon=1200))
    'muon lr=0.02 schedule=cosine horizon=1200'
    """

    rule: str
    """An id of `rules.RULES`, or "script" for the script's own class."""
    lr: float | None = None
    """What the script's highest learning rate becomes; its parameter groups keep their ratios."""
    weight_decay: float | None = None
    """What the script's largest weight decay becomes; groups without any stay so unless no group has any."""
    momentum: float | None = None
    """Momentum, or the first beta."""
    schedule: str = "script"
    """script (whatever the script writes), constant, linear, cosine, one-cycle, wsd, or points:0/0,0.1/1,1/0: shares of
    the horizon with the multiplier of `lr` there, straight lines between them."""
    horizon: int | None = None
    """Steps over which the schedule runs."""
    clip: float | None = None
    """The total norm to which gradients are clipped before the update."""
    reference: float | None = None
    """The script's own highest learning rate over its whole run, which `lr` takes the place of under the script's own
    schedule. Without it the highest that the script's optimizer knows at its first step."""
    batch: int | None = None
    """Samples in a batch of the loader that trains. The rate, if `lr` does not say it, and the second beta follow."""
    of: str = ""
    """Which loader that is, by what it is like as the script builds it, see `likeness`."""

    def __post_init__(self) -> None:
        """Refuse what makes no sense."""
        _check(self.rule == SCRIPT or self.rule in RULES, f"there is no rule {self.rule!r}")
        for name in ("lr", "clip", "reference"):
            value = getattr(self, name)
            _check(value is None or (math.isfinite(value) and value > 0), f"{name} must be above 0")
        decay, momentum = self.weight_decay, self.momentum
        _check(decay is None or (math.isfinite(decay) and decay >= 0), "weight_decay must be 0 or above")
        _check(momentum is None or 0 <= momentum < 1, "momentum must be from 0 to below 1")
        _check(self.horizon is None or self.horizon >= 1, "horizon must be 1 step or more")
        _check((self.batch is None) == (not self.of), "batch and of go together: the size, and of which loader")
        _check(self.batch is None or self.batch >= 1, "batch must be 1 sample or more")
        _check(self.batch is None or self.rule == SCRIPT, "batch goes with the script's own rule")
        _check(not self.of or bool(_LIKENESS.fullmatch(self.of)), f"{self.of!r} is not what a loader is like")
        if self.schedule.startswith(POINTS):
            points_of(self.schedule)
        else:
            _check(self.schedule in SCHEDULES, f"there is no schedule {self.schedule!r}")
        if self.schedule not in ("script", "constant"):
            _check(self.horizon is not None, f"the schedule {self.schedule} needs a horizon")

    @classmethod
    def parse(cls, text: str) -> Arm:
        """The arm that a text names.

        Raises:
            ValueError: With a sentence, when it names none.

        >>> Arm.parse("adamw lr=0.001").lr
        0.001
        """
        rule, *settings = text.split() or [""]
        read = {field.name: _READ[str(field.type)] for field in fields(cls) if field.name != "rule"}
        found: dict[str, float | int | str] = {}
        for setting in settings:
            name, equals, value = setting.partition("=")
            _check(name in read and bool(equals), f"{setting!r} is no setting; there are {', '.join(read)}")
            _check(name not in found, f"{name} is given twice")
            try:
                found[name] = read[name](value)
            except ValueError:
                raise ValueError(f"{name}={value}: {value!r} is no number") from None
        return cls(rule, **found)  # type: ignore[arg-type]

    @property
    def growth(self) -> float:
        """Times the script's own batch that a batch is."""
        return self.batch / int(self.of.partition("/")[0]) if self.batch else 1.0

    def __str__(self) -> str:
        """The canonical text."""
        said = {field.name: getattr(self, field.name) for field in fields(self)[1:]}
        kept = (f"{name}={_text(value)}" for name, value in said.items() if value not in (None, "script", ""))
        return " ".join((self.rule, *kept))


def likeness(size: int | None, length: int | None, shuffles: bool | None, dataset: str) -> str:
    """What a loader is like, by which it is known again in every process and every epoch that builds it anew.

    Args:
        size: Samples in a batch.
        length: Samples in its dataset; None of an iterable one.
        shuffles: See `records.Loader`.
        dataset: Qualified class name.

    >>> likeness(64, 5000, True, "__main__:Digits")
    '64/5000/shuffled/__main__:Digits'
    """
    order = {True: "shuffled", False: "in-order", None: "sampled"}[shuffles]
    return f"{size}/{length}/{order}/{''.join(dataset.split())}"


def points_of(schedule: str) -> tuple[tuple[float, float], ...]:
    """The corners of a piecewise linear schedule: share of the horizon and multiplier of the rate.

    Raises:
        ValueError: With a sentence, when the text has none, or they do not run from 0 to 1.

    >>> points_of("points:0/0,0.1/1,1/0")
    ((0.0, 0.0), (0.1, 1.0), (1.0, 0.0))
    """
    try:
        pairs = [pair.split("/") for pair in schedule[len(POINTS) :].split(",")]
        points = tuple((float(share), float(multiplier)) for share, multiplier in pairs)
    except ValueError:
        raise ValueError(f"{schedule!r} is no list of share/multiplier") from None
    shares = [share for share, _ in points]
    _check(shares[0] == 0 and shares[-1] == 1 and shares == sorted(shares), "the points must run from 0 to 1")
    _check(all(math.isfinite(m) and m >= 0 for _, m in points), "a multiplier must be 0 or above")
    return points


def _check(holds: bool, sentence: str) -> None:
    if not holds:
        raise ValueError(sentence)


def _text(value: float | str) -> str:
    return repr(value).removesuffix(".0") if isinstance(value, float) else str(value)


_LIKENESS = re.compile(r"[1-9]\d*/\d+/(shuffled|in-order|sampled)/\S+")
_READ = {"float | None": float, "int | None": int, "str": str}
