"""What the table formats share: pandas and Arrow, and the door against pickled types."""

from __future__ import annotations

import base64
from typing import Any, Final

from t4_ops.errors import FormatError, InvalidInputError
from t4_ops.formats.base import is_loaded_instance

# The extension type whose metadata is a pickle; old pyarrow unpickled it while reading a schema
# (CVE-2023-47248).
_PICKLED_TYPE: Final = b"arrow.py_extension_type"

TABLE_WORDS: Final = "a pandas DataFrame or an Arrow Table"


def is_table(obj: object) -> bool:
    """Whether `obj` is a pandas DataFrame or an Arrow Table; imports neither."""
    return is_loaded_instance(obj, "pandas", "DataFrame") or is_arrow_table(obj)


def is_arrow_table(obj: object) -> bool:
    """Whether `obj` is an Arrow Table; imports nothing."""
    return is_loaded_instance(obj, "pyarrow", "Table")


def to_table(obj: Any) -> Any:
    """The Arrow Table of a DataFrame (its index kept as pandas metadata) or of a Table."""
    if is_arrow_table(obj):
        return obj
    import pyarrow as pa

    return pa.Table.from_pandas(obj)


def to_frame(table: Any) -> Any:
    """The DataFrame of an Arrow Table; pandas metadata that doesn't fit it is left aside."""
    try:
        return table.to_pandas()
    except (AssertionError, KeyError):
        # quilt3 8.0.0 does the same (ParquetFormatHandler.deserialize).
        return table.to_pandas(ignore_metadata=True)


def arrow_reader(data: bytes) -> Any:
    """A pyarrow file over a copy of `data` in Arrow's own memory.

    A thread of Arrow's pool may be the last to let go of what it read from, an instant after the
    table is there. Were that a Python object, it would need the interpreter for it, and a process
    that ends just then is aborted by C++ ("terminate called without an active exception", seen
    with pyarrow 26.0.1 in 1 of 600 processes; github.com/apache/arrow/issues/34314). While it is
    read a file is in memory twice, and the copy takes some 15 ms for 64 MB: what decoding such an
    Arrow file takes at least.
    """
    import pyarrow as pa

    owned = pa.allocate_buffer(len(data))
    with pa.FixedSizeBufferWriter(owned) as writer:
        writer.write(data)
    return pa.BufferReader(owned)


def check_as_arrow(value: object) -> None:
    """Check the option that asks for a Table instead of a DataFrame.

    Raises:
        InvalidInputError: It is not a boolean.
    """
    if not isinstance(value, bool):
        raise InvalidInputError(f"the option as_arrow takes True or False, not {value!r}")


def refuse_pickled_types(footer: bytes) -> None:
    """Refuse a file whose schema names the type that would be unpickled.

    pyarrow must not see such a schema: parsing it is what runs the pickle. So this looks at the
    bytes, plain (Arrow IPC) and inside base64 (Parquet keeps the Arrow schema that way).

    Args:
        footer: The part of the file that holds the schema.

    Raises:
        FormatError: The name stands in it.
    """
    if any(needle in footer for needle in _NEEDLES):
        raise FormatError("it has a pickled extension type, and nothing is unpickled here")


def _base64_forms(word: bytes) -> tuple[bytes, ...]:
    """What every base64 text that contains `word` contains, for its three alignments."""
    forms = []
    for shift in range(3):
        text = base64.b64encode(b"\0" * shift + word)
        # Characters at both ends also depend on neighbours; each character carries six bits.
        forms.append(text[-(-shift * 8 // 6) : (shift + len(word)) * 8 // 6])
    return tuple(forms)


_NEEDLES: Final = (_PICKLED_TYPE, *_base64_forms(_PICKLED_TYPE))
