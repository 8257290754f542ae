"""Parquet and Arrow IPC: round trips, options, pickled types, and files that grow."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import feather, ipc, parquet

from t4_ops import formats
from t4_ops.errors import FormatError, InvalidInputError
from t4_ops.formats import arrow_sizes
from tests.arrow_support import watched_pool

MB = 1_000_000
KEYS = ("t.parquet", "t.arrow")

TABLE = pa.table(
    {
        "i": pa.array([1, None, 2**60], pa.int64()),
        "s": ["a", None, "é"],
        "l": [[1, 2], [], None],
        "d": pa.array(["x", "y", "x"]).dictionary_encode(),
        "t": pa.array([0, 1, None], pa.timestamp("us", tz="UTC")),
        "r": [{"a": 1, "b": ["c"]}, None, {"a": None, "b": None}],
        "m": pa.array([[("k", 1)], [], None], pa.map_(pa.string(), pa.int64())),
        "f": pa.array([b"1234", None, b"5678"], pa.binary(4)),
        "n": pa.nulls(3),
    }
)


def arrow_file(table: pa.Table, compression: str | None = None) -> bytes:
    buffer = io.BytesIO()
    options = ipc.IpcWriteOptions(compression=compression)
    with ipc.new_file(buffer, table.schema, options=options) as writer:
        writer.write_table(table)
    return buffer.getvalue()


def parquet_file(table: pa.Table, **options: Any) -> bytes:
    buffer = io.BytesIO()
    parquet.write_table(table, buffer, **options)
    return buffer.getvalue()


@pytest.fixture
def arrow_peak() -> Iterator[pa.MemoryPool]:
    """A pool that knows the most that Arrow held at any time of the test."""
    with watched_pool() as pool:
        yield pool


# Round trips


@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "i": st.none() | st.integers(-(2**63), 2**63 - 1),
                "f": st.none() | st.floats(allow_nan=False),
                "s": st.none() | st.text(st.characters(codec="utf-8")),
                "b": st.none() | st.binary(max_size=5),
                "l": st.none() | st.lists(st.booleans(), max_size=3),
            }
        )
    ),
    st.sampled_from(KEYS),
)
def test_a_table_comes_back(rows: list[dict[str, Any]], key: str) -> None:
    types = [pa.int64(), pa.float64(), pa.string(), pa.binary(), pa.list_(pa.bool_())]
    schema = pa.schema(list(zip("ifsbl", types, strict=True)), {"who": "me"})
    table = pa.Table.from_pylist(rows, schema)
    serialized = formats.serialize(table, key, opts={"as_arrow": True})
    found = formats.deserialize(serialized.data, key, serialized.meta)
    assert isinstance(found, pa.Table)
    assert found.equals(table)
    assert found.schema.metadata == {b"who": b"me"}


@pytest.mark.parametrize("key", KEYS)
def test_every_type_of_column_comes_back(key: str) -> None:
    data = formats.serialize(TABLE, key).data
    assert TABLE.equals(formats.deserialize(data, key, opts={"as_arrow": True}))
    frame: Any = formats.deserialize(data, key)
    pd.testing.assert_frame_equal(frame, TABLE.to_pandas())


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame({"a": [1, 2]}, index=pd.Index(["p", "q"], name="key")),
        pd.DataFrame({"a": [1.5, np.nan]}, index=pd.date_range("2026-01-01", periods=2, tz="UTC")),
        pd.DataFrame({("a", 1): [1], ("a", 2): [2]}),
        pd.DataFrame(
            {"c": pd.Categorical(["x", None, "y"]), "p": pd.period_range("2026", periods=3)}
        ),
        pd.DataFrame(
            {"n": pd.array([1, None], dtype="Int64"), "b": pd.array([True, None], "boolean")}
        ),
        pd.DataFrame(index=range(0)),
        pd.DataFrame({"a": []}),
    ],
)
def test_a_frame_comes_back_with_index_and_types(key: str, frame: pd.DataFrame) -> None:
    serialized = formats.serialize(frame, key)
    found: Any = formats.deserialize(serialized.data, key, serialized.meta)
    pd.testing.assert_frame_equal(found, frame, check_freq=False)


def test_rows_without_columns_are_refused_where_they_are_lost() -> None:
    frame = pd.DataFrame(index=range(3))
    with pytest.raises(InvalidInputError, match=r"use \.arrow"):
        formats.serialize(frame, "t.parquet")
    found: Any = formats.deserialize(formats.serialize(frame, "t.arrow").data, "t.arrow")
    pd.testing.assert_frame_equal(found, frame)


def test_other_readers_read_what_is_written() -> None:
    data = formats.serialize(TABLE, "t.feather").data
    assert feather.read_table(io.BytesIO(data)).equals(TABLE)
    data = formats.serialize(TABLE, "t.parquet").data
    assert parquet.read_table(io.BytesIO(data)).equals(TABLE)


@pytest.mark.parametrize("codec", ["snappy", "gzip", "brotli", "zstd", "lz4", "none", "GZIP"])
def test_parquet_compression(codec: str) -> None:
    serialized = formats.serialize(TABLE, "t.parquet", opts={"compression": codec})
    column = parquet.ParquetFile(io.BytesIO(serialized.data)).metadata.row_group(0).column(0)
    written = {"none": "UNCOMPRESSED"}.get(codec, codec.upper())
    assert column.compression == written
    assert serialized.meta["format"] == {"name": "parquet", "compression": codec}
    found = formats.deserialize(serialized.data, "t.parquet", opts={"as_arrow": True})
    assert TABLE.equals(found)


def test_parquet_compression_by_column() -> None:
    table = TABLE.select(["i", "s"])
    codecs = {"i": "zstd", "s": "gzip"}
    data = formats.serialize(table, "t.parquet", opts={"compression": codecs}).data
    group = parquet.ParquetFile(io.BytesIO(data)).metadata.row_group(0)
    assert [group.column(n).compression for n in range(2)] == ["ZSTD", "GZIP"]


@pytest.mark.parametrize("codec", ["lz4", "zstd", "none"])
def test_arrow_compression(codec: str) -> None:
    zeros = pa.table({"z": np.zeros(100_000)})
    serialized = formats.serialize(zeros, "t.arrow", opts={"compression": codec})
    assert (len(serialized.data) > 800_000) is (codec == "none")
    assert serialized.meta["format"] == {"name": "arrow", "opts": {"compression": codec}}
    found = formats.deserialize(serialized.data, "t.arrow", opts={"as_arrow": True})
    assert zeros.equals(found)


@pytest.mark.parametrize("key", KEYS)
def test_pandas_metadata_that_does_not_fit_is_left_aside(key: str) -> None:
    table = pa.Table.from_pandas(pd.DataFrame({"a": [1]}, index=pd.Index(["x"], name="gone")))
    broken = table.drop(["gone"])
    frame: Any = formats.deserialize(formats.serialize(broken, key).data, key)
    assert list(frame["a"]) == [1]


def test_views_of_other_writers_become_frames() -> None:
    views = pa.table({"v": pa.array(["short", "longer than twelve bytes", None], pa.string_view())})
    frame: Any = formats.deserialize(arrow_file(views), "t.arrow")
    assert frame["v"].dropna().tolist() == ["short", "longer than twelve bytes"]


# Nothing is unpickled


# Several lengths of name: in Parquet the schema stands in base64, in one of three alignments.
@pytest.mark.parametrize("name", ["a", "ab", "abcde", "abcdefghi", "a" * 30])
@pytest.mark.parametrize("is_nested", [False, True])
@pytest.mark.parametrize("options", [{}, {"as_arrow": True}])
def test_a_pickled_type_is_refused(name: str, is_nested: bool, options: dict[str, Any]) -> None:
    hidden = {
        b"ARROW:extension:name": b"arrow.py_extension_type",
        b"ARROW:extension:metadata": b"\x80\x04N.",
    }
    field = pa.field(name, pa.int64(), metadata=hidden)
    column = pa.array([1])
    if is_nested:
        column, field = pa.array([[1]], pa.list_(field)), pa.field(name, pa.list_(field))
    table = pa.table([column], pa.schema([field]))
    for key, data in {"t.parquet": parquet_file(table), "t.arrow": arrow_file(table)}.items():
        with pytest.raises(FormatError, match="nothing is unpickled") as caught:
            formats.deserialize(data, key, opts=options)
        assert caught.value.key == key


# Files that grow


LONG = "x" * 50_000


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(parquet_file(pa.table({"z": np.zeros(10 * MB)})), id="run lengths"),
        pytest.param(
            parquet_file(
                pa.table({"z": np.zeros(10 * MB)}), use_dictionary=False, compression="zstd"
            ),
            id="compressed pages",
        ),
        pytest.param(
            parquet_file(pa.table({"z": pa.nulls(20 * MB)})),
            id="nulls",
        ),
        pytest.param(parquet_file(pa.table({"s": [LONG] * 1600})), id="one word, many times"),
        pytest.param(
            parquet_file(pa.table({"s": pa.array([None, *[LONG] * 1600], pa.large_string())})),
            id="a null first",
        ),
        pytest.param(parquet_file(pa.table({"s": [{"a": LONG}] * 1600})), id="inside structs"),
        pytest.param(parquet_file(pa.table({"s": [[LONG] * 1600]})), id="in one list"),
        pytest.param(parquet_file(pa.table({"s": [[{"a": LONG}] * 1600]})), id="structs in a list"),
        pytest.param(
            parquet_file(
                pa.table({"s": pa.array([[("k", LONG)]] * 1600, pa.map_(pa.string(), pa.string()))})
            ),
            id="in maps",
        ),
        pytest.param(
            parquet_file(pa.table({"s": [LONG] * 1600}), row_group_size=20), id="many row groups"
        ),
        pytest.param(
            parquet_file(
                pa.table({"s": [f"{LONG}{n}" for n in range(1600)]}),
                use_dictionary=False,
                column_encoding={"s": "DELTA_BYTE_ARRAY"},
            ),
            id="shared prefixes",
        ),
    ],
)
def test_a_parquet_file_that_grows_is_refused(data: bytes, arrow_peak: pa.MemoryPool) -> None:
    assert len(data) < MB
    with pytest.raises(FormatError, match="max_size_bytes") as caught:
        formats.deserialize(data, "t.parquet", max_size_bytes=10 * MB)
    assert caught.value.key == "t.parquet"
    assert (arrow_peak.max_memory() or 0) < 25 * MB
    # The bound refuses it, and nothing else does.
    assert formats.deserialize(data, "t.parquet", max_size_bytes=1000 * MB) is not None


def test_a_footer_that_lies_about_sizes_does_not_help() -> None:
    data = parquet_file(
        pa.table({"s": ["x" * 10 * MB] * 3}), use_dictionary=False, compression="zstd"
    )
    column = parquet.ParquetFile(io.BytesIO(data)).metadata.row_group(0).column(0)
    truth = thrift_integer(column.total_uncompressed_size)
    lie = thrift_integer(1 << (7 * (len(truth) - 1) - 1))
    assert len(lie) == len(truth)
    assert truth in data
    lying = data.replace(truth, lie)
    column = parquet.ParquetFile(io.BytesIO(lying)).metadata.row_group(0).column(0)
    assert column.total_uncompressed_size < 2 * MB
    with pytest.raises(FormatError, match="max_size_bytes"):
        formats.deserialize(lying, "t.parquet", max_size_bytes=10 * MB)


def thrift_integer(value: int) -> bytes:
    """A positive number as Thrift's compact protocol has it: zigzag, seven bits a byte."""
    value <<= 1
    groups = []
    while value:
        groups.append(value & 0x7F)
        value >>= 7
    return bytes([*(group | 0x80 for group in groups[:-1]), groups[-1]])


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("codec", ["snappy", "none", "gzip"])
def test_large_and_honest_files_are_read_within_the_bound(version: str, codec: str) -> None:
    # Among short words one long enough that, taken for all, it would break the bound.
    words = [f"word {n % 5000}" for n in range(24_000)]
    words[15_000] = "w" * 20_000
    table = pa.table({"w": words, "n": range(24_000), "l": [[w] for w in words[:100]] * 240})
    data = parquet_file(table, data_page_version=version, compression=codec, row_group_size=10_000)
    found = formats.deserialize(data, "t.parquet", opts={"as_arrow": True}, max_size_bytes=40 * MB)
    assert table.equals(found)


def test_a_schema_too_deep_is_refused() -> None:
    kind = pa.int8()
    for _ in range(60):
        kind = pa.list_(kind)
    with pytest.raises(FormatError, match="very deep"):
        formats.deserialize(parquet_file(pa.table({"a": pa.nulls(1, kind)})), "t.parquet")


def views(count: int) -> pa.Array:
    """An array whose strings are all the same 10,000 bytes."""
    one = pa.array(["y" * 10_000], pa.string_view())
    _, view, content = one.buffers()
    buffers = [None, pa.py_buffer(view.to_pybytes() * count), content]
    return pa.Array.from_buffers(pa.string_view(), count, buffers)


@pytest.mark.parametrize("codec", ["lz4", "zstd"])
def test_arrow_buffers_that_grow_are_refused(codec: str, arrow_peak: pa.MemoryPool) -> None:
    data = arrow_file(pa.table({"z": np.zeros(5 * MB)}), codec)
    assert len(data) < MB
    peak_before = arrow_peak.max_memory() or 0
    with pytest.raises(FormatError, match="max_size_bytes"):
        formats.deserialize(data, "t.arrow", max_size_bytes=10 * MB)
    assert (arrow_peak.max_memory() or 0) == peak_before
    assert formats.deserialize(data, "t.arrow", max_size_bytes=100 * MB) is not None


def test_a_dictionary_that_grows_is_refused() -> None:
    words = pa.DictionaryArray.from_arrays([0], ["x" * 20 * MB])
    data = arrow_file(pa.table({"d": words}), "zstd")
    with pytest.raises(FormatError, match="max_size_bytes"):
        formats.deserialize(data, "t.arrow", max_size_bytes=10 * MB)


@pytest.mark.parametrize(
    ("column", "told"),
    [
        (pa.nulls(100 * MB), "max_size_bytes"),
        (views(5000), "max_size_bytes"),
        (
            pa.RunEndEncodedArray.from_arrays(pa.array([10**9], pa.int64()), pa.array(["x"])),
            "as_arrow=True",
        ),
        (pa.array([[1]], pa.list_view(pa.int64())), "as_arrow=True"),
        (pa.array([[None] * 9], pa.list_(pa.null(), 9)), "as_arrow=True"),
        (pa.array([{"v": "a"}], pa.struct({"v": pa.string_view()})), "as_arrow=True"),
    ],
)
def test_columns_that_grow_only_in_pandas_stay_in_arrow(column: pa.Array, told: str) -> None:
    data = arrow_file(pa.table({"c": column}))
    assert len(data) < MB
    with pytest.raises(FormatError, match=told):
        formats.deserialize(data, "t.arrow", max_size_bytes=10 * MB)
    found: Any = formats.deserialize(
        data, "t.arrow", opts={"as_arrow": True}, max_size_bytes=10 * MB
    )
    assert found.num_rows == len(column)


def test_a_batch_listed_many_times_counts_each_time() -> None:
    batches = [np.arange(100_000), *[np.arange(1)] * 99]
    table = pa.table({"n": pa.chunked_array(batches)})
    data = arrow_file(table)
    blocks = list(arrow_sizes._blocks(arrow_sizes.footer(data)))
    listed = b"".join(arrow_sizes._BLOCK.pack(*block) for block in blocks)
    assert listed in data
    hostile = data.replace(listed, arrow_sizes._BLOCK.pack(*blocks[0]) * 100)
    assert ipc.open_file(io.BytesIO(hostile)).read_all().num_rows == 100 * 100_000
    with pytest.raises(FormatError, match="max_size_bytes"):
        formats.deserialize(hostile, "t.arrow", max_size_bytes=10 * MB)


def test_offsets_that_lead_outside_are_refused() -> None:
    data = arrow_file(pa.table({"s": ["ab", "cd"]}))
    offsets = np.array([0, 2, 4], "<i4").tobytes()
    assert data.count(offsets) == 1
    hostile = data.replace(offsets, np.array([0, 2, 2**30], "<i4").tobytes())
    with pytest.raises(FormatError, match="ArrowInvalid"):
        formats.deserialize(hostile, "t.arrow", opts={"as_arrow": True})


def test_feather_version_1_and_streams_are_told_apart() -> None:
    buffer = io.BytesIO()
    with ipc.new_stream(buffer, TABLE.schema) as writer:
        writer.write_table(TABLE)
    for data in (buffer.getvalue(), b"FEA1" + bytes(50) + b"FEA1"):
        with pytest.raises(FormatError, match="not an Arrow IPC file"):
            formats.deserialize(data, "t.feather")
