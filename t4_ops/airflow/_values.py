"""Values that templates may have rendered as text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from t4_ops import operations
from t4_ops.errors import InvalidInputError

_FLAGS: Final = {"true": True, "false": False}
_PARTITION_MAX_LENGTH: Final = 250  # `OutletEventAccessor` of Airflow's SDK 1.3.2
_JINJA: Final = ("{{", "{%", "{#")


def flag(value: object, field: str) -> bool:
    """Return a truth value that may have been rendered from a template.

    Raises:
        InvalidInputError: It is neither a bool nor the text of one. Any text is true to Python, so
            `"False"` would come to mean true.
    """
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in _FLAGS:
        return _FLAGS[value.strip().lower()]
    raise InvalidInputError(f"{field}={value!r} is no truth value: use true or false", key=field)


def count(value: object, field: str) -> int:
    """Return a whole number from 0 that may have been rendered from a template.

    Raises:
        InvalidInputError: It is none.
    """
    text = str(value).strip()
    if isinstance(value, int | str) and not isinstance(value, bool) and text.isdecimal():
        return int(text)
    raise InvalidInputError(f"{field}={value!r} is no whole number from 0", key=field)


def parsed(value: Any) -> Any:
    """Return a mapping or list that a template may have rendered as text; empty text is None."""
    return None if isinstance(value, str) and not value.strip() else operations.rendered(value)


def partition_keys(value: Any) -> list[str]:
    """Return partition keys; one may be given as text, several as a list or its text.

    Raises:
        InvalidInputError: One is empty, or longer than Airflow takes.
    """
    given = parsed(value)
    keys: list[Any] = [given] if isinstance(given, str) else list(given or ())
    for key in keys:
        if not isinstance(key, str) or not key.strip() or len(key) > _PARTITION_MAX_LENGTH:
            raise InvalidInputError(
                f"partitions: {str(key)[:300]!r} is no partition key: give text of 1 to"
                f" {_PARTITION_MAX_LENGTH} characters"
            )
    return keys


def is_literal(value: object) -> bool:
    """Return whether a value is a text that is not rendered when the task runs."""
    is_text = isinstance(value, str) and bool(value)
    return is_text and not any(mark in str(value) for mark in _JINJA)


def amount(result: Mapping[str, Any]) -> str:
    """Return how much a step's result is about."""
    files = result["files"]
    return f"{files:,} file{'' if files == 1 else 's'}, {result['size_bytes']:,} bytes"


def moved(counts: operations.Counts) -> str:
    """Return how many files a step wrote and left as they were, to follow `amount`; or nothing."""
    if counts.written_files is None:
        return ""
    return f", {counts.written_files:,} written, {counts.kept_files:,} kept"
