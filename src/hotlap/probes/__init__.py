"""Every probe of the observed run, one file each; a new one is one line here and one field of `records.Seen`."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hotlap.probes.probe import Probe

PROBES = {
    "operations": "operations:OperationsProbe",
    "structure": "structure:StructureProbe",
    "habits": "habits:HabitsProbe",
    "modes": "modes:ModesProbe",
    "costly": "costly:CostlyProbe",
    "collector": "collector:CollectorProbe",
    "denormals": "denormals:DenormalsProbe",
    "loss": "loss:LossProbe",
    "rows": "rows:RowsProbe",
    "switches": "switches:SwitchesProbe",
    "graphs": "graphs:GraphsProbe",
    "gradients": "gradients:GradientsProbe",
    "compilation": "compilation:CompilationProbe",
    "scaling": "scaling:ScalingProbe",
    "streams": "streams:StreamsProbe",
}


def all_probes() -> list[Probe]:
    """A fresh one of each, in the order of the list."""
    classes = (path.split(":") for path in PROBES.values())
    return [getattr(import_module(f"hotlap.probes.{module}"), name)() for module, name in classes]
