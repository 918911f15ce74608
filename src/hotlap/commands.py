"""What each command does: puts the parts together, prints, writes files."""

from __future__ import annotations

import datetime
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import msgspec
from rich.console import Console

from hotlap import __version__, published
from hotlap.errors import HotlapError, did_you_mean
from hotlap.knobs import AGAINST, KNOBS, knob_by_id
from hotlap.lab import Lab
from hotlap.logbook import Logbook
from hotlap.processor import physical, processor, usable
from hotlap.records import Contract, Goal, Setup, Value
from hotlap.search.candidates import Request
from hotlap.target import Target, resolve
from hotlap.terminal import Voice
from hotlap.trials.launch import Tier, best_tier
from hotlap.trials.runner import ProcessRunner
from hotlap.tune import tune as run_tune
from hotlap.versions import torch_version

_MOST_SLOWDOWN = 100.0  # times; more is a slip


@dataclass(frozen=True)
class Job:
    """What is common to the commands that start a training."""

    command: tuple[str, ...]
    out: Path | None
    python: str | None
    as_json: bool
    sandbox: str

    def target(self) -> Target:
        """The training."""
        return resolve(self.command, self.python)

    def folder(self, target: Target) -> Path:
        """hotlap's folder for it, ignored by git on its own account."""
        if self.out is None:
            home = target.cwd / ".hotlap"
            home.mkdir(exist_ok=True)
            (home / ".gitignore").write_text("*\n")
            return home / target.name
        return self.out

    def lab(
        self, budget_s: float, seed: int, voice: Voice, *, resume: bool = False, part: str = "", here: bool = True
    ) -> Lab:
        """Where its trials run.

        Args:
            budget_s: Time for them.
            seed: All randomness comes from it.
            voice: Told what happens.
            resume: Go on from the logbook that an interrupted tune left.
            part: Folder for it below hotlap's own, where a tune's is not to be replaced.
            here: On this machine, so that what it goes on from must have been recorded here.
        """
        target = self.target()
        out = self.folder(target) / part
        book = Logbook(out / "logbook.jsonl")
        command = " ".join(target.arguments)
        where = f"torch {torch_version(target.python)} on {processor()[0]}, {physical(usable())} cores" if here else ""
        known = book.resume(command, target.sha256, seed, where) if resume else []
        if not resume:
            book.start(command, target.sha256, seed, __version__, where)
        runner = ProcessRunner(target, out, self._tier(voice), startup_s=max(60.0, budget_s))
        lab = Lab(runner, book, budget_s, seed, voice.trying, voice.learnt, known=known)
        if resume:
            lab.closings, lab.losses_seen, lab.before_s = book.closings(), book.losses_seen(), book.spent_s()
        return lab

    def _tier(self, voice: Voice) -> Tier:
        if self.sandbox == "auto":
            tier, why = best_tier()
            if why:
                voice.learnt(f"trials run on a scratch copy of the folder ({why})")
            return tier
        tiers = {"overlay": Tier.OVERLAY, "copy": Tier.COPY, "none": Tier.NONE}
        if self.sandbox not in tiers:
            raise HotlapError(
                "bad-choice", f"--sandbox {self.sandbox} is not known.", fix="use auto, overlay, copy or none"
            )
        return tiers[self.sandbox]


def seconds(text: str) -> float:
    """A time like 90s, 5m or 1h in seconds."""
    units = {"s": 1, "m": 60, "h": 3600}
    try:
        value = float(text[:-1]) * units[text[-1]] if text and text[-1] in units else float(text)
    except ValueError:
        value = 0.0
    if not value > 0:
        raise HotlapError("bad-budget", f"--budget {text} is no time.", fix="write it as 90s, 5m or 1h")
    return value


def contract(name: str) -> Contract:
    """The contract of that name."""
    try:
        return Contract(name)
    except ValueError:
        names = ", ".join(c.value for c in Contract)
        raise HotlapError("bad-choice", f"--allow {name} is no contract.", fix=f"use one of {names}") from None


def share(text: str) -> float:
    """A share like 10% as a fraction."""
    try:
        value = float(text.strip().removesuffix("%")) / 100
    except ValueError:
        value = -1.0
    if not 0 <= value < _MOST_SLOWDOWN:
        fix = "write it in per cent of the step's time: 10%"
        raise HotlapError("bad-slowdown", f"--slowdown {text} is no share of a step's time.", fix=fix)
    return value


def goal(name: str, slowdown: str | None, *, grow: bool) -> Goal:
    """The goal of that name, with the flags that belong to one of them."""
    names = [one.value for one in Goal]
    if name not in names:
        raise HotlapError("bad-choice", f"--goal {name} is no goal.", fix=f"use one of {', '.join(names)}")
    if Goal(name) is not Goal.MEMORY and (slowdown is not None or grow):
        flag = "--slowdown" if slowdown is not None else "--largest-batch"
        raise HotlapError("bad-choice", f"{flag} belongs to --goal memory.", fix="add --goal memory")
    return Goal(name)


def wishes(
    allow: str, pinned: list[str], only: list[str], skip: list[str], planned_steps: int | None = None
) -> Request:
    """The request behind the flags of `tune` that name knobs."""
    for knob in (*only, *skip):
        _known(knob)
    values: dict[str, Value] = {}
    for text in pinned:
        knob, _, value = text.partition("=")
        _known(knob)
        values[knob] = _value(value or "true")
        complaint = knob_by_id(knob).refuses(values[knob])
        if complaint:
            raise HotlapError("bad-setting", f"--set {text}: {complaint}.", fix=f"see `hotlap explain {knob}`")
    return Request(contract(allow), tuple(only), tuple(skip), Setup.of(values), planned_steps)


def _known(knob: str) -> None:
    if knob not in KNOBS and ":" not in knob:
        what = f"There is no knob {knob}.{did_you_mean(knob, KNOBS)}"
        raise HotlapError("unknown-knob", what, fix="take a name from `hotlap list`")


def _value(text: str) -> Value:
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text


def tune(job: Job, request: Request, budget: str, seed: int, plan_path: Path, *, resume: bool) -> bool:
    """`hotlap tune`; False when the budget ended before there was an answer, which leaves an earlier plan alone."""
    from hotlap.plan import write
    from hotlap.report import words

    budget_s = seconds(budget)
    with Voice(Console(stderr=True), budget_s) as voice:
        lab = job.lab(budget_s, seed, voice, resume=resume)
        answer = run_tune(lab, request)
    result = answer.result
    assert result is not None
    if not result.cut_short:
        write(answer.plan(datetime.datetime.now(datetime.UTC).date()), plan_path)
    published.publish(result, lab.runner.out, as_json=job.as_json)
    report_path = lab.runner.out / "report.html"
    if result.cut_short:
        advice = f"no plan was written; give it more time: --resume --budget, now {budget}"
    elif result.kept:
        advice = f"plan: {plan_path}, applied by: hotlap run {result.target}"
    else:
        advice = f"plan: {plan_path}, which is empty: {words.best_as_it_is(result)}"
    Console(stderr=True).print(f"report: {report_path}\n{advice}", markup=False, highlight=False, soft_wrap=True)
    return not result.cut_short


def verify(
    job: Job, plan_path: Path | None, against: Path | None, allow: str, pinned: list[str], budget: str, seed: int
) -> int:
    """`hotlap verify`; its exit code."""
    from hotlap.run import find_plan, trusted
    from hotlap.verification import verify as run_verify

    if sum(map(bool, (pinned, plan_path, against))) > 1:
        what = "--plan, --set and --against each name what is judged."
        raise HotlapError("bad-choice", what, fix="use one of them")
    setup = wishes(allow, pinned, [], []).pinned
    if against is not None:
        setup = Setup.of({AGAINST: str(resolve((str(against),), job.python).script)})
    elif not pinned:
        setup = trusted(find_plan(plan_path, job.target().cwd), contract(allow)).setup()
    if not setup.settings:
        raise HotlapError(
            "nothing-to-verify", f"The plan holds no setting up to {allow}.", fix="name one with --set KNOB=VALUE"
        )
    budget_s = seconds(budget)
    with Voice(Console(stderr=True), budget_s) as voice:
        found = run_verify(job.lab(budget_s, seed, voice, part="verify"), setup, contract(allow))
    published.show(found, as_json=job.as_json)
    return found.exit_code


def run(job: Job, plan_path: Path | None, allow: str, *, anyway: bool) -> None:
    """`hotlap run`."""
    from hotlap.run import become, find_plan, prepare, trusted

    target = job.target()

    def say(text: str) -> None:
        print(f"hotlap: {text}", file=sys.stderr)

    plan = trusted(find_plan(plan_path, target.cwd), contract(allow), say)
    become(target, prepare(plan, target, job.folder(target), say, anyway=anyway))


def doctor(python: str | None, *, as_json: bool) -> None:
    """`hotlap doctor`."""
    from hotlap import doctor as doctor_module

    report_ = doctor_module.examine(python)
    if as_json:
        print(json.dumps(msgspec.to_builtins(report_), indent=1))
    else:
        doctor_module.print_doctor(Console(), report_)


def explain(id_: str) -> None:
    """`hotlap explain`."""
    from rich.markdown import Markdown

    from hotlap import explain as explain_module

    Console().print(Markdown(explain_module.explain(id_)))


def listing(*, as_json: bool) -> None:
    """`hotlap list`."""
    from hotlap import explain as explain_module
    from hotlap.report.lists import list_view

    everything = explain_module.listing()
    if as_json:
        print(json.dumps(everything, indent=1))
        return
    Console().print(list_view(everything))
