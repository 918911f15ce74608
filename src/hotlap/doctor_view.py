"""What `hotlap doctor` prints: one row for each thing looked at, and the advice last, where the eye ends."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from hotlap.ceilings import Ceilings
from hotlap.doctor import Report, TorchBuild
from hotlap.records import Estimate, Machine
from hotlap.report import numbers
from hotlap.trials.launch import Tier


def doctor_view(report: Report) -> RenderableType:
    """The report as a table and the advice below it. No string is read as markup."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in rows(report):
        table.add_row(Text(name), Text(text))
    if not report.advice:
        return Group(table, Text(), Text("Nothing is wrong here", style="green"))
    return Group(table, Text(), *(Text.assemble(("! ", "bold yellow"), line) for line in report.advice))


def rows(report: Report) -> list[tuple[str, str]]:
    """Name and finding of everything that was looked at."""
    found = [("python", f"{report.python}, {report.executable}"), *_machine(report.machine)]
    found += _torch(report.torch) if report.torch else [("torch", f"cannot be imported: {report.torch_error}")]
    found.append(("NVIDIA driver", _driver(report)))
    variables = ", ".join(f"{name}={value}" for name, value in report.environment.items())
    found.append(("variables", variables or "none that govern threads or memory"))
    found.append(("sandbox", _sandbox(report.tier, report.tier_obstacle)))
    return found + (_ceilings(report.ceilings) if report.ceilings else [])


def _machine(machine: Machine) -> list[tuple[str, str]]:
    quota = "no quota" if machine.quota is None else f"a quota of {machine.quota:g} cores"
    return [
        ("processor", f"{machine.cpu}, {machine.cores} cores, {machine.threads} threads, {quota}"),
        ("features", ", ".join(machine.flags) or "none that knobs ask about"),
        ("memory", f"{numbers.size(machine.memory_bytes)}, {machine.libc}"),
        ("preloaded", machine.preload or "nothing"),
        ("C++ compiler", machine.compiler or "none, so torch.compile cannot work on the CPU"),
    ]


def _torch(torch: TorchBuild) -> list[tuple[str, str]]:
    build = (
        f"built for CUDA {torch.cuda}" if torch.cuda else f"built for ROCm {torch.hip}" if torch.hip else "a CPU build"
    )
    found = [("torch", f"{torch.version}, {build}, {torch.threads} threads, {torch.cpu_capability}")]
    if torch.cuda:
        found.append(("cuDNN", torch.cudnn or torch.cudnn_error or "not there"))
    for device in torch.devices:
        text = f"{device.name}, compute capability {device.capability}, {numbers.size(device.memory_bytes)}"
        found.append(("device", text))
    return found


def _driver(report: Report) -> str:
    if report.driver:
        return f"{report.driver.version}, serves CUDA {report.driver.cuda}: {', '.join(report.driver.devices)}"
    return f"none, with {report.gpus} GPU on the bus" if report.gpus else "none, and no GPU on the bus"


def _sandbox(tier: Tier, obstacle: str) -> str:
    what = {Tier.OVERLAY: "a scratch layer over your files", Tier.COPY: "a scratch copy of your folder"}
    text = what.get(tier, tier.value)
    return f"{text} ({obstacle})" if obstacle else text


def _ceilings(ceilings: Ceilings) -> list[tuple[str, str]]:
    where = f"on {ceilings.threads} threads" if ceilings.device == "cpu" else f"on {ceilings.device}"
    return [
        (f"{name} {where}", _rate(measured))
        for name, measured in (
            ("float32 products", ceilings.matmul_flops),
            ("bfloat16 products", ceilings.matmul_bf16_flops),
            ("memory copies", ceilings.copy_bytes_s),
        )
    ]


def _rate(measured: Estimate) -> str:
    value, low, high = (numbers.rate(x, measured.unit) for x in (measured.value, measured.low, measured.high))
    return f"{value} ({low} to {high}, n = {measured.n})"
