"""What was found, shown: at its end, and again from its logbook."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console, RenderableType

from hotlap.errors import HotlapError
from hotlap.logbook import Logbook
from hotlap.records import Result, Verification
from hotlap.toml_file import replace_file


def report(folder: Path, *, as_json: bool) -> None:
    """`hotlap report`: the last tune, race or verification that was run in a folder."""
    last = {event["kind"]: event for event in Logbook(folder / "logbook.jsonl").events()}
    if race := last.get("race"):
        from hotlap.race import command, result

        command.publish(msgspec.convert(race["result"], result.RaceResult), folder, as_json=as_json)
    elif verified := last.get("verification"):
        show(msgspec.convert(verified["found"], Verification), as_json=as_json)
    elif found := last.get("result"):
        publish(msgspec.convert(found["result"], Result), folder, as_json=as_json)
    else:
        raise HotlapError("no-result", f"What was run in {folder} did not come to an end.", fix="run it again")


def publish(result: Result, out: Path, *, as_json: bool) -> None:
    """Write the report of a tune, and print it."""
    from hotlap.report.console import summary
    from hotlap.report.document import document
    from hotlap.report.html import page

    put(out, document(result), page(result), summary(result), as_json=as_json)


def put(out: Path, document: dict[str, Any], page: str, summary: RenderableType, *, as_json: bool) -> None:
    """Write report.json and report.html, and print the document or the summary."""
    text = json.dumps(document, indent=1)
    replace_file(out / "report.json", text.encode())
    replace_file(out / "report.html", page.encode())
    if as_json:
        print(text)
    else:
        Console().print(summary)


def show(found: Verification, *, as_json: bool) -> None:
    """Print what a verification found."""
    from hotlap.report.document import verification_document
    from hotlap.report.verification_view import verification_view

    if as_json:
        print(json.dumps(verification_document(found), indent=1))
    else:
        Console().print(verification_view(found))
