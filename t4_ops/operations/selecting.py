"""Which entries of a package a step is about: patterns and functions."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

from t4_ops.errors import InvalidInputError
from t4_ops.package import PackageEntry

SelectorFunction: TypeAlias = Callable[[str, PackageEntry], bool]
"""Of logical key and entry: whether it is meant."""
SelectorLike: TypeAlias = str | Iterable[str] | SelectorFunction
"""Patterns as in a `.gitignore`, which say what is meant here; or a function."""


def selector_of(selector: SelectorLike | None) -> SelectorFunction | None:
    """Return the function for what users name entries by; None: all of them.

    Patterns have git's meaning: `*.csv` at any depth, `raw/` all below such a directory, `/a` at
    the root only, `**` across directories, `!x` takes back what an earlier pattern named.

    Raises:
        InvalidInputError: A pattern is none, or there is none.
    """
    if selector is None or callable(selector):
        return selector
    matches = matcher(selector)
    return lambda key, _: matches(key)


def matcher(patterns: str | Iterable[str]) -> Callable[[str], bool]:
    """Return the function that says whether a logical key is one of those that patterns name.

    Raises:
        InvalidInputError: A pattern is none, or there is none.
    """
    from pathspec import GitIgnoreSpec
    from pathspec.patterns.gitignore import GitIgnorePatternError

    lines: list[Any] = [patterns] if isinstance(patterns, str) else list(patterns)
    if not lines or not all(isinstance(line, str) and line.strip() for line in lines):
        raise InvalidInputError(
            f"selector {lines!r}: give one or several patterns such as '*.csv' or 'raw/'"
        )
    try:
        spec = GitIgnoreSpec.from_lines(lines)
    except GitIgnorePatternError as exc:
        raise InvalidInputError(f"selector {lines!r}: {exc}") from exc
    if any(pattern.include is None for pattern in spec.patterns):
        # git passes over comments and broken brackets; here they would select nothing, unseen.
        raise InvalidInputError(f"selector {lines!r}: a line of it is no pattern")
    return spec.match_file
