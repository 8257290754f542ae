"""JSON as manifests need it: the canonical form that is hashed, the stored form, and the rules.

Source: quilt3 8.0.0 hashes `json.JSONEncoder(sort_keys=True, separators=(',', ':'))` and stores
`json.JSONEncoder(ensure_ascii=False, allow_nan=False)`. The standard library's encoder is used for
both, because others differ on floats (1e16), integers above 64 bits and DEL.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from json.encoder import encode_basestring, encode_basestring_ascii
from typing import Any, Final

from t4_ops.errors import FormatError, InvalidInputError

MAX_META_DEPTH: Final = 200
"""Deepest metadata; far below where JSON decoders of the field run out of stack (some 1,000)."""
# Read more than we write, but never so much that comparing or hashing it depends on how deep the
# caller's own stack is.
_MAX_READ_DEPTH: Final = 2 * MAX_META_DEPTH
# Python refuses to print integers above 4,300 digits; this many bits are some 3,900.
_MAX_INT_BITS: Final = 13_000

canonical_json = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False).encode
"""Return the canonical text of a JSON value: sorted keys, no spaces, ASCII only."""

stored_json = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode
"""Return the text of a JSON value as manifests store it."""

# No text of anybody's holds it: it is drawn anew in each process.
_BETWEEN: Final = os.urandom(16).hex()


def stored_jsons(values: Sequence[Any]) -> list[str]:
    """Return what `stored_json` gives for each value, by one call of the encoder for all.

    Raises:
        ValueError: A value is no JSON.
    """
    if not values:
        return []
    marked = [item for value in values for item in (value, _BETWEEN)]
    texts = stored_json(marked[:-1])[1:-1].split(f', "{_BETWEEN}", ')
    if len(texts) != len(values):
        raise ValueError("metadata holds the text that stands between values")
    return texts


canonical_str = encode_basestring_ascii
"""Return the canonical text of a string."""

stored_str = encode_basestring
"""Return the text of a string as manifests store it."""

_SURROGATE_ESCAPE: Final = re.compile(rb"\\u[dD][89a-fA-F]")


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:40]} is no finite number")
    return number


def _is_too_deep(value: Any) -> bool:
    """Return whether a value is nested too deeply; level by level, because recursion would end."""
    level = [value]
    for _ in range(_MAX_READ_DEPTH):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return False
    return True


def parse_json(data: bytes, where: str, line: int | None = None) -> Any:
    """Return the value of JSON text; only finite numbers and valid Unicode.

    Args:
        data: UTF-8 JSON text.
        where: What is being read, for the message.
        line: One-based line, for the message.

    Raises:
        FormatError: The text is not such JSON.
    """
    try:
        value = json.loads(data, parse_constant=_refuse_constant, parse_float=_finite)
        if data.count(b"[") + data.count(b"{") > _MAX_READ_DEPTH and _is_too_deep(value):
            raise RecursionError
        if _SURROGATE_ESCAPE.search(data):
            stored_json(value).encode()
    except (ValueError, RecursionError) as exc:
        reason = "it is nested too deeply" if isinstance(exc, RecursionError) else str(exc)
        raise FormatError(f"{where}: not valid JSON: {reason}", key=where, line=line) from exc
    return value


def plain_meta(meta: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return metadata as plain JSON values, copied, so that what is hashed is what is read back.

    Tuples become lists. What JSON would silently change is refused: keys that are not text (they
    are sorted as numbers but read back as text, so the hash would change), non-finite numbers, lone
    surrogates, and objects of other types.

    Args:
        meta: The metadata.
        where: Whose it is, for the message.

    Raises:
        InvalidInputError: A value or key is none of JSON's, or it is nested too deeply.
    """
    if not isinstance(meta, Mapping):
        raise InvalidInputError(
            f"metadata of {where} must be a mapping, not {type(meta).__name__}", key=where
        )
    plain: dict[str, Any] = _plain(meta, where, 0)
    return plain


def _plain(value: Any, where: str, depth: int) -> Any:
    if depth > MAX_META_DEPTH:
        raise InvalidInputError(
            f"metadata of {where} is nested deeper than {MAX_META_DEPTH} levels", key=where
        )
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _plain_text(value, where)
    if isinstance(value, int):
        if value.bit_length() > _MAX_INT_BITS:
            raise InvalidInputError(
                f"metadata of {where} holds an integer of {value.bit_length()} bits, which JSON"
                " readers refuse; use text",
                key=where,
            )
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise InvalidInputError(
                f"metadata of {where} holds {value!r}: JSON has no such number; use null or text",
                key=where,
            )
        return float(value)
    if isinstance(value, Mapping):
        return {_plain_key(k, where): _plain(v, where, depth + 1) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, where, depth + 1) for item in value]
    raise InvalidInputError(
        f"metadata of {where} holds a {type(value).__name__}, which JSON has no form for:"
        " convert it to text, a number, a list or a mapping",
        key=where,
    )


def _plain_key(key: object, where: str) -> str:
    if not isinstance(key, str):
        raise InvalidInputError(
            f"metadata of {where} has the key {key!r}: keys must be text", key=where
        )
    return _plain_text(key, where)


def _plain_text(text: str, where: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as exc:
        raise InvalidInputError(
            f"metadata of {where} holds text that is not valid Unicode: {text!r}", key=where
        ) from exc
    return str(text)
