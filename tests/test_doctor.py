"""The doctor: what it sees here, and what it says of machines that are not this one."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from facts import MACHINE
from rich.console import Console

from hotlap import ceilings, doctor, explain
from hotlap.doctor import Device, Driver, TorchBuild
from hotlap.errors import HotlapError
from hotlap.knobs import KNOBS
from hotlap.records import Estimate
from hotlap.trials.launch import Tier

CPU_BUILD = TorchBuild(
    version="2.13.0+cpu",
    cuda="",
    hip="",
    cudnn="",
    cudnn_error="",
    cuda_works=False,
    architectures=(),
    devices=(),
    cpu_capability="AVX512",
    mkldnn=True,
    threads=8,
)
CUDA_BUILD = replace(
    CPU_BUILD,
    version="2.13.0+cu130",
    cuda="13.0",
    cudnn="9.10.2",
    cuda_works=True,
    architectures=("sm_80", "sm_90", "compute_90"),
    devices=(Device("NVIDIA H200", "9.0", 139 << 30),),
)
DRIVER = Driver("580.82", "13.0", ("NVIDIA H200",))


def advised(
    torch_: TorchBuild | None = CUDA_BUILD,
    driver: Driver | None = DRIVER,
    gpus: int = 1,
    machine: dict[str, Any] | None = None,
    **environment: str,
) -> list[str]:
    return doctor.advice(replace(MACHINE, **machine or {}), torch_, "ImportError: no", driver, gpus, environment)


@pytest.fixture(scope="module")
def report() -> doctor.Report:
    return doctor.examine(sys.executable, ceilings=False)


def test_sees_this_machine(report: doctor.Report) -> None:
    assert report.torch is not None
    assert report.torch.version == torch.__version__
    assert report.torch.threads >= 1
    assert report.machine.cores >= 1
    assert report.python.startswith("3.")
    assert report.ceilings is None
    json.dumps(msgspec.to_builtins(report))


def test_prints_without_markup(report: doctor.Report) -> None:
    """Text from outside may hold square brackets."""
    odd = replace(report, executable="/opt/[bold]python", advice=("[red]look[/red] here",))
    console = Console(file=io.StringIO(), width=200)
    doctor.print_doctor(console, odd)
    text = console.file.getvalue()

    assert "/opt/[bold]python" in text
    assert "[red]look[/red] here" in text
    assert torch.__version__ in text


def test_prints_ceilings(report: doctor.Report) -> None:
    rate = Estimate(1e11, 9e10, 1.1e11, "FLOP/s", 9)
    measured = ceilings.Ceilings("cpu", 2, rate, rate, replace(rate, unit="B/s"))
    console = Console(file=io.StringIO(), width=200)
    doctor.print_doctor(console, replace(report, ceilings=measured, tier=Tier.COPY, tier_obstacle="no namespaces"))

    assert "100 GFLOP/s (90.0 GFLOP/s to 110 GFLOP/s, n = 9)" in console.file.getvalue()
    assert "no namespaces" in console.file.getvalue()
    assert measured.as_ceiling == dict.fromkeys(("matmul_flops", "matmul_bf16_flops", "copy_bytes_s"), 1e11)


def test_all_is_well_where_it_is() -> None:
    assert advised() == []
    assert advised(CPU_BUILD, None, 0) == []


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ({"torch_": CPU_BUILD}, "torch is a CPU build"),
        ({"torch_": CPU_BUILD, "driver": None}, "torch is a CPU build"),
        ({"driver": None}, "a GPU but no NVIDIA driver"),
        ({"driver": None, "gpus": 0}, "no NVIDIA GPU or driver"),
        ({"driver": replace(DRIVER, cuda="12.8")}, "serves CUDA 12.8 at most"),
        ({"torch_": replace(CUDA_BUILD, cuda_works=False, devices=())}, "CUDA_VISIBLE_DEVICES"),
        ({"torch_": replace(CUDA_BUILD, devices=(Device("Old", "7.0", 1),))}, "no kernels for Old"),
        ({"torch_": replace(CUDA_BUILD, cudnn_error="found 9.1")}, "found 9.1"),
        ({"torch_": replace(CUDA_BUILD, version="2.9.1")}, "needs 2.11"),
        ({"OMP_NUM_THREADS": "1"}, "7 of 8 cores idle"),
        ({"machine": {"quota": 2.5}}, "quota is 2.5 cores: set OMP_NUM_THREADS=2"),
        ({"machine": {"threads": 4, "cores": 4}}, "4 cores that this process may use"),
        ({"torch_": None}, "cannot be imported: ImportError: no"),
    ],
)
def test_says_what_is_wrong(case: dict[str, Any], words: str) -> None:
    found = advised(**case)

    assert len(found) == 1
    assert words in found[0]
    assert found[0].endswith((".", "found 9.1"))


def test_an_older_driver_of_the_same_major_version_fits() -> None:
    """CUDA keeps minor versions compatible."""
    assert advised(driver=replace(DRIVER, cuda="13.0"), torch_=replace(CUDA_BUILD, cuda="13.2")) == []


def test_counts_display_controllers_only(tmp_path: Path) -> None:
    for name, vendor, kind in (("a", "0x10de", "0x030200"), ("b", "0x10de", "0x040300"), ("c", "0x8086", "0x030000")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "vendor").write_text(vendor + "\n")
        (tmp_path / name / "class").write_text(kind + "\n")
    (tmp_path / "d").mkdir()

    assert doctor._gpus(tmp_path) == 1


def test_a_torch_that_cannot_be_imported_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "torch.py").write_text("raise ImportError('libcudart.so.13: cannot open')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    found = doctor.examine(sys.executable)

    assert found.torch is None
    assert found.ceilings is None
    assert "libcudart.so.13" in found.advice[0]


def test_an_interpreter_that_runs_nothing_is_an_error() -> None:
    with pytest.raises(HotlapError, match="gave no answer") as caught:
        doctor.examine("/bin/true")
    assert caught.value.slug == "no-torch-answer"


def test_measures_the_ceilings() -> None:
    measured = ceilings.measure(sys.executable)

    for rate in (measured.matmul_flops, measured.matmul_bf16_flops, measured.copy_bytes_s):
        assert rate.n == 9
        assert 1e6 < rate.low <= rate.value <= rate.high < 1e17


def test_explains_every_knob() -> None:
    for knob_id in KNOBS:
        text = explain.explain(knob_id)
        assert text.startswith(f"# {knob_id}\n")
        assert text.count("\n## ") == 4


def test_explains_no_other() -> None:
    with pytest.raises(HotlapError, match=r"Did you mean fused-update\?"):
        explain.explain("fused-updat")


def test_lists_in_plain_words() -> None:
    everything = explain.listing()

    assert [knob["id"] for knob in everything["knobs"]] == list(KNOBS)
    assert json.loads(json.dumps(everything)) == everything
    for knob in everything["knobs"]:
        assert {"id", "area", "contract", "when", "conflicts", "summary"} <= set(knob)
        assert knob["summary"].endswith(".")


def test_listing_needs_no_torch() -> None:
    code = "import sys; sys.modules['torch'] = None; from hotlap.explain import listing; listing()"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
