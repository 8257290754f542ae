"""Arrow IPC files (Feather version 2) as pandas DataFrames or Arrow Tables."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Final

from t4_ops.errors import FormatError, InvalidInputError
from t4_ops.formats import arrow_sizes
from t4_ops.formats.base import FormatHandler
from t4_ops.formats.frame_sizes import frame_size_bytes
from t4_ops.formats.tables import (
    TABLE_WORDS,
    arrow_reader,
    check_as_arrow,
    is_table,
    refuse_pickled_types,
    to_frame,
    to_table,
)

# The codecs of the format (BodyCompression in Message.fbs); lz4 is pyarrow's own choice for
# Feather files.
_CODECS: Final = ("lz4", "zstd", "none")
_DEFAULT_CODEC: Final = "lz4"


class ArrowHandler(FormatHandler):
    """Arrow IPC files; quilt3 8.0.0 has no such format.

    Options: `compression`, one of lz4, zstd and none, for writing; `as_arrow=True` to read a
    Table instead of a DataFrame.
    """

    name = "arrow"
    extensions = ("arrow", "feather")
    opts = ("compression", "as_arrow")
    accepts = TABLE_WORDS

    def handles(self, obj: object) -> bool:
        """Whether `obj` is a DataFrame or a Table."""
        return is_table(obj)

    def check_opts(self, opts: Mapping[str, object]) -> None:
        """Check the codec's name and `as_arrow`."""
        compression = opts.get("compression", _DEFAULT_CODEC)
        if compression not in _CODECS:
            raise InvalidInputError(
                f"the option compression takes one of {', '.join(_CODECS)}, not {compression!r}"
            )
        check_as_arrow(opts.get("as_arrow", False))

    def serialize(
        self,
        obj: object,
        *,
        extension: str,  # noqa: ARG002
        opts: Mapping[str, object],
    ) -> tuple[bytes, dict[str, object]]:
        """Write one file; the options used are remembered."""
        from pyarrow import ipc

        used = {"compression": _DEFAULT_CODEC, **opts}
        codec = None if used["compression"] == "none" else used["compression"]
        table = to_table(obj)
        buffer = io.BytesIO()
        with ipc.new_file(
            buffer, table.schema, options=ipc.IpcWriteOptions(compression=codec)
        ) as writer:
            writer.write_table(table)
        return buffer.getvalue(), {"opts": used}

    def deserialize(
        self,
        data: bytes,
        *,
        extension: str,  # noqa: ARG002
        opts: Mapping[str, object],
        max_size_bytes: int,
    ) -> object:
        """Read a DataFrame or a Table; every offset and string is checked first."""
        from pyarrow import ipc

        refuse_pickled_types(arrow_sizes.footer(data))
        _refuse_large(arrow_sizes.read_size_bytes(data, max_size_bytes), max_size_bytes)
        table = ipc.open_file(arrow_reader(data)).read_all()
        # The reader trusts offsets; used unchecked, wrong ones read other memory.
        table.validate(full=True)
        if opts.get("as_arrow"):
            return table
        _refuse_large(frame_size_bytes(table), max_size_bytes)
        return to_frame(table)


def _refuse_large(size_bytes: int, max_size_bytes: int) -> None:
    if size_bytes > max_size_bytes:
        raise FormatError(
            f"it takes {size_bytes:,} bytes or more in memory, above {max_size_bytes:,}; "
            "raise max_size_bytes if you trust it"
        )
