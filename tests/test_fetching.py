"""`hotlap check --data` as a user meets it, and its view."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from facts import facts
from rich.console import Console
from test_end_to_end import hotlap

from hotlap.records import Skip
from hotlap.records.views import FetchRow, FetchTable
from hotlap.report.fetch_view import fetch_view

PHOTOS = """
import time
import torch
from torch.utils.data import DataLoader, Dataset
torch.set_num_threads(1)
class Photos(Dataset):
    def __len__(self):
        return 640
    def __getitem__(self, index):
        time.sleep(0.002)
        return torch.ones(8)
model = torch.nn.Linear(8, 8)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for epoch in range(40):
    for x in DataLoader(Photos(), batch_size=4):
        optimizer.zero_grad()
        model(x).sum().backward()
        optimizer.step()
"""


def test_where_fetching_spends_its_time(tmp_path: Path) -> None:
    """The line to blame comes first, and all rows sum to a batch."""
    (tmp_path / "train.py").write_text(PHOTOS)
    done = hotlap("check", "--data", "--json", "--budget", "60s", "train.py", cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    table = json.loads(done.stdout)["fetching"]
    assert table["rows"][0]["text"] == "time.sleep(0.002)"
    assert table["rows"][0]["line"] == 10
    assert table["rows"][0]["time_s"] >= 0.5 * table["fetch_s"]
    assert sum(row["time_s"] for row in table["rows"]) == pytest.approx(table["fetch_s"])
    assert table["samples"] == 4
    assert table["waiting"] > 0.5
    assert table["dataset"] == "__main__:Photos"


@pytest.mark.slow
def test_without_a_loader_there_is_no_fetching_to_show(tmp_path: Path) -> None:
    """A clear error, and no empty table."""
    (tmp_path / "train.py").write_text(PHOTOS.replace("DataLoader(Photos(), batch_size=4)", "[torch.ones(4, 8)] * 99"))
    done = hotlap("check", "--data", "--budget", "60s", "train.py", cwd=tmp_path)

    assert done.returncode == 1
    assert "no-loader" in done.stderr


def test_the_view_of_fetching_names_the_worst_and_what_could_help() -> None:
    """Rows too small to matter are folded, with their sum."""
    rows = [("x = read(path)", 0.008), ("Crop", 0.0019), ("return x", 0.00005), ("default_collate", 0.00005)]
    made = tuple(
        FetchRow("sample", "/work/data.py" if "=" in text else "", 7, "__getitem__", text, time_s)
        for text, time_s in rows
    )
    table = FetchTable("__main__:Photos", 32.0, 0.010, 0.001, 0.4, made, 9, 2.0, 0, 0.01, 0.03)
    choices: dict[str, Any] = {"sample-cache": (True,), "fetch-ahead": Skip("Photos: it changes")}
    console = Console(file=io.StringIO(), width=100)
    console.print(fetch_view(table, facts(), choices))
    text = console.file.getvalue()  # type: ignore[attr-defined]

    for part in (
        *("10.0 ms to fetch a batch of 32 from Photos", "80 %, in x = read(path)", "data.py:7 __getitem__"),
        *("and 2 more rows 100", "In 40 %", "sampler takes 1.00 ms", "2 times as long", "sample-cache"),
        "Photos: it changes",
    ):
        assert part in text, text


def test_the_numbers_stay_where_a_statement_is_longer_than_the_terminal() -> None:
    """What gives way is the text: its beginning, the place and both numbers are there, on one line."""
    text = "spectrum = torch.stft(sound, self.n_fft, self.hop, window=self.window, return_complex=True).abs() ** 2"
    rows = (FetchRow("sample", "/work/speech.py", 59, "__getitem__", text, 0.008),)
    table = FetchTable("__main__:Words", 32.0, 0.008, 0.0, 0.0, rows, 9, 1.0, 1, 0.01, 0.03)
    console = Console(file=io.StringIO(), width=80)
    console.print(fetch_view(table, facts(), {}))
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    row = next(line for line in lines if "speech.py:59 __getitem__" in line)

    for part in ("8.00", "100 %", "spectrum = torch.stft"):
        assert part in row
    assert all(len(line) <= 80 for line in lines)
    assert "with 1 worker." in " ".join(" ".join(lines).split())
