"""The command line on real scripts, as a user meets it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from scripts import SCRIPTS

HOTLAP = (sys.executable, "-m", "hotlap")
EMPTY_PLAN = """
schema = 1

[plan]
date = 2026-01-01
script = "train.py"
script_sha256 = ""
argv = ["train.py"]
torch = "2.13.0"
python = "python"
device = "cpu"
machine = { cpu = "any", cores = 1 }
"""


def hotlap(*arguments: str, cwd: Path, before: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Run the command line to its end."""
    command = [*before, *HOTLAP, *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=500, check=False)


def copied(script: str, folder: Path) -> Path:
    """A folder of its own for a script."""
    folder.mkdir(exist_ok=True)
    shutil.copy(SCRIPTS / script, folder / "train.py")
    return folder


def tree(folder: Path) -> dict[str, str]:
    """Every file and folder below, with its content's hash, but for hotlap's own."""
    found: dict[str, str] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if not name.startswith((".hotlap", "hotlap.toml")):
            content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
            found[name] = f"{content} {path.stat().st_mode} {path.stat().st_mtime_ns}"
    return found


def finished(done: subprocess.CompletedProcess[str]) -> bool:
    """The tune went to its end, whether or not the machine was quiet enough for an answer."""
    return done.returncode in {0, 1} and "report: " in done.stderr + done.stdout


def test_nothing_to_gain_is_an_answer(tmp_path: Path) -> None:
    """A script whose steps wait for something else gets an empty plan, in words, and exit code 0."""
    folder = copied("sleeper.py", tmp_path / "work")
    done = hotlap("tune", "--budget", "300s", "train.py", cwd=folder)

    assert done.returncode == 0, done.stderr
    assert "othing to gain" in done.stdout
    assert "[[settings]]" not in (folder / "hotlap.toml").read_text()
    document = json.loads((folder / ".hotlap/train/report.json").read_text())
    assert document["settings"] == []
    assert document["speedup"] is None


@pytest.mark.parametrize("user", ["root", "ordinary"])
def test_trials_leave_every_file_as_it_was(tmp_path: Path, user: str) -> None:
    """Checkpoints, logs, deletions, in the folder, beside the script and at an absolute path: none of it lasts."""
    before: tuple[str, ...] = ()
    if user == "ordinary" and os.geteuid() == 0:
        before = ("unshare", "--user", "--map-user=1000", "--map-group=1000")
        if subprocess.run([*before, "true"], capture_output=True, check=False).returncode:
            pytest.skip("this kernel lets nobody play an ordinary user")
    elif user == "root" and os.geteuid() != 0:
        pytest.skip("not root")
    folder, elsewhere, scripts = tmp_path / "work", tmp_path / "elsewhere", copied("writer.py", tmp_path / "scripts")
    for where in (folder, elsewhere):
        where.mkdir()
        for name in ("keep.txt", "old.txt", "renamed.txt"):
            (where / name).write_text("as it was")
    (scripts / "beside.log").write_text("as it was")
    was = tree(tmp_path)
    arguments = ("tune", "--budget", "120s", "--only", "fused-update", str(scripts / "train.py"), str(elsewhere))
    done = hotlap(*arguments, cwd=folder, before=before)

    assert finished(done), done.stderr
    now = {name: what for name, what in tree(tmp_path).items() if ".hotlap" not in name and "hotlap.toml" not in name}
    was.pop("work", None), now.pop("work", None)  # hotlap's own folder and plan were put there
    assert now == was


def test_a_typo_in_the_script_is_the_scripts_own_error(tmp_path: Path) -> None:
    """The message names the exception and where the output is; the exit code is 1."""
    (tmp_path / "train.py").write_text("import torch\nmodel = torch.nn.Liner(2, 2)\n")
    done = hotlap("tune", "train.py", cwd=tmp_path)

    assert done.returncode == 1
    assert "Liner" in done.stderr
    assert "output.log" in done.stderr


def test_an_option_behind_the_script_is_the_scripts(tmp_path: Path) -> None:
    """Which may not know it; then the message says where hotlap's own belong."""
    (tmp_path / "train.py").write_text("import argparse, torch\nargparse.ArgumentParser().parse_args()\n")
    done = hotlap("tune", "train.py", "--budget", "60s", cwd=tmp_path)

    assert done.returncode == 1
    assert "unrecognized arguments: --budget 60s" in done.stderr
    assert "options of hotlap's own come before the script" in done.stderr


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("print('no torch here')\n", "hotlap never got inside"),
        ("import torch\nprint(torch.zeros(2))\n", "took no training step"),
        (
            (
                "import torch\nw = torch.nn.Parameter(torch.ones(2))\no = torch.optim.SGD([w], lr=0.1)\n"
                "for _ in range(4):\n    w.sum().backward()\n    o.step()\n"
            ),
            "training steps: 4",
        ),
    ],
    ids=["no torch", "no step", "too short"],
)
def test_what_cannot_be_timed_is_said(tmp_path: Path, text: str, words: str) -> None:
    """A script that never trains, or not for long, gets a clear answer with what was seen."""
    (tmp_path / "train.py").write_text(text)
    done = hotlap("tune", "--budget", "60s", "train.py", cwd=tmp_path)

    assert done.returncode == 1
    assert words in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("tune",), "Missing argument"),
        (("tune", "trian.py"), "Did you mean train.py?"),
        (("tune", "--budget", "soon", "train.py"), "90s, 5m or 1h"),
        (("tune", "--only", "fused", "train.py"), "fused-update"),
        (("tune", "--set", "threads=many", "train.py"), "whole number"),
        (("tune", "--allow", "wild", "train.py"), "exact, rounding, reduced"),
        (("tune", "--python", "/no/python", "train.py"), "no interpreter"),
    ],
)
def test_bad_usage_is_two_and_says_what_to_do(tmp_path: Path, arguments: tuple[str, ...], words: str) -> None:
    """Exit code 2, the mistake and the way out."""
    (tmp_path / "train.py").write_text("import torch\n")
    done = hotlap(*arguments, cwd=tmp_path)

    assert done.returncode == 2, done.stderr
    assert words in done.stderr


PLAN = """
schema = 1

[plan]
date = 2026-01-01
script = "train.py"
script_sha256 = "{sha}"
argv = ["train.py"]
torch = "{torch}"
python = "python"
device = "cpu"
machine = {{ cpu = "any", cores = 1 }}

[[settings]]
knob = "{knob}"
value = true
contract = "rounding"
"""

TRAINS = """
import sys
import torch

weight = torch.nn.Parameter(torch.ones(3))
optimizer = torch.optim.AdamW([weight], lr=0.1)
weight.sum().backward()
optimizer.step()
print("fused", optimizer.param_groups[0]["fused"], "saved", optimizer.state_dict()["param_groups"][0]["fused"])
print("argv", sys.argv, "main", __name__)
print("to stderr", file=sys.stderr)
sys.exit(int(sys.argv[1]))
"""


def planned(folder: Path, script: str, knob: str = "fused-update", torch: str | None = None) -> None:
    """A script and a plan for it."""
    from hotlap.versions import torch_version

    (folder / "train.py").write_text(script)
    sha = hashlib.sha256(script.encode()).hexdigest()
    version = torch or torch_version(sys.executable)
    (folder / "hotlap.toml").write_text(PLAN.format(sha=sha, torch=version, knob=knob))


@pytest.mark.parametrize("code", [0, 7])
def test_run_is_the_script_under_the_plan(tmp_path: Path, code: int) -> None:
    """Arguments, output and exit code are the script's own; the plan is in force and leaves no trace in checkpoints."""
    planned(tmp_path, TRAINS)
    done = hotlap("run", "train.py", str(code), "--epochs", "3", cwd=tmp_path)

    assert done.returncode == code, done.stderr
    assert "fused True saved None" in done.stdout
    assert f"argv ['train.py', '{code}', '--epochs', '3'] main __main__" in done.stdout
    assert "to stderr" in done.stderr
    assert "another machine: any (1 cores) in the plan" in done.stderr


def losses(command: tuple[str, ...], folder: Path) -> list[str]:
    """Of two runs at the same time."""
    runs = [subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [run.communicate(timeout=200)[0] for run in runs]

    assert [run.returncode for run in runs] == [0, 0]
    assert all(text.count("\n") == 16 for text in said)
    return said


def test_run_twice_is_the_same_training(tmp_path: Path) -> None:
    """Unseeded, with dropout, shuffling and noise from three libraries in loader workers."""
    planned(tmp_path, (SCRIPTS / "unseeded.py").read_text(), "reproducible")
    one, other = losses((*HOTLAP, "run", "train.py"), tmp_path)

    assert one == other


@pytest.mark.slow
def test_without_the_plan_it_is_another_training(tmp_path: Path) -> None:
    """So that the test above can fail."""
    (tmp_path / "train.py").write_text((SCRIPTS / "unseeded.py").read_text())
    one, other = losses((sys.executable, "train.py"), tmp_path)

    assert one != other


def test_run_passes_signals_through(tmp_path: Path) -> None:
    """The process that the user signals is the training itself."""
    planned(tmp_path, "import time\nimport torch\nprint('ready', flush=True)\ntime.sleep(60)\n")
    with subprocess.Popen([*HOTLAP, "run", "train.py"], cwd=tmp_path, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "ready\n"
        running.send_signal(signal.SIGTERM)

        assert running.wait(20) == -signal.SIGTERM


def test_run_refuses_a_plan_for_another_torch(tmp_path: Path) -> None:
    """125 is hotlap's own failure; --anyway applies it all the same."""
    planned(tmp_path, TRAINS, torch="2.0.0")
    done = hotlap("run", "train.py", "0", cwd=tmp_path)

    assert done.returncode == 125
    assert "another version of torch" in done.stderr

    assert hotlap("run", "--anyway", "train.py", "0", cwd=tmp_path).returncode == 0


def test_run_without_a_plan_says_how_to_get_one(tmp_path: Path) -> None:
    """There is nothing to apply yet."""
    (tmp_path / "train.py").write_text(TRAINS)
    done = hotlap("run", "train.py", "0", cwd=tmp_path)

    assert done.returncode == 125
    assert "hotlap tune" in done.stderr


def test_check_shows_phases_that_sum_to_the_step(tmp_path: Path) -> None:
    """One document on stdout, and nothing else there."""
    folder = copied("conv_norm.py", tmp_path / "work")
    done = hotlap("check", "--json", "--budget", "10s", "train.py", cwd=folder)

    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    phases = document["phases"]
    assert sum(phases["phases_s"].values()) == pytest.approx(phases["total_s"])
    assert document["facts"]["roots"][0]["name"] == "torch.nn.modules.container:Sequential"
    assert document["facts"]["stochastic"] is True
    assert not (folder / ".hotlap/train/logbook.jsonl").exists()  # that of a tune is not replaced


@pytest.mark.parametrize("id_", ["fused-update", "input-wait"])
def test_explains_knobs_and_audits(tmp_path: Path, id_: str) -> None:
    """By their ids."""
    done = hotlap("explain", id_, cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    assert id_ in done.stdout


@pytest.mark.slow
def test_an_interrupted_tune_goes_on_where_it_was(tmp_path: Path) -> None:
    """Ctrl-C leaves nobody behind, exits with 130 and names the way on; --resume runs no trial twice."""
    folder = copied("conv_norm.py", tmp_path / "work")
    arguments = ("--budget", "300s", "--only", "fused-update", "train.py")
    with subprocess.Popen([*HOTLAP, "tune", *arguments], cwd=folder, stderr=subprocess.PIPE, text=True) as running:
        logbook = folder / ".hotlap/train/logbook.jsonl"
        while not (logbook.exists() and logbook.read_text().count('"kind":"recording"') >= 2):
            assert running.poll() is None
            time.sleep(0.1)
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=30)

    assert running.returncode == 130
    assert "--resume" in said
    assert not [p for p in Path("/proc").glob("[0-9]*/cmdline") if str(folder).encode() in p.read_bytes()]
    before = logbook.read_text().count('"kind":"recording"')

    done = hotlap("tune", "--resume", *arguments, cwd=folder)
    assert finished(done), done.stderr
    ids = [
        json.loads(line)["recording"]["trial"]["id"]
        for line in logbook.read_text().splitlines()
        if '"recording"' in line
    ]
    assert len(ids) == len(set(ids)) > before
    assert sum(name.endswith("observe") for name in ids) == 1


@pytest.mark.slow
@pytest.mark.usefixtures("miscompiled")
def test_verify_names_what_a_setting_breaks(tmp_path: Path) -> None:
    """torch.compile's zero gradients: exit code 3, with the first parameter and the step of the small batch."""
    folder = copied("conv_pool.py", tmp_path / "work")
    done = hotlap("verify", "--json", "--set", "compile", "train.py", cwd=folder)

    assert done.returncode == 3, done.stderr
    document = json.loads(done.stdout)
    assert (document["same"], document["faster"], document["exit_code"]) == (False, None, 3)
    assert document["first_difference"]["step"] == 4
    assert document["first_difference"]["parameter"].startswith("conv")
    assert document["judgement"]["guilty"] == ["compile"]
    assert not (folder / "hotlap.toml").exists()


@pytest.mark.slow
def test_what_the_system_leaks_into_a_training_is_found(tmp_path: Path) -> None:
    """Asked to repeat it, verify says no, where and in what; tune says so before it searches, and writes no plan."""
    backward = "            loss.backward()\n"
    leak = "            model[0].bias.grad += os.urandom(1)[0] * 1e-3\n"
    script = (SCRIPTS / "unseeded.py").read_text().replace(backward, backward + leak)
    (tmp_path / "train.py").write_text(f"import os\n{script}")
    done = hotlap("verify", "--json", "--set", "reproducible=true", "train.py", cwd=tmp_path)

    assert done.returncode == 3, done.stderr
    document = json.loads(done.stdout)
    assert (document["same"], document["faster"], document["verdict"]) == (False, None, "undecided")
    assert document["first_difference"]["name"] == "repetition"
    assert document["first_difference"]["step"] == 1
    assert document["first_difference"]["parameter"].endswith("0.bias")

    done = hotlap("tune", "--set", "reproducible=true", "train.py", cwd=tmp_path)
    assert done.returncode == 1
    assert "part at step 1" in done.stderr
    assert "not-reproducible" in done.stderr
    assert not (tmp_path / "hotlap.toml").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("miscompiled")
def test_tune_drops_what_breaks_learning_and_goes_on(tmp_path: Path) -> None:
    """torch.compile's zero gradients, asked for by the user: dropped and named, and what is left is judged alone."""
    folder = copied("conv_pool.py", tmp_path / "work")
    done = hotlap("tune", "--budget", "180s", "--set", "compile=true", "--only", "fused-update", "train.py", cwd=folder)

    assert finished(done), done.stderr
    document = json.loads((folder / ".hotlap/train/report.json").read_text())
    out = next(r for r in document["rejected"] if r["setup"] == {"compile": True})
    assert out["verdict"] == "changed"
    assert out["reason"].startswith("changes learning: conv")
    assert "compile" not in {setting["knob"] for setting in document["settings"]}
    assert document["speedup"] is None or document["speedup"]["low"] > 1


@pytest.mark.slow
def test_tune_for_memory_finds_what_run_then_saves(tmp_path: Path) -> None:
    """Activations are most of it: checkpointing every block nearly halves the peak, and the bits are the same."""
    folder = copied("deep.py", tmp_path / "work")
    only = ("--only", "checkpoint-modules", "--slowdown", "150%", "--budget", "480s")
    done = hotlap("tune", "--goal", "memory", *only, "train.py", cwd=folder)

    assert finished(done), done.stderr
    if done.returncode:
        pytest.skip("this machine is too busy for an answer: nothing of it was checked")
    document = json.loads((folder / ".hotlap/train/report.json").read_text())
    assert [s["knob"] for s in document["settings"]] == ["checkpoint-modules"], document["rejected"]
    assert document["saving"]["low"] > 1.02
    assert document["speedup"]["low"] > 1 / 2.5
    assert document["verdict"] == "identical"
    assert document["peak_bytes"]["tuned"] < 0.75 * document["peak_bytes"]["baseline"]
    assert 'goal = "memory"' in (folder / "hotlap.toml").read_text()
    plain = [int(subprocess.check_output([sys.executable, "train.py", "6"], cwd=folder)) for _ in range(5)]
    under = hotlap("run", "train.py", "6", cwd=folder)
    # What glibc has not handed back counts too, and makes a tenth of difference from run to run.
    assert int(under.stdout) < 0.9 * sum(plain) / len(plain), under.stderr


@pytest.mark.slow
def test_a_script_that_repeats_no_block_has_nothing_to_save(tmp_path: Path) -> None:
    """An answer, with the reason and the bar; the plan is empty."""
    folder = copied("deep.py", tmp_path / "work")
    only = ("--only", "checkpoint-modules", "--budget", "120s")
    done = hotlap("tune", "--goal", "memory", *only, "train.py", "flat", cwd=folder)

    assert done.returncode == 0, done.stderr
    assert "Nothing to gain here: no setting that can save memory fits this script" in " ".join(done.stdout.split())
    document = json.loads((folder / ".hotlap/train/report.json").read_text())
    assert "repeats no block" in document["skipped"]["checkpoint-modules"]
    assert (document["settings"], document["saving"], document["goal"]) == ([], None, "memory")


@pytest.mark.slow
def test_where_losses_tell_nothing_it_is_undecided(tmp_path: Path) -> None:
    """Lower precision in a GAN passes the first steps, and nothing shows that it learns the same: no answer."""
    folder = copied("gan.py", tmp_path / "work")
    done = hotlap("verify", "--json", "--budget", "150s", "--set", "autocast-bf16", "train.py", cwd=folder)

    document = json.loads(done.stdout)
    assert document["same"] is not True, document["judgement"]
    assert document["verdict"] in ("undecided", "changed")


@pytest.mark.parametrize(
    ("arguments", "code", "slug"),
    [
        (("--plan", "none.toml"), 2, "plan-missing"),
        (("--plan", "none.toml", "--set", "compile"), 2, "bad-choice"),
        (("--set", "compil"), 2, "unknown-knob"),
        (("--set", "compile=maybe"), 2, "bad-setting"),
        (("--plan", "empty.toml"), 2, "nothing-to-verify"),
    ],
)
def test_verify_asks_for_something_to_verify(tmp_path: Path, arguments: tuple[str, ...], code: int, slug: str) -> None:
    """Before any trial is run."""
    folder = copied("conv_pool.py", tmp_path / "work")
    (folder / "empty.toml").write_text(EMPTY_PLAN)
    done = hotlap("verify", *arguments, "train.py", cwd=folder)

    assert done.returncode == code, done.stderr
    assert slug in done.stderr
    assert not list(folder.rglob("logbook.jsonl"))


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["0", "2"])
def test_cached_samples_under_a_plan(tmp_path: Path, workers: str) -> None:
    """Four epochs over a folder of JPEG files print the same numbers, to the last digit, and nothing is said."""
    folder = copied("photos.py", tmp_path / "project")
    arguments = ["train.py", str(tmp_path / "photos"), workers]
    plain = subprocess.run([sys.executable, *arguments], cwd=folder, capture_output=True, text=True, check=True)
    plan = EMPTY_PLAN + '[[settings]]\nknob = "sample-cache"\nvalue = true\ncontract = "exact"\n'
    (folder / "hotlap.toml").write_text(plan)
    done = hotlap("run", "--anyway", *arguments, cwd=folder)

    assert done.returncode == 0, done.stderr
    assert len(plain.stdout.splitlines()) == 20
    assert done.stdout == plain.stdout
    assert "could not be applied" not in done.stderr
    assert ("160 images" in plain.stderr, "56 images" in done.stderr) == (workers == "0",) * 2  # 40, and 2 batches anew
