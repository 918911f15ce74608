"""What `hotlap race` does: puts the parts together, prints, writes files."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from math import isfinite
from pathlib import Path

from rich.console import Console

from hotlap.commands import Job, seconds
from hotlap.errors import HotlapError, did_you_mean
from hotlap.knobs import ARGUMENTS, knob_by_id
from hotlap.lab import Lab
from hotlap.packages import optional
from hotlap.published import put
from hotlap.race.budget import SHAPES
from hotlap.race.on_ray import on_cluster
from hotlap.race.plan import with_winner
from hotlap.race.race import Wish
from hotlap.race.race import race as run_race
from hotlap.race.result import Metric, RaceResult, Row
from hotlap.race.rules import RULES
from hotlap.race.study import open_storage
from hotlap.race.trainings import Trainings, regular_expression
from hotlap.terminal import Voice

PART = "race"
"""hotlap's folder for it, below that of the script."""
_UNKNOWN_S = 3600.0  # shown until the first run has told what a race of the named shape takes


def wishes(
    budget: str,
    only: Sequence[str],
    skip: Sequence[str],
    arms: Sequence[str],
    metric: str | None,
    mode: str,
    target: float | None,
    batch_sizes: Sequence[int] | None = None,
    layer_sizes: bool = False,
) -> Wish:
    """What the flags ask for.

    Raises:
        HotlapError: One of them cannot be read, or names no rule.
    """
    for rule in (*only, *skip):
        if rule not in RULES:
            what = f"There is no rule {rule}.{did_you_mean(rule, RULES)}"
            raise HotlapError("unknown-rule", what, fix=f"name one of {', '.join(RULES)}")
    if mode not in ("min", "max"):
        raise HotlapError("bad-choice", f"--mode {mode} is not known.", fix="use min or max")
    if mode != "min" and not metric:
        raise HotlapError("bad-choice", f"--mode {mode} is of a --metric.", fix="name the number with --metric REGEX")
    if target is not None and not isfinite(target):
        raise HotlapError("bad-choice", f"--target {target} is no value.", fix="name a number")
    for text in arms:
        if complaint := knob_by_id(ARGUMENTS).refuses(text):
            raise HotlapError("bad-choice", f"--arm {text!r}: {complaint}.", fix="quote it as a shell would")
    if sum(map(bool, (only or skip, arms, batch_sizes is not None, layer_sizes))) > 1:
        what = "Rules (--only, --skip), --arm, --batch-sizes and --layer-sizes are raced in races of their own."
        raise HotlapError("bad-choice", what, fix="race them one after the other")
    if any(size < 1 for size in batch_sizes or ()):
        raise HotlapError("bad-choice", "--batch-size takes a number of samples.", fix="name 1 or more")
    named = budget in SHAPES
    return Wish(
        budget_s=None if named else seconds(budget),
        shape=budget if named else "",
        only=tuple(only),
        skip=tuple(skip),
        variants=tuple(dict.fromkeys(arms)),
        metric=Metric(regular_expression(metric), mode == "max") if metric else Metric(),
        goal=target,
        batch_sizes=None if batch_sizes is None else tuple(batch_sizes),
        layer_sizes=layer_sizes,
    )


def race(
    job: Job, wish: Wish, seed: int, plan_path: Path, storage: str | None, ray: str | None, *, resume: bool
) -> bool:
    """`hotlap race`; False when the budget ended before there was an answer."""
    from hotlap.report.race_view import arms_table

    if wish.of_rules:
        open_storage(None)  # a missing package is told before anything is run
    elif wish.wide or wish.lr_finder or storage:
        what = "--wide, --lr-finder and --storage belong to a race of rules, and none are raced here."
        raise HotlapError("bad-choice", what, fix="leave them out")
    if ray is not None:
        optional("ray")
    limit_s = wish.budget_s or _UNKNOWN_S
    with Voice(Console(stderr=True), limit_s) as voice:
        lab = job.lab(limit_s, seed, voice, resume=resume, part=PART, here=ray is None)

        def changed(rows: list[Row]) -> None:
            voice.limit(lab.budget_s)
            voice.show(arms_table(rows))

        trainings = Trainings(lab, wish.metric, changed, name=_name(lab))
        with on_cluster(lab, ray):
            result = run_race(trainings, wish, _record(lab, storage) if wish.of_rules else None)
    publish(result, lab.runner.out, as_json=job.as_json)
    said = [f"report: {lab.runner.out / 'report.html'}"]
    if result.winner and not wish.variants:  # another command line needs no plan
        with_winner(result, plan_path, datetime.datetime.now(datetime.UTC).date())
        said.append(f"plan: {plan_path}, applied by: hotlap run --allow recipe {result.target}")
        if wish.layer_sizes:
            said.append("the model's other settings in it were verified at the script's own sizes, and rest")
    elif not result.winner:
        said.append("no plan was written: nothing is proven")
    Console(stderr=True).print("\n".join(said), markup=False, highlight=False, soft_wrap=True)
    return result.speedup_vs_script is not None or result.nothing_to_gain


def _name(lab: Lab) -> str:
    """Of Optuna's studies: nothing is sampled by it, so a clock does no harm."""
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M:%S")
    return f"{lab.runner.target.name} {now}"


def _record(lab: Lab, storage: str | None) -> object:
    """Optuna's storage; beside the logbook it is made anew, since the logbook is what a race goes on from."""
    if storage is not None:
        return open_storage(storage)
    path = (lab.runner.out / "optuna.db").resolve()
    path.unlink(missing_ok=True)
    return open_storage(f"sqlite:///{path}")


def publish(result: RaceResult, out: Path, *, as_json: bool) -> None:
    """Write both reports, and print one."""
    from hotlap.report.race_document import race_document
    from hotlap.report.race_page import race_page
    from hotlap.report.race_view import race_summary

    put(out, race_document(result), race_page(result), race_summary(result), as_json=as_json)
