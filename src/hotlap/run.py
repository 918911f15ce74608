"""`hotlap run`: become the user's training, with a plan installed."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from hotlap.errors import HotlapError
from hotlap.knobs import KNOBS, knob_by_id
from hotlap.plan import Header, Plan, PlannedMachine, PlannedSetting, Severity, check, read
from hotlap.processor import physical, processor, usable
from hotlap.records import Contract, Value
from hotlap.target import Target
from hotlap.trials.environment import entered
from hotlap.trials.runner import ordered, root_of
from hotlap.versions import device_name, torch_version

Say = Callable[[str], None]


def _validator(knob_id: str) -> Callable[[Value], str | None]:
    return lambda value: knob_by_id(knob_id).refuses(value)


def known_knobs() -> Mapping[str, Callable[[Value], str | None]]:
    """Every knob that a plan may name, and what it says of a value."""
    return {knob_id: _validator(knob_id) for knob_id in KNOBS}


def find_plan(path: Path | None, cwd: Path) -> Plan:
    """The plan named by the user, else `hotlap.toml` in the working folder."""
    return read(path or cwd / "hotlap.toml", known_knobs())


def trusted(plan: Plan, allow: Contract, say: Say = lambda text: None) -> Plan:
    """The plan up to a contract; a file that anyone may edit can loosen what a knob promises, and not tighten it.

    Args:
        plan: As it was read.
        allow: The loosest contract to apply.
        say: Told what is left out.
    """
    settings = tuple(msgspec.structs.replace(s, contract=_looser(s)) for s in plan.settings)
    for setting in settings:
        if setting.contract.level > allow.level:
            more = f"--allow {setting.contract.value} applies it"
            say(f"{setting.knob} is left out: it promises {setting.contract.value}, and {more}")
    return msgspec.structs.replace(plan, settings=settings).cut(allow)


def _looser(setting: PlannedSetting) -> Contract:
    return max(setting.contract, knob_by_id(setting.knob).contract, key=lambda contract: contract.level)


def prepare(plan: Plan, target: Target, out: Path, say: Say, *, anyway: bool) -> dict[str, str]:
    """The environment in which the training runs under the plan.

    Args:
        plan: What to apply.
        target: The training.
        out: hotlap's folder for this script.
        say: Told what the user should know.
        anyway: Apply a plan that was made for another device or torch.

    Raises:
        HotlapError: The plan was made for something else, and `anyway` is not set.
    """
    for mismatch in check(plan, _today(plan, target)):
        if mismatch.severity is Severity.REFUSE and not anyway:
            raise HotlapError(
                "plan-mismatch", mismatch.message, fix="tune again, or add --anyway to apply it all the same"
            )
        say(mismatch.message)
    values = plan.setup().values
    task = {
        "purpose": "run",
        "settings": ordered(values),
        "roots": [root_of(root.name, root.index, root.signatures, root.parameter_shapes) for root in plan.roots],
        "seed": 0,
        "steps": 0,
        "limit_s": 0,
        "options": {},
    }
    text = json.dumps(task)
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"run-{hashlib.sha256(text.encode()).hexdigest()[:12]}.json"
    path.write_text(text)
    environment = entered(path.resolve(), None)
    for knob, value in values.items():
        environment |= knob_by_id(knob).environment(value)
    return environment


def _today(plan: Plan, target: Target) -> Header:
    """The plan's header as it would read today, as far as the parent can see without importing torch."""
    torch, header = torch_version(target.python), plan.header
    return msgspec.structs.replace(
        header,
        script_sha256=target.sha256 or header.script_sha256,
        argv=target.arguments,
        torch=torch,
        device=device_name(torch),
        machine=PlannedMachine(processor()[0], physical(usable())),
    )


def become(target: Target, environment: dict[str, str]) -> None:
    """Replace this process by the training: exit code, signals and output are its own from here on."""
    os.chdir(target.cwd)
    os.execvpe(target.command[0], list(target.command), environment)
