"""JSON and JSON Lines."""

from __future__ import annotations

import json

from t4_ops.errors import FormatError, InvalidInputError
from t4_ops.formats.base import PlainHandler


def _dump(obj: object) -> str:
    """Encode with Python's default separators and escapes, which are quilt3's as well."""
    try:
        text = json.dumps(obj, allow_nan=False)
    except RecursionError as error:
        raise InvalidInputError("it is nested too deeply for JSON") from error
    _refuse_other_keys(obj)
    return text


def _refuse_other_keys(obj: object) -> None:
    """Refuse keys that json.dumps would silently turn into strings, merging 1 with "1"."""
    waiting = [obj]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            for key in value:
                if not isinstance(key, str):
                    raise InvalidInputError(
                        f"the key {key!r} is of type {type(key).__name__}; JSON keys are strings"
                    )
            waiting.extend(value.values())
        elif isinstance(value, list | tuple):
            waiting.extend(value)


class JsonHandler(PlainHandler):
    """One JSON value; a tuple is read back as a list, as JSON has it."""

    name = "json"
    extensions = ("json",)
    accepts = "dict, list, tuple, str, int, float, bool or None"

    def handles(self, obj: object) -> bool:
        """Whether `obj` is of a type JSON has; what is inside is checked when it is written."""
        return obj is None or isinstance(obj, dict | list | tuple | str | int | float)

    def encode(self, obj: object) -> bytes:
        """Encode; NaN, infinities and keys that aren't strings are refused."""
        return _dump(obj).encode("utf-8")

    def decode(self, data: bytes) -> object:
        """Decode; NaN is accepted because other writers, quilt3 among them, produce it."""
        return json.loads(data.decode("utf-8-sig"))


class JsonLinesHandler(PlainHandler):
    """A list, one JSON value a line."""

    name = "jsonl"
    extensions = ("jsonl", "ndjson")
    accepts = "a list of dicts"

    def handles(self, obj: object) -> bool:
        """Whether `obj` is a list or tuple."""
        return isinstance(obj, list | tuple)

    def encode(self, obj: object) -> bytes:
        """Encode each item on a line of its own, the last one ended as well."""
        assert isinstance(obj, list | tuple)
        return "".join(f"{_dump(item)}\n" for item in obj).encode("utf-8")

    def decode(self, data: bytes) -> object:
        """Decode to a list; blank lines are skipped."""
        items = []
        # Not splitlines: U+2028 and its like may stand unescaped inside a JSON string.
        for number, line in enumerate(data.decode("utf-8-sig").split("\n"), start=1):
            if not line.strip():
                continue
            try:
                items.append(json.loads(line))
            except (ValueError, RecursionError) as error:
                raise FormatError(f"line {number} is not JSON: {error}", line=number) from error
        return items
