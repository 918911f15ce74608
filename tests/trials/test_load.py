"""What the machine did besides a trial."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from results import result

from hotlap.records import AS_WRITTEN, Trial
from hotlap.report import words
from hotlap.target import resolve
from hotlap.trials.launch import best_tier
from hotlap.trials.load import OTHERS, STOLEN, THROTTLED, Counters, load
from hotlap.trials.runner import ProcessRunner

BEFORE = Counters(busy_s=100.0, stolen_s=1.0, own_s=10.0, periods=10, throttled=2, cores=4)
_BUSY = "import time\nend = time.monotonic() + {}\nwhile time.monotonic() < end: pass"


def test_shares_are_of_what_was_not_the_trials_own() -> None:
    """Ten seconds on four cores: 24 s of work, 14 of them the trial's; a second stolen; half the periods throttled."""
    after = Counters(busy_s=124.0, stolen_s=2.0, own_s=24.0, periods=110, throttled=52, cores=4)

    assert load(BEFORE, after, 10.0) == {OTHERS: 0.25, STOLEN: 0.025, THROTTLED: 0.5}


def test_an_idle_machine_has_nothing_to_tell() -> None:
    """Nor one whose kernel counts none of it."""
    assert load(BEFORE, replace(BEFORE, busy_s=103.0, own_s=13.0), 2.0) == {}


@pytest.mark.alone
def test_a_childs_own_work_is_no_load(tmp_path: Path) -> None:
    """A busy neighbour is told from the trial itself, whose tree may be as busy."""
    script = tmp_path / "train.py"
    script.write_text(_BUSY.format(2.0))
    runner = ProcessRunner(resolve((str(script),)), tmp_path / "out", best_tier()[0])
    trial = Trial("0001-time", "time", AS_WRITTEN, 0, 0, 0, 30.0)

    def shares() -> float:
        before, began_s = Counters.read(), time.monotonic()
        with pytest.raises(Exception, match="never got inside"):
            runner.run(trial)
        return load(before, Counters.read(), time.monotonic() - began_s).get(OTHERS, 0.0)

    with subprocess.Popen([sys.executable, "-c", _BUSY.format(60.0)]) as neighbour:
        busy = shares()
        neighbour.kill()

    assert busy - shares() > 0.5 * 0.5 / Counters.read().cores


def test_a_noisy_machine_is_told_why() -> None:
    """In the sentence that says how noisy it is; small shares are not worth a word."""
    noisy = replace(result(), noise=0.2, load={OTHERS: 0.31, STOLEN: 0.04, THROTTLED: 0.001})

    assert "Meanwhile other processes used 31 % of its CPU time, the host took 4.0 % of it away." in words.noise(noisy)
    assert "Meanwhile" not in words.noise(replace(noisy, load={}))
