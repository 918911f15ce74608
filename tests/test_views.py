"""`hotlap check --model` and `--memory` as a user meets them, and the arithmetic behind their tables."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from facts import facts
from machine import recording
from rich.console import Console, RenderableType
from test_end_to_end import hotlap

from hotlap import room
from hotlap.check import size_bytes
from hotlap.errors import HotlapError
from hotlap.growth import Growth, largest_batch
from hotlap.model_table import fidelity, grouped, named
from hotlap.records import Estimate, Loader, Outcome, Recording, Setup, Trial
from hotlap.records.views import GrownBatch, HeldRow, LargestBatch, MemoryTable, ModuleRow, ModuleTable
from hotlap.report import numbers
from hotlap.report.memory_view import memory_view
from hotlap.report.model_view import model_view
from hotlap.report.views_document import views_document

SCRIPT = """
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
torch.manual_seed(0)
torch.set_num_threads(1)
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(256, 256) for _ in range(3))
    def forward(self, x):
        for layer in self.layers:
            x = torch.relu(layer(x))
        return WHAT
model = Net()
data = TensorDataset(torch.randn(640, 256))
loader = LOADER
optimizer = torch.optim.Adam(model.parameters())
for epoch in range(40):
    for (x,) in loader:
        optimizer.zero_grad()
        model(x).pow(2).mean().backward()
        optimizer.step()
"""
LOADER = "DataLoader(data, batch_size=64, shuffle=True)"
SAMPLER = "DataLoader(data, batch_sampler=[list(range(64))] * 20)"


def work(folder: Path, what: str = "x", loader: str = LOADER) -> Path:
    """A folder with the script in it."""
    (folder / "train.py").write_text(SCRIPT.replace("WHAT", what).replace("LOADER", loader))
    return folder


def test_the_table_of_modules_sums_to_the_step(tmp_path: Path) -> None:
    """Names as the user's, repeated modules as one row, operations exact, time all accounted for."""
    done = hotlap("check", "--model", "--json", "--budget", "40s", "train.py", cwd=work(tmp_path))

    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert list(document)[:6] == ["schema", "facts", "phases", "device_phases_s", "findings", "ceiling"]
    table = document["modules"]
    rows = {row["name"]: row for row in table["rows"]}
    assert {"Net", "layers.0", "loss", "optimizer", "layers.*"} >= rows.keys() > {"Net", "loss", "optimizer"}
    layers = [row for name, row in rows.items() if name.startswith("layers")]
    assert sum(row["count"] for row in layers) == 3
    assert sum(row["flops"] for row in layers) == 8 * 2 * 64 * 256 * 256
    assert sum(row["time_s"] for row in rows.values()) + sum(table["around_s"].values()) == pytest.approx(
        table["total_s"], rel=1e-6
    )
    assert rows["layers.*"]["parameter_bytes"] == 3 * 4 * (256 * 256 + 256)
    wasted = [row["waste_s"] for row in table["rows"]]
    assert wasted == sorted(wasted, reverse=True)
    assert not table["compiled"]


@pytest.mark.slow
def test_a_script_that_compiles_has_a_row_for_each_graph(tmp_path: Path) -> None:
    """Forward and backward of the root, with the operations of its modules as written."""
    folder = work(tmp_path)
    script = (
        (folder / "train.py").read_text().replace("model = Net()", "model = torch.compile(Net(), backend='aot_eager')")
    )
    (folder / "train.py").write_text(script)
    done = hotlap("check", "--model", "--json", "--budget", "40s", "train.py", cwd=folder)

    assert done.returncode == 0, done.stderr
    table = json.loads(done.stdout)["modules"]
    rows = {row["name"]: row for row in table["rows"]}
    assert table["compiled"]
    assert rows.keys() == {"Net, forward graph", "Net, backward graph", "loss", "optimizer"}
    assert rows["Net, forward graph"]["flops"] == 3 * 2 * 64 * 256 * 256
    assert rows["Net, backward graph"]["flops"] == 5 * 2 * 64 * 256 * 256
    assert rows["Net, forward graph"]["forward_s"] > 0 < rows["Net, backward graph"]["backward_s"]
    assert sum(row["time_s"] for row in rows.values()) + sum(table["around_s"].values()) == pytest.approx(
        table["total_s"], rel=1e-6
    )


def test_a_script_without_modules_is_told_so(tmp_path: Path) -> None:
    """A clear error, and no empty table."""
    (tmp_path / "train.py").write_text(
        "import torch\nw = torch.nn.Parameter(torch.ones(2))\no = torch.optim.SGD([w], lr=0.1)\n"
        "for _ in range(400):\n    o.zero_grad()\n    w.sum().backward()\n    o.step()\n"
    )
    done = hotlap("check", "--model", "--budget", "20s", "train.py", cwd=tmp_path)

    assert done.returncode == 1
    assert "no-modules" in done.stderr
    assert not done.stdout


@pytest.mark.slow
def test_batches_grow_until_memory_ends_and_that_is_survived(tmp_path: Path) -> None:
    """Memory that jumps by 4 GiB ends sooner than any line promises; the trial dies, and the answer is there."""
    folder = work(tmp_path, "x + torch.ones((len(x) > 300) << 30).sum()")
    arguments = ("--memory", "--memory-limit", "640MiB", "--budget", "120s", "--json")
    done = hotlap("check", *arguments, "train.py", cwd=folder)

    assert done.returncode == 0, done.stderr
    memory = json.loads(done.stdout)["memory"]
    assert sum(row["size_bytes"] for row in memory["rows"]) == pytest.approx(memory["peak_bytes"], rel=0.01)
    largest = memory["largest"]
    outcomes = {trial["batch_size"]: trial for trial in largest["trials"]}
    assert outcomes[64]["fits"]
    failed = [trial for trial in largest["trials"] if not trial["fits"]]
    assert any(Outcome.HOST_OOM.value in trial["reason"] for trial in failed), largest
    assert largest["fits"] == 256
    assert outcomes[largest["fits"]]["peak_bytes"] <= largest["room_bytes"] < 640 * 2**20
    assert largest["fits"] < min(trial["batch_size"] for trial in failed)
    assert largest["extrapolated"] is None


@pytest.mark.parametrize(
    ("loader", "words"),
    [
        pytest.param(SAMPLER, "batch sampler of its own", id="own sampler", marks=pytest.mark.slow),
        pytest.param("[(data.tensors[0][:64],)] * 10", "no DataLoader", id="no loader"),
    ],
)
def test_what_cannot_grow_is_said(tmp_path: Path, loader: str, words: str) -> None:
    """No batch is claimed to fit that was not run."""
    done = hotlap("check", "--memory", "--budget", "40s", "--json", "train.py", cwd=work(tmp_path, loader=loader))

    assert done.returncode == 0, done.stderr
    largest = json.loads(done.stdout)["memory"]["largest"]
    assert words in largest["why_not"]
    assert largest["fits"] is None
    assert largest["extrapolated"] is None


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--memory-limit", "8GiB"), "add --memory"),
        (("--memory", "--memory-limit", "much"), "8GiB, 24GB or 512MB"),
    ],
)
def test_bad_usage_says_what_to_do(tmp_path: Path, arguments: tuple[str, ...], words: str) -> None:
    """Exit code 2, before any trial."""
    (tmp_path / "train.py").write_text("import torch\n")
    done = hotlap("check", *arguments, "train.py", cwd=tmp_path)

    assert done.returncode == 2
    assert words in done.stderr


@pytest.mark.parametrize(
    ("text", "size"), [("8GiB", 8 * 2**30), ("24gb", 24e9), ("1.5 MiB", 1.5 * 2**20), ("512M", 512e6), ("4096", 4096)]
)
def test_sizes_are_read_with_their_units(text: str, size: float) -> None:
    """Binary and decimal ones."""
    assert size_bytes(text) == size


@pytest.mark.parametrize("text", ["", "0", "-1GB", "1.2.3GB", "8 apples"])
def test_what_is_no_size_is_refused(text: str) -> None:
    """With how to write it."""
    with pytest.raises(HotlapError, match="no size"):
        size_bytes(text)


# -- the arithmetic


def row(name: str = "layer", time_s: float = 0.01, **changes: Any) -> ModuleRow:
    """A row of the table."""
    plain = {
        "name": name,
        "kind": "Linear",
        "count": 1,
        "forward_s": time_s,
        "backward_s": 0.0,
        "update_s": 0.0,
        "flops": 10**9,
        "moved_bytes": 10**6,
        "allowed_s": 0.004,
        "parameter_bytes": 4,
        "gradient_bytes": 3,
        "state_bytes": 2,
        "saved_bytes": 1,
    }
    return ModuleRow(**{**plain, **changes})


def table(rows: tuple[ModuleRow, ...], **changes: Any) -> ModuleTable:
    """A table of these rows."""
    plain = {
        "total_s": 0.1,
        "rows": rows,
        "around_s": {"data": 0.01, "other": 0.002},
        "steps": 20,
        "attributed_s": 0.08,
        "untraced_s": 0.082,
        "fidelity": Estimate(0.98, 0.97, 0.99, "x", 20),
        "compiled": False,
        "host_times": False,
    }
    return ModuleTable(**{**plain, **changes})


def test_alike_modules_are_one_row() -> None:
    """By class, shapes and a name that differs in numbers only; one unknown count makes the sum unknown."""
    made = [
        (("layers.*.norm*",), row("layers.0.norm1")),
        (("layers.*.norm*",), row("layers.0.norm2", flops=None)),
        (("head",), row("head")),
    ]
    both, head = grouped(made)

    assert (both.name, both.count, both.flops, both.memory_bytes) == ("layers.0.norm*", 2, None, 20)
    assert both.waste_s == pytest.approx(0.012)
    assert head == row("head")


def test_names_carry_their_network_where_there_are_several() -> None:
    """And its number where two are of one class."""
    assert named("fc", 0, ["m:Net"]) == "fc"
    assert named("", 0, ["m:Outer.Net"]) == "Net"
    assert named("fc", 1, ["m:Net", "m:Critic"]) == "Critic.fc"
    assert named("", 1, ["m:Net", "m:Net"]) == "Net#2"
    assert named("fc", 1, ["m:Net", "m:Net"], ["student", "teacher"]) == "teacher.fc"
    assert named("fc", 1, ["m:Net", "m:Net"], ["net", "net"]) == "Net#2.fc"
    assert named("fc", 1, ["m:Net", "m:Net"], ["net", ""]) == "Net#2.fc"


def test_traced_steps_are_held_against_their_neighbours() -> None:
    """By the median, which a stall of the machine does not move; none without a pair."""
    found = fidelity([(1.02, 1.0)] * 9 + [(9.0, 1.0)])

    assert found is not None
    assert (found.value, found.n) == (1.02, 10)
    assert found.low == 1.02
    assert fidelity([(1.0, 0.0)]) is None


class Nobody:
    """A lab without trials."""

    left_s = 1e9


def growth(*trials: GrownBatch, capacity: int = 1000) -> Growth:
    """What is known after these trials of a script with batches of 8."""
    loader = facts(loaders=[Loader(0, "m:D", 100, 8, False, 0, False, False, True, True, True, "", False)]).loaders[0]
    nobody: Any = Nobody()
    return Growth(nobody, [loader], capacity, "all", is_cuda=False, trials=list(trials))


def grown(size: int, peak: int | None, *, fits: bool = True) -> GrownBatch:
    """One trial."""
    return GrownBatch(size, size, peak, fits, "")


def test_growth_follows_its_line_and_runs_what_it_claims() -> None:
    """100 bytes and 10 a sample into 900: 80 would fit, and a little less is run."""
    two = growth(grown(8, 180), grown(32, 420))

    assert two.next_size() == 72  # 77, down to a multiple of 8
    assert two.answer().extrapolated == 80
    assert two.answer().fits == 32
    ran = growth(grown(8, 180), grown(32, 420), grown(72, 820))
    assert ran.next_size() is None
    assert (ran.answer().fits, ran.answer().extrapolated) == (72, None)


def test_growth_runs_under_the_setup_that_it_is_asked_about() -> None:
    """What fits under a plan is not what fits without."""
    tried: list[Setup] = []

    class Lab(Nobody):
        def trying(self, text: str) -> None: ...

        def next_id(self, purpose: str) -> str:
            return purpose

        def run(self, trial: Trial) -> Recording:
            tried.append(trial.setup)
            return replace(recording(0.0, 1), trial=trial, outcome=Outcome.HANG)

    lab: Any = Lab()
    setup = Setup.of({"checkpoint-modules": 1})
    largest_batch(lab, facts(), 1000, setup)
    largest_batch(lab, facts(), 1000)

    assert tried == [setup, Setup()]


def test_growth_halves_its_way_back_from_a_failure() -> None:
    """Between what fits and what does not, until they are close; nothing beyond a failure is promised."""
    failed = growth(grown(8, 180), grown(32, 190), grown(128, None, fits=False))

    assert failed.next_size() == 80
    promised = failed.answer().extrapolated
    assert promised is not None
    assert promised < 128
    assert growth(grown(8, None, fits=False)).next_size() == 4
    close = growth(grown(8, 180), grown(100, 800), grown(108, None, fits=False))
    assert close.next_size() is None
    assert close.answer().extrapolated is None


def test_room_is_known_here() -> None:
    """On Linux, and less than there is."""
    size, what = room.room()

    assert size > 0
    assert "memory" in what


def test_a_group_with_a_limit_leaves_what_it_has_not_used(tmp_path: Path) -> None:
    """File caches do not count as used but for shared memory among them, and no limit is no limit."""
    for name, text in (
        ("memory.max", "1000\n"),
        ("memory.current", "700\n"),
        ("memory.stat", "anon 400\nshmem 100\nfile 300\n"),
    ):
        (tmp_path / name).write_text(text)
    names = ("memory.max", "memory.current")

    assert room._left((tmp_path, *names)) == 500
    (tmp_path / "memory.max").write_text("max\n")
    assert room._left((tmp_path, *names)) is None
    assert room._left((tmp_path / "none", *names)) is None


def test_a_column_has_one_unit() -> None:
    """That of its largest number; what is not known and what is nothing look different."""
    assert numbers.column([0.0123, 0.0004, None, 0.0], "s") == ("ms", ["12.3", "0.40", "?", "-"])
    assert numbers.column([3e9, 1e3], "FLOP") == ("GFLOP", ["3.00", "<0.01"])
    assert numbers.column([54.2], "") == ("", ["54.2"])
    assert numbers.column([], "bytes") == ("bytes", [])


# -- the views


def show(view: RenderableType, width: int) -> str:
    """As a terminal of that width shows it."""
    console = Console(file=io.StringIO(), width=width)
    console.print(view)
    return console.file.getvalue()  # type: ignore[attr-defined]


@pytest.mark.parametrize("width", [80, 120])
def test_the_table_fits_the_terminal(width: int) -> None:
    """Long names lose their beginning, small rows are folded and counted, hostile names steer nothing."""
    rows = (
        row("model.decoder.layers.*.self_attention.output_projection", 0.03, count=12),
        row("[red]\x1b[31m", 0.02),
        row("loss", 0.005, kind=""),
        row("tiny", 1e-5, allowed_s=0.0),
    )
    text = show(model_view(table(rows), facts(), {"copy_bytes_s": 1e10}), width)

    assert max(map(len, text.splitlines())) <= width
    assert text.startswith("43 % of a 100 ms step is beyond what the roofline allows")
    assert "output_projection x 12" in text if width == 120 else "projection x 12" in text
    assert "[red]" in text
    assert "\x1b" not in text
    assert "tiny" not in text
    assert "and 1 more row 10.0 \u00b5s, data 10.0 ms, other 2.00 ms: step 100 ms" in text
    heading = next(line for line in text.splitlines() if line.startswith("module"))
    assert ("forward" in heading) == (width == 120)


def test_what_was_not_counted_is_not_made_up() -> None:
    """No operations, no roofline: times and question marks."""
    unknown = row(flops=None, moved_bytes=None, allowed_s=None)
    text = show(model_view(table((unknown,), compiled=True, host_times=True), facts(), {}), 120)

    assert "its operations were not counted" in text
    assert "?" in text
    assert "compiled as one" in text
    assert "Host times" in text


@pytest.mark.parametrize("width", [80, 120])
def test_memory_says_what_was_run_and_what_was_not(width: int) -> None:
    """A batch that was only extrapolated is never said to fit."""
    largest = LargestBatch(900, "the free memory of this machine", (grown(8, 180), grown(32, 420)), 32, 80, 10.0, "")
    rows = (HeldRow("parameters and buffers", 300, (("a", 200),)), HeldRow("workspaces, freed memory, other", 120))
    held = MemoryTable(420, True, "backward", rows, "cpu", (("layers.*", 90), ("head", 10)), 100, largest)
    text = show(memory_view(held, facts()), width)
    flat = " ".join(text.split())

    assert flat.startswith("A training step holds at most 420 bytes: 71 % parameters and buffers")
    assert "A batch of 32 was run and fits; by extrapolation, not run, up to about 80." in flat
    assert "by it about 80 would fit, which was not run" in flat
    assert max(map(len, text.splitlines())) <= width


def test_the_document_has_what_was_asked_for() -> None:
    """And what follows from it, so that no reader has to work it out."""
    written = views_document(facts(), table((row(),)), None)

    assert list(written) == ["modules"]
    assert written["modules"]["rows"][0]["waste_s"] == pytest.approx(0.006)
    assert written["modules"]["fidelity"]["value"] == 0.98
    assert views_document(facts(), None, None) == {}
