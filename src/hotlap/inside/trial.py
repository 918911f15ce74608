"""What a trial installs besides the knobs, by its purpose."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hotlap.inside.steps import Recorder

if TYPE_CHECKING:
    from hotlap.inside.host import Host


def install(host: Host) -> None:
    """Put the recorder in, and what the purpose of the trial adds to it."""
    recorder = Recorder(host)
    host.loaders.watch()
    _for_purpose(host, recorder, host.task["purpose"])
    if pattern := host.task["options"].get("metric"):
        from hotlap.inside.printed import Printed

        Printed(host, recorder, pattern, host.task["options"].get("metric_from", 0)).install()
    if host.task.get("arms"):
        from hotlap.inside.interleave import Interleaver

        Interleaver(host, recorder).install()
    recorder.install()


def _for_purpose(host: Host, recorder: Recorder, purpose: str) -> None:
    if purpose == "observe":
        from hotlap.inside.observe import Observer

        Observer(host, recorder).install()
    elif purpose == "race":
        from hotlap.inside.race.watch import RaceTrial

        RaceTrial(host, recorder).install()
    elif purpose in ("reference", "noise", "candidate"):
        from hotlap.inside.gates import install_gates

        install_gates(host, recorder)
    elif purpose == "spread":
        from hotlap.inside.spread import SpreadProbe

        SpreadProbe(host, recorder).install()
    elif purpose == "modules":
        from hotlap.inside.modules import ModulesTrial

        ModulesTrial(host, recorder, whole=bool(host.task["options"].get("whole"))).install()
    elif purpose == "time" and "peak_after" in host.task["options"]:
        from hotlap.inside.step_peak import StepPeak

        StepPeak(host, recorder, host.task["options"]["peak_after"], host.task["steps"]).install()
    elif purpose == "repeat":
        from hotlap.inside.repeat import Repeat

        Repeat(host, recorder).install()
    elif purpose == "grow":
        from hotlap.inside.growth import GrowthTrial

        GrowthTrial(host, recorder).install()
    elif purpose == "fetches":
        from hotlap.inside.fetches import FetchTrial

        FetchTrial(host, recorder).install()
