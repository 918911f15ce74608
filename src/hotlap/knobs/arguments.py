"""More arguments for the script, as `hotlap race --arm` tries them: in no list, and in no plan."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from hotlap.knobs.knob import Knob, When
from hotlap.records import Contract, Facts, Skip, Value

if TYPE_CHECKING:
    from hotlap.inside.host import Host


class Arguments(Knob):
    """Run the script with more arguments on its command line.

    ## What it changes
    Whatever those arguments change. They come after the script's own, so that the last word is theirs.
    ## Why it can help
    Another model, batch size or schedule may learn sooner.
    ## When it cannot
    Always, until it is raced.
    ## Source
    The user's.
    """

    id, area, contract, when = "arguments", "model", Contract.RECIPE, When.PROCESS

    def choices(self, facts: Facts) -> tuple[Value, ...] | Skip:
        """Nothing that a tune could try."""
        return Skip("only `hotlap race --arm` asks for other arguments")

    def refuses(self, value: Value) -> str | None:
        """Anything that a shell can split."""
        try:
            shlex.split(str(value))
        except ValueError as error:
            return f"it takes arguments as a shell would split them: {error}"
        return None

    def install(self, value: Value, host: Host) -> None:
        """Nothing: it is the process that is another."""
