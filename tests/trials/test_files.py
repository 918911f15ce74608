"""Trials leave the user's files byte for byte as they were."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hotlap.records import Outcome
from hotlap.trials.launch import Tier

from .conftest import SOURCE, Nobody, Place, snapshot

# Everything that a training script does to files, in its working folder, its own folder and the home folder.
HAVOC = """
import shutil, tempfile
say("hello")
for folder in sys.argv[1:]:
    os.chdir(folder)
    name = [n for n in os.listdir(".") if n.endswith(".txt")][0]
    with open(name, "w") as file:
        file.write("overwritten")
    os.chmod(name, 0o600)
    os.utime(name, (1, 1))
    os.rename(name, "renamed.bin")
    os.makedirs("runs/one", exist_ok=True)
    with open("runs/one/log", "a") as file:
        file.write("new")
    os.symlink("runs", "link")
    os.truncate("renamed.bin", 3)
    assert open("renamed.bin").read() == "ove"
    os.remove("renamed.bin")
    if os.path.exists("data"):
        shutil.rmtree("data")
        os.makedirs("data/new")
        assert os.listdir("data") == ["new"]
with tempfile.NamedTemporaryFile(delete=False) as file:
    file.write(b"x")
with open("/tmp/hotlap-test-havoc", "w") as file:
    file.write("y")
print("survived")
"""


def test_an_overlay_keeps_every_write_away(place: Place, overlay: Tier):
    """Working folder, home and /tmp; the script sees all that it did."""
    before = snapshot(place.project), snapshot(place.home)
    ending = _twice(place, HAVOC + "print(os.getcwd())", overlay)

    assert ending.outcome is Outcome.ENDED, ending
    assert ending.output_tail == f"survived\n{place.home}\n"
    assert _without_script(snapshot(place.project), place) == _without_script(before[0], place)
    assert snapshot(place.home) == before[1]
    assert not Path("/tmp/hotlap-test-havoc").exists()


def _twice(place: Place, script: str, tier: Tier):
    """The second trial starts from the same files as the first."""
    arguments = (str(place.project), str(place.home))
    first = place.run(script, arguments, tier=tier)
    second = place.run(script, arguments, tier=tier)
    assert first.output_tail == second.output_tail
    return second


def _without_script(found: dict[str, tuple[object, ...]], place: Place) -> dict[str, tuple[object, ...]]:
    """The test writes train.py itself, which touches the folder too."""
    return {k: v for k, v in found.items() if k not in (str(place.project), str(place.project / "train.py"))}


def test_an_overlay_as_an_ordinary_user(nobody: Nobody, overlay: Tier):
    """User namespaces: the same, without root."""
    place = nobody.place
    before = snapshot(place.project), snapshot(place.home)
    script = HAVOC + "print(os.getuid(), os.stat('.').st_uid, os.getcwd())"
    ending = nobody.run(script, arguments=(str(place.project), str(place.home)), tier=overlay)

    assert ending["outcome"] is Outcome.ENDED, ending
    assert ending["output_tail"] == f"survived\n65534 65534 {place.home}\n"
    for old, folder in zip(before, (place.project, place.home)):
        new = snapshot(folder)
        # The fixture hands the folders over to the user after the first look.
        assert {k: v[2:] for k, v in _without_script(new, place).items()} == {
            k: v[2:] for k, v in _without_script(old, place).items()
        }
    assert not Path("/tmp/hotlap-test-havoc").exists()


def test_the_probe_of_an_ordinary_user_agrees(nobody: Nobody):
    """`best_tier` answers for the user who asks."""
    code = "from hotlap.trials.launch import best_tier; tier, reason = best_tier(); print(tier.name, reason)"
    out = subprocess.run(
        ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", nobody.python, "-c", code],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(nobody.source), "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE,
        check=True,
        text=True,
        cwd="/",
    ).stdout.split()

    assert out == ["OVERLAY"] or (out[0] == "COPY" and len(out) > 1)


def test_the_copy_keeps_every_write_away(place: Place):
    """The script works in its copy; the original is not touched, and the copy is gone afterwards."""
    (place.project / "home.txt").write_text("x")
    before = snapshot(place.project), snapshot(place.home)
    ending = _twice(place, HAVOC.replace("sys.argv[1:]", "sys.argv[1:2]"), Tier.COPY)

    assert ending.outcome is Outcome.ENDED, ending
    assert ending.output_tail.endswith("survived\n")
    assert _without_script(snapshot(place.project), place) == _without_script(before[0], place)
    assert snapshot(place.home) == before[1]
    assert not (place.root / "trial-1" / "scratch").exists()
    assert not Path("/tmp/hotlap-test-havoc").exists()


def test_a_killed_supervisor_leaves_no_copy(place: Place):
    """The parent takes it away."""
    ending = place.run("say('hello'); os.kill(os.getppid(), 9); time.sleep(60)", tier=Tier.COPY)

    assert ending.outcome is Outcome.KILLED
    assert not (place.root / "trial-1" / "scratch").exists()


@pytest.mark.parametrize(
    "act",
    [
        "open(home + '/notes.txt', 'w')",
        "open(home + '/notes.txt', 'r+')",
        "open(home + '/new', 'x')",
        "os.open(home + '/notes.txt', os.O_WRONLY | os.O_APPEND)",
        "os.rename(home + '/notes.txt', 'mine.txt')",
        "os.replace('train.py', home + '/train.py')",
        "os.remove(home + '/notes.txt')",
        "__import__('shutil').rmtree(home)",
        "os.mkdir(home + '/runs')",
        "os.truncate(home + '/notes.txt', 0)",
        "os.symlink('x', home + '/link')",
        "os.link('train.py', home + '/train.py')",
        "os.chmod(home + '/notes.txt', 0)",
        "__import__('shutil').copy('train.py', home)",
        "__import__('sqlite3').connect(home + '/base.db')",
        "os.chdir(home) or open('relative', 'w')",
        "subprocess.run([sys.executable, '-c', 'import os; os.remove(os.environ[\"HOME\"] + \"/notes.txt\")']) and 0",
    ],
)
def test_the_guard_stops_a_write_before_it_happens(far: Place, act: str):
    """Outside the copy; the path is named."""
    place = far
    before = snapshot(place.home)
    ending = place.run(
        f"say('hello'); home = os.environ['HOME']\n{act}\nprint('went on'); time.sleep(5)", tier=Tier.COPY
    )

    assert ending.outcome is Outcome.BLOCKED_WRITE, ending
    assert ending.denied.startswith(str(place.home))
    assert ending.denied in ending.reason
    assert snapshot(place.home) == before


def test_the_guard_lets_reading_and_failing_calls_be(place: Place):
    """What reads, goes to devices, or fails by itself changes nothing."""
    script = """
say("hello")
home = os.environ["HOME"]
assert open(home + "/notes.txt").read() == "notes"
open(os.devnull, "w").write("x")
os.makedirs(home + "/.cache", exist_ok=True)
for act in (os.remove, os.rmdir, lambda path: os.rename(path, path + "2")):
    try:
        act(home + "/no-such-file")
    except FileNotFoundError:
        pass
import tempfile, sqlite3
sqlite3.connect(":memory:").execute("create table t (x)")
with tempfile.TemporaryDirectory() as name:
    open(name + "/x", "w").write("1")
    os.rename(name + "/x", name + "/y")
child = "import sys; open(sys.argv[1], 'w').write('1')"
with tempfile.NamedTemporaryFile(delete=False) as file:
    pass
subprocess.run([sys.executable, "-c", child, file.name], check=True)
subprocess.run(["rm", file.name], check=True)
"""
    assert place.run(script, tier=Tier.COPY).outcome is Outcome.ENDED


@pytest.mark.parametrize("program", ["cp train.py {home}/copy", "echo x > {home}/notes.txt", "rm -f {home}/notes.txt"])
def test_other_programs_cannot_write_outside_the_copy(far: Place, program: str):
    """They raise no audit event; the kernel refuses them, where it can."""
    if not _landlock():
        pytest.skip("this kernel has no Landlock that lets files move between folders")
    before = snapshot(far.home)
    script = f"say('hello'); subprocess.run({program.format(home=far.home)!r}, shell=True, check=True)"
    ending = far.run(script, tier=Tier.COPY)

    assert ending.outcome is Outcome.BLOCKED_WRITE, ending
    assert Path(ending.denied).parent == far.home
    assert snapshot(far.home) == before


def test_other_programs_may_write_in_the_copy(far: Place):
    """And in the temporary folder, and move files between folders."""
    programs = "cp train.py /tmp/hotlap-t && mv /tmp/hotlap-t data/ && cp -r data x"
    script = f"say('hello'); subprocess.run({programs!r}, shell=True, check=True)"

    assert far.run(script, tier=Tier.COPY).outcome is Outcome.ENDED


def _landlock() -> bool:
    code = "from hotlap.trials.landlock import confine; import sys; sys.exit(not confine(['/tmp']))"
    return not subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": str(SOURCE)}, check=False).returncode


def test_a_large_file_is_linked_and_copied_up(place: Place):
    """A checkpoint of the user's that the script overwrites is overwritten in the copy only."""
    for name in ("big.bin", "kept.bin"):
        with (place.project / name).open("wb") as file:
            file.truncate(65 << 20)
    script = """
say("hello")
assert os.path.islink("big.bin") and os.path.islink("kept.bin")
with open("big.bin", "wb") as file:
    file.write(b"small")
with open("kept.bin", "r+b") as file:
    file.write(b"first")
assert os.path.getsize("big.bin") == 5 and os.path.getsize("kept.bin") == 65 << 20
"""
    ending = place.run(script, tier=Tier.COPY)

    assert ending.outcome is Outcome.ENDED, ending.output_tail
    assert (place.project / "big.bin").stat().st_size == 65 << 20
    with (place.project / "kept.bin").open("rb") as file:
        assert file.read(5) == b"\0" * 5


def test_the_copy_maps_arguments_and_links(place: Place):
    """Absolute paths of the project point into the copy; a link that leaves it still leaves it."""
    (place.project / "out").symlink_to("../home")
    (place.project / "inner").symlink_to(place.project / "data")
    (place.root / "link").symlink_to(place.project)
    (place.project / "env").mkdir()
    (place.project / "env" / "pyvenv.cfg").write_text("")
    script = """
say("hello")
here = os.getcwd()
wanted = [here + "/data", "--out=" + here + "/x", os.environ["HOME"], "--lr=0.1", here + "/data"]
assert sys.argv[1:] == wanted, sys.argv
assert os.path.realpath("inner") == here + "/data"
assert os.path.realpath("out") == os.environ["HOME"]
assert os.path.islink("env") and os.environ["PWD"] == here
assert not os.path.exists(".hotlap")
"""
    (place.project / ".hotlap").mkdir()
    folder = place.project / ".hotlap" / "trial"
    arguments = (f"{place.project}/data", f"--out={place.project}/x", "../home", "--lr=0.1", f"{place.root}/link/data")
    ending = place.run(script, arguments, tier=Tier.COPY, folder=folder)

    assert ending.outcome is Outcome.ENDED, ending.output_tail


@pytest.mark.parametrize(
    "act", ["open(there + '/a.txt', 'w')", "os.remove(there + '/a.txt')", "os.mkdir(there + '/b')"]
)
def test_a_refused_write_names_its_path(place: Place, overlay: Tier, elsewhere: Path, act: str):
    """So that the caller can shield that folder as well, and start again."""
    (elsewhere / "a.txt").write_text("a")
    before = snapshot(elsewhere)
    script = f"say('hello'); there = sys.argv[1]\n{act}"
    ending = place.run(script, (str(elsewhere),), tier=overlay)

    assert ending.outcome is Outcome.BLOCKED_WRITE, ending
    assert Path(ending.denied).parent == elsewhere

    shielded = (place.project, place.home, elsewhere)
    assert place.run(script, (str(elsewhere),), tier=overlay, shielded=shielded).outcome is Outcome.ENDED
    assert snapshot(elsewhere) == before


def test_a_refused_write_of_another_program(place: Place, overlay: Tier, elsewhere: Path):
    """The path is found in what it prints."""
    script = "say('hello'); subprocess.run(['cp', 'train.py', sys.argv[1] + '/copy'], check=True)"
    ending = place.run(script, (str(elsewhere),), tier=overlay)

    assert (ending.outcome, ending.denied) == (Outcome.BLOCKED_WRITE, str(elsewhere / "copy"))


def test_writable_folders_are_written_through(place: Place, tier: Tier):
    """Compile caches of hotlap's own, even below a shielded folder."""
    cache = place.home / ".cache" / "hotlap"
    ending = place.run(
        "say('hello'); open(os.environ['HOME'] + '/.cache/hotlap/kernel', 'w').write('k')", tier=tier, writable=(cache,)
    )

    assert ending.outcome is Outcome.ENDED, ending
    assert (cache / "kernel").read_text() == "k"


@pytest.mark.parametrize("name", ["with blank (and) 'quotes'", "a,b:c\\d=e", os.fsdecode(b"\xff\xfe latin")])
def test_names_of_any_bytes(tmp_path: Path, tier: Tier, name: str):
    """Blanks, parentheses, mount option separators, and bytes that are no UTF-8."""
    if tier is Tier.COPY and ":" in name:
        pytest.skip("the guard's list of folders is separated by colons")
    place = Place(tmp_path / name)
    before = snapshot(place.home)
    folder = place.home if tier is Tier.OVERLAY else place.project
    script = "say('hello'); open(sys.argv[1] + '/n\\udcff', 'w').write('x'); print(len(sys.argv))"
    ending = place.run(script, (str(folder),), tier=tier)

    assert (ending.outcome, ending.output_tail) == (Outcome.ENDED, "2\n"), ending
    assert snapshot(place.home) == before


def test_mounts_below_a_shielded_folder_are_seen_and_kept(place: Place, overlay: Tier):
    """A disk mounted into the home folder is shielded like the rest."""
    disk = place.home / "disk"
    disk.mkdir()
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "none", disk], check=False).returncode:
        pytest.skip("only root can mount one")
    try:
        (disk / "weights.txt").write_text("w")
        before = snapshot(disk)
        script = "name = sys.argv[1] + '/weights.txt'; say('hello'); print(open(name).read()); os.remove(name)"
        ending = place.run(script, (str(disk),), tier=overlay)

        assert (ending.outcome, ending.output_tail) == (Outcome.ENDED, "w\n"), ending
        assert snapshot(disk) == before
    finally:
        subprocess.run(["umount", disk], check=True)


def test_an_ordinary_user_with_a_disk_mounted_at_home(nobody: Nobody, overlay: Tier):
    """The kernel forbids one layer over all of it, so the folders get layers one by one."""
    disk = nobody.place.home / "disk"
    disk.mkdir()
    mount = 'mount -t tmpfs none "$0" && echo w > "$0/weights.txt" && exec "$@"'
    script = """
say("hello")
home = os.environ["HOME"]
print(open(home + "/disk/weights.txt").read().strip(), open(home + "/notes.txt").read(), sorted(os.listdir(home)))
for name in ("/new", "/.cache/new", "/disk/new", "/disk/weights.txt"):
    try:
        open(home + name, "w").close()
    except OSError as error:
        print(name, error.strerror)
open("new", "w").close()
"""
    before = snapshot(nobody.place.home)
    ending = nobody.run(script, ("unshare", "-m", "sh", "-c", mount, str(disk)), tier=overlay)

    assert ending["outcome"] is Outcome.ENDED, ending
    first, *refused = ending["output_tail"].splitlines()
    assert first == "w notes ['.cache', 'disk', 'notes.txt']"
    assert refused == ["/disk/weights.txt Permission denied"]  # root's own file
    assert snapshot(nobody.place.home).keys() == before.keys()
    assert not (nobody.place.project / "new").exists()


def test_nested_shields_are_one(place: Place, overlay: Tier):
    """The project below the home folder, as it usually is."""
    before = snapshot(place.root / "home")
    ending = place.run(
        "say('hello'); open('x', 'w'); open(os.environ['HOME'] + '/y', 'w')",
        tier=overlay,
        shielded=(place.root, place.project, place.home, place.root / "not-there"),
    )

    assert ending.outcome is Outcome.ENDED, ending
    assert snapshot(place.home) == before
    assert not (place.project / "x").exists()


def test_in_place_means_in_place(place: Place):
    """Without a sandbox the writes are real; only on the user's word."""
    place.run("say('hello'); open('real', 'w').write('x')", tier=Tier.NONE)

    assert (place.project / "real").read_text() == "x"
