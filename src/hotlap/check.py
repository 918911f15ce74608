"""`hotlap check`: one observed run, and where asked for a closer look at modules, memory and fetching."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from rich.console import Console, Group, RenderableType

from hotlap.answer import evaluation_share, phases_of, samples_per_step, seen_of
from hotlap.audits import all_audits
from hotlap.audits.judge import audited
from hotlap.commands import Job, seconds
from hotlap.errors import HotlapError
from hotlap.fetch_table import fetch_table
from hotlap.growth import largest_batch
from hotlap.knobs import all_knobs
from hotlap.knobs.knob import Knob
from hotlap.lab import Lab
from hotlap.memory_table import MEMORY_STEPS, memory_table
from hotlap.model_table import TRACED_STEPS, model_table, traced
from hotlap.records import Facts, Goal, Recording, Skip, Value
from hotlap.records.views import FetchTable, MemoryTable, ModuleTable
from hotlap.report.check_view import check_view
from hotlap.report.document import check_document
from hotlap.report.fetch_view import fetch_view
from hotlap.report.memory_view import memory_view
from hotlap.report.model_view import model_view
from hotlap.report.views_document import views_document
from hotlap.search.candidates import unserved
from hotlap.terminal import Voice

_SHARE = 0.6  # of the budget, for the steps of the one run; starting up and the machine's limits take the rest
_LOOK_SHARE = 0.25  # the same for each of the runs that others follow
_FEWEST = 30  # steps that a traced run is given time for


@dataclass(frozen=True)
class Asked:
    """What is to be shown in place of the phases, the findings and what could be tried."""

    model: bool = False
    memory: bool = False
    data: bool = False
    limit_bytes: int | None = None
    """What a batch is to fit into; None for what there is."""

    @classmethod
    def of(cls, *, model: bool, memory: bool, data: bool, memory_limit: str | None) -> Asked:
        """From the flags."""
        if memory_limit is not None and not memory:
            raise HotlapError("bad-choice", "--memory-limit belongs to --memory.", fix="add --memory")
        return cls(model, memory, data, None if memory_limit is None else size_bytes(memory_limit))

    @property
    def usual_budget(self) -> str:
        """When none was named."""
        return "2m" if self.memory else "30s"


def size_bytes(text: str) -> int:
    """A size like 8GiB, 24GB or 512M in bytes."""
    found = re.fullmatch(r"\s*([0-9.]+)\s*([kmgt]?)(i?)b?\s*", text, re.IGNORECASE)
    try:
        number = float(found[1]) if found else 0.0
    except ValueError:
        number = 0.0
    if not found or number <= 0:
        raise HotlapError("bad-choice", f"--memory-limit {text} is no size.", fix="write it as 8GiB, 24GB or 512MB")
    return int(number * (1024 if found[3] else 1000) ** " kmgt".index(found[2].lower() or " "))


@dataclass(frozen=True)
class Looks:
    """What the closer looks showed; None for what was not asked for."""

    modules: ModuleTable | None = None
    memory: MemoryTable | None = None
    fetching: FetchTable | None = None


def check(job: Job, budget: str, asked: Asked) -> None:
    """Observe, and print.

    Args:
        job: The training.
        budget: Time for it, as the user wrote it.
        asked: What is to be shown.
    """
    budget_s = seconds(budget)
    with Voice(Console(stderr=True), budget_s) as voice:
        lab = job.lab(budget_s, 1, voice, part="check")  # a tune's logbook stays where it is
        lab.trying("observing the script as written")
        more = asked.model or asked.memory or asked.data
        observed = lab.observe(limit_s=budget_s * (_LOOK_SHARE if more else _SHARE))
        lab.learn_ceiling()
        facts = observed.facts
        assert facts is not None
        looks = _looks(lab, observed, facts, budget_s * _LOOK_SHARE, asked)
    if job.as_json:
        found = audited(seen_of(observed), all_audits())
        document = check_document(facts, phases_of(observed), found, lab.ceiling, observed.device_phases_s)
        added = views_document(facts, looks.modules, looks.memory, looks.fetching)
        print(json.dumps(document | added, indent=1))
    else:
        Console().print(_view(lab, observed, facts, looks))


def _looks(lab: Lab, observed: Recording, facts: Facts, limit_s: float, asked: Asked) -> Looks:
    """Each in trials of its own."""
    modules, held, fetching = None, None, None
    if asked.data:
        lab.trying("following how batches are fetched")
        fetching = fetch_table(lab, facts, limit_s)
    if asked.model or asked.memory:
        lab.trying("following its modules")
        limit_s = max(limit_s, _FEWEST * phases_of(observed).total_s)
        record = traced(lab, observed, limit_s, TRACED_STEPS if asked.model else MEMORY_STEPS)
        modules = model_table(record, lab.ceiling, is_cuda=facts.is_cuda) if asked.model else None
        held = memory_table(record, largest_batch(lab, facts, asked.limit_bytes)) if asked.memory else None
    return Looks(modules, held, fetching)


def _view(lab: Lab, observed: Recording, facts: Facts, looks: Looks) -> RenderableType:
    parts: list[RenderableType] = []
    if looks.fetching is not None:
        choices = {knob.id: _choices(knob, facts) for knob in all_knobs() if knob.area == "data"}
        parts.append(fetch_view(looks.fetching, facts, choices))
    if looks.modules is not None:
        parts.append(model_view(looks.modules, facts, lab.ceiling))
    if looks.memory is not None:
        parts.append(memory_view(looks.memory, facts))
    apart = [line for part in parts for line in (part, "")][:-1]
    return Group(*apart) if parts else _plain(lab, observed, facts)


def _choices(knob: Knob, facts: Facts) -> tuple[Value, ...] | Skip:
    """What `tune` would try."""
    found, why = knob.choices(facts), unserved(knob, Goal.SPEED)
    return Skip(why) if why and not isinstance(found, Skip) else found


def _plain(lab: Lab, observed: Recording, facts: Facts) -> RenderableType:
    return check_view(
        facts,
        phases_of(observed),
        audited(seen_of(observed), all_audits()),
        {knob.id: _choices(knob, facts) for knob in all_knobs() if not knob.repeats},  # a promise, and no gain
        on_device=observed.device_phases_s,
        samples_per_step=samples_per_step(observed),
        evaluation_share=evaluation_share(observed),
        ceiling=lab.ceiling,
        notes=lab.notes,
    )
