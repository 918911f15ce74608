"""Takes secrets out of what is shown: by the name of an argument, by the shape of a key, from URLs."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence
from itertools import pairwise

REDACTED = "REDACTED"

# Names after Sentry's default list of sensitive fields.
_SECRET = frozenset(
    (
        *("password", "passwd", "passphrase", "passcode", "pwd", "secret", "secrets", "credential", "credentials"),
        *("apikey", "privatekey", "authorization", "cookie"),
    )
)
_OFTEN_SECRET = frozenset(("token", "auth", "session", "sessionid", "accesstoken", "authtoken"))
_KEY_OF = frozenset(
    ("api", "private", "access", "secret", "wandb", "hf", "openai", "auth", "signing", "encryption", "account", "ssh")
)

_SHAPES = re.compile(
    r"\b(?:wandb_v1_\w{20,}|hf_[A-Za-z0-9]{20,}|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}"
    r"|sk-[\w-]{16,}|xox[abprs]-[\w-]{10,}|(?:AKIA|ASIA)[A-Z0-9]{16}|AIza[\w-]{30,}"
    r"|eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*"
    r"|[0-9a-f]{40})\b"  # a W&B key is 40 hex digits, as a git commit is: better one commit too many
)
_URL_USER = re.compile(r"(\b[a-zA-Z][a-zA-Z0-9+.-]*://)[^\s/@?#]+@")
_BEARER = re.compile(r"\b(Bearer|Basic)\s+[\w.+/=~-]{8,}")
_ASSIGNED = re.compile(r"""(?<![\w.-])([A-Za-z-][\w.-]*)(\s?=\s?|["']\s*:\s*)("[^"]*"|'[^']*'|[^\s,;&"')]+)""")
_FLAGGED = re.compile(r"(?<![\w.-])(--?[A-Za-z][\w.-]*)(\s+)([^\s-]\S*)")
_SHORT_NUMBER = re.compile(r"[+-]?[\d.]{1,6}")

SHORTEST_SECRET = 6  # a shorter value would be struck out of ordinary words elsewhere in the report


def is_secret(name: str, value: str) -> bool:
    """Whether a value is to be hidden for the name it goes by; `--max-tokens 512` and `--token 4` are not."""
    words = [w for w in re.split(r"[^a-z0-9]+", re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()) if w]
    if not _SECRET.isdisjoint(words):
        return True
    is_key = any(b == "key" and a in _KEY_OF for a, b in pairwise(words))
    often = is_key or words == ["key"] or not _OFTEN_SECRET.isdisjoint(words)
    return often and not _SHORT_NUMBER.fullmatch(value)


def redact(text: str, secrets: Iterable[str] = ()) -> str:
    """The text without the secrets given, and without what looks like one."""
    for secret in secrets:
        text = text.replace(secret, REDACTED)
    text = _URL_USER.sub(rf"\1{REDACTED}@", text)
    text = _BEARER.sub(rf"\1 {REDACTED}", text)
    text = _SHAPES.sub(REDACTED, text)
    text = _FLAGGED.sub(_hide, text)
    return _ASSIGNED.sub(_hide, text)


def _hide(match: re.Match[str]) -> str:
    name, between, value = match.groups()
    return f"{name}{between}{REDACTED if is_secret(name, value) else value}"


def redact_argv(argv: Sequence[str]) -> tuple[str, ...]:
    """The arguments, each value with a secret's name struck out, as `--name value` or as `name=value`."""
    return tuple(
        argument if value is None else argument.removesuffix(value) + REDACTED
        for argument, value in _with_secret_values(argv)
    )


def redact_command(command: str) -> str:
    """A command line as it was typed; it is quoted anew only if something was struck out."""
    argv = _split(command)
    hidden = redact_argv(argv)
    return command if hidden == tuple(argv) else shlex.join(hidden)


def secrets_in(*argvs: Sequence[str]) -> tuple[str, ...]:
    """The secret values in some arguments that are long enough to be told from ordinary words, longest first."""
    found = {value for argv in argvs for _, value in _with_secret_values(argv) if value}
    return tuple(sorted((value for value in found if len(value) >= SHORTEST_SECRET), key=len, reverse=True))


def secrets_of_command(command: str) -> tuple[str, ...]:
    """The same for a command line."""
    return secrets_in(_split(command))


def _split(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError:  # an open quote
        return command.split()


def _with_secret_values(argv: Sequence[str]) -> list[tuple[str, str | None]]:
    """Each argument with the part of it that is a secret value."""
    found: list[tuple[str, str | None]] = []
    before = ""
    for argument in argv:
        name, equals, value = argument.partition("=")
        if equals and "://" not in name and is_secret(name, value):
            found.append((argument, value))
        elif (
            before.startswith("-")
            and "=" not in before
            and not argument.startswith("-")
            and is_secret(before, argument)
        ):
            found.append((argument, argument))
        else:
            found.append((argument, None))
        before = argument
    return found
