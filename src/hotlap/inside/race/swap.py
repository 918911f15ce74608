"""One optimizer of the script under an arm: the script keeps its groups, engines do the update."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from hotlap.inside.race import averages, engines, refusals
from hotlap.inside.race.epoch import Epoch
from hotlap.inside.race.refusals import RefusalError, refuse
from hotlap.inside.race.roles import Network
from hotlap.inside.race.settings import Settings
from hotlap.race.arm import Arm
from hotlap.race.rules import RULES, SCRIPT

if TYPE_CHECKING:
    from collections.abc import Generator

    from hotlap.inside.race.facade import Swaps

TAG = "hotlap"


class Swap:
    """What goes on behind a facade.

    Attributes:
        rates: The learning rate of each of the script's groups in the last step.
        refused: The script's own step serves.
        carried: Of an earlier process or an earlier set of engines: what their groups counted.
    """

    def __init__(self, swaps: Swaps, original: type[torch.optim.Optimizer]) -> None:
        self.swaps = swaps
        self.arm: Arm = swaps.arm
        self.original = original
        self.rates: tuple[float, ...] = ()
        self.refused = False
        self.steps = 0
        self.carried: dict[str, dict[str, Any]] = {}
        self.engines: engines.Engines | None = None
        self._settings: Settings | None = None
        self._network: Network | None = None
        self._epoch = Epoch(swaps.batches) if self.arm.rule == "gradient-descent" else None
        self._foreign = self.arm.rule != SCRIPT
        self._fused: bool | None = None
        self._loaded: Any = None

    @property
    def is_plain(self) -> bool:
        """Whether the script's own step serves as it is."""
        return self.refused or self.swaps.is_bare

    @property
    def keeps_own_state(self) -> bool:
        """Whether the state is of the kind that the script's own class has."""
        return self.refused or not self._foreign

    def built(self, optimizer: Any) -> None:
        """The script's groups are there; what is to be seen of the forward is watched from now on."""
        if self._foreign and RULES[self.arm.rule].family == "matrix":
            self._network = Network(_parameters(optimizer), hooked=not self.swaps.compiles)

    # -- a step

    @torch.compiler.disable
    def step(self, optimizer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """One call of the script's `step` under an arm."""
        own = engines.unhooked(self.original)
        self.swaps.note_step(optimizer)
        closure: Callable[[], Any] | None = args[0] if args else kwargs.get("closure")
        if closure is not None and (clause := refusals.keeps_closure(optimizer)):
            self._refuse(optimizer, clause)
            return own(optimizer, *args, **kwargs)
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        if not self._prepared(optimizer):
            own(optimizer)
            return loss
        with torch.no_grad():
            self._update(optimizer, own)
        self.steps += 1
        return loss

    def _prepared(self, optimizer: Any) -> bool:
        """Whether the rule can take the place of the script's; asked again when the groups have changed."""
        try:
            if self._settings is None:
                refusals.check(optimizer)
                refuse(self.swaps.is_held(optimizer), refusals.WRAPS)
                refuse(bool(self.arm.batch) and not self.swaps.batch_size.found, refusals.NO_SUCH_LOADER)
                self._settings = Settings(self.arm, self.original, optimizer.param_groups)
                if self._foreign:
                    self.swaps.say_own_step(self.original)
            if self._foreign and not (self.engines and self.engines.are_of(optimizer.param_groups)):
                self._build(optimizer)
        except RefusalError as refusal:
            self._refuse(optimizer, str(refusal))
            return False
        return True

    def _refuse(self, optimizer: Any, clause: str) -> None:
        self.refused = True
        if self._foreign and self.carried:
            optimizer.state.clear()  # the script's own step could make nothing of it
        self.swaps.refuse(clause)

    def _build(self, optimizer: Any) -> None:
        self.restore(optimizer)
        self.forget_engines()
        if self._epoch is not None:
            self._epoch.check()
        pieces = self._pieces(optimizer)
        if not self.carried:
            optimizer.state.clear()  # the script's class may have filled it, as Adagrad does
        with self.swaps.own_work():
            built = engines.build(self.arm.rule, optimizer.param_groups, pieces)
        built.share_state(optimizer.state)
        for link in built.links:
            link.group.update(self.carried.get(link.key, {}))
        self.engines = built
        self.swaps.averaging.follow(built)

    def _pieces(self, optimizer: Any) -> dict[int, int]:
        """Of how many matrices each parameter is made, where the rule is for matrices; one with a state stays so."""
        rule = RULES[self.arm.rule]
        if rule.family != "matrix" and not rule.schedule_free:
            return {}
        network = self._network or Network(_parameters(optimizer), hooked=False)
        self._network = None
        network.settle()
        refuse(rule.schedule_free and network.tracks_statistics, refusals.NO_MODE)
        if rule.family != "matrix":
            return {}
        pieces = network.pieces()
        for p in _parameters(optimizer):
            if self.carried and (known := optimizer.state.get(p)):
                pieces.pop(id(p), None)
                pieces |= {id(p): len(known["matrices"])} if "matrices" in known else {}
        refuse(not pieces, refusals.NO_MATRIX)
        return pieces

    def _update(self, optimizer: Any, own: Callable[[Any], Any]) -> None:
        settings, groups = self._settings, optimizer.param_groups
        assert settings is not None
        self.rates = settings.rates(groups, self.steps)
        if self.engines is None:
            if self._fused is None:
                # Another batch size is judged by itself: a faster update is another matter.
                self._fused = not self.arm.batch and engines.has_fused(self.original, groups)
            wanted = [settings.of_group(SCRIPT, group, rate) for group, rate in zip(groups, self.rates)]
            self._clip(optimizer)
            with _lent(groups, wanted, fused=self._fused):
                own(optimizer)
            return
        for link in self.engines.links:
            link.group.update(settings.of_group(link.rule, groups[link.source], self.rates[link.source]))
        averages.ready(self.engines)
        if self._epoch is None:
            self._step_engines(optimizer)
        else:
            self._epoch.step(optimizer, lambda: self._step_engines(optimizer))

    def _step_engines(self, optimizer: Any) -> None:
        self._clip(optimizer)
        assert self.engines is not None
        self.engines.step()

    def _clip(self, optimizer: Any) -> None:
        if self.arm.clip is not None:
            torch.nn.utils.clip_grad_norm_(_parameters(optimizer), self.arm.clip)

    # -- what is saved, loaded and changed

    def forget_engines(self) -> None:
        """The groups or the state are others now: the next step builds anew, and goes on with what was counted."""
        self.carried |= self.counted()
        self.engines = self._fused = None

    def counted(self) -> dict[str, dict[str, Any]]:
        """What the engines' groups hold besides their parameters, by the key of the group."""
        links = self.engines.links if self.engines else []
        found = {link.key: {k: v for k, v in link.group.items() if k != "params"} for link in links}
        return self.carried | found

    def tag(self) -> dict[str, Any]:
        """What a checkpoint must hold besides the script's groups and, under the script's own class, its state."""
        return {"rule": self.arm.rule, "steps": self.steps, "counted": self.counted()}

    def accept(self, tag: dict[str, Any] | None) -> bool:
        """Go on from a tag; False when the state beside it is of another rule and cannot be used."""
        fits = tag["rule"] == self.arm.rule if tag else not self._foreign
        self.engines = None
        self.carried = {key: dict(group) for key, group in tag["counted"].items()} if tag and fits else {}
        self.steps = int(tag["steps"]) if tag and fits else 0
        return fits

    def packed(self, saved: dict[str, Any]) -> dict[str, Any]:
        """A checkpoint, or what is pickled, with the state where the script's own class does not look."""
        tag = self.tag()
        if self._foreign:
            tag["state"], empty = saved["state"], type(saved["state"])
            saved = {**saved, "state": empty(dict) if empty is defaultdict else empty()}
        return {**saved, TAG: tag}

    def unpacked(self, saved: dict[str, Any]) -> dict[str, Any]:
        """The other way round; the state of another rule is left out, loudly."""
        tag = saved.get(TAG)
        plain = {name: value for name, value in saved.items() if name != TAG}
        if self.accept(tag):
            return {**plain, "state": tag["state"]} if tag and self._foreign else plain
        self.swaps.say_foreign()
        return {**plain, "state": type(plain["state"])()}

    def loaded(self, optimizer: Any) -> None:
        """A checkpoint is in. Weights beside it are those for evaluation, for `torch.save` saves no others.

        The engine of such a rule is built at once, so that the script's next `train()` reaches it.
        """
        self.restore(optimizer)
        if self.is_plain or not self.carried or not RULES[self.arm.rule].schedule_free:
            return
        for group in self.carried.values():
            group["train_mode"] = False
        try:
            self._build(optimizer)
        except RefusalError as refusal:
            self._refuse(optimizer, str(refusal))

    def keep(self, state: Any) -> None:
        """This is the state once the script's class has looked at its own."""
        self._loaded = state

    def restore(self, optimizer: Any) -> None:
        """Let the optimizer have the state that was loaded."""
        if self._loaded is not None:
            optimizer.state, self._loaded = self._loaded, None


def _parameters(optimizer: Any) -> list[Any]:
    return [p for group in optimizer.param_groups for p in group["params"]]


@contextmanager
def _lent(groups: list[dict[str, Any]], wanted: list[dict[str, Any]], *, fused: bool) -> Generator[None, None, None]:
    """The script's own groups with other settings, for as long as its own step runs."""
    kernel: dict[str, Any] = {"fused": True, "foreach": False} if fused else {}
    own: list[dict[str, Any]] = []
    for group, settings in zip(groups, wanted):
        new = {name: value for name, value in {**settings, **kernel}.items() if name in group}
        own.append({name: group[name] for name in new})
        if isinstance(group["lr"], torch.Tensor):
            new["lr"] = torch.full_like(group["lr"], new["lr"])
        group.update(new)
    try:
        yield
    finally:
        for group, settings in zip(groups, own):
            group.update(settings)
