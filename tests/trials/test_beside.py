"""Trials side by side: all of them, one way or another, and none left behind."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from facts import facts
from machine import recording

from hotlap.records import AS_WRITTEN, Outcome, Setup, Trial
from hotlap.target import resolve
from hotlap.trials import beside
from hotlap.trials.launch import best_tier
from hotlap.trials.runner import ProcessRunner
from hotlap.trials.sandbox import Tier

TRIALS = [Trial(f"{number:04d}", "noise", AS_WRITTEN, 0, 0, 6, 60.0) for number in range(4)]
SERIAL = recording(0.0, 1)


class Together:
    """Ends a trial only when as many as asked for are under way; the third fails in company."""

    def __init__(self, company: int) -> None:
        self.meeting = threading.Barrier(company, timeout=20)
        self.ran: list[tuple[str, bool]] = []
        self.slow = ""

    def run(self, trial: Trial, _: object) -> Any:
        alone = threading.current_thread() is threading.main_thread()
        self.ran.append((trial.id, alone))
        if not alone:
            self.meeting.wait()
        failed = not alone and trial.id == "0002"
        wall_s = trial.limit_s if not alone and trial.id == self.slow else 1.0
        return replace(SERIAL, trial=trial, outcome=Outcome.DEVICE_OOM if failed else Outcome.BUDGET, wall_s=wall_s)


def test_they_share_the_machine_and_what_failed_in_company_runs_alone() -> None:
    runner: Any = Together(company=2)
    ended = [(trial.id, record.outcome) for trial, record in beside.run(runner, TRIALS, None, most=2)]

    assert sorted(ended) == [(trial.id, Outcome.BUDGET) for trial in TRIALS]
    assert ended[-1][0] == "0002"
    assert sorted(runner.ran) == sorted([*((t.id, False) for t in TRIALS), ("0002", True)])


def test_one_at_a_time_needs_no_thread() -> None:
    runner: Any = Together(company=1)

    assert [trial for trial, _ in beside.run(runner, TRIALS, None, most=1)] == TRIALS
    assert all(alone for _, alone in runner.ran)


def test_an_interruption_ends_them_all(tmp_path: Path) -> None:
    """Those under way are ended in order, and those that wait never start."""
    (tmp_path / "train.py").write_text("import torch, time\nopen('/dev/shm/x', 'w')\ntime.sleep(600)\n")
    target = resolve((str(tmp_path / "train.py"),), sys.executable, tmp_path)
    runner = ProcessRunner(target, tmp_path / "out", best_tier()[0])
    interrupt = threading.Timer(4.0, os.kill, (os.getpid(), signal.SIGINT))
    interrupt.start()
    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        list(beside.run(runner, TRIALS, None, most=2))

    assert time.monotonic() - begun < 60  # and not the ten minutes that the script would sleep
    assert not [p for p in psutil.process_iter(["cmdline"]) if str(tmp_path) in str(p.info["cmdline"])]
    assert sorted(path.name for path in (tmp_path / "out" / "trials").iterdir()) == ["0000", "0001"]


def test_threads_of_what_is_not_timed_leave_their_cores_to_others(tmp_path: Path) -> None:
    """Whatever the user or a knob has set; what is timed keeps that."""
    (tmp_path / "train.py").write_text("import os, torch\nprint('policy', os.environ.get('OMP_WAIT_POLICY'))\n")
    runner = ProcessRunner(
        resolve((str(tmp_path / "train.py"),), sys.executable, tmp_path), tmp_path / "out", Tier.NONE
    )
    setup = Setup.of({"wait-policy": "active"})
    arm = Trial(
        "0001",
        "candidate",
        setup,
        0,
        0,
        6,
        60.0,
        options={"compare": "1,2", "reference": "reference-0", "aligned": False},
    )
    timed = Trial("0002", "time", setup, 0, 0, 6, 60.0)
    runner.run(arm)
    runner.run(timed)
    said = [(runner.folder(trial) / "output.log").read_text() for trial in (arm, timed)]

    assert [text.split()[-1] for text in said] == ["passive", "active"]


def test_what_was_stopped_by_the_clock_in_company_runs_alone() -> None:
    """It shared its cores, and may have got as far as it was asked to without the others."""
    runner: Any = Together(company=2)
    runner.slow = "0001"
    ended = [trial.id for trial, _ in beside.run(runner, TRIALS, None, most=2)]

    assert ended[-2:] in (["0001", "0002"], ["0002", "0001"])
    assert ("0001", True) in runner.ran


CPU = facts(machine={"cores": 16}, threads=1)
OBSERVED = replace(SERIAL, facts=CPU, startup_s=3.0)


@pytest.mark.parametrize(
    ("change", "at_once"),
    [
        ({}, beside._MOST),
        ({"facts": facts(machine={"cores": 2}, threads=1)}, 2),
        ({"facts": facts(machine={"cores": 2}, threads=2)}, 2),
        ({"facts": facts(machine={"cores": 2}, threads=2), "startup_s": 0.3}, 1),
        ({"facts": facts(machine={"cores": 1}, threads=1)}, 1),
        ({"facts": facts(machine={"cores": 16, "quota": 3.0}, threads=16)}, 3),
        ({"facts": replace(CPU, world_size=2)}, 1),
        ({"processes": 4}, 1),
        ({"startup_s": None}, 1),
        ({"peak_bytes": 1 << 60}, 1),
        ({"facts": facts(machine={"cores": 16}, device="NVIDIA H100"), "cuda_peak_bytes": 60 << 30}, 1),
        ({"facts": facts(machine={"cores": 16}, device="NVIDIA H100"), "cuda_peak_bytes": 4 << 30}, 7),
    ],
)
def test_as_many_as_there_is_room_for(change: dict[str, Any], at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beside, "room", lambda: (100 << 30, ""))
    monkeypatch.setattr(beside, "device_room", lambda: 70 << 30)

    assert beside.room_for(replace(OBSERVED, **change)) == at_once
