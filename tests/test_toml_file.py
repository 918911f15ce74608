"""The layout of a file for people, and its safe place on the disk (the plan's own tests do the rest)."""

from __future__ import annotations

import tomllib
from hypothesis import given, settings
from hypothesis import strategies as st

from hotlap.toml_file import printable, render

scalars = st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.dates()
keys = st.from_regex(r"[a-z_]{1,8}", fullmatch=True)
tables = st.dictionaries(
    keys,
    scalars | st.lists(scalars) | st.dictionaries(keys, scalars) | st.lists(st.dictionaries(keys, scalars), min_size=1),
)


@settings(deadline=None)
@given(st.dictionaries(keys, scalars | tables | st.lists(tables, min_size=1)), st.lists(st.text()))
def test_any_tables_come_back_under_any_comments(top, comments):
    """The layout is ours, so it is held against the standard library's reader."""
    assert tomllib.loads(render(top, comments).decode("utf-8")) == top


@given(st.text())
def test_printable_text_is_one_plain_line(text):
    """Nothing in it breaks a line or starts an escape sequence."""
    assert printable(text).isprintable()
    assert printable("naïve 名前") == "naïve 名前"


def test_what_is_none_is_left_out():
    """TOML has no word for it."""
    assert render({"a": {"b": None, "c": {"d": None, "e": 1}}}, ["x"]) == b"# x\n\n\n[a]\nc = { e = 1 }\n"
