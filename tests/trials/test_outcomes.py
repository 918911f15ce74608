"""Every way in which a trial can end, made for real where it can be."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hotlap.records import Outcome
from hotlap.trials import cgroups
from hotlap.trials.launch import Launch, Tier, launch

from .conftest import SOURCE, Place


def test_a_step_budget_ends_the_tree_at_once(place: Place, tier: Tier):
    """The process that trains ends by itself; its relatives, deaf to SIGTERM, do not make anybody wait."""
    script = """
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", '''
import json, os
name = os.path.join(os.environ["HOTLAP_JOURNAL"], f"journal-{os.getpid()}.jsonl")
with open(name, "a") as file:
    for kind in ("hello", "steps", "end"):
        file.write(json.dumps({"kind": kind}) + chr(10))
os._exit(0)
'''])
time.sleep(60)
"""
    began = time.monotonic()
    ending = place.run(script, tier=tier)

    assert ending.outcome is Outcome.BUDGET
    assert time.monotonic() - began < 4.5


def test_an_end_line_may_name_another_outcome(place: Place):
    """What the inside found out itself, as a loss that is no number."""
    ending = place.run("say('hello'); say('end', outcome='non-finite loss', reason='loss is nan at step 3')")

    assert (ending.outcome, ending.reason) == (Outcome.NON_FINITE, "loss is nan at step 3")


def test_a_script_that_ends_by_itself(place: Place, tier: Tier):
    """It reported in and ended before its budget."""
    ending = place.run("say('hello'); say('steps'); print('done')", tier=tier)

    assert (ending.outcome, ending.exit_code, ending.signal) == (Outcome.ENDED, 0, None)
    assert ending.output_tail == "done\n"


def test_a_script_that_never_reports_in(place: Place):
    """It ended well, and hotlap was never inside."""
    assert place.run("print(1)").outcome is Outcome.NOT_REACHED


def test_an_exception_is_named(place: Place, tier: Tier):
    """The last line of the last traceback is the reason, whatever is printed after it."""
    ending = place.run(
        "import atexit; atexit.register(lambda: print('bye')); say('hello'); {}['the key']",
        tier=tier,
        extra={"PYTHONUNBUFFERED": "1"},
    )

    assert (ending.outcome, ending.exit_code) == (Outcome.EXCEPTION, 1)
    assert ending.reason == "KeyError: 'the key'"


def test_a_command_that_is_not_there(place: Place, tier: Tier):
    """Said in one line."""
    ending = place.run("", tier=tier, python="no-such-python")

    assert ending.outcome is Outcome.EXCEPTION
    assert "no-such-python" in ending.reason


@pytest.mark.parametrize(
    ("statement", "outcome"),
    [
        ("raise RuntimeError('CUDA out of memory. Tried to allocate 2.00 GiB')", Outcome.DEVICE_OOM),
        ("raise type('OutOfMemoryError', (RuntimeError,), {'__module__': 'torch'})('x')", Outcome.DEVICE_OOM),
        ("raise RuntimeError('unable to write to file </torch_12_3>: No space left (28)')", Outcome.SHARED_MEMORY),
        ("os.kill(os.getpid(), signal.SIGBUS)", Outcome.SHARED_MEMORY),
        ("os.kill(os.getpid(), signal.SIGSEGV)", Outcome.CRASH),
        ("os.abort()", Outcome.CRASH),
        ("os.kill(os.getpid(), signal.SIGILL)", Outcome.CRASH),
        ("os.kill(os.getpid(), signal.SIGKILL)", Outcome.KILLED),
        ("os._exit(139)", Outcome.CRASH),
        ("os.write(os.open('/dev/full', os.O_WRONLY), b'x')", Outcome.DISK_FULL),
        ("sys.exit('bad arguments')", Outcome.EXCEPTION),
    ],
)
def test_a_failure_is_classified(place: Place, statement: str, outcome: Outcome):
    """By the signal, or by what the last exception says."""
    ending = place.run(f"say('hello')\n{statement}")

    assert ending.outcome is outcome, ending


def test_a_failure_that_the_script_survived_is_no_cause(place: Place):
    """Only what ended it counts."""
    script = """
import traceback
try:
    raise RuntimeError("CUDA out of memory")
except RuntimeError:
    traceback.print_exc()
raise ValueError("another thing")
"""
    ending = place.run(script)

    assert (ending.outcome, ending.reason) == (Outcome.EXCEPTION, "ValueError: another thing")


def test_a_port_in_use(place: Place):
    """A fixed port that somebody else has."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ending = place.run(f"import socket; socket.socket().bind(('127.0.0.1', {port}))")

    assert ending.outcome is Outcome.PORT_IN_USE


def test_a_full_scratch_layer(place: Place, overlay: Tier):
    """Shared memory of the trial's own is as large as the machine's, and as full."""
    script = """
say('hello')
with open('/dev/shm/big', 'wb') as file:
    os.posix_fallocate(file.fileno(), 0, os.statvfs('/dev/shm').f_blocks * os.statvfs('/dev/shm').f_frsize * 2)
"""
    ending = place.run(script, tier=overlay)

    assert ending.outcome is Outcome.DISK_FULL
    assert not Path("/dev/shm/big").exists()


@pytest.mark.parametrize(
    ("script", "limits", "says"),
    [
        ("say('hello'); time.sleep(60)", {"startup_s": 0.5}, "no training step"),
        ("say('hello'); say('steps'); time.sleep(60)", {"quiet_s": 0.5}, "no progress"),
        ("say('steps')\nwhile True: time.sleep(0.05); say('steps')", {"total_s": 0.8}, "not finished"),
    ],
)
def test_a_hang_says_which_timer(place: Place, script: str, limits: dict[str, float], says: str):
    """Start-up, progress or total."""
    ending = place.run(script, **limits)

    assert ending.outcome is Outcome.HANG
    assert says in ending.reason


def test_signs_of_life_extend_the_start(place: Place):
    """A slow import or a long compile is no hang while it reports."""
    ending = place.run("for _ in range(8): time.sleep(0.2); say('compiling')\nsay('steps'); say('end')", startup_s=0.8)

    assert ending.outcome is Outcome.BUDGET


def test_host_memory_is_told_from_other_kills(place: Place):
    """The kernel's own count of kills is the evidence."""
    group = Path("/sys/fs/cgroup/memory") / f"hotlap-test-{os.getpid()}"
    try:
        group.mkdir()
        (group / "memory.limit_in_bytes").write_text(str(200 << 20))
    except OSError as error:
        if group.exists():
            group.rmdir()
        pytest.skip(f"no memory cgroup of one's own: {error}")
    try:
        request = place.request("say('hello'); x = bytearray(1 << 30)\nfor i in range(0, 1 << 30, 4096): x[i] = 1")
        code = f"import os; open('{group}/cgroup.procs', 'w').write(str(os.getpid())); import driver"
        process = subprocess.run(
            [sys.executable, "-c", code],
            input=json.dumps(request, default=os.fspath).encode(),
            stdout=subprocess.PIPE,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": f"{SOURCE}:{Path(__file__).parent}"},
            check=True,
        )
    finally:
        place.wait_for(lambda: not (group / "cgroup.procs").read_text())
        group.rmdir()

    assert json.loads(process.stdout)["outcome"] == Outcome.HOST_OOM.value


def test_the_count_of_kills_is_read():
    """Whatever version of cgroups the machine has."""
    assert cgroups.oom_kills() >= 0


def test_the_ending_is_written_beside_the_journals(place: Place):
    """For a reader who comes later; no environment in it, and none anywhere else."""
    request = place.request("say('hello'); print('x')", extra={"API_TOKEN": "canary-secret"})
    launch(Launch(**request))

    folder: Path = request["folder"]
    assert json.loads((folder / "ending.json").read_text())["outcome"] == Outcome.ENDED.value
    assert (folder / "output.log").read_bytes() == b"x\n"
    assert not any(b"canary-secret" in path.read_bytes() for path in folder.iterdir())


def test_stdin_is_empty_and_the_command_is_the_users(place: Place):
    """A script that asks for input gets none; the environment is exactly what was handed over, and three names."""
    ending = place.run("print(repr(sys.stdin.read()), sys.argv, sorted(os.environ))", ("--x", "a b"))

    assert ending.output_tail.startswith("'' ['train.py', '--x', 'a b']")
    assert "LD_LIBRARY_PATH" not in ending.output_tail


def test_a_script_that_asks_for_the_terminal_finds_one_of_the_users_size(place: Place, monkeypatch: pytest.MonkeyPatch):
    """Where the user sits at one: it has nothing to say, and it waits for nobody."""
    monkeypatch.setattr("hotlap.trials.launch._terminal", lambda: (91, 17))
    asks = (
        "print(sys.stdin.isatty(), os.popen('stty size').read().split(), repr(sys.stdin.read()), repr(os.read(0, 9)))"
    )
    ending = place.run(f"{asks}\ntry: input()\nexcept EOFError: print('no answer')")

    assert ending.output_tail.split("\n")[:2] == ["True ['17', '91'] '' b''", "no answer"]
