"""Runs trials, each as a fresh process tree in a sandbox, and reads back what they recorded."""

from __future__ import annotations

import json
import shlex
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from hotlap.ceilings import measure
from hotlap.errors import HotlapError
from hotlap.knobs import AGAINST, ARGUMENTS, knob_by_id
from hotlap.plan import PlannedSignature
from hotlap.records import OPAQUE, Facts, Outcome, Recording, Signature, Trial, Value
from hotlap.target import Target, resolve
from hotlap.trials import environment, journals
from hotlap.trials.launch import Launch, launch
from hotlap.trials.load import Counters, load
from hotlap.trials.sandbox import Tier
from hotlap.verify.arms import ArmRecord
from hotlap.versions import has_bytecode

_MOST_SHIELDS = 16
_DEPLOYED = ("time", "losses")
"""Purposes of trials in which a setup serves no other calls than those that were verified, as in a run."""

RootKey = tuple[str, int]
"""Class name and order of construction."""


class Runner(Protocol):
    """Something that turns a trial into a recording: a process here, a task on a cluster, or a replay.

    Attributes:
        target: The training.
        out: hotlap's folder for this script.
        verified: Calls of each root that the learning check covers; from then on timed trials serve no others, as
            `hotlap run` will.
        shares: Whether trials can run side by side.
    """

    target: Target
    out: Path
    shares: bool
    verified: Mapping[RootKey, Sequence[Signature]] | None

    def run(self, trial: Trial, facts: Facts | None = None) -> Recording:
        """Run one trial to its end; a failed trial is a recording too."""
        ...

    def arm(self, trial: Trial) -> ArmRecord:
        """What a trial of the learning check wrote."""
        ...

    def ceiling(self) -> dict[str, float]:
        """What the machine can do at best, see `ceilings.Ceilings`; empty where that is not measured."""
        ...


class Cluster(Protocol):
    """Several places, each of which runs one trial at a time.

    Attributes:
        places: How many there are now.
    """

    @property
    def places(self) -> int:
        """See above."""
        ...

    def groups(
        self, groups: Sequence[Sequence[Trial]], begin: Callable[[Trial], Trial | None], facts: Facts | None
    ) -> Iterator[tuple[int, list[Recording]]]:
        """Run groups of trials, each group one after the other at one place, begun in the order given.

        Args:
            groups: Of trials; groups do not need each other.
            begin: Told of each trial when it begins; the trial to run, or None when no more are to be begun.
            facts: Of the training.

        Yields:
            Number of a group and its recordings when it has ended, in no order.
        """
        ...


@dataclass
class ProcessRunner:
    """Trials as processes on this machine.

    Args:
        target: The training.
        out: hotlap's folder for this script.
        tier: How its files are protected.
        startup_s: How long a trial may take to its first step.
        shields: Folders with a scratch layer.
        verified: See `Runner`.
    """

    target: Target
    out: Path
    tier: Tier
    startup_s: float = 600.0
    shields: list[Path] = field(default_factory=list)
    verified: Mapping[RootKey, Sequence[Signature]] | None = None
    shares: bool = True
    versions: dict[str, Facts] = field(default_factory=dict)
    """Other versions of the script, by path, with what was observed of them."""

    def __post_init__(self) -> None:
        """Shield what a training usually writes to."""
        script = [self.target.script.parent] if self.target.script else []
        for folder in (self.target.cwd, *script, Path.home(), Path("/tmp"), Path("/var/tmp")):
            if folder.is_dir() and folder != Path("/") and folder.resolve() not in self.shields:
                self.shields.append(folder.resolve())

    @property
    def scratch(self) -> Path:
        """What trials share and may write through to: compile caches and the gates' reference."""
        folder = (self.out / "scratch").resolve()
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def folder(self, trial: Trial) -> Path:
        """Where a trial's journals and output are."""
        return (self.out / "trials" / trial.id).resolve()

    def arm(self, trial: Trial) -> ArmRecord:
        """What a trial of the learning check wrote."""
        return journals.arm(self.folder(trial))

    def ceiling(self) -> dict[str, float]:
        """See `Runner`; a torch that cannot multiply is seen by the training itself."""
        try:
            return measure(self.target.python).as_ceiling
        except HotlapError:
            return {}

    def run(self, trial: Trial, facts: Facts | None = None) -> Recording:
        """Run one trial; a folder that it was refused to write to is shielded as well, and it starts again."""
        record, denied = self._once(trial, facts)
        while self._shield(denied):
            record, denied = self._once(trial, facts)
        refused = journals.refusal(self.folder(trial))
        if refused:
            raise HotlapError("not-installed", f"hotlap got inside, but {refused}.", fix="train with another torch")
        if record.outcome is Outcome.NOT_REACHED:
            raise HotlapError(
                "not-reached",
                f"{' '.join(self.target.arguments)} ran to its end and hotlap never got inside: no process of it "
                "imported torch, or Python was started with -I, -E or -S.",
                fix="start the training itself, with an interpreter that reads PYTHONPATH",
            )
        return record

    def _shield(self, denied: str) -> bool:
        """Give the folder of a refused write a scratch layer; False when that cannot help."""
        if not denied or self.tier is not Tier.OVERLAY:
            return False
        folder = Path(denied)
        while not folder.is_dir():
            folder = folder.parent
        if folder == Path("/") or folder in self.shields or len(self.shields) >= _MOST_SHIELDS:
            return False
        self.shields.append(folder)
        return True

    def _once(self, trial: Trial, facts: Facts | None) -> tuple[Recording, str]:
        folder = self.folder(trial)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        task = folder / "task.json"
        target = self._version(trial)
        facts = self.versions.get(str(trial.setup.values.get(AGAINST)), facts)
        task.write_text(json.dumps(task_of(trial, facts, self.scratch, self.verified)))
        knobs: dict[str, str] = {}
        for setting in trial.setup.settings:
            knobs |= knob_by_id(setting.knob).environment(setting.value)
        knobs |= environment.UNTIMED if "compare" in trial.options else {}
        before, began_s = Counters.read(), time.monotonic()
        ending = launch(
            Launch(
                command=target.command,
                cwd=target.cwd,
                environment=environment.for_trial(
                    task, folder, trial.seed, self.scratch, knobs, has_bytecode=has_bytecode(target.python)
                ),
                folder=folder,
                shielded=tuple(self.shields),
                writable=(self.scratch,),
                startup_s=min(self.startup_s, trial.start_limit_s or self.startup_s),
                total_s=max(3600.0, 20 * trial.limit_s),
                tier=self.tier,
            )
        )
        taken = load(before, Counters.read(), time.monotonic() - began_s)
        record = journals.recording(trial, folder, ending.outcome, ending.reason, ending.exit_code, ending.wall_s)
        record = replace(record, load=taken)
        if trial.purpose == "observe":
            script = str(target.script or target.name)
            found = journals.facts(folder, script, target.sha256, target.arguments, record.steps, record.warmup_steps)
            if found is not None and target is not self.target:
                self.versions[str(trial.setup.values[AGAINST])] = found
            record = journals.with_facts(record, found)
        return record, ending.denied

    def _version(self, trial: Trial) -> Target:
        """The training, with more arguments, or another version of it with the same."""
        path, more = trial.setup.values.get(AGAINST), trial.setup.values.get(ARGUMENTS)
        if more is not None:
            return resolve((*self.target.arguments, *shlex.split(str(more))), self.target.python, self.target.cwd)
        if path is None:
            return self.target
        if self.target.script is None or self.target.arguments[:1] == ("-m",):
            raise HotlapError(
                "no-version", "Only a script can be judged against another one.", fix="name the script itself"
            )
        return resolve((str(path), *self.target.arguments[1:]), self.target.python, self.target.cwd)


def task_of(
    trial: Trial,
    facts: Facts | None,
    scratch: Path,
    verified: Mapping[RootKey, Sequence[Signature]] | None = None,
) -> dict[str, object]:
    """What the inside needs to know of a trial; see `hotlap.inside.session`."""
    options: dict[str, Value] = dict(trial.options)
    if "reference" in options:
        options["reference"] = str(scratch / str(options["reference"]))
        Path(str(options["reference"])).mkdir(parents=True, exist_ok=True)
    return {
        "purpose": trial.purpose,
        "settings": ordered(trial.setup.values),
        "arms": [ordered(arm.values) for arm in trial.arms],
        "roots": [
            root_of(
                r.name,
                r.index,
                None if verified is None or trial.purpose not in _DEPLOYED else verified.get((r.name, r.index), ()),
            )
            for r in (facts.roots if facts else ())
            if r.reachable
        ],
        "seed": trial.seed,
        "steps": trial.steps,
        "limit_s": trial.limit_s,
        "options": options,
    }


def root_of(
    name: str,
    index: int,
    verified: Sequence[Signature | PlannedSignature] | None,
    parameter_shapes: Sequence[Sequence[int]] | None = None,
) -> dict[str, object]:
    """A root as the inside is told of it.

    Args:
        name: Of its class.
        index: Order of construction within the class.
        verified: The calls that rewritten ones may serve; None for all.
        parameter_shapes: Of the module that was verified, which another one must not be taken for; None for any.
    """
    calls = [(s.shapes, s.dtypes, s.manner or ()) for s in verified or () if s.grad and s.training]
    served = None if verified is None else [call for call in calls if OPAQUE not in call[2]]
    return {"name": name, "index": index, "served": served, "parameter_shapes": parameter_shapes}


def ordered(values: Mapping[str, Value]) -> list[tuple[str, Value]]:
    """Settings in the order in which they are installed: by when they take hold, then by name."""
    from hotlap.knobs.knob import When

    order = list(When)
    return sorted(values.items(), key=lambda item: (order.index(knob_by_id(item[0]).when), item[0]))
