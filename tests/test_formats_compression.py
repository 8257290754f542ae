"""The gzip and zstd wrappers and their bound."""

from __future__ import annotations

import gzip
import tracemalloc
from collections.abc import Callable

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from t4_ops import formats
from t4_ops.errors import FormatError, InvalidInputError
from tests.arrow_support import watched_pool

MIB = 1024**2

Compress = Callable[[bytes], bytes]


def zstd(data: bytes) -> bytes:
    return bytes(pa.Codec("zstd").compress(data, asbytes=True))


@given(st.binary(max_size=2000), st.sampled_from(["gz", "gzip", "zst"]))
def test_what_is_compressed_comes_back(data: bytes, wrapper: str) -> None:
    # A first byte that no container begins with: those are not compressed again.
    data = b"=" + data
    compressed = formats.serialize(data, f"a.{wrapper}").data
    assert formats.serialize(data, f"b.{wrapper}").data == compressed
    assert formats.decompress(compressed, wrapper, len(data)) == data


def test_other_tools_read_it() -> None:
    text = "line\n" * 1000
    assert gzip.decompress(formats.serialize(text, "a.txt.gz").data).decode() == text
    compressed = formats.serialize(text, "a.txt.zst").data
    content = pa.Codec("zstd").decompress(compressed, len(text), asbytes=True)
    assert content.decode() == text


def test_gzip_carries_no_time_and_no_name() -> None:
    header = formats.serialize("a", "a.txt.gz").data[:10]
    assert header[3] == 0  # no flags, so no name
    assert header[4:8] == bytes(4)


@pytest.mark.parametrize(("wrapper", "compress"), [("gz", gzip.compress), ("zst", zstd)])
def test_several_members_are_one_content(wrapper: str, compress: Compress) -> None:
    data = compress(b"one,") + compress(b"") + compress(b"two")
    assert formats.decompress(data, wrapper, 100) == b"one,two"
    with pytest.raises(FormatError, match="more than 6 bytes"):
        formats.decompress(data, wrapper, 6)


@pytest.mark.parametrize(("wrapper", "compress"), [("gz", gzip.compress), ("zst", zstd)])
def test_the_bound_is_exact(wrapper: str, compress: Compress) -> None:
    data = compress(bytes(3 * MIB))
    assert formats.decompress(data, wrapper, 3 * MIB) == bytes(3 * MIB)
    with pytest.raises(FormatError, match="max_size_bytes"):
        formats.decompress(data, wrapper, 3 * MIB - 1)


@pytest.mark.parametrize(("wrapper", "compress"), [("gz", gzip.compress), ("zst", zstd)])
@pytest.mark.parametrize("members", [1, 50])
def test_a_bomb_stops_at_the_bound(wrapper: str, compress: Compress, members: int) -> None:
    bomb = compress(bytes(200 * MIB // members)) * members
    assert len(bomb) < MIB
    tracemalloc.start()
    try:
        with (
            watched_pool() as pool,
            pytest.raises(FormatError, match="decompresses to more") as caught,
        ):
            formats.deserialize(bomb, f"a.txt.{wrapper}", max_size_bytes=4 * MIB)
        peak_bytes = tracemalloc.get_traced_memory()[1] + (pool.max_memory() or 0)
    finally:
        tracemalloc.stop()
    assert caught.value.key == f"a.txt.{wrapper}"
    assert peak_bytes < 16 * MIB


@pytest.mark.parametrize(("wrapper", "compress"), [("gz", gzip.compress), ("zst", zstd)])
@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-1],
        lambda data: data[: len(data) // 2],
        lambda data: data + b"trailing",
        lambda data: data + data[: len(data) // 2],
        lambda data: data[:5] + b"\xff" * 20 + data[25:],
        lambda data: b"",
        lambda data: b"plain text",
    ],
)
def test_damaged_data_is_a_format_error(wrapper: str, compress: Compress, damage: Compress) -> None:
    whole = compress(bytes(range(256)) * 50)
    with pytest.raises(FormatError):
        formats.decompress(damage(whole), wrapper, MIB)


def test_an_unknown_wrapper_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="'xz'"):
        formats.decompress(b"", "xz", 1)
