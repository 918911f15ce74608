"""A checkpoint written under a plan loads in plain torch and the other way round, optimizer state included."""

from __future__ import annotations

import datetime
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from scripts import SCRIPTS

from hotlap.inside.state import LearningState
from hotlap.knobs import knob_by_id
from hotlap.plan import (
    Header,
    Plan,
    PlannedMachine,
    PlannedRoot,
    PlannedSetting,
    PlannedSignature,
    write,
)
from hotlap.records import SCHEMA, Word
from hotlap.verify.arms import ArmRecord, checkpoint_gate
from hotlap.versions import device_name, torch_version

SCRIPT = SCRIPTS / "saver.py"
SETTINGS: dict[str, Any] = {"fused-update": True, "channels-last": True, "autocast-bf16": True}
SHAPES = ((8, 3, 3, 3), (8,), (8,), (8,), (10, 2048), (10,))


def planned(folder: Path, settings: dict[str, Any]) -> Path:
    """A plan that serves the script's one call."""
    torch_ = torch_version(sys.executable)
    header = Header(
        date=datetime.date(2026, 1, 1),
        script=str(SCRIPT),
        script_sha256="",
        argv=(),
        torch=torch_,
        python=sys.executable,
        device=device_name(torch_),
        machine=PlannedMachine(cpu="any", cores=1),
    )
    call = PlannedSignature(shapes=((8, 3, 16, 16),), dtypes=("float32",), training=True, grad=True)
    root = PlannedRoot(
        name="torch.nn.modules.container:Sequential", index=0, parameter_shapes=SHAPES, signatures=(call,)
    )
    kept = tuple(
        PlannedSetting(knob=knob, value=value, contract=knob_by_id(knob).contract) for knob, value in settings.items()
    )
    path = folder / "hotlap.toml"
    write(Plan(schema=SCHEMA, header=header, settings=kept, levels=(), roots=(root,)), path)
    return path


def train(folder: Path, save: str, load: str = "", plan: Path | None = None) -> dict[str, Any]:
    """Run the script, under the plan if there is one; what it saved."""
    hotlap = ("-m", "hotlap", "run", "--plan", str(plan)) if plan else ()
    options = ("--save", save, *(("--load", load) if load else ()))
    command = (sys.executable, *hotlap, str(SCRIPT), *options)
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not plan or "could not be applied" not in done.stderr
    return torch.load(folder / save, weights_only=True)


def described(saved: Any) -> Any:
    """The entries with their shapes, types and layout, and the options; no numbers."""
    if isinstance(saved, torch.Tensor):
        return str(saved.dtype), tuple(saved.shape), saved.is_contiguous()
    if isinstance(saved, dict):
        return {key: described(value) for key, value in saved.items()}
    return [described(value) for value in saved] if isinstance(saved, (list, tuple)) else saved


@pytest.mark.parametrize(
    "settings", [SETTINGS, pytest.param({**SETTINGS, "compile": True}, marks=pytest.mark.slow)], ids=["", "compiled"]
)
def test_each_side_goes_on_from_the_others_checkpoint(tmp_path: Path, settings: dict[str, Any]) -> None:
    """The same entries, shapes, types and options; both ways strictly loaded, and trained on from."""
    plan = planned(tmp_path, settings)
    plain, fast = train(tmp_path, "plain.pt"), train(tmp_path, "fast.pt", plan=plan)

    assert fast["model"].keys() == plain["model"].keys()
    assert {k: v[:2] for k, v in described(fast["model"]).items()} == {
        k: v[:2] for k, v in described(plain["model"]).items()
    }
    assert fast["optimizer"]["param_groups"] == plain["optimizer"]["param_groups"]
    assert {p: {k: v[:2] for k, v in s.items()} for p, s in described(fast["optimizer"]["state"]).items()} == {
        p: {k: v[:2] for k, v in s.items()} for p, s in described(plain["optimizer"]["state"]).items()
    }
    assert any(not torch.equal(fast["model"][name], plain["model"][name]) for name in plain["model"])
    on = [train(tmp_path, "on.pt", load="fast.pt"), train(tmp_path, "on.pt", load="plain.pt", plan=plan)]
    for saved in on:
        assert saved["optimizer"]["state"][0]["step"] == 16
        assert saved["model"]["1.num_batches_tracked"] == 16


ENTRIES = ("model 0 weight: float32 (2,)", "optimizer 0 param_groups 0 fused: None")


@pytest.mark.parametrize(
    ("entries", "word"),
    [
        (ENTRIES, Word.IDENTICAL),
        (("model 0 _orig_mod.weight: float32 (2,)", ENTRIES[1]), Word.CHANGED),
        (("model 0 weight: bfloat16 (2,)", ENTRIES[1]), Word.CHANGED),
        ((ENTRIES[0], "optimizer 0 param_groups 0 fused: True"), Word.CHANGED),
        (ENTRIES[:1], Word.CHANGED),
        ((*ENTRIES, "model 0 scale: float32 ()"), Word.CHANGED),
    ],
)
def test_another_checkpoint_is_another_training(entries: tuple[str, ...], word: Word) -> None:
    """A prefix, a type, an option that leaks, an entry too few or too many; named."""
    gate = checkpoint_gate(ArmRecord((), {}, checkpoint=ENTRIES), ArmRecord((), {}, checkpoint=entries))

    assert gate.word is word
    assert word is Word.IDENTICAL or gate.parameter in {*entries, *ENTRIES}


def test_what_a_checkpoint_holds_is_read_without_its_numbers() -> None:
    """Of the model and of the optimizer; a state that cannot be read is an entry of its own."""

    class Broken(torch.nn.Linear):
        def state_dict(self, *args: Any, **kwargs: Any) -> Any:
            raise RuntimeError("not now")

    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    optimizer.param_groups[0]["schedule"] = lambda step: step
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()

    class Parts:
        roots = type("Roots", (), {"attached": [model, Broken(1, 1)]})
        optimizers = (optimizer,)

    entries = LearningState(Parts, Parts).checkpoint()  # pyright: ignore[reportArgumentType]
    assert "model 0 weight: float32 (1, 2)" in entries
    assert "model 1: RuntimeError" in entries
    assert "optimizer 0 state 0 momentum_buffer: float32 (1, 2)" in entries
    assert "optimizer 0 param_groups 0 lr: float" in entries
    assert "optimizer 0 param_groups 0 schedule: function" in entries  # its address is another in each process
