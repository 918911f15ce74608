"""What comes from outside is cleaned, and secrets are struck out."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from results import facts, hostile, result

from hotlap.report.clean import clean
from hotlap.report.inert import inert_facts, inert_result
from hotlap.report.redact import redact, redact_argv, redact_command


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("plain", "plain"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x9b2Jgone", "gone"),
        ("a\x1b]0;title\x07b", "ab"),
        ("\x1b]8;;https://evil.test\x1b\\click\x1b]8;;\x1b\\", "click"),
        ("open \x1b]0;never closed", "open 0;never closed"),
        ("\x1bPdcs\x1b\\x\x1b(B", "x"),
        ("two\r\nlines\tand\u2028more", "two lines and more"),
        ("a\u202egnp.exe\u2066\u200f\u061c\ufeff", "agnp.exe"),
        ("bell\x07 nul\x00 del\x7f", "bell nul del"),
        ("\udcff surrogate", "\ufffd surrogate"),
        ("na\u00efve \u2603 \u65e5\u672c", "na\u00efve \u2603 \u65e5\u672c"),
    ],
)
def test_clean_leaves_only_what_can_be_read(text: str, cleaned: str) -> None:
    """Sequences go whole, lone controls go alone, words stay."""
    assert clean(text) == cleaned


@given(st.text(st.characters()))
def test_clean_text_steers_nothing(text: str) -> None:
    """No control, no bidi, no surrogate, and cleaning twice is cleaning once."""
    cleaned = clean(text)

    assert not {unicodedata.category(c) for c in cleaned if c not in "\u200c\u200d"} & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    assert clean(cleaned) == cleaned


@pytest.mark.parametrize(
    ("argv", "shown"),
    [
        (("--password", "hunter2"), ("--password", "REDACTED")),
        (("--api-key=abc",), ("--api-key=REDACTED",)),
        (("model.apiKey=abc",), ("model.apiKey=REDACTED",)),
        (("WANDB_API_KEY=abc", "--lr=0.1"), ("WANDB_API_KEY=REDACTED", "--lr=0.1")),
        (("--auth", "--verbose"), ("--auth", "--verbose")),
        (("--max-tokens", "512", "--tokenizer", "gpt2"), ("--max-tokens", "512", "--tokenizer", "gpt2")),
        (("--token", "4"), ("--token", "4")),
        (("--hf-token", "abcd"), ("--hf-token", "REDACTED")),
        (("--sort-key", "name"), ("--sort-key", "name")),
        (("--secret=a=b",), ("--secret=REDACTED",)),
    ],
)
def test_argument_is_hidden_for_its_name(argv: tuple[str, ...], shown: tuple[str, ...]) -> None:
    """Names that look secret hide their value; counts of tokens and sort keys stay."""
    assert redact_argv(argv) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("git clone https://me:pw@host/x", "git clone https://REDACTED@host/x"),
        ("see https://host/x?token=abcdefg&n=1", "see https://host/x?token=REDACTED&n=1"),
        ("key " + "0123456789abcdef0123" * 2, "key REDACTED"),
        ("hash " + "ab" * 32, "hash " + "ab" * 32),
        ("hf_" + "a" * 34, "REDACTED"),
        ("Authorization: Bearer abcdefghijk", "Authorization: Bearer REDACTED"),
        ("ran with --password hunter2 --lr 1", "ran with --password REDACTED --lr 1"),
        ("api_key = 'x y'", "api_key = REDACTED"),
        ('{"password": "x"}', '{"password": REDACTED}'),
        ("a gain of 1 % at lr=0.1", "a gain of 1 % at lr=0.1"),
    ],
)
def test_text_is_hidden_for_its_shape(text: str, shown: str) -> None:
    """Keys, user-info and assignments are found in prose; a sha256 is not a key."""
    assert redact(text) == shown


def test_command_is_quoted_anew_only_when_needed() -> None:
    """What the user typed stays as typed, even with an open quote."""
    assert redact_command("train.py  --name 'a b'") == "train.py  --name 'a b'"
    assert redact_command("train.py --name 'a") == "train.py --name 'a"
    assert redact_command("train.py --password 'a b' --x") == "train.py --password REDACTED --x"


def test_secret_is_struck_out_wherever_it_turns_up() -> None:
    """A reason that quotes the password does not give it away."""
    shown = str(inert_result(hostile()))

    assert "hunter2" not in shown
    assert "letmein" not in shown
    assert "0123456789" not in shown
    assert "hunter2" not in str(inert_facts(facts(argv=("--password", "hunter2hunter2"), script="hunter2hunter2")))


def test_harmless_result_passes_unchanged() -> None:
    """Numbers, types and ordinary words are not touched."""
    assert inert_result(result()) == result()
