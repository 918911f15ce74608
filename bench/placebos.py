"""Knobs that do nothing, for tunes in which every claim is a false one."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from hotlap.knobs.knob import Knob, When
from hotlap.records import Contract, Facts, Value

if TYPE_CHECKING:
    from hotlap.inside.host import Host


class Early(Knob):
    """Nothing, from the start of the process."""

    id: ClassVar[str] = "placebos:Early"
    area: ClassVar[str] = "hardware"
    contract: ClassVar[Contract] = Contract.EXACT
    when: ClassVar[When] = When.ANY

    def choices(self, facts: Facts) -> tuple[Value, ...]:
        """For every script."""
        return (True,)

    def install(self, value: Value, host: Host) -> None:
        """Change nothing."""


class Late(Early):
    """Nothing, in a place of its own."""

    id: ClassVar[str] = "placebos:Late"
    area: ClassVar[str] = "data"


class Switched(Early):
    """Nothing, now and then."""

    id: ClassVar[str] = "placebos:Switched"
    area: ClassVar[str] = "model"

    def switches(self, facts: Facts) -> bool:
        """There is nothing to take back."""
        return True


class AlsoSwitched(Switched):
    """Nothing, at other times."""

    id: ClassVar[str] = "placebos:AlsoSwitched"
    area: ClassVar[str] = "optimizer"
