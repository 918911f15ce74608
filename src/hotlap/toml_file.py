"""Strict TOML for people: tables to pleasant text, text to a strict Struct, complaints that name the key.

tomli-w quotes the values; the layout is done here, so that a small table stays on one line and diffs stay small.
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import tomli_w
import tomllib

from hotlap.errors import HotlapError

LARGEST_BYTES = 1 << 20

T = TypeVar("T")


def printable(text: str) -> str:
    """The text on one line: what could break a line, or steer a terminal, is written as an escape."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def render(tables: Mapping[str, Any], comments: Sequence[str]) -> bytes:
    """The file: comment lines, plain values, then a section for each table and each row of a list of tables.

    Entries that are None are left out. Keys must be bare keys.
    """
    lines = [f"# {printable(line)}".rstrip() for line in comments]
    lines += ["", *(_pair(key, value) for key, value in tables.items() if not _is_section(value))]
    for key, value in tables.items():
        if isinstance(value, dict):
            lines += ["", f"[{key}]", *_body(key, value)]
        elif _is_section(value):
            lines += _rows(key, value)
    return ("\n".join(lines) + "\n").encode("utf-8", "replace")  # an argument that is not UTF-8 has no form in TOML


def _is_section(value: object) -> bool:
    return isinstance(value, dict) or _is_rows(value)


def _is_rows(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str) and any(isinstance(row, dict) for row in value)


def _rows(path: str, rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    for row in rows:
        yield from ("", f"[[{path}]]", *_body(path, row))


def _body(path: str, table: Mapping[str, Any]) -> Iterator[str]:
    nested = {key: value for key, value in table.items() if _is_rows(value)}
    yield from (_pair(key, value) for key, value in table.items() if value is not None and key not in nested)
    for key, rows in nested.items():
        yield from _rows(f"{path}.{key}", rows)


def _pair(key: str, value: object) -> str:
    return f"{key} = {_inline(value)}"


def _inline(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(_pair(key, item) for key, item in value.items() if item is not None) + " }"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_inline, value)) + "]"
    return tomli_w.dumps({"x": value}).removeprefix("x = ").removesuffix("\n")


def parse(content: bytes, path: Path, kind: type[T], schema: int) -> T:
    """The Struct in a file's content.

    Args:
        content: The file's bytes.
        path: Its name, for the complaints.
        kind: A Struct that forbids unknown fields.
        schema: The newest value of the key `schema` that is understood.

    Raises:
        HotlapError: plan-too-large, plan-unreadable, plan-too-new, plan-missing-key, plan-unknown-key,
            plan-wrong-type, plan-out-of-range.
    """
    if len(content) > LARGEST_BYTES:
        what = f"{path} is larger than {LARGEST_BYTES >> 20} MiB, so it is no plan."
        raise HotlapError("plan-too-large", what, fix="name the right file, or tune again")
    try:
        tables = tomllib.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        what = f"{path} is not sound TOML: {printable(str(error))}."
        raise HotlapError("plan-unreadable", what, fix="correct it there, or tune again") from error
    if "schema" not in tables:
        raise _complaint("Object missing required field `schema`", path)
    written = tables["schema"]
    if isinstance(written, int) and written > schema:
        what = f"`schema` in {path} is {written}; this hotlap reads up to {schema}."
        raise HotlapError("plan-too-new", what, fix="install a newer hotlap, or tune again with this one")
    try:
        return msgspec.convert(tables, kind)
    except msgspec.ValidationError as error:
        raise _complaint(str(error), path) from error


_COMPLAINTS = (
    (r"Object contains unknown field `(.*)`", "plan-unknown-key", "remove it, or correct its spelling"),
    (r"Object missing required field `(.*)`", "plan-missing-key", "put it back, or tune again"),
    (r"Expected `[^`]*`, got `[^`]*`()", "plan-wrong-type", "write a value of the type expected"),
    (r".*()", "plan-out-of-range", "correct it, or tune again"),
)


def _complaint(message: str, path: Path) -> HotlapError:
    """The error for a message of msgspec, such as "Expected `int`, got `str` - at `$.settings[0].value`"."""
    reason, _, place = message.partition(" - at `$")
    for pattern, slug, fix in _COMPLAINTS:
        match = re.fullmatch(pattern, reason, re.DOTALL)
        if match:
            key = ".".join(part for part in (place.strip("`."), match[1]) if part)
            what = f"`{printable(key)}` in {path}" if key else str(path)
            return HotlapError(slug, f"{what}: {printable(reason[:1].lower() + reason[1:])}.", fix=fix)
    raise AssertionError(message)  # the last pattern matches everything


def replace_file(path: Path, content: bytes) -> None:
    """Put a file in its place, whole or not at all: whatever fails, what was there before is left as it was.

    Raises:
        HotlapError: plan-not-written.
    """
    target = Path(os.path.realpath(path))  # a link stays a link
    temporary: Path | None = None
    try:
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".tmp")
        temporary = Path(name)
        with os.fdopen(handle, "wb") as file:
            os.fchmod(file.fileno(), 0o644)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except BaseException as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        if not isinstance(error, OSError):
            raise
        what = f"{path} could not be written: {error.strerror or error}."
        raise HotlapError("plan-not-written", what, fix="make room there, or name another place") from error
    with contextlib.suppress(OSError):  # some network folders cannot; the file is whole in either case
        _sync_folder(target.parent)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
