"""Whether what hotlap says of a CUDA device is so: each check is one row, right or wrong, with its numbers."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hotlap.answer import phases_of
from hotlap.arms import Arms
from hotlap.judge import Judge
from hotlap.lab import Lab
from hotlap.logbook import Logbook
from hotlap.records import AS_WRITTEN, Outcome, Recording, Setup, Trial, Word
from hotlap.target import resolve
from hotlap.trials.beside import device_room
from hotlap.trials.launch import best_tier
from hotlap.trials.runner import ProcessRunner

HABITS = "bench/scripts/gpu_habits.py"
_NEAR = 0.03  # of a phase, between events and a trace
_CHEAP = 0.005  # of a step


@dataclass(frozen=True)
class Row:
    """What one check found."""

    check: str
    right: bool | None
    """None: it could not be checked."""
    numbers: dict[str, Any]


class Bench:
    """One training's trials.

    Args:
        arguments: The command, after the interpreter.
        folder: For the trials.
    """

    def __init__(self, *arguments: str, folder: Path) -> None:
        target = resolve(arguments)
        book = Logbook(folder / "logbook.jsonl")
        book.start(" ".join(target.arguments), target.sha256, 1, "bench")
        self.lab = Lab(ProcessRunner(target, folder, best_tier()[0]), book, 3600.0, 1)

    def trial(self, setup: Setup = AS_WRITTEN, steps: int = 0, **options: int) -> Recording:
        """A timed trial; of all steps without a number."""
        lab = self.lab
        return lab.run(Trial(lab.next_id("time"), "time", setup, 1, 0, steps, 0.0 if not steps else 120.0, options))

    def found(self, record: Recording) -> dict[str, Any]:
        """What the training itself printed."""
        return found_in((self.lab.runner.out / "trials" / record.log).read_text(errors="replace"))

    def judge(self) -> Judge:
        """The learning check, on what an observed run showed."""
        observed = self.lab.observe(limit_s=6.0)
        assert observed.facts is not None
        arms = Arms(self.lab.arms, self.lab.next_id, observed.facts, 1, phases_of(observed).total_s)
        return Judge(arms, ahead=self.lab.at_once > 1)


def found_in(output: str) -> dict[str, Any]:
    """The JSON after FOUND."""
    lines = [line for line in output.splitlines() if line.startswith("FOUND ")]
    return json.loads(lines[-1].removeprefix("FOUND ")) if lines else {}


def phases(folder: Path) -> Row:
    """Phases by events in sampled steps, against a profiler's trace of the same training; and its peak."""
    bench = Bench(HABITS, "traced", "80", folder=folder)
    bench.lab.observe(limit_s=60.0)
    record = bench.trial()
    truth = bench.found(record)
    ours = {name: 1e6 * record.device_phases_s.get(name, 0.0) for name in ("forward", "backward", "optimizer")}
    traced = truth.get("phases_us") or {}
    off = {name: ours[name] / traced[name] - 1 for name in ours if traced.get(name)}
    # The optimizer's kernels are a few microseconds beside the gaps between them: shown, and not judged.
    near = [abs(off[name]) <= _NEAR for name in ("forward", "backward") if name in off]
    numbers = {"events_us": ours, "trace_us": traced, "off": off, "peak_bytes": record.cuda_peak_bytes, **truth}
    return Row("phases", all(near) if len(near) == 2 else None, numbers)


def exposed(folder: Path) -> Row:
    """The data phase on the device is what it waits for a batch, which is less than the batch takes to make."""
    bench = Bench(HABITS, "starved", "80", folder=folder)
    record = bench.trial()
    traced = bench.found(record).get("idle_us")
    ours = 1e6 * record.device_phases_s.get("data", 0.0)
    right = abs(ours / traced - 1) <= _NEAR if traced else None
    return Row("exposed input time", right, {"events_us": ours, "trace_us": traced})


def peak(folder: Path) -> Row:
    """The peak that is reported is the device's own."""
    bench = Bench(HABITS, "traced", "60", folder=folder)
    record = bench.trial()
    truth = bench.found(record).get("peak_bytes")
    return Row("peak memory", record.cuda_peak_bytes == truth if truth else None, {"ours": record.cuda_peak_bytes})


def waits(folder: Path) -> Row:
    """Neither a timed nor an observed run waits for the device within a step."""
    bench = Bench(HABITS, "unwaiting", "80", folder=folder)
    timed, lab = bench.trial(), bench.lab
    observed = lab.run(Trial(lab.next_id("observe"), "observe", AS_WRITTEN, 1, 0, 0, 0.0))
    found = {"timed": bench.found(timed), "observed": bench.found(observed)}
    reasons = {"timed": timed.reason, "observed": observed.reason}
    return Row("no synchronize added", all(of.get("waited") is False for of in found.values()), {**found, **reasons})


def out_of_memory(folder: Path) -> Row:
    """Running out of the device's memory is an outcome, and leaves it as it was."""
    before = device_room()
    record = Bench(HABITS, "greedy", folder=folder).trial()
    after = device_room()
    right = record.outcome is Outcome.DEVICE_OOM and abs(after - before) < 1 << 26
    numbers = {"outcome": record.outcome.value, "reason": record.reason, "free_before": before, "free_after": after}
    return Row("out of memory", right, numbers)


def cost(folder: Path) -> Row:
    """What watching and a plan cost a step that is all the host's work; see bench/overhead.py."""
    command = [sys.executable, "bench/overhead.py", "--json", "--device", "cuda", "--rounds", "40", "--pairs", "0"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    rows = {row["arm"]: row["cost"] for row in json.loads(done.stdout)["costs"] if row["cost"]}
    watched = rows["watched by a trial"]
    right = True if watched["high"] < _CHEAP else False if watched["low"] > _CHEAP else None
    return Row("cost of watching, of a step of 5 ms", right, rows)


def gates(folder: Path) -> Row:
    """On kernels that add atomically: what learns the same passes, and planted faults do not."""
    judge = Bench(HABITS, "atomics", "400", folder=folder).judge()
    expected = {
        Setup.of({"fused-update": True}): (Word.IDENTICAL, Word.ROUNDING, Word.EQUIVALENT),
        Setup.of({"autocast-bf16": True}): (Word.EQUIVALENT,),
        Setup.of({"compile": True}): (Word.IDENTICAL, Word.ROUNDING, Word.EQUIVALENT),
        Setup.of({"faults:Gradients09": True}): (Word.CHANGED,),
        Setup.of({"faults:Reduced09": True}): (Word.CHANGED,),
        Setup.of({"faults:Rate11": True}): (Word.CHANGED,),
    }
    verdicts = {setup: judge.judge(setup).verdict for setup in expected}
    told = {str(setup): f"{verdict.word.value}: {verdict.reason}" for setup, verdict in verdicts.items()}
    repeats = next(iter(verdicts.values())).repeats
    right = all(verdict.word in expected[setup] for setup, verdict in verdicts.items())
    return Row("gates on atomic kernels", right, {**told, "the script repeats itself": repeats})


def caches(folder: Path) -> Row:
    """A second trial finds what the first one compiled."""
    bench, setup = Bench(HABITS, "convs", "40", folder=folder), Setup.of({"compile": True})
    bench.lab.observe(limit_s=6.0)
    first, second = (sum(bench.trial(setup, steps=12).steps.total_s[:5]) for _ in range(2))
    return Row("compile caches are shared", second < 0.7 * first, {"first_s": first, "second_s": second})


def masked_attention(folder: Path) -> Row:
    """Where cuDNN's attention gives NaN, hotlap says so; where this torch does not take it, so does the row."""
    done = subprocess.run([sys.executable, "-c", _MASKED], capture_output=True, text=True, check=False)
    raw = found_in(done.stdout)
    record = Bench(HABITS, "masked", "200", folder=folder).trial()
    losses = [loss for loss in record.steps.losses if loss is not None]
    told = {"raw": raw, "outcome": record.outcome.value, "finite": all(map(math.isfinite, losses))}
    told["error"] = done.stderr.strip().splitlines()[-1:]
    command = [sys.executable, "-m", "hotlap", "check", "--json", "--budget", "8s", "--out", str(folder / "check")]
    checked = subprocess.run([*command, HABITS, "masked", "4000"], capture_output=True, text=True, check=False)
    findings = {f["audit"]: f["status"] for f in json.loads(checked.stdout or "{}").get("findings", [])}
    told["audit"] = findings.get("cudnn-attention-nan")
    is_hit = bool(raw.get("nan"))
    return Row("cuDNN attention with a mask", (told["audit"] == "fail") == is_hit if raw else None, told)


def nan_by_autocast(folder: Path) -> Row:
    """Bfloat16 leads a script of float32 into that trap: the learning check refuses it."""
    verdict = Bench(HABITS, "masked-float32", "400", folder=folder).judge().judge(Setup.of({"autocast-bf16": True}))
    return Row(
        "bfloat16 that leads to NaN",
        verdict.verdict.word is Word.CHANGED,
        {"verdict": f"{verdict.verdict.word.value}: {verdict.verdict.reason}"},
    )


_MASKED = """
import json, torch
from torch.nn.attention import SDPBackend, sdpa_kernel
draw = lambda: torch.randn(8, 4, 192, 64, device="cuda", dtype=torch.bfloat16)
q, k, v = draw() / 10, draw() / 10, draw()
q[..., 0], k[..., 0] = 1, -120 * 8  # every score is about -120
for part in (q, k, v):
    part.requires_grad_()
mask = torch.ones(8, 1, 192, 192, dtype=torch.bool, device="cuda")
mask[..., -7:] = False
def is_nan():
    q.grad = None
    torch.nn.functional.scaled_dot_product_attention(q, k, v, mask).float().sum().backward()
    return bool(q.grad.isnan().any())
names = {}
for name in ("CUDNN_ATTENTION", "EFFICIENT_ATTENTION", "MATH"):
    try:
        with sdpa_kernel(getattr(SDPBackend, name)):
            names[name] = is_nan()
    except RuntimeError as error:
        names[name] = str(error).splitlines()[0]
print("FOUND", json.dumps({"nan": is_nan(), "by kernel": names}))
"""


def side_stream(folder: Path) -> Row:
    """Batches that are copied beside the kernels of the step before: is each of them whole, and what is gained?"""
    done = subprocess.run([sys.executable, "-c", _SIDE], capture_output=True, text=True, check=False)
    found = found_in(done.stdout)
    error = done.stderr.strip().splitlines()[-1:]
    return Row("copies on a stream of their own", found.get("whole"), found or {"error": error})


_SIDE = """
import json, time, torch
from hotlap.inside.copies import aside
batches = [torch.full((1 << 23,), float(n)).pin_memory() for n in range(8)]
weights = torch.randn(4096, 4096, device="cuda")
plain = lambda batch: batch.to("cuda", non_blocking=True)
beside = lambda batch: aside(lambda: plain(batch), "cuda")
def trained(send, steps=200):
    sums, work = [], weights
    torch.cuda.synchronize()
    began = time.perf_counter()
    for step in range(steps):
        batch = send(batches[step % 8])
        sums.append((batch[0] + batch[-1]) / 2 + (batch - step % 8).abs().max())
        del batch
        work = torch.tanh(work @ weights)
    torch.cuda.synchronize()
    return time.perf_counter() - began, all(float(s) == step % 8 for step, s in enumerate(sums))
trained(plain), trained(beside)
rounds = [(trained(plain), trained(beside)) for _ in range(8)]
ratios = sorted(a[0] / b[0] for a, b in rounds)
print("FOUND", json.dumps({"whole": all(a[1] and b[1] for a, b in rounds), "times as fast": ratios}))
"""

CHECKS = (
    phases,
    exposed,
    peak,
    waits,
    out_of_memory,
    cost,
    gates,
    caches,
    masked_attention,
    nan_by_autocast,
    side_stream,
)


def check_all(only: str) -> list[dict[str, Any]]:
    """Every check whose name holds `only`; one that raises is a row that could not be checked."""
    rows: list[Row] = []
    for check in CHECKS:
        if only not in check.__name__:
            continue
        with tempfile.TemporaryDirectory(prefix="hotlap-gpu-", dir="/var/tmp") as folder:
            try:
                row = check(Path(folder))
            except Exception as error:
                row = Row(check.__name__, None, {"error": f"{type(error).__name__}: {error}"})
        rows.append(row)
        word = {True: "right", False: "WRONG", None: "not checked"}[row.right]
        print(f"{row.check}: {word} {json.dumps(row.numbers)}", file=sys.stderr, flush=True)
    return [asdict(row) for row in rows]
