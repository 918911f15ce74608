"""The one error hotlap raises on purpose: what happened, what to do, where to read more."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from functools import partial
from typing import Any


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint at the known name that was probably meant, ready to follow a sentence; "" when none is near."""
    names = list(known)
    near = [other for other in names if other.startswith(name)] or get_close_matches(name, names, n=1)
    return f" Did you mean {near[0]}?" if name and near else ""


class HotlapError(Exception):
    """Something the user can act on.

    Args:
        slug: Kebab-case id of the error; a heading in docs/errors.md.
        what: What happened, with the values that matter.
        fix: What to do about it, as one imperative sentence without a full stop.
    """

    def __init__(self, slug: str, what: str, *, fix: str) -> None:
        super().__init__(f"{what} To mend it, {fix}.")
        self.slug = slug
        self.what = what
        self.fix = fix

    def __reduce__(self) -> tuple[Any, ...]:
        """On its way from another process."""
        return partial(type(self), fix=self.fix), (self.slug, self.what)
