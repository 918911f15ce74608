"""The one error hotlap raises on purpose: what happened, what to do, where to read more."""

from __future__ import annotations


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
