"""Whether the rows of `hotlap check --model` add up: against the phases of the steps between, which nothing traces.

Run: python bench/module_times.py [--steps 240] [--limit-s 60] [SCRIPT ...]    (by default the three examples)
Every second step of one process is traced. Printed are the sum of all rows, also as a share of forward, loss and
backward in the same steps; how many times as long these take as in the untraced step after them (median of such pairs,
95 % interval); what of the step no row accounts for; and the tracing's own time, which is charged to nobody. The exit
code is 1 when one of the first two is more than 5 % off.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from hotlap.lab import Lab
from hotlap.logbook import Logbook
from hotlap.model_table import model_table, traced
from hotlap.target import resolve
from hotlap.trials.launch import best_tier
from hotlap.trials.runner import ProcessRunner

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
CLOSE = 0.05
PHASES = ("forward", "loss", "backward")


def measured(script: str, steps: int, limit_s: float, folder: Path) -> dict[str, Any]:
    """One observed and one traced run."""
    runner = ProcessRunner(resolve((script,)), folder, best_tier()[0])
    lab = Lab(runner, Logbook(folder / "logbook.jsonl"), 4 * limit_s, 1)
    observed = lab.observe(limit_s)
    assert observed.facts is not None
    record = traced(lab, observed, limit_s, steps)
    table = model_table(record, {}, is_cuda=observed.facts.is_cuda)
    seen, phases = record.seen["modules"], record.steps.phases_s
    ours_s = sum(seen["ours_ns"]) / table.steps / 1e9
    sum_s = sum(phases[name][n - 1] for n in seen["traced"] for name in PHASES) / table.steps - ours_s
    return {
        "script": Path(script).name,
        "traced_steps": table.steps,
        "rows": len(table.rows),
        "untraced_s": table.untraced_s,
        "attributed_s": table.attributed_s,
        "ratio": table.fidelity.value if table.fidelity else float("nan"),
        "ratio_low": table.fidelity.low if table.fidelity else float("nan"),
        "ratio_high": table.fidelity.high if table.fidelity else float("nan"),
        "attributed_share": table.attributed_s / sum_s,
        "other_share": table.around_s["other"] / table.total_s,
        "ours_share": ours_s / table.total_s,
    }


def main() -> None:
    """Measure, print, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=240)
    parser.add_argument("--limit-s", type=float, default=60.0)
    parser.add_argument("--json", action="store_true", help="one document on stdout")
    parser.add_argument("scripts", nargs="*", default=[str(EXAMPLES / f"{n}.py") for n in ("images", "text", "speech")])
    args = parser.parse_args()
    found: list[dict[str, Any]] = []
    for script in args.scripts:
        with tempfile.TemporaryDirectory(prefix="hotlap-bench-") as folder:
            found.append(measured(script, args.steps, args.limit_s, Path(folder)))
        one = found[-1]
        print(
            f"{one['script']}: the sum of {one['rows']} rows is {1e3 * one['attributed_s']:.2f} ms, "
            f"{100 * one['attributed_share']:.1f} % of forward, loss and backward in the {one['traced_steps']} traced "
            f"steps; these take {one['ratio']:.3f}x ({one['ratio_low']:.3f} to {one['ratio_high']:.3f}) as long as the "
            f"untraced ones beside them ({1e3 * one['untraced_s']:.2f} ms on average); no row: "
            f"{100 * one['other_share']:.1f} % of the step; the tracing itself: {100 * one['ours_share']:.2f} %",
            file=sys.stderr if args.json else sys.stdout,
            flush=True,
        )
    if args.json:
        print(json.dumps(found, indent=1))
    sys.exit(any(abs(one[name] - 1) > CLOSE for one in found for name in ("ratio", "attributed_share")))


if __name__ == "__main__":
    main()
