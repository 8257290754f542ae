"""What a pipeline expects of a revision before it goes on with it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final, TypeAlias

from t4_ops.errors import ExpectationError, InvalidInputError
from t4_ops.keys import PackageRef
from t4_ops.manifest import Entry, canonical_json, plain_meta
from t4_ops.operations.selecting import matcher

_PATTERN_MARKS: Final = "*?["
_NUMBERS: Final = ("min_files", "max_files", "min_bytes", "max_bytes")


@dataclass(frozen=True, kw_only=True)
class Expectations:
    """What a revision must be like. It is made of JSON values, see `as_dict`.

    Attributes:
        has: Logical keys that must be there. One that ends in `/` is a directory with anything
            below it; one with `*`, `?` or `[` is a pattern, as in a `.gitignore`, that must match.
        min_files: Fewest entries.
        max_files: Most entries.
        min_bytes: Smallest total size.
        max_bytes: Largest total size.
        meta: Values that the package's metadata must hold, by key; other keys don't matter.
    """

    has: tuple[str, ...] = ()
    min_files: int | None = None
    max_files: int | None = None
    min_bytes: int | None = None
    max_bytes: int | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Take one key for several, and text for numbers, as templates render them.

        Raises:
            InvalidInputError: A value does not fit.
        """
        given: Any = self.has
        has = (given,) if isinstance(given, str) else tuple(given or ())
        if not all(isinstance(key, str) and key for key in has):
            raise InvalidInputError(f"has={has!r}: give logical keys")
        object.__setattr__(self, "has", has)
        for name in _NUMBERS:
            object.__setattr__(self, name, _number(name, getattr(self, name)))
        meta: Any = self.meta or {}
        if not isinstance(meta, Mapping):
            raise InvalidInputError(f"meta={meta!r}: give a mapping")
        object.__setattr__(self, "meta", plain_meta(meta, "the expected metadata"))

    @classmethod
    def of(cls, value: Any) -> Expectations | None:
        """Return expectations from what users give: themselves, a mapping of them, or None.

        Raises:
            InvalidInputError: A name or a value does not fit.
        """
        if value is None or isinstance(value, Expectations):
            return value
        known = [item.name for item in fields(cls)]
        if not isinstance(value, Mapping) or not set(value) <= set(known):
            raise InvalidInputError(f"{value!r}: expectations are {', '.join(known)}")
        return cls(**value)

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON form, without what is not asked for."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        values["has"] = list(self.has)
        return {name: value for name, value in values.items() if value not in (None, [], {})}

    def unmet(
        self,
        entries: Callable[[], Iterable[Entry]],
        meta: Mapping[str, Any],
        has_key: Callable[[str], bool],
    ) -> list[str]:
        """Return what is not so, a sentence each.

        Args:
            entries: Gives what is looked at; not asked where only keys count.
            meta: The package's metadata.
            has_key: Whether an entry is there, or with a `/` at its end a directory.
        """
        absent = [key for key in self.has if not has_key(key)]
        patterns = {key: matcher(key) for key in absent if _is_pattern(key)}
        found = [f"{key!r} is missing" for key in absent if key not in patterns]
        if patterns or any(getattr(self, name) is not None for name in _NUMBERS):
            found += self._unmet_by_all(entries(), patterns)
        for key, value in self.meta.items():
            if key not in meta:
                found.append(f"its metadata has no {key!r}")
            elif canonical_json([meta[key]]) != canonical_json([value]):
                found.append(f"its metadata has {key!r}: {meta[key]!r}, expected {value!r}")
        return found

    def _unmet_by_all(
        self, entries: Iterable[Entry], patterns: dict[str, Callable[[str], bool]]
    ) -> list[str]:
        files = size_bytes = 0
        missing = dict(patterns)
        for entry in entries:
            files += 1
            size_bytes += entry.size_bytes or 0
            for pattern in [key for key, match in missing.items() if match(entry.logical_key)]:
                del missing[pattern]
        found = [f"nothing matches {pattern!r}" for pattern in missing]
        for what, value, least, most in (
            ("files", files, self.min_files, self.max_files),
            ("bytes", size_bytes, self.min_bytes, self.max_bytes),
        ):
            if least is not None and value < least:
                found.append(f"it has {value} {what}, expected at least {least}")
            if most is not None and value > most:
                found.append(f"it has {value} {what}, expected at most {most}")
        return found


ExpectationsLike: TypeAlias = Expectations | Mapping[str, Any]
"""`Expectations`, or a mapping of their names to values."""


def expect(unmet: list[str], ref: PackageRef, path: str | None) -> None:
    """Refuse a revision of which something expected is not so.

    Raises:
        ExpectationError: It lists all of it.
    """
    if unmet:
        where = f"{ref.uri} below {path!r}" if path else ref.uri
        raise ExpectationError(
            f"{where} is not what is expected: {'; '.join(unmet)}", unmet=tuple(unmet), uri=ref.uri
        )


def _is_pattern(key: str) -> bool:
    return any(mark in key for mark in _PATTERN_MARKS)


def _number(name: str, value: Any) -> int | None:
    if value is None or value == "":
        return None
    try:
        if isinstance(value, bool) or int(value) != float(value) or int(value) < 0:
            raise ValueError
    except (TypeError, ValueError, OverflowError) as exc:
        raise InvalidInputError(f"{name}={value!r}: give a whole number, 0 or more") from exc
    return int(value)
