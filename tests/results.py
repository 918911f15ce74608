"""Results to show: a realistic one, one with nothing to gain, an undecided one, and a hostile one."""

from __future__ import annotations

import dataclasses
from math import exp, sin
from typing import Any

from hotlap.records import (
    PHASES,
    Contract,
    Curve,
    Estimate,
    Facts,
    Finding,
    Gate,
    Goal,
    Kept,
    Loader,
    Machine,
    Optimizer,
    Pair,
    Phases,
    Precision,
    Rejected,
    Result,
    Root,
    Setup,
    Signature,
    Status,
    Verdict,
    Word,
)
from hotlap.records.views import LargestBatch

HOSTILE = (
    "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"
    "[red]loud[/red][link=https://evil.test]click[/link]\x1b[31mred\x1b]0;title\x07\x9b2J\u202egnp.exe\u2066 end"
)
"""Markup of three kinds, escape sequences in seven and eight bits, and bidi controls."""


def facts(**changes: Any) -> Facts:
    """A small image classifier on a laptop's CPU."""
    plain = Facts(
        script="train.py",
        script_sha256="5f" * 32,
        argv=("train.py", "--epochs", "20", "--data", "~/photos"),
        python="3.11.9",
        torch="2.11.0",
        device="cpu",
        world_size=1,
        machine=Machine(
            "AMD Ryzen 7 7840U", 8, 16, None, 34_359_738_368, ("avx2", "avx512_bf16"), "glibc 2.36", "", "g++"
        ),
        precision=Precision("highest", False, False, False, False, False),
        roots=(
            Root(
                "__main__:SmallResNet",
                0,
                2_777_674,
                ((64, 3, 3, 3), (64,), (10, 256)),
                ("float32",),
                {"Conv2d": 20, "BatchNorm2d": 20, "Linear": 1},
                (Signature(((128, 3, 32, 32),), ("float32",), True, True),),
                False,
                True,
            ),
        ),
        loaders=(
            Loader(0, "__main__:Photos", 50_000, 128, False, 0, False, False, True, True, True, "", False),
            Loader(1, "__main__:Photos", 10_000, 256, False, 0, False, False, False, True, False, "", False),
        ),
        optimizers=(Optimizer("torch.optim.adamw:AdamW", 2_777_674, True, False, ("cpu",), False, True, True),),
        epoch_steps=391,
        threads=8,
        faults_per_step=1843.0,
        stochastic=False,
        manual_update=False,
    )
    return dataclasses.replace(plain, **changes)


def phases(*times_s: float) -> Phases:
    """Phases in the order of the record."""
    return Phases(sum(times_s), dict(zip(PHASES, times_s)))


def times(value: float, low: float, high: float, n: int = 4) -> Estimate:
    """A ratio of times."""
    return Estimate(value, low, high, unit="x", n=n)


def verdict(**changes: Any) -> Verdict:
    """The usual good answer."""
    gates = (
        Gate("batches", Word.IDENTICAL, "the first 64 batches agree in content and in order"),
        Gate("gradients", Word.ROUNDING, "loss and gradients of one step agree", gap=3.1e-3, band=8.6e-3),
        Gate("trajectory", Word.EQUIVALENT, "the 90 % interval of the difference lies within 2 % of the loss drop"),
    )
    plain = Verdict(Word.EQUIVALENT, "trajectory", "losses stay within what noise alone does", gates, seeds=5)
    return dataclasses.replace(plain, **changes)


def _pairs() -> tuple[Pair, ...]:
    screened = (
        ("whole-batch-fetch", True, 1.36),
        ("malloc-thresholds", True, 1.21),
        ("fused-update", True, 1.06),
        ("autocast-bf16", True, 1.31),
        ("threads", 4, 0.83),
        ("compile", "default", 1.04),
    )
    pairs = [
        Pair(block, block, Setup(), f"n{block}", f"m{block}", 0.2110 + 0.003 * block, 0.2125 - 0.002 * block, "noise")
        for block in range(3)
    ]
    for place, (knob, value, gain) in enumerate(screened):
        pairs += [
            Pair(
                3 + block,
                7 + block,
                Setup.of({knob: value}),
                f"r{block}",
                f"s{place}-{block}",
                0.2117,
                0.2117 / gain * (1 + 0.02 * sin(3 * place + 5 * block)),
                "screen",
            )
            for block in range(2 if place < 4 else 1)
        ]
    return tuple(pairs)


def _curve(seed: int) -> Curve:
    def losses(phase: float) -> tuple[float | None, ...]:
        return tuple(
            0.62 + 1.7 * exp(-i / 90) + 0.11 * sin(12.9898 * i + phase + seed) * sin(78.233 * i + 2 * seed)
            for i in range(400)
        )

    return Curve(seed, losses(0.0), (*losses(0.35)[:-1], None))


def _findings() -> tuple[Finding, ...]:
    return (
        Finding(
            "input-wait",
            "data",
            Status.FAIL,
            "The device waits for input",
            Estimate(0.262, 0.251, 0.274, "share", 6),
            {"fetch_s": 0.055, "workers": 0},
            ("whole-batch-fetch", "loader-workers"),
            "Fetch whole batches by giving the dataset a `__getitems__`.",
        ),
        Finding("shape-bug", "model", Status.PASS, "Shapes fit", None, {}, (), ""),
        Finding(
            "short-tail",
            "data",
            Status.INFORMATIVE,
            "The last batch of an epoch has 80 samples",
            None,
            {"samples": 80},
            (),
            "Pass drop_last=True if the odd batch does not matter.",
        ),
    )


def result(**changes: Any) -> Result:
    """A tune that found four settings."""
    plain = Result(
        target="train.py --epochs 20 --data ~/photos",
        facts=facts(),
        speedup=times(2.41, 2.28, 2.55, 6),
        speedup_run=times(1.87, 1.79, 1.95, 6),
        verdict=verdict(),
        kept=(
            Kept("whole-batch-fetch", "data", True, Contract.EXACT, times(1.342, 1.312, 1.373)),
            Kept("malloc-thresholds", "hardware", True, Contract.EXACT, times(1.22, 1.17, 1.27)),
            Kept("fused-update", "optimizer", True, Contract.ROUNDING, None),
            Kept("autocast-bf16", "model", True, Contract.REDUCED, times(1.33, 1.26, 1.41)),
        ),
        rejected=(
            Rejected(Setup.of({"threads": 4}), "slower than as written", times(0.83, 0.79, 0.87, 2)),
            Rejected(
                Setup.of({"compile": "default"}), "a gain above 1 % is not proven", times(1.021, 0.994, 1.049, 13)
            ),
            Rejected(
                Setup.of({"channels-last": True, "compile": "default"}),
                "faster, but the losses leave the noise band at step 212",
                times(1.38, 1.31, 1.45),
                verdict(word=Word.CHANGED, gate="trajectory", reason="outside the band", guilty=("compile",)),
            ),
        ),
        skipped={
            "pinned-memory": "there is no CUDA device to copy to",
            "cudnn-benchmark": "there is no CUDA device",
            "cudnn-deterministic": "there is no CUDA device",
            "loader-workers": "whole-batch fetch leaves nothing for workers to overlap",
        },
        levels={"exact": times(1.64, 1.58, 1.70), "rounding": None, "reduced": times(2.41, 2.28, 2.55, 6)},
        baseline=phases(0.0554, 0.0007, 0.0521, 0.0012, 0.0841, 0.0152, 0.0031),
        tuned=phases(0.0061, 0.0007, 0.0291, 0.0010, 0.0442, 0.0041, 0.0027),
        pairs=_pairs(),
        curves=tuple(_curve(seed) for seed in (11, 12, 13)),
        findings=_findings(),
        noise=0.0312,
        smallest_gain=0.0387,
        tuning_s=387.4,
        payback_steps=212,
        evaluation_share=0.114,
        peak_bytes=(1_610_612_736, 1_395_864_371),
        ceiling={"matmul_flops": 4.31e11, "copy_bytes_s": 2.87e10},
        notes=("2 blocks were run again: the machine was busy during them",),
    )
    return dataclasses.replace(plain, **changes)


def nothing(**changes: Any) -> Result:
    """A tune that tried and kept nothing."""
    empty: dict[str, Any] = {
        "speedup": None,
        "speedup_run": None,
        "verdict": None,
        "kept": (),
        "levels": {},
        "tuned": None,
        "curves": (),
        "payback_steps": None,
        "noise": 0.072,
        "smallest_gain": 0.083,
    }
    return result(**{**empty, **changes})


def asked(**changes: Any) -> Result:
    """What the user asked for costs more than the rest brings."""
    plain: dict[str, Any] = {
        "speedup": times(0.96, 0.94, 0.98),
        "speedup_run": None,
        "kept": (
            Kept("reproducible", "hardware", True, Contract.ROUNDING, None),
            Kept("fused-update", "optimizer", True, Contract.ROUNDING, times(1.05, 1.03, 1.07)),
        ),
        "asked": Setup.of({"reproducible": True}),
        "asked_speedup": times(0.91, 0.89, 0.93),
        "added_speedup": times(1.055, 1.03, 1.08),
    }
    return result(**{**plain, **changes})


def smaller(**changes: Any) -> Result:
    """A tune for memory that found one setting, and what it costs."""
    saving, speed = times(1.9, 1.88, 1.92), times(0.95, 0.93, 0.97)
    batches = (_batch(128), dataclasses.replace(_batch(256), extrapolated=300))
    plain: dict[str, Any] = {
        "goal": Goal.MEMORY,
        "saving": saving,
        "slowdown_limit": 0.1,
        "speedup": speed,
        "speedup_run": None,
        "kept": (Kept("checkpoint-modules", "model", 2, Contract.ROUNDING, speed, saving),),
        "levels": {},
        "payback_steps": None,
        "peak_bytes": (4_000_000_000, 2_105_000_000),
        "largest": batches,
    }
    return result(**{**plain, **changes})


def smaller_as_asked(**changes: Any) -> Result:
    """The same beside what the user asked for, which costs memory and time."""
    plain: dict[str, Any] = {
        "saving": times(1.85, 1.83, 1.87),
        "kept": (
            Kept("checkpoint-modules", "model", 2, Contract.ROUNDING, times(0.95, 0.93, 0.97), times(1.9, 1.88, 1.92)),
            Kept("reproducible", "hardware", True, Contract.ROUNDING, None),
        ),
        "asked": Setup.of({"reproducible": True}),
        "asked_speedup": times(0.91, 0.89, 0.93),
        "added_speedup": times(0.94, 0.92, 0.96),
        "asked_saving": times(0.97, 0.96, 0.98),
        "added_saving": times(1.91, 1.89, 1.93),
    }
    return smaller(**{**plain, **changes})


def _batch(fits: int) -> LargestBatch:
    return LargestBatch(8 << 30, "the free memory of this machine", (), fits, None, 1e6, "")


def undecided(**changes: Any) -> Result:
    """Faster, but two seeds could not tell whether it learns the same."""
    gates = (
        Gate("batches", Word.IDENTICAL, "the first 64 batches agree in content and in order"),
        Gate("trajectory", Word.UNDECIDED, "two untouched runs differ by more than the margin", gap=0.031, band=0.02),
    )
    judged = verdict(
        word=Word.UNDECIDED, reason="two untouched runs differ by more than the margin", gates=gates, seeds=2
    )
    return result(**{"verdict": judged, **changes})


def hostile() -> Result:
    """Every string that comes from outside is an attack, and the arguments hold secrets."""
    plain = result()
    gates = (Gate(HOSTILE, Word.ROUNDING, HOSTILE, step=3, parameter=HOSTILE, gap=float("nan"), band=float("inf")),)
    return dataclasses.replace(
        plain,
        target=f"train.py --password hunter2hunter2 --url https://me:letmein@host/x '{HOSTILE}'",
        facts=facts(
            script=HOSTILE,
            argv=("train.py", "--password", "hunter2hunter2", "--api-key=abc", "\udcff", HOSTILE),
            device=HOSTILE,
            machine=dataclasses.replace(plain.facts.machine, cpu=HOSTILE),
        ),
        verdict=verdict(gate=HOSTILE, reason=HOSTILE, gates=gates, guilty=(HOSTILE,)),
        kept=(Kept(HOSTILE, HOSTILE, HOSTILE, Contract.EXACT, times(1.2, 1.1, 1.3)),),
        rejected=(Rejected(Setup.of({HOSTILE: HOSTILE}), f"{HOSTILE} hunter2hunter2", times(0.9, 0.8, 1.1)),),
        skipped={HOSTILE: HOSTILE},
        pairs=(Pair(0, 1, Setup.of({HOSTILE: HOSTILE}), HOSTILE, HOSTILE, 0.2, 0.1, HOSTILE),) * 2,
        findings=(Finding(HOSTILE, HOSTILE, Status.FAIL, HOSTILE, None, {HOSTILE: HOSTILE}, (HOSTILE,), HOSTILE),),
        baseline=Phases(0.2, {HOSTILE: 0.1, "other": 0.1}),
        ceiling={HOSTILE: 1e9},
        notes=(HOSTILE, "wandb login " + "0123456789" * 4),
    )
