"""Bytes to Python objects and back, by the extension of the logical key.

The options that a format was written with are remembered in the entry's metadata in exactly
the shape quilt3 8.0.0 uses, so that each library reads what the other wrote.
"""

from __future__ import annotations

from t4_ops.formats.base import FormatHandler, Serialized
from t4_ops.formats.codec import (
    DEFAULT_MAX_SIZE_BYTES,
    deserialize,
    is_serializable,
    serialize,
)
from t4_ops.formats.compression import decompress
from t4_ops.formats.handlers import preferred_extension, register
from t4_ops.formats.parquet_columns import ParquetColumn, parquet_columns

__all__ = [
    "DEFAULT_MAX_SIZE_BYTES",
    "FormatHandler",
    "ParquetColumn",
    "Serialized",
    "decompress",
    "deserialize",
    "is_serializable",
    "parquet_columns",
    "preferred_extension",
    "register",
    "serialize",
]
