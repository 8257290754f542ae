"""JSON, JSON Lines, text and bytes."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from t4_ops import formats
from t4_ops.errors import FormatError, InvalidInputError

JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def again(obj: object, key: str) -> object:
    serialized = formats.serialize(obj, key)
    return formats.deserialize(serialized.data, key, serialized.meta)


@given(JSON_VALUES)
def test_json_comes_back(value: object) -> None:
    assert again(value, "a.json") == value


@given(st.lists(st.dictionaries(st.text(), JSON_VALUES, max_size=3), max_size=4))
def test_json_lines_come_back(rows: list[dict[str, Any]]) -> None:
    data = formats.serialize(rows, "a.jsonl").data
    assert data.count(b"\n") == len(rows)
    assert formats.deserialize(data, "a.ndjson") == rows


@given(st.text())
def test_text_comes_back(text: str) -> None:
    assert again(text, "a.md") == text
    assert formats.serialize(text, "a.md").data == text.encode()


@given(st.binary())
def test_bytes_come_back(data: bytes) -> None:
    assert formats.serialize(data, "a.bin").data == data
    assert again(data, "a.bin") == data


def test_a_tuple_comes_back_as_a_list() -> None:
    assert again((1, (2,)), "a.json") == [1, [2]]


def _circle() -> list[Any]:
    circle: list[Any] = []
    circle.append(circle)
    return circle


def _deep(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (math.nan, "JSON"),
        ({"a": [math.inf]}, "JSON"),
        ({1: "a", "1": "b"}, "the key 1 is of type int"),
        ([{"a": {None: 1}}], "the key None"),
        ({"a": {1, 2}}, "set"),
        ({"a": b"raw"}, "bytes"),
        (_circle(), "Circular"),
        (_deep(100_000), "nested too deeply"),
    ],
)
def test_what_json_cannot_hold_is_refused(value: object, told: str) -> None:
    with pytest.raises(InvalidInputError, match=told) as caught:
        formats.serialize(value, "a.json")
    assert caught.value.key == "a.json"


def test_nan_in_json_lines_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="JSON"):
        formats.serialize([{"a": math.nan}], "a.jsonl")


def test_a_lone_surrogate_is_refused_as_text() -> None:
    with pytest.raises(InvalidInputError, match="surrogates"):
        formats.serialize("a\ud800", "a.txt")


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b"\xef\xbb\xbf[1]", [1]),
        (b'{"a": 1, "a": 2}', {"a": 2}),
        (b" 1\n", 1),
    ],
)
def test_json_of_other_writers_is_read(data: bytes, value: object) -> None:
    assert formats.deserialize(data, "a.json") == value


def test_nan_of_other_writers_is_read() -> None:
    found: Any = formats.deserialize(b"NaN", "a.json")
    assert math.isnan(found)


@pytest.mark.parametrize("data", [b"", b"{", b"[1] 2", b"\xff", b"[" * 200_000, b"1" * 10_000])
def test_what_is_not_json_is_told(data: bytes) -> None:
    with pytest.raises(FormatError, match=r"a\.json") as caught:
        formats.deserialize(data, "a.json")
    assert caught.value.key == "a.json"


def test_json_lines_of_other_writers_are_read() -> None:
    separator = json.dumps({"a": "\u2028"}, ensure_ascii=False).encode()
    data = b'\xef\xbb\xbf{"a": 1}\r\n\n  \n' + separator + b"\n[2]"
    assert formats.deserialize(data, "a.jsonl") == [{"a": 1}, {"a": "\u2028"}, [2]]


def test_a_bad_json_line_is_told_by_number() -> None:
    with pytest.raises(FormatError, match="line 3") as caught:
        formats.deserialize(b"{}\n\n{]\n", "a.jsonl")
    assert (caught.value.key, caught.value.line) == ("a.jsonl", 3)


def test_text_that_is_not_utf8_is_told() -> None:
    with pytest.raises(FormatError, match="UnicodeDecodeError"):
        formats.deserialize("é".encode("latin-1"), "a.txt")
