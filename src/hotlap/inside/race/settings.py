"""From the script's parameter groups, as they are at the moment, to the settings of an engine's groups."""

from __future__ import annotations

from typing import Any

import torch

from hotlap.inside.race.batch import rate_growth, second_moment
from hotlap.inside.race.refusals import NO_GROWTH, refuse
from hotlap.race.arm import Arm
from hotlap.race.rules import RULES, SCRIPT
from hotlap.race.schedule import shape_of

_FAMILY = {  # of torch's classes: what they read from their groups, a rule of the same family reads as well
    **dict.fromkeys(("Adam", "AdamW", "NAdam", "RAdam", "Adamax"), "adam"),
    "SGD": "sgd",
}
_DECOUPLED = ("AdamW", "Adafactor", "Muon", "SGDW", "Lion")
_NO_MOMENTUM = "the script's optimizer has no momentum to set"
_NO_RATE = "the script's learning rate is 0, and no peak of it was recorded for another one to take the place of"


class Settings:
    """How one optimizer's groups are read under an arm.

    Args:
        arm: What is tried.
        kind: The class of the script's optimizer.
        groups: Its groups right before the first step.

    Raises:
        RefusalError: No rate to scale.
    """

    def __init__(self, arm: Arm, kind: type[torch.optim.Optimizer], groups: list[dict[str, Any]]) -> None:
        self._arm = arm
        self._family = next((_FAMILY[c.__name__] for c in kind.__mro__ if _is_torch(c) and c.__name__ in _FAMILY), "")
        self._decoupled = any(c.__name__ in _DECOUPLED for c in kind.__mro__)
        self._rates = [Rate() for _ in groups]
        self._most_decay = max((float(group.get("weight_decay") or 0.0) for group in groups), default=0.0)
        self._shape = None if arm.schedule == "script" else shape_of(arm.schedule)
        known = [max(_known_rates(group), default=0.0) for group in groups]
        self._peak = arm.reference or max(known, default=0.0)
        scaled = arm.lr is not None and self._shape is None
        refuse(self._peak <= 0 and (scaled or (arm.lr is None and self._shape is not None)), _NO_RATE)
        self._shares = [rate / max(known) if max(known) > 0 else 1.0 for rate in known]
        none = any("momentum" not in group and "betas" not in group for group in groups)
        refuse(arm.rule == SCRIPT and arm.momentum is not None and none, _NO_MOMENTUM)
        growth = rate_growth(kind, arm.growth) if arm.batch and arm.lr is None else 1.0
        refuse(growth is None, NO_GROWTH.format(kind.__name__))
        self._growth = growth or 1.0

    def rates(self, groups: list[dict[str, Any]], steps: int) -> tuple[float, ...]:
        """The learning rate of each of the script's groups for the step at hand.

        Args:
            groups: The script's.
            steps: How many were taken.
        """
        while len(self._rates) < len(groups):  # add_param_group
            self._rates.append(Rate())
            self._shares.append(1.0)
        own = tuple(rate.read(group["lr"]) for rate, group in zip(self._rates, groups))
        if self._shape is None:
            if self._arm.lr is None:
                return own if self._growth == 1.0 else tuple(rate * self._growth for rate in own)
            return tuple(rate * self._arm.lr / self._peak for rate in own)
        if max(own) > 0:  # their ratios of the moment, and the last ones known while all are at 0
            self._shares = [rate / max(own) for rate in own]
        now = (self._arm.lr or self._growth * self._peak) * self._shape(steps / (self._arm.horizon or 1))
        return tuple(now * share for share in self._shares)

    def of_group(self, rule: str, group: dict[str, Any], rate: float) -> dict[str, Any]:
        """What an engine's group is set to.

        Args:
            rule: The engine's.
            group: The script's.
            rate: Its learning rate for the step at hand.
        """
        if rule == "prodigy":  # `lr` multiplies its own estimate; the schedule acts on top of it
            found: dict[str, Any] = {"lr": rate / (self._arm.lr or self._peak or 1.0), "d_coef": self._arm.lr or 1.0}
        else:
            found = {"lr": rate}
        found["weight_decay"] = self._decay(rule, group)
        return {**found, **self._momentum(rule, group)}

    def _decay(self, rule: str, group: dict[str, Any]) -> float:
        """An L2 value never becomes a decoupled one, nor the other way round; a group without any keeps none."""
        own = float(group.get("weight_decay") or 0.0)
        if self._arm.weight_decay is not None:
            return self._arm.weight_decay * (own / self._most_decay if self._most_decay else 1.0)
        alike = rule == SCRIPT or RULES[rule].decoupled == self._is_decoupled(group)
        return own if alike or not own else RULES[rule].weight_decay.first * own / self._most_decay

    def _is_decoupled(self, group: dict[str, Any]) -> bool:
        said = [bool(group[key]) for key in ("decoupled_weight_decay", "weight_decouple") if key in group]
        return any(said) if said else self._decoupled

    def _momentum(self, rule: str, group: dict[str, Any]) -> dict[str, Any]:
        wanted = self._arm.momentum
        if rule == SCRIPT:
            memory = second_moment(group, self._arm.growth) if self._arm.batch else {}
            if wanted is None:
                return memory
            group = {**group, **memory}
            return {"momentum": wanted} if "momentum" in group else {"betas": (wanted, *group["betas"][1:])}
        of_rule = RULES[rule]
        first = of_rule.default_momentum if wanted is None or rule != self._arm.rule else wanted
        related = of_rule.family == self._family
        if of_rule.momentum == "momentum":
            own = group.get("momentum") if related and wanted is None else None
            return {"momentum": own or first}
        if of_rule.momentum != "beta1":
            return {}
        betas = group.get("betas") if related else None
        return _betas(rule, betas, first, own=wanted is None) | ({"eps": group["eps"]} if betas else {})


class Rate:
    """A learning rate; one that lives on a device is read again only when it was written to."""

    def __init__(self) -> None:
        self._seen: tuple[int, int] | None = None
        self._value = 0.0

    def read(self, rate: Any) -> float:
        """As a number."""
        if not isinstance(rate, torch.Tensor):
            return rate
        seen = (id(rate), rate._version)
        if seen != self._seen:
            self._seen, self._value = seen, float(rate)
        return self._value


_SECOND = {"lion": 0.99, "soap": 0.95}  # the second beta where it is not 0.999


def _betas(rule: str, script: Any, first: float, *, own: bool) -> dict[str, Any]:
    if script is None:
        return {"betas": (first, _SECOND.get(rule, 0.999))}
    return {"betas": tuple(script) if own else (first, *script[1:])}


def _is_torch(kind: type) -> bool:
    return kind.__module__.partition(".")[0] == "torch"


def _known_rates(group: dict[str, Any]) -> list[float]:
    """Every rate that a group tells of: torch's schedulers leave the first and the highest one there."""
    return [float(group[key]) for key in ("lr", "initial_lr", "max_lr") if group.get(key) is not None]
