"""One traced run of the untouched script, and from it what each module costs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil, floor, sqrt
from statistics import fmean, median
from typing import Any

from hotlap.errors import HotlapError
from hotlap.lab import Lab
from hotlap.records import AS_WRITTEN, Estimate, Facts, Outcome, Recording, Steps, Trial, Value
from hotlap.records.views import ModuleRow, ModuleTable

TRACED_STEPS = 120  # every second one of them is traced
_FIRST_TRACED = 13  # as inside/modules.py has it
_FEWEST = 3  # traced steps
_LEFT = ("data", "copy")
_LEARNING = ("forward", "loss", "backward")
_NO_MODULES = ("loss", "optimizer")
_COUNTS = ("flops", "narrow_flops", "moved_bytes")
_WAYS = ("forward", "backward")
_MEMORY = ("parameter", "gradient", "state", "saved")


def traced(lab: Lab, observed: Recording, limit_s: float, steps: int = TRACED_STEPS) -> Recording:
    """Run the script with its modules followed; never compared with another run.

    Args:
        lab: Where trials run.
        observed: The observed run.
        limit_s: The trial is ended after so much time in its training loop.
        steps: The trial is ended after so many steps.

    Raises:
        HotlapError: There is no module to follow, or the script failed.
    """
    facts = observed.facts
    assert facts is not None
    if not facts.roots:
        raise HotlapError(
            "no-modules",
            "The script calls no module with parameters that hotlap could follow: there is no row to show.",
            fix="run `hotlap check` without --model and --memory",
        )
    options: dict[str, Value] = {"whole": compiles(facts, observed.steps)}
    trial = Trial(lab.next_id("modules"), "modules", AS_WRITTEN, 0, 0, steps, limit_s, options)
    record = lab.run(trial)
    if "modules" not in record.seen:
        log = lab.runner.out / "trials" / record.log
        ended = record.outcome in (Outcome.BUDGET, Outcome.ENDED)
        why = "was too short" if ended else f"ended with {record.outcome.value}: {record.reason}"
        raise HotlapError(
            "script-failed", f"The traced run {why}. Its output is in {log}.", fix="give it more --budget"
        )
    return record


def fidelity(pairs: Sequence[tuple[float, float]]) -> Estimate | None:
    """Median ratio of such pairs, with the order statistics that hold the true one in 95 % of cases.

    >>> fidelity([(1.0, 1.0), (1.1, 1.0), (0.9, 1.0)])
    Estimate(value=1.0, low=0.9, high=1.1, unit='x', n=3)
    """
    ratios = sorted(one / other for one, other in pairs if other > 0)
    if not ratios:
        return None
    half = 0.98 * sqrt(len(ratios))
    low, high = (max(0, floor((len(ratios) - 1) / 2 - half)), min(len(ratios) - 1, ceil((len(ratios) - 1) / 2 + half)))
    return Estimate(median(ratios), ratios[low], ratios[high], "x", len(ratios))


def compiles(facts: Facts, steps: Steps) -> bool:
    """Whether the script compiles its model, or parts of it."""
    return any(root.compiled for root in facts.roots) or any(steps.compiles)


def model_table(record: Recording, ceiling: Mapping[str, float], *, is_cuda: bool) -> ModuleTable:
    """The rows of a traced run.

    Args:
        record: Of the run.
        ceiling: Measured limits of the machine, see `ceilings.Ceilings`.
        is_cuda: The times are the host's.

    Raises:
        HotlapError: It ended before enough steps were traced.
    """
    seen, steps = record.seen["modules"], record.steps
    chosen = [number - 1 for number in seen["traced"] if number <= len(steps.total_s)]
    plain = [place for place in range(_FIRST_TRACED, len(steps.total_s)) if place not in set(chosen)]
    if len(chosen) < _FEWEST or not plain:
        what = f"Only {len(chosen)} steps could be traced in the time there was."
        raise HotlapError("too-short", what, fix="name a bigger --budget")
    phases = {phase: fmean(values[place] for place in chosen) for phase, values in steps.phases_s.items()}
    rows = grouped(_rows(seen, phases, ceiling, len(chosen)))
    worth = [row for row in rows if row.time_s or row.memory_bytes]
    ours_s = sum(seen["ours_ns"]) / len(chosen) / 1e9
    total_s = sum(phases.values()) - ours_s
    around = {phase: phases[phase] for phase in _LEFT}
    left_s = total_s - sum(around.values()) - sum(row.time_s for row in rows)
    learning_s = [sum(parts) for parts in zip(*(steps.phases_s[phase] for phase in _LEARNING), strict=True)]
    return ModuleTable(
        total_s=total_s,
        rows=tuple(sorted(worth, key=lambda row: (-(row.waste_s or 0.0), -row.time_s, row.name))),
        around_s=around | {"other": max(0.0, left_s)},
        steps=len(chosen),
        attributed_s=sum(row.forward_s + row.backward_s for row in rows),
        untraced_s=fmean(learning_s[place] for place in plain),
        fidelity=fidelity([(learning_s[n] - ours_s, learning_s[n + 1]) for n in chosen if n + 1 in plain]),
        compiled=bool(seen["whole"]),
        host_times=is_cuda,
    )


def _rows(
    seen: Mapping[str, Any], phases: Mapping[str, float], ceiling: Mapping[str, float], steps: int
) -> list[tuple[tuple[Any, ...], ModuleRow]]:
    """Each owner's row, with what makes it alike another."""
    owners = [owner for owner in seen["owners"] if owner["root"] >= 0]
    loss, optimizer = (next(o for o in seen["owners"] if o["root"] < 0 and o["name"] == n) for n in _NO_MODULES)
    costs = Costs(ceiling, steps, seen["counted"])
    made: list[tuple[tuple[Any, ...], ModuleRow]] = [
        (("loss",), replace(costs.row(loss, "loss"), forward_s=phases["loss"])),
        (("optimizer",), replace(costs.row(optimizer, "optimizer"), update_s=phases["optimizer"])),
    ]
    for owner in owners:
        name = named(owner["name"].replace("_orig_mod.", ""), owner["root"], seen["roots"], seen["labels"])
        pattern = re.sub(r"\d+", "*", name)
        alike = (pattern, owner["kind"], owner["parameter_shapes"], owner["input_shapes"])
        made.append((alike, costs.row(owner, name)))
    return made[:2] + _graphs(made[2:], owners, costs, seen["roots"]) if seen["whole"] else made


def saved_by_module(record: Recording) -> list[tuple[str, int]]:
    """What each row keeps for the backward, the most first [bytes]."""
    seen = record.seen["modules"]
    rows = grouped(_rows(seen, dict.fromkeys(_NO_MODULES, 0.0), {}, 1))
    named_rows = ((f"{row.name} x {row.count}" if row.count > 1 else row.name, row.saved_bytes) for row in rows)
    return sorted((row for row in named_rows if row[1]), key=lambda row: -row[1])


@dataclass(frozen=True)
class Costs:
    """From what was seen of an owner to its row."""

    ceiling: Mapping[str, float]
    steps: int
    counted: bool

    def row(self, owner: Mapping[str, Any], name: str, ways: Sequence[int] = (0, 1)) -> ModuleRow:
        """The row of an owner: its forward (0), its backward (1) or both."""
        flops, narrow, moved = (sum(owner[what][way] for way in ways) for what in _COUNTS)
        spent = [owner["spent_ns"][way] / self.steps / 1e9 if way in ways else 0.0 for way in (0, 1)]
        return ModuleRow(
            name=name,
            kind=owner["kind"],
            count=1,
            forward_s=spent[0] if owner["root"] >= 0 else 0.0,
            backward_s=spent[1],
            update_s=0.0,
            flops=flops if self.counted else None,
            moved_bytes=moved if self.counted else None,
            allowed_s=self._allowed_s(flops, narrow, moved) if self.counted else None,
            parameter_bytes=owner["parameter_bytes"],
            gradient_bytes=owner["gradient_bytes"],
            state_bytes=owner["state_bytes"],
            saved_bytes=owner["saved_bytes"],
        )

    def _allowed_s(self, flops: int, narrow: int, moved: int) -> float | None:
        """The roofline: as long as the operations take at best, or the bytes."""
        limits = [self.ceiling.get(name, 0.0) for name in ("matmul_flops", "matmul_bf16_flops", "copy_bytes_s")]
        if not all(limits):
            return None
        return max((flops - narrow) / limits[0] + narrow / limits[1], moved / limits[2])


def _graphs(
    made: Sequence[tuple[tuple[Any, ...], ModuleRow]],
    owners: Sequence[Mapping[str, Any]],
    costs: Costs,
    roots: Sequence[str],
) -> list[tuple[tuple[Any, ...], ModuleRow]]:
    """Where graphs hide the modules: two rows for each root, and the memory of all its modules in the first."""
    rows: list[tuple[tuple[Any, ...], ModuleRow]] = []
    for root in range(len(roots)):
        own = [(owner, row) for owner, (_, row) in zip(owners, made, strict=True) if owner["root"] == root]
        first, whole = own[0][0], _sum([row for _, row in own])
        kinds = [owner["kind"] for owner, _ in own if owner["kind"] != "OptimizedModule"]
        name = kinds[0] if kinds and len(roots) == 1 else own[0][1].name
        forward, backward = (costs.row(first, f"{name}, {way} graph", (n,)) for n, way in enumerate(_WAYS))
        memory = {f"{what}_bytes": getattr(whole, f"{what}_bytes") for what in _MEMORY}
        rows.append(((root, 0), replace(forward, kind="compiled", **memory)))
        rows.append(((root, 1), replace(backward, kind="compiled", **dict.fromkeys(memory, 0))))
    return rows


def named(name: str, root: int, roots: Sequence[str], labels: Sequence[str] = ()) -> str:
    """As the user names it: below its root, whose variable or class is named where there are several."""
    kinds = [kind.rpartition(":")[2].rpartition(".")[2] for kind in roots]
    if len(roots) == 1:
        return name or kinds[0]
    if labels and all(labels) and len(set(labels)) == len(labels):
        kinds = list(labels)
    kind = kinds[root] if kinds.count(kinds[root]) == 1 else f"{kinds[root]}#{kinds[: root + 1].count(kinds[root])}"
    return f"{kind}.{name}" if name else kind


def grouped(made: Sequence[tuple[tuple[Any, ...], ModuleRow]]) -> list[ModuleRow]:
    """Repeated modules of one class and shape as one row, `layers.*.attention`."""
    groups: dict[str, list[ModuleRow]] = {}
    for alike, row in made:
        groups.setdefault(repr(alike), []).append(row)
    rows: list[ModuleRow] = []
    for alike in groups.values():
        names = [row.name.split(".") for row in alike]
        common = [parts[0] if len(set(parts)) == 1 else re.sub(r"\d+", "*", parts[0]) for parts in zip(*names)]
        rows.append(replace(_sum(alike), name=".".join(common)) if len(alike) > 1 else alike[0])
    return rows


def _sum(rows: Sequence[ModuleRow]) -> ModuleRow:
    def total(field: str) -> Any:
        values = [getattr(row, field) for row in rows]
        return None if None in values else sum(values)

    fields = ("count", "forward_s", "backward_s", "update_s", "flops", "moved_bytes", "allowed_s", "parameter_bytes")
    sums = {field: total(field) for field in (*fields, "gradient_bytes", "state_bytes", "saved_bytes")}
    return replace(rows[0], **sums)
