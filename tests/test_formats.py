"""Serialise and deserialise: which format is chosen, what is remembered, what is refused."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from t4_ops import formats
from t4_ops.errors import FormatError, InvalidInputError

FRAME = pd.DataFrame({"city": ["Seattle", "Łódź"], "rain_mm": [1.5, 0.0], "days": [3, 4]})


def name_of(meta: dict[str, Any]) -> str:
    assert meta["format"]["name"] == meta["target"]
    return str(meta["target"])


def check_equal(found: object, expected: object) -> None:
    match expected:
        case pd.DataFrame():
            assert isinstance(found, pd.DataFrame)
            pd.testing.assert_frame_equal(found, expected)
        case np.ndarray():
            assert isinstance(found, np.ndarray)
            np.testing.assert_array_equal(found, expected, strict=True)
        case _:
            assert found == expected
            assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("obj", "key", "name"),
    [
        (FRAME, "a/b.parquet", "parquet"),
        (FRAME, "b.pq", "parquet"),
        (FRAME, "b.csv", "csv"),
        (FRAME, "b.tsv", "csv"),
        (FRAME, "b.ssv", "csv"),
        (FRAME, "b.arrow", "arrow"),
        (FRAME, "b.feather", "arrow"),
        (np.eye(2), "b.npy", "numpy"),
        ({"a": 1}, "b.json", "json"),
        ([1, "é", None, True, 1.5], "B.JSON", "json"),
        ("text", "b.json", "json"),
        ([{"a": 1}, {"a": 2}], "b.jsonl", "jsonl"),
        ("tëxt\r\n", "b.txt", "utf-8"),
        ("a: 1\n", "b.yaml", "utf-8"),
        ("<p>", "b.html", "utf-8"),
        (b"\0\xff", "b.bin", "bytes"),
        (b"\0\xff", "photo.jpeg", "bytes"),
        (b"\0\xff", "v1.2", "bytes"),
    ],
)
@pytest.mark.parametrize("wrapper", ["", ".gz", ".zst"])
def test_the_extension_chooses_the_format(obj: object, key: str, name: str, wrapper: str) -> None:
    serialized = formats.serialize(obj, key + wrapper)
    assert name_of(serialized.meta) == name
    magic = {"": b"", ".gz": b"\x1f\x8b", ".zst": b"\x28\xb5\x2f\xfd"}[wrapper]
    assert serialized.data.startswith(magic)
    check_equal(formats.deserialize(serialized.data, key + wrapper, serialized.meta), obj)


@pytest.mark.parametrize(
    ("obj", "name"),
    [
        (FRAME, "parquet"),
        (pa.table({"a": [1]}), "parquet"),
        (np.eye(2), "numpy"),
        ({"x": np.eye(2)}, "numpy"),
        ({"a": 1}, "json"),
        ([1], "json"),
        (None, "json"),
        (1.5, "json"),
        ("text", "utf-8"),
        (b"raw", "bytes"),
    ],
)
@pytest.mark.parametrize("key", ["README", "dir.d/name", ".hidden", "dot."])
def test_without_an_extension_the_type_chooses(obj: object, name: str, key: str) -> None:
    serialized = formats.serialize(obj, key)
    assert name_of(serialized.meta) == name
    # Only the metadata can say what such a file is.
    formats.deserialize(serialized.data, key, serialized.meta)
    with pytest.raises(FormatError, match="without an extension") as caught:
        formats.deserialize(serialized.data, key)
    assert caught.value.key == key


@pytest.mark.parametrize(
    ("obj", "key", "told"),
    [
        (FRAME, "a.json", ["DataFrame", ".json takes dict", ".csv", ".parquet"]),
        ({"a": 1}, "a.yaml", ["dict", ".yaml takes str", ".json"]),
        ({"a": 1}, "a.jsonl", ["dict", "list of dicts", ".json"]),
        (b"a,b", "a.csv", ["bytes", ".csv takes a pandas DataFrame", ".bin"]),
        ("text", "a.xyz", ["str", ".xyz", ".txt"]),
        (np.eye(2), "a.csv.gz", ["ndarray", ".csv takes", ".npy"]),
        (Path("a"), "a.txt", ["Path", ".txt takes str", "set its path"]),
        (object(), "a", ["object", "without extension", "what can be stored is"]),
        ({1, 2}, "a.json", ["set", ".json"]),
    ],
)
def test_a_combination_without_a_format_is_refused(obj: object, key: str, told: list[str]) -> None:
    with pytest.raises(InvalidInputError) as caught:
        formats.serialize(obj, key)
    assert caught.value.key == key
    assert [word for word in [key, *told] if word not in caught.value.message] == []


@pytest.mark.parametrize(
    ("obj", "expected"),
    [
        *((FRAME, True), (pa.table({}), True), (np.eye(2), True), ({"a": 1}, True), ("", True)),
        *((b"", True), (None, True), ([1], True), (True, True), ((1,), True)),
        *((Path("a"), False), (object(), False), ({1}, False), (1j, False)),
    ],
)
def test_is_serializable(obj: object, expected: bool) -> None:
    assert formats.is_serializable(obj) is expected


# Options


def test_options_are_remembered_used_and_overridden() -> None:
    frame = pd.DataFrame({"code": ["a", "NA", None]})
    options = {"fieldsep": "|", "na_values": ["-"], "use_index": True, "index_names": ("row",)}
    serialized = formats.serialize(frame, "t.csv", opts=options)
    assert serialized.data == b"row|code\n0|a\n1|NA\n2|-\n"
    remembered: Any = serialized.meta["format"]
    assert {name: remembered["opts"][name] for name in options} == {
        **options,
        "index_names": ["row"],
    }
    assert json.loads(json.dumps(serialized.meta)) == serialized.meta

    used = formats.deserialize(serialized.data, "t.csv", serialized.meta)
    expected = pd.DataFrame({"code": ["a", "NA", None]}, index=pd.Index([0, 1, 2], name="row"))
    check_equal(used, expected)

    overridden = formats.deserialize(
        serialized.data, "t.csv", serialized.meta, opts={"use_index": False, "na_values": ["NA"]}
    )
    check_equal(overridden, pd.DataFrame({"row": [0, 1, 2], "code": ["a", None, "-"]}))


def test_options_an_entry_remembers_but_this_version_does_not_know_are_left_aside() -> None:
    meta = {"format": {"name": "csv", "opts": {"fieldsep": ";", "from_the_future": 1}}}
    check_equal(formats.deserialize(b"a;b\n1;2\n", "t.csv", meta), pd.DataFrame({"a": [1], "b": 2}))


@pytest.mark.parametrize(
    ("key", "options", "told"),
    [
        ("t.csv", {"seperator": ";"}, "seperator"),
        ("t.csv", {"fieldsep": "::"}, "fieldsep takes one ASCII character"),
        ("t.csv", {"quoting": "some"}, "quoting"),
        ("t.csv", {"na_values": []}, "na_values"),
        ("t.csv", {"encoding": "klingon"}, "encoding"),
        ("t.csv", {"encoding": "zip"}, "encoding"),
        ("t.csv", {"use_header": "yes"}, "use_header"),
        ("t.csv", {"index_names_are_keys": True}, "index_names"),
        ("t.parquet", {"compression": "rar"}, "snappy"),
        ("t.parquet", {"compression": {"city": 7}}, "snappy"),
        ("t.parquet", {"as_arrow": 1}, "as_arrow"),
        ("t.arrow", {"compression": "snappy"}, "zstd"),
        ("t.json", {"indent": 2}, "takes none"),
    ],
)
def test_wrong_options_are_refused(key: str, options: dict[str, Any], told: str) -> None:
    obj = {"a": 1} if key == "t.json" else FRAME
    with pytest.raises(InvalidInputError, match=told) as caught:
        formats.serialize(obj, key, opts=options)
    assert caught.value.key == key
    data = formats.serialize(obj, key).data
    with pytest.raises(InvalidInputError, match=told):
        formats.deserialize(data, key, opts=options)


@pytest.mark.parametrize(
    "options",
    [
        {"fieldsep": "(a+)+$"},  # pandas would run it as a regular expression
        {"fieldsep": 7},
        {"encoding": "zip"},
        {"encoding": "a\0"},
        {"na_values": "abc"},
        {"index_names": [["a"]]},
    ],
)
def test_hostile_remembered_options_are_refused(options: dict[str, Any]) -> None:
    meta = {"format": {"name": "csv", "opts": options}}
    with pytest.raises(FormatError, match="in its metadata"):
        formats.deserialize(b"a,b\n1,2\n", "t.csv", meta)


# Metadata


@pytest.mark.parametrize("name", ["parquet", "pyarrow"])
@pytest.mark.parametrize("shape", ["format", "target"])
def test_the_remembered_name_wins_over_the_extension(name: str, shape: str) -> None:
    data = formats.serialize(FRAME, "t.parquet").data
    meta: dict[str, Any] = {"format": {"name": name}} if shape == "format" else {"target": name}
    check_equal(formats.deserialize(data, "t.csv", {**meta, "user_meta": {"format": 1}}), FRAME)


@pytest.mark.parametrize("meta", [None, {}, {"user_meta": {}}, {"format": None}, {"format": {}}])
def test_without_a_remembered_name_the_extension_decides(meta: dict[str, Any] | None) -> None:
    assert formats.deserialize(b"[1]", "a.json", meta) == [1]


@pytest.mark.parametrize(
    ("key", "meta"),
    [
        ("a.h5ad", None),
        ("a.h5ad", {"format": {"name": "h5ad"}}),
        ("a.csv", {"format": {"name": "h5ad"}}),
        ("a.csv", {"target": "pickle"}),
        ("a", {}),
        ("a.gz", {}),
    ],
)
def test_an_unknown_format_is_told(key: str, meta: dict[str, Any] | None) -> None:
    with pytest.raises(FormatError, match="no handler is known") as caught:
        formats.deserialize(b"", key, meta)
    assert caught.value.key == key


@pytest.mark.parametrize(
    "meta", [{"format": "csv"}, {"format": {"name": 7}}, {"format": {"name": "csv", "opts": "x"}}]
)
def test_malformed_format_metadata_is_told(meta: dict[str, Any]) -> None:
    with pytest.raises(FormatError, match="in its metadata") as caught:
        formats.deserialize(b"a\n1\n", "a.csv", meta)
    assert caught.value.key == "a.csv"


# Data that is not what it should be


@pytest.mark.parametrize(
    "key",
    [
        *("a.parquet", "a.arrow", "a.npy", "a.npz", "a.json", "a.jsonl", "a.txt"),
        *("a.csv", "a.csv.gz", "a.json.zst"),
    ],
)
@pytest.mark.parametrize("data", [b"\xff\xfe\x00garbage\xff", b"PAR1", b"ARROW1\0\0ARROW1"])
def test_unreadable_data_is_a_format_error(key: str, data: bytes) -> None:
    if data.isascii() and key in {"a.txt", "a.csv"}:
        data += b"\xff"
    with pytest.raises(FormatError) as caught:
        formats.deserialize(data, key)
    assert caught.value.key == key
    assert caught.value.__cause__ is not None


def test_already_compressed_bytes_are_not_compressed_twice() -> None:
    once = formats.serialize(b"content", "a.bin.gz").data
    with pytest.raises(InvalidInputError, match="twice") as caught:
        formats.serialize(once, "a.tar.gz")
    assert caught.value.key == "a.tar.gz"
    assert formats.deserialize(formats.serialize(once, "a.bin").data, "a.bin") == once


def test_arrow_reads_no_python_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    # A thread of Arrow's that lets go of it while Python ends aborts the process.
    class Keeping(parquet.ParquetFile):
        def __init__(self, source: Any, **options: Any) -> None:
            kept.append(source)
            super().__init__(source, **options)

    table = pa.Table.from_pandas(FRAME)
    kept: list[object] = []
    monkeypatch.setattr(parquet, "ParquetFile", Keeping)
    data = formats.serialize(table, "t.parquet").data
    holders = sys.getrefcount(data)
    formats.deserialize(data, "t.parquet")
    assert len(kept) == 1
    assert sys.getrefcount(data) == holders

    data = formats.serialize(table, "t.arrow", opts={"compression": "none"}).data
    holders = sys.getrefcount(data)
    # Without compression the table is made of the file's own bytes.
    kept.append(formats.deserialize(data, "t.arrow", opts={"as_arrow": True}))
    assert sys.getrefcount(data) == holders
