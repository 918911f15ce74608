"""The plan file: what is written is read again, and every way in which it can be wrong has its own complaint."""

from __future__ import annotations

import dataclasses
import datetime
import errno
import os
import stat
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
import tomllib
from hypothesis import given, settings
from strategies import plans

from hotlap import plan as plan_module
from hotlap.errors import HotlapError
from hotlap.plan import (
    Gain,
    Header,
    Level,
    Plan,
    PlannedMachine,
    PlannedRoot,
    PlannedSetting,
    PlannedSignature,
    PlannedVerdict,
    Severity,
    check,
    read,
    write,
)
from hotlap.records import Contract, Estimate, Setup, Word

GAIN = Gain(value=1.62, low=1.55, high=1.69, n=6)

PLEASANT = """\
# The plan that hotlap made for train.py. 1.62x faster per training step (1.55x to 1.69x). Learning: rounding.
#
#     hotlap run train.py --epochs 3
#
# To leave a setting out, delete its [[settings]] block. The numbers are those of the whole plan.

schema = 1

[plan]
date = 2026-03-01
script = "train.py"
script_sha256 = "abcd"
argv = ["train.py", "--epochs", "3"]
torch = "2.11.0+cpu"
python = "3.12.3"
device = "cpu"
machine = { cpu = "AMD EPYC", cores = 2 }
world_size = 1
goal = "speed"
speedup = { value = 1.62, low = 1.55, high = 1.69, n = 6 }
verdict = { word = "rounding", reason = "other order of sums", seeds = 3 }
payback_steps = 812

[[settings]]
knob = "fused-update"
value = true
contract = "rounding"
share = { value = 1.62, low = 1.55, high = 1.69, n = 6 }

[[settings]]
knob = "loader-workers"
value = 2
contract = "exact"

[[levels]]
contract = "exact"
speedup = { value = 1.62, low = 1.55, high = 1.69, n = 6 }

[[levels]]
contract = "rounding"

[[roots]]
name = "__main__:Net"
index = 0
parameter_shapes = [[64, 3], []]

[[roots.signatures]]
shapes = [[64, 3, 32]]
dtypes = ["float32"]
training = true
grad = true
"""


def workers(value: Any) -> str | None:
    return None if type(value) is int and 0 <= value <= 64 else "it takes 0 to 64 processes"


KNOWN = {"loader-workers": workers, "fused-update": lambda value: None, "bfloat16": lambda value: None}


class AnyKnob(dict):
    """Every knob there could be, for plans drawn at random."""

    def __contains__(self, knob: object) -> bool:
        return True

    def __getitem__(self, knob: str):
        return lambda value: None


@pytest.fixture
def plan() -> Plan:
    """The plan whose text is PLEASANT."""
    signature = PlannedSignature(shapes=((64, 3, 32),), dtypes=("float32",), training=True, grad=True)
    return Plan(
        header=Header(
            date=datetime.date(2026, 3, 1),
            script="train.py",
            script_sha256="abcd",
            argv=("train.py", "--epochs", "3"),
            torch="2.11.0+cpu",
            python="3.12.3",
            device="cpu",
            machine=PlannedMachine(cpu="AMD EPYC", cores=2),
            speedup=GAIN,
            verdict=PlannedVerdict(word=Word.ROUNDING, reason="other order of sums", seeds=3),
            payback_steps=812,
        ),
        settings=(
            PlannedSetting(knob="fused-update", value=True, contract=Contract.ROUNDING, share=GAIN),
            PlannedSetting(knob="loader-workers", value=2, contract=Contract.EXACT),
        ),
        levels=(Level(contract=Contract.EXACT, speedup=GAIN), Level(contract=Contract.ROUNDING)),
        roots=(PlannedRoot(name="__main__:Net", index=0, parameter_shapes=((64, 3), ()), signatures=(signature,)),),
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "hotlap.toml"


def names(folder: Path) -> list[str]:
    return [entry.name for entry in folder.iterdir()]


def types(value: Any) -> Any:
    """The value with the type of every leaf, since True == 1 == 1.0."""
    if isinstance(value, dict):
        return {key: types(item) for key, item in value.items()}
    return [types(item) for item in value] if isinstance(value, (list, tuple)) else (type(value), value)


# writing and reading


def test_the_file_is_pleasant(plan: Plan, path: Path):
    """What the plan is comes first, what it sets comes next, what only `run` needs comes last."""
    write(plan, path)

    assert path.read_text(encoding="utf-8") == PLEASANT
    assert read(path, KNOWN) == plan


@settings(deadline=None, max_examples=100)
@given(plans)
def test_what_is_written_is_read_again(tmp_path_factory: pytest.TempPathFactory, drawn: Plan):
    """Any plan: every text of Unicode, every float, values that keep their type."""
    path = tmp_path_factory.getbasetemp() / "round-trip.toml"
    write(drawn, path)
    again = read(path, AnyKnob())

    assert again == drawn
    assert types(msgspec.to_builtins(again)) == types(msgspec.to_builtins(drawn))


def test_an_empty_plan_is_an_answer(plan: Plan, path: Path):
    """It is written, says so, and sets nothing."""
    empty = Plan(header=plan.header)
    write(empty, path)

    assert "# No setting: nothing tried made the script faster" in path.read_text(encoding="utf-8")
    assert read(path, KNOWN).setup() == Setup()


def test_an_argument_cannot_break_out_of_the_comment(plan: Plan, path: Path):
    """A line break in an argument is text, never a line of the file."""
    argv = ("train.py", 'a\nschema = 9\r\n[plan]\x1b[31m"""', "--odd", "\udcff")
    write(msgspec.structs.replace(plan, header=msgspec.structs.replace(plan.header, argv=argv)), path)
    again = read(path, KNOWN)

    assert again.header.argv == (*argv[:3], "?")  # TOML cannot hold what is not Unicode
    assert "\x1b" not in path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("train.py", "--lr", "0.1"), "hotlap run train.py --lr 0.1"),
        (("-m", "package.train"), "hotlap run -m package.train"),
        (("torchrun", "--nproc-per-node", "4", "train.py"), "hotlap run -- torchrun --nproc-per-node 4 train.py"),
    ],
)
def test_the_command_in_the_header_is_one_that_would_work(
    plan: Plan, path: Path, argv: tuple[str, ...], said: str
) -> None:
    """It names the script once, as it was typed, with `--` before a launcher."""
    write(msgspec.structs.replace(plan, header=msgspec.structs.replace(plan.header, argv=argv)), path)

    assert f"#     {said}\n" in path.read_text(encoding="utf-8")


def test_the_file_may_be_read_by_everyone(plan: Plan, path: Path):
    """It belongs into the repository, so it is an ordinary file, and no temporary one stays behind."""
    write(plan, path)

    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert names(path.parent) == ["hotlap.toml"]


def test_a_link_stays_a_link(plan: Plan, path: Path):
    """Whoever keeps the plan elsewhere finds it there."""
    elsewhere = path.with_name("kept.toml")
    path.symlink_to(elsewhere)
    write(plan, path)

    assert path.is_symlink()
    assert read(elsewhere, KNOWN) == plan


@pytest.mark.parametrize("step", ["fsync", "fchmod", "fdopen", "replace"])
def test_a_full_disk_leaves_the_old_plan(plan: Plan, path: Path, monkeypatch: pytest.MonkeyPatch, step: str):
    """Whichever step fails, the plan before is whole and no temporary file stays."""
    write(Plan(header=plan.header), path)
    before = path.read_bytes()

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(Path if step == "replace" else os, step, fail)
        with pytest.raises(HotlapError, match="No space left on device") as caught:
            write(plan, path)

    assert caught.value.slug == "plan-not-written"
    assert path.read_bytes() == before
    assert names(path.parent) == ["hotlap.toml"]


def test_an_interruption_leaves_the_old_plan(plan: Plan, path: Path, monkeypatch: pytest.MonkeyPatch):
    """Ctrl-C passes through, and leaves nothing behind."""
    write(Plan(header=plan.header), path)
    before = path.read_bytes()

    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", interrupt)
        with pytest.raises(KeyboardInterrupt):
            write(plan, path)

    assert path.read_bytes() == before
    assert names(path.parent) == ["hotlap.toml"]


def test_a_folder_that_is_not_there_is_an_error(plan: Plan, path: Path):
    """With the path in it."""
    with pytest.raises(HotlapError, match=r"none/hotlap.toml could not be written: No such file") as caught:
        write(plan, path.parent / "none" / "hotlap.toml")

    assert caught.value.slug == "plan-not-written"


def test_a_plan_that_could_not_be_read_is_not_written(plan: Plan, path: Path):
    """The old plan is worth more than a new one that `run` would refuse."""
    root = PlannedRoot(name="x" * (1 << 20), index=0, parameter_shapes=())
    with pytest.raises(HotlapError) as caught:
        write(msgspec.structs.replace(plan, roots=(root,)), path)

    assert caught.value.slug == "plan-too-large"
    assert not path.exists()


# what can be wrong with a file

WRONG = [
    ("plan-unreadable", "schema = 1", "schema = = 1", "line 7"),
    ("plan-unreadable", "schema = 1", "schema = " + "[" * 5000, "is not sound TOML"),
    ("plan-unreadable", "schema = 1", "schema = " + "1" * 5000, "is not sound TOML"),
    ("plan-unreadable", "payback_steps = 812", "payback_steps = 812\npayback_steps = 813", "line 23"),
    ("plan-too-new", "schema = 1", "schema = 2", "`schema` in"),
    ("plan-missing-key", "schema = 1\n", "", "`schema` in"),
    ("plan-wrong-type", "schema = 1", 'schema = "1"', "`schema` in"),
    ("plan-wrong-type", "schema = 1", "schema = true", "`schema` in"),
    ("plan-out-of-range", "schema = 1", "schema = 0", "`schema` in"),
    ("plan-missing-key", 'device = "cpu"\n', "", "`plan.device` in"),
    ("plan-missing-key", "value = 2\n", "", "`settings[1].value` in"),
    ("plan-unknown-key", "[plan]", "[plan]\nsecret = 1", "`plan.secret` in"),
    ("plan-unknown-key", "schema = 1", 'schema = 1\n"o\\u001bdd" = 1', "`o\\x1bdd` in"),
    ("plan-unknown-key", "value = 2", "value = 2\nvalues = 3", "`settings[1].values` in"),
    ("plan-unknown-key", "grad = true", "grad = true\nno_grad = 1", "`roots[0].signatures[0].no_grad` in"),
    ("plan-unknown-key", "low = 1.55, high = 1.69, n = 6 }\nverd", "low = 1.55, high = 1.69, n = 6, q = 1 }\nverd",
     "`plan.speedup.q` in"),
    ("plan-wrong-type", "payback_steps = 812", 'payback_steps = "812"', "`plan.payback_steps` in"),
    ("plan-wrong-type", "payback_steps = 812", "payback_steps = 812.5", "`plan.payback_steps` in"),
    ("plan-wrong-type", "value = 2", "value = [2]", "`settings[1].value` in"),
    ("plan-wrong-type", "training = true", "training = 1", "`roots[0].signatures[0].training` in"),
    ("plan-wrong-type", "date = 2026-03-01", "date = 20260301", "`plan.date` in"),
    ("plan-out-of-range", "payback_steps = 812", "payback_steps = -1", "`plan.payback_steps` in"),
    ("plan-out-of-range", "world_size = 1", "world_size = 0", "`plan.world_size` in"),
    ("plan-out-of-range", 'contract = "exact"\n\n', 'contract = "harmless"\n\n', "`settings[1].contract` in"),
    ("plan-out-of-range", 'word = "rounding"', 'word = "fine"', "`plan.verdict.word` in"),
    ("plan-out-of-range", "value = 1.62, low = 1.55, high = 1.69, n = 6 }\nverd",
     "value = 9.9, low = 1.55, high = 1.69, n = 6 }\nverd", "`plan.speedup` in"),
    ("plan-out-of-range", "high = 1.69, n = 6 }\nverd", "high = inf, n = 6 }\nverd", "`plan.speedup` in"),
    ("plan-out-of-range", "low = 1.55, high = 1.69, n = 6 }\nverd", "low = nan, high = 1.69, n = 6 }\nverd",
     "`plan.speedup` in"),
    ("plan-out-of-range", "value = 2", "value = nan", "`settings[1]` in"),
    ("plan-out-of-range", "value = 2", "value = 65", "`settings[1].value` in"),
    ("plan-out-of-range", "value = 2", "value = true", "it takes 0 to 64 processes"),
    ("plan-out-of-range", '"fused-update"', '"loader-workers"', "loader-workers is set more than once"),
    ("plan-unknown-knob", '"loader-workers"', '"loader-worker"', "write loader-workers if that is meant"),
    ("plan-unknown-knob", '"loader-workers"', '"qqq"', "take that setting out"),
    ("plan-unknown-knob", '"loader-workers"', '"os.system"', "`settings[1].knob` in"),
]  # fmt: skip


@pytest.mark.parametrize(("slug", "old", "new", "said"), WRONG)
def test_every_mistake_is_named_with_its_key_and_file(path: Path, slug: str, old: str, new: str, said: str):
    """One edit of a good file; the complaint names the place, the file, and what to do."""
    assert old in PLEASANT
    path.write_text(PLEASANT.replace(old, new, 1), encoding="utf-8")

    with pytest.raises(HotlapError) as caught:
        read(path, KNOWN)

    assert caught.value.slug == slug
    assert said in str(caught.value)
    assert str(path) in str(caught.value)
    assert caught.value.fix
    assert str(caught.value).isprintable()


def test_no_file_is_told_how_to_get_one(path: Path):
    """The first thing that `hotlap run` may have to say."""
    with pytest.raises(HotlapError, match="run `hotlap tune`") as caught:
        read(path, KNOWN)

    assert caught.value.slug == "plan-missing"


def test_what_is_no_file_is_unreadable(path: Path):
    """A folder of that name."""
    path.mkdir()
    with pytest.raises(HotlapError, match="Is a directory") as caught:
        read(path, KNOWN)

    assert caught.value.slug == "plan-unreadable"


def test_what_is_no_text_is_unreadable(path: Path):
    """A pickle, say."""
    path.write_bytes(b"\x80\x04\x95\xff")
    with pytest.raises(HotlapError) as caught:
        read(path, KNOWN)

    assert caught.value.slug == "plan-unreadable"


def test_a_huge_file_is_not_even_parsed(path: Path):
    """More than 1 MiB is no plan; just as much is one, if it is sound."""
    filler = "#" * ((1 << 20) - len(PLEASANT))
    path.write_text(PLEASANT + filler, encoding="utf-8")
    assert read(path, KNOWN).settings

    path.write_text(PLEASANT + filler + "#", encoding="utf-8")
    with pytest.raises(HotlapError) as caught:
        read(path, KNOWN)

    assert caught.value.slug == "plan-too-large"


def test_a_person_may_write_toml_in_other_words(plan: Plan, path: Path):
    """Dotted keys, a whole number for a float, other order, comments: only the meaning counts."""
    text = PLEASANT.replace("low = 1.55, high = 1.69, n = 6 }\nverd", "n = 6, high = 2, low = 1 } # mine\nverd")
    text = text.replace('machine = { cpu = "AMD EPYC", cores = 2 }', 'machine.cpu = "AMD EPYC"\nmachine.cores = 2')
    path.write_text(text, encoding="utf-8")

    expected = Gain(value=1.62, low=1.0, high=2.0, n=6)
    assert read(path, KNOWN).header == msgspec.structs.replace(plan.header, speedup=expected)


def test_a_deleted_block_is_a_setting_less(path: Path):
    """As the comment on top promises."""
    start = PLEASANT.index("\n[[settings]]")
    end = PLEASANT.index("\n[[settings]]", start + 1)
    path.write_text(PLEASANT[:start] + PLEASANT[end:], encoding="utf-8")

    assert read(path, KNOWN).setup() == Setup.of({"loader-workers": 2})


def test_it_is_toml_that_others_can_read(plan: Plan, path: Path):
    """Nothing in it is ours alone."""
    write(plan, path)
    tables = tomllib.loads(path.read_text(encoding="utf-8"))

    assert list(tables) == ["schema", "plan", "settings", "levels", "roots"]


# use of a plan


def test_the_setup_is_what_a_trial_installs(plan: Plan):
    """In canonical order."""
    assert plan.setup() == Setup.of({"loader-workers": 2, "fused-update": True})


def test_an_estimate_survives_the_plan():
    """Into the file and back."""
    estimate = Estimate(1.1, 1.0, 1.2, unit="x", n=4)

    assert Gain.of(estimate).estimate() == estimate


def test_cut_keeps_the_settings_up_to_a_contract(plan: Plan):
    """The speed-up is the one measured for just these; the verdict was on another setup, so there is none."""
    cut = plan.cut(Contract.EXACT)

    assert cut.setup() == Setup.of({"loader-workers": 2})
    assert cut.levels == plan.levels[:1]
    assert cut.header.speedup == GAIN
    assert cut.header.verdict is None
    assert cut.header.payback_steps is None


def test_cut_that_removes_nothing_changes_nothing(plan: Plan):
    """The whole plan was verified, and stays so."""
    assert plan.cut(Contract.ROUNDING) is plan
    assert plan.cut(Contract.RECIPE) is plan


def test_cut_never_quotes_the_speed_of_other_settings(plan: Plan):
    """A level that was not measured has no number, even when a stricter one has."""
    lossy = PlannedSetting(knob="bfloat16", value=True, contract=Contract.REDUCED)
    wider = msgspec.structs.replace(plan, settings=(*plan.settings, lossy))

    assert wider.cut(Contract.ROUNDING).header.speedup is None
    assert wider.cut(Contract.EXACT).header.speedup == GAIN
    nothing = msgspec.structs.replace(plan, settings=(lossy,)).cut(Contract.EXACT)
    assert nothing.setup() == Setup()
    assert nothing.header.speedup is None


def test_the_same_facts_match(plan: Plan):
    """Nothing to say."""
    assert check(plan, plan.header) == []


@pytest.mark.parametrize(
    ("change", "severity", "said"),
    [
        ({"script_sha256": "ffff"}, Severity.WARN, "the script was edited since: abcd in the plan, ffff here"),
        ({"argv": ()}, Severity.NOTE, "other arguments: train.py --epochs 3 in the plan, none here"),
        (
            {"argv": ("train.py", "--epochs", "4")},
            Severity.NOTE,
            "other arguments: --epochs 3 in the plan, --epochs 4 here",
        ),
        (
            {"argv": ("train.py", "--fast", "--epochs", "3")},
            Severity.NOTE,
            "other arguments: none in the plan, --fast here",
        ),
        ({"argv": ("train.py",)}, Severity.NOTE, "other arguments: --epochs 3 in the plan, none here"),
        ({"torch": "2.12.0"}, Severity.REFUSE, "another version of torch: 2.11.0+cpu in the plan, 2.12.0 here"),
        ({"device": "H200"}, Severity.REFUSE, "another device: cpu in the plan, H200 here"),
        ({"world_size": 2}, Severity.REFUSE, "another number of processes: 1 in the plan, 2 here"),
        (
            {"machine": PlannedMachine(cpu="AMD EPYC", cores=8)},
            Severity.WARN,
            "another machine: AMD EPYC (2 cores) in the plan, AMD EPYC (8 cores) here",
        ),
    ],
)
def test_what_differs_is_named_and_graded(plan: Plan, change: dict[str, Any], severity: Severity, said: str):
    """A note, a warning, or a reason to run the script untouched."""
    (mismatch,) = check(plan, msgspec.structs.replace(plan.header, **change))

    assert (mismatch.key, mismatch.severity, mismatch.message) == (*change, severity, said)


def test_facts_of_a_run_can_be_compared(plan: Plan):
    """Whatever has the fields of `records.Facts` will do."""
    fields = {name: getattr(plan.header, name) for name in ("script_sha256", "argv", "device", "world_size", "machine")}

    (mismatch,) = check(plan, SimpleNamespace(**fields, torch="2.10.0"))  # type: ignore[arg-type]

    assert mismatch.key == "torch"
    assert dataclasses.is_dataclass(mismatch)


def test_a_message_cannot_steer_the_terminal(plan: Plan):
    """Facts come from the user's process."""
    (mismatch,) = check(plan, msgspec.structs.replace(plan.header, device="\x1b[2J"))

    assert mismatch.message.isprintable()


def test_the_plan_knows_no_knob():
    """What a knob takes is the caller's to tell, so a plan can be read without loading any."""
    assert not [name for name in vars(plan_module) if "knobs" in name]


def test_what_was_asked_for_stands_there_with_its_price(plan: Plan, path: Path):
    """Also where it is a loss; a plan that was cut says nothing of speed that was not measured."""
    loss = Gain(value=0.94, low=0.9, high=0.98, n=6)
    header = msgspec.structs.replace(plan.header, speedup=loss, asked=("huge-pages",), asked_speedup=loss)
    slower = msgspec.structs.replace(plan, header=header)
    write(slower, path)
    text = path.read_text()

    assert "0.94x as fast as written per training step (0.90x to 0.98x)" in text
    assert "# Asked for, whatever it costs: huge-pages; alone, 0.94x as fast (0.90x to 0.98x)." in text
    heavy = msgspec.structs.replace(header, goal="memory", saving=loss, asked_saving=loss)
    write(msgspec.structs.replace(plan, header=heavy), path)
    assert "6% more memory at the peak of a step (2% to 11%)" in path.read_text()
    assert slower.cut(Contract.RECIPE) == slower
    assert slower.cut(Contract.EXACT).header.asked_speedup is None
