"""quilt3 reads our entries and we read quilt3's: bytes and metadata are the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from quilt3.formats import FormatRegistry

from t4_ops import formats

FRAME = pd.DataFrame(
    {
        "city": ["Seattle", "Łódź", None],
        "rain_mm": [1.5, None, 0.1 + 0.2],
        "days": [3, 4, 5],
        "note": ["a,b", 'say "hi"', "line\nbreak"],
    }
)


def check_equal(found: Any, expected: object) -> None:
    if isinstance(expected, pd.DataFrame):
        pd.testing.assert_frame_equal(found, expected)
    elif isinstance(expected, np.ndarray):
        np.testing.assert_array_equal(found, expected, strict=True)
    else:
        assert found == expected


@pytest.mark.parametrize(
    ("obj", "extension"),
    [
        *((FRAME, name) for name in ("csv", "tsv", "ssv", "parquet")),
        (np.arange(6.0).reshape(2, 3), "npy"),
        *(({"b": [1, None, True, "é\ud800"], "a": 0.1}, "json"), ([1], "json"), ("text", "json")),
        *(("tëxt", name) for name in ("txt", "md", "rst")),
        (b"\0\xff", "bin"),
        # Without an extension the type decides.
        *((obj, "") for obj in (FRAME, np.eye(2), {"a": 1}, [1], None, 1, 1.5, "text", b"raw")),
    ],
)
def test_both_write_and_read_the_same(obj: object, extension: str) -> None:
    key = f"dir/name.{extension}" if extension else "dir/name"
    theirs, their_meta = FormatRegistry.serialize(obj, ext=extension or None)
    ours = formats.serialize(obj, key)
    assert ours.data == theirs
    assert ours.meta == their_meta
    check_equal(formats.deserialize(theirs, key, their_meta), obj)
    check_equal(FormatRegistry.deserialize(ours.data, ours.meta, extension), obj)
    if extension:  # what was added as a file has no metadata
        check_equal(formats.deserialize(theirs, key), obj)
        check_equal(FormatRegistry.deserialize(ours.data, None, extension), obj)


CSV_OPTIONS: list[dict[str, Any]] = [
    {"fieldsep": "|"},
    {"use_index": True},
    {"use_index": True, "index_names": ["row"]},
    {"use_index": True, "index_names": ["row"], "index_names_are_keys": True},
    {"quoting": "all", "na_values": ["-", "?"]},
    {"header_names": ["a", "b", "c", "d"], "encoding": "utf-8"},
    {"use_header": False, "header_names": ["a", "b", "c", "d"]},
    {"quotechar": "'", "doublequote": True, "linesep": "\n"},
]


@pytest.mark.parametrize("options", CSV_OPTIONS)
@pytest.mark.parametrize("extension", ["csv", "tsv"])
def test_options_are_written_alike(options: dict[str, Any], extension: str) -> None:
    theirs, their_meta = FormatRegistry.serialize(FRAME, ext=extension, **options)
    ours = formats.serialize(FRAME, f"t.{extension}", opts=options)
    assert ours.data == theirs
    assert ours.meta == their_meta


@pytest.mark.parametrize("options", CSV_OPTIONS)
def test_options_that_quilt3_stored_are_used(options: dict[str, Any]) -> None:
    theirs, their_meta = FormatRegistry.serialize(FRAME, ext="csv", **options)
    expected = FRAME.rename_axis(options.get("index_names") or [None])
    expected.columns = pd.Index(options.get("header_names") or FRAME.columns)
    found: Any = formats.deserialize(theirs, "t.csv", their_meta)
    pd.testing.assert_frame_equal(found, expected)


# quilt3 calls pandas in a way that pandas 3.1 warns about.
@pytest.mark.filterwarnings("ignore:The inplace keyword")
@pytest.mark.parametrize("options", CSV_OPTIONS)
def test_quilt3_reads_ours_when_it_is_told_the_stored_options(options: dict[str, Any]) -> None:
    # By itself it leaves stored options aside (its get_opts prefers an empty argument).
    ours = formats.serialize(FRAME, "t.csv", opts=options)
    stored: Any = ours.meta["format"]
    theirs = FormatRegistry.deserialize(ours.data, ours.meta, "csv", **stored["opts"])
    expected: Any = formats.deserialize(ours.data, "t.csv", ours.meta)
    pd.testing.assert_frame_equal(theirs, expected)


@pytest.mark.parametrize("compression", ["zstd", "gzip", {"city": "zstd", "days": "snappy"}])
def test_parquet_compression_is_remembered_alike(compression: Any) -> None:
    frame = FRAME[["city", "days"]]
    theirs, their_meta = FormatRegistry.serialize(frame, ext="parquet", compression=compression)
    ours = formats.serialize(frame, "t.parquet", opts={"compression": compression})
    assert (ours.data, ours.meta) == (theirs, their_meta)
    check_equal(formats.deserialize(theirs, "t.parquet", their_meta), frame)


@pytest.mark.parametrize("name", ["pyarrow", "unicode"])
def test_names_of_older_clients(name: str) -> None:
    obj: Any = FRAME if name == "pyarrow" else "tëxt"
    handler = FormatRegistry.for_format(name)[0]
    data, meta = handler.serialize(obj)
    assert meta["target"] == name
    check_equal(formats.deserialize(data, "no-extension", meta), obj)
    check_equal(formats.deserialize(data, "no-extension", {"target": name}), obj)


def test_an_archive_of_arrays() -> None:
    arrays = {"a": np.arange(3), "b": np.eye(2)}
    ours = formats.serialize(arrays, "a.npz")
    theirs = FormatRegistry.deserialize(ours.data, ours.meta, "npz")
    assert {name: theirs[name].tolist() for name in theirs.files} == {
        name: array.tolist() for name, array in arrays.items()
    }
    # quilt3 writes a single array under either extension as .npy.
    data, meta = FormatRegistry.serialize(arrays["a"], ext="npz")
    check_equal(formats.deserialize(data, "a.npz", meta), arrays["a"])


@pytest.mark.parametrize("extension", ["yaml", "html", "sql", "log"])
def test_quilt3_reads_text_of_extensions_it_does_not_know(extension: str) -> None:
    ours = formats.serialize("tëxt", f"a.{extension}")
    assert FormatRegistry.deserialize(ours.data, ours.meta, extension) == "tëxt"


def test_quilt3_reads_an_arrow_table_as_a_frame() -> None:
    ours = formats.serialize(pa.Table.from_pandas(FRAME), "t.parquet")
    check_equal(FormatRegistry.deserialize(ours.data, ours.meta, "parquet"), FRAME)
