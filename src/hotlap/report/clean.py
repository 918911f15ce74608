"""Makes text from outside safe to show: nothing in it can steer a terminal, or turn the line around."""

from __future__ import annotations

import re
import unicodedata

# ECMA-48: control sequences (CSI) and strings (OSC, DCS, SOS, PM, APC) up to their end, then the shorter escapes.
_ESCAPES = re.compile(
    "(?:\x1b\\[|\x9b)[0-?]*[ -/]*[@-~]"
    "|(?:\x1b[\\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\\\|\x9c)"
    "|\x1b[ -/]*[0-~]"
)
_SPACE = re.compile("[\t\n\x0b\x0c\r\x85\u2028\u2029]+")
_JOINERS = "\u200c\u200d"  # needed to write Persian, Hindi and emoji; they move nothing
_HIDDEN = frozenset(("Cc", "Cf"))  # controls; formats, with them the bidi controls and the invisible tags


def clean(text: str) -> str:
    """The text on one line, without escape sequences, control characters and bidi controls."""
    text = _SPACE.sub(" ", _ESCAPES.sub("", text))
    if text.isascii() and text.isprintable():
        return text
    return "".join(_shown(character) for character in text)


def _shown(character: str) -> str:
    category = unicodedata.category(character)
    if category == "Cs":  # an argument that is not UTF-8 arrives as lone surrogates, which no file takes
        return "\ufffd"
    return "" if category in _HIDDEN and character not in _JOINERS else character
