"""Nobody of a trial outlives it, however it was started and whoever dies first."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from hotlap.records import Outcome
from hotlap.trials import tree
from hotlap.trials.launch import Tier

from .conftest import Place

sandboxed = pytest.mark.parametrize("tier", [Tier.OVERLAY, Tier.COPY], indirect=True)
# Deaf to SIGTERM, with a daemon, and with ranks in sessions of their own.
FAMILY = """
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(100)
    os._exit(0)
for _ in range(3):
    subprocess.Popen([sys.executable, "-c", "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(100)"],
                     start_new_session=True)
if os.fork() == 0:
    os.setpgid(0, 0)
    time.sleep(100)
say("hello")
"""


def test_a_script_that_ends_leaves_nobody(place: Place, tier: Tier):
    """Daemons and children in new sessions end with it."""
    began = time.monotonic()
    ending = place.run(FAMILY, tier=tier)

    assert ending.outcome is Outcome.ENDED
    assert time.monotonic() - began < 4.5


@sandboxed
def test_a_hung_family_is_ended(place: Place, tier: Tier):
    """Asked first, then killed."""
    began = time.monotonic()
    ending = place.run(FAMILY + "time.sleep(100)", tier=tier, total_s=0.5)

    assert ending.outcome is Outcome.HANG
    assert 5 <= time.monotonic() - began < 15


def test_sigterm_comes_first(place: Place, tier: Tier):
    """A script that listens ends in its own way, and at once."""
    script = """
def leave(number, frame):
    print("asked to end", flush=True)
    os._exit(3)
signal.signal(signal.SIGTERM, leave)
say("hello")
time.sleep(100)
"""
    ending = place.run(script, tier=tier, total_s=0.5)

    assert (ending.outcome, ending.exit_code, ending.output_tail) == (Outcome.HANG, 3, "asked to end\n")


def _running(place: Place, tier: Tier) -> tuple[subprocess.Popen[bytes], Path]:
    request = place.request(FAMILY + "time.sleep(100)", tier=tier)
    process = place.driver(request)
    place.wait_for(lambda: len(place.left()) >= 6)
    return process, request["folder"]


@sandboxed
def test_a_killed_parent_takes_the_trial_along(place: Place, tier: Tier):
    """Even SIGKILL: the supervisor sees the end of its pipe."""
    process, _ = _running(place, tier)
    process.kill()
    process.communicate()

    place.wait_for(lambda: not place.left())


@sandboxed
def test_a_killed_supervisor_takes_the_trial_along(place: Place, tier: Tier):
    """The keeper sees the end of its pipe, and the parent says what happened."""
    process, _ = _running(place, tier)
    (supervisor,) = _children(process.pid)
    os.kill(supervisor, signal.SIGKILL)
    out, _ = process.communicate(timeout=20)

    assert json.loads(out)["outcome"] == Outcome.KILLED.value
    place.wait_for(lambda: not place.left())


@sandboxed
def test_a_killed_keeper_takes_the_trial_along(place: Place, tier: Tier):
    """The supervisor sweeps up."""
    process, _ = _running(place, tier)
    (supervisor,) = _children(process.pid)
    (keeper,) = _children(supervisor)
    os.kill(keeper, signal.SIGKILL)
    out, _ = process.communicate(timeout=20)

    assert json.loads(out)["outcome"] == Outcome.KILLED.value
    assert place.left() == []


@sandboxed
def test_an_interruption_ends_the_trial_first(place: Place, tier: Tier):
    """Ctrl-C reaches the parent only; it raises when nobody is left."""
    process, _ = _running(place, tier)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=20)

    assert json.loads(out) == "interrupted"
    assert place.left() == []


@sandboxed
def test_a_terminated_supervisor_says_interrupted(place: Place, tier: Tier):
    """Somebody ends the supervisor in order."""
    process, _ = _running(place, tier)
    (supervisor,) = _children(process.pid)
    os.kill(supervisor, signal.SIGTERM)
    out, _ = process.communicate(timeout=20)

    assert json.loads(out)["outcome"] == Outcome.INTERRUPTED.value
    assert place.left() == []


def test_a_script_that_kills_everything_it_may_see(place: Place, overlay: Tier):
    """In its own PID namespace that is only itself."""
    script = "say('hello'); subprocess.Popen(['sleep', '100']); os.kill(-1, signal.SIGKILL)"
    ending = place.run(script, tier=overlay)

    assert ending.outcome is Outcome.ENDED


def test_a_script_that_execs_and_closes_everything(place: Place, tier: Tier):
    """It is the same process, and its end is seen."""
    script = """
os.closerange(0, 100)
os.execv(sys.executable, [sys.executable, "-c", "import time; time.sleep(0.2)"])
"""
    assert place.run(script, tier=tier).outcome is Outcome.NOT_REACHED


def test_a_number_given_to_another_process_is_not_signalled():
    """A member is its number and its start."""
    process = tree.look(os.getpid())
    assert process is not None
    tree.send({os.getpid(): process.start - 1}, signal.SIGKILL)


def _children(parent: int) -> list[int]:
    found = [int(folder.name) for folder in Path("/proc").iterdir() if folder.name.isdigit()]
    return [pid for pid in found if (process := tree.look(pid)) and process.parent == parent]
