"""The gzip and zstd wrappers, with a hard bound on what comes out of them."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Callable
from typing import Final, Protocol

from t4_ops.errors import FormatError, InvalidInputError
from t4_ops.formats.extensions import WRAPPERS

# How much is decompressed between two looks at the bound.
_CHUNK_BYTES: Final = 1024 * 1024

# Levels are fixed because the level is part of the bytes, and the bytes are hashed.
# 6 and 3 are the defaults of zlib and zstd.
_GZIP_LEVEL: Final = 6
_ZSTD_LEVEL: Final = 3

# First bytes of each container: RFC 1952 section 2.3.1, RFC 8878 section 3.1.1.
_MAGIC: Final = {"gzip": b"\x1f\x8b", "zstd": b"\x28\xb5\x2f\xfd"}


class _Stream(Protocol):
    def read(self, nbytes: int, /) -> bytes: ...


def is_compressed(data: bytes, codec: str) -> bool:
    """Whether `data` begins like the output of `codec` ("gzip" or "zstd")."""
    return data.startswith(_MAGIC[codec])


def compress(data: bytes, codec: str) -> bytes:
    """Compress, giving the same bytes for the same data at any time.

    Args:
        data: Any bytes.
        codec: "gzip" or "zstd".
    """
    if codec == "gzip":
        buffer = io.BytesIO()
        # GzipFile writes the same header bytes on every Python; gzip.compress does not.
        with gzip.GzipFile(
            filename="", mode="wb", compresslevel=_GZIP_LEVEL, fileobj=buffer, mtime=0
        ) as file:
            file.write(data)
        return buffer.getvalue()
    import pyarrow as pa

    compressed: bytes = pa.Codec(codec, compression_level=_ZSTD_LEVEL).compress(data, asbytes=True)
    return compressed


def decompress(data: bytes, wrapper: str, max_size_bytes: int) -> bytes:
    """Decompress piece by piece and stop at the bound.

    Several gzip members or zstd frames in a row are one content, as their tools have it.

    Args:
        data: The compressed bytes.
        wrapper: "gz", "gzip", "zst" or "zstd".
        max_size_bytes: The most that may come out.

    Raises:
        InvalidInputError: No such wrapper.
        FormatError: The data is damaged, cut off, not of this kind, or too large inside.
    """
    codec = WRAPPERS.get(wrapper, wrapper)
    if codec not in _MAGIC:
        raise InvalidInputError(f"no wrapper is called {wrapper!r}; use 'gz' or 'zst'")
    if not is_compressed(data, codec):
        raise FormatError(f"this is not {codec} data (it begins with {data[:4]!r})")
    try:
        return _read_bounded(_OPENERS[codec](data), max_size_bytes)
    except (OSError, EOFError, zlib.error) as error:
        raise FormatError(f"the {codec} data is damaged or cut off: {error}") from error


def _open_gzip(data: bytes) -> _Stream:
    return gzip.GzipFile(fileobj=io.BytesIO(data))


def _open_zstd(data: bytes) -> _Stream:
    import pyarrow as pa

    stream: _Stream = pa.CompressedInputStream(pa.BufferReader(data), "zstd")
    return stream


_OPENERS: Final[dict[str, Callable[[bytes], _Stream]]] = {"gzip": _open_gzip, "zstd": _open_zstd}


def _read_bounded(stream: _Stream, max_size_bytes: int) -> bytes:
    content = bytearray()
    while piece := stream.read(_CHUNK_BYTES):
        content += piece
        if len(content) > max_size_bytes:
            raise FormatError(
                f"it decompresses to more than {max_size_bytes:,} bytes; "
                "raise max_size_bytes if you trust it"
            )
    return bytes(content)
