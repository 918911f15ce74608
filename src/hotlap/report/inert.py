"""The one gate between the records and every report: what comes out holds no secret and steers nothing."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol, TypeVar

import msgspec

from hotlap.records import Facts
from hotlap.report.clean import clean
from hotlap.report.redact import redact, redact_argv, redact_command, secrets_in, secrets_of_command

T = TypeVar("T")


class Answer(Protocol):
    """A record with the command that was tuned and the facts of its script."""

    @property
    def target(self) -> str:
        """The command line as the user typed it."""
        ...

    @property
    def facts(self) -> Facts:
        """Of the script."""
        ...


A = TypeVar("A", bound=Answer)


def inert_result(result: A) -> A:
    """The same answer, with every string in it cleaned and every secret struck out."""
    target = clean(result.target)
    secrets = secrets_of(result.facts) + secrets_of_command(target)
    plain: Any = result
    return inert(dataclasses.replace(plain, target=redact_command(target), facts=_plain_argv(result.facts)), secrets)


def inert_facts(facts: Facts) -> Facts:
    """The same facts, with every string in them cleaned and every secret struck out."""
    return inert(_plain_argv(facts), secrets_of(facts))


def secrets_of(facts: Facts) -> tuple[str, ...]:
    """The secret values among the script's arguments."""
    return secrets_in(tuple(map(clean, facts.argv)))


def inert(record: T, secrets: tuple[str, ...] = ()) -> T:
    """A copy of a record with every string in it cleaned and redacted."""
    plain = partial(_plain, secrets=secrets)
    return msgspec.convert(_walk(msgspec.to_builtins(record), plain), type(record))


def _plain(text: str, secrets: tuple[str, ...]) -> str:
    return redact(clean(text), secrets)


def _plain_argv(facts: Facts) -> Facts:
    return dataclasses.replace(facts, argv=redact_argv(tuple(map(clean, facts.argv))))


def _walk(value: Any, plain: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return plain(value)
    if isinstance(value, dict):
        return {_walk(key, plain): _walk(item, plain) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_walk(item, plain) for item in value]
    return value
