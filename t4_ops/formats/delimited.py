"""CSV, TSV and SSV as pandas DataFrames."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any, Final

from t4_ops.errors import FormatError, InvalidInputError
from t4_ops.formats import delimited_options
from t4_ops.formats.base import FormatHandler
from t4_ops.formats.tables import TABLE_WORDS, is_arrow_table, is_table

# A cell takes at least a float or a pointer in memory.
_CELL_BYTES: Final = 8


class DelimitedHandler(FormatHandler):
    """Text tables; "csv" in quilt3 8.0.0, whose options, bytes and metadata these are.

    What quilt3 documents and doesn't do is done here: stored options are used, `skip_spaces`
    works, `na_values` means these values and no others.
    """

    name = "csv"
    extensions = ("csv", "tsv", "ssv")
    opts = delimited_options.NAMES
    accepts = TABLE_WORDS

    def handles(self, obj: object) -> bool:
        """Whether `obj` is a DataFrame or a Table."""
        return is_table(obj)

    def check_opts(self, opts: Mapping[str, object]) -> None:
        """Check the values of options; see `delimited_options`."""
        delimited_options.check(opts)

    def serialize(
        self, obj: object, *, extension: str, opts: Mapping[str, object]
    ) -> tuple[bytes, dict[str, object]]:
        """Write, with the same line ends on every system; all options used are remembered."""
        frame = _to_frame(obj)
        # Only for writing: a reader finds the line ends by itself.
        used = {"linesep": "\n", **delimited_options.with_defaults(opts, extension)}
        _refuse_what_is_lost(frame, used)
        text: str = frame.to_csv(None, **delimited_options.write_arguments(used))
        return text.encode(used["encoding"]), {"opts": used}

    def deserialize(
        self, data: bytes, *, extension: str, opts: Mapping[str, object], max_size_bytes: int
    ) -> object:
        """Read a DataFrame."""
        import pandas as pd

        used = delimited_options.with_defaults(opts, extension)
        arguments = delimited_options.read_arguments(used)
        _refuse_many_cells(data, arguments, max_size_bytes)
        # low_memory would guess the type of a column piece by piece.
        frame = pd.read_csv(io.BytesIO(data), low_memory=False, **_exact_floats(), **arguments)
        if used["use_index"] and not used["index_names_are_keys"] and _are_names_remembered(used):
            frame = frame.rename_axis(used.get("index_names") or [None])
        return frame


def _are_names_remembered(used: Mapping[str, Any]) -> bool:
    return bool(used.get("index_names") or used.get("header_names"))


def _exact_floats() -> dict[str, Any]:
    """What makes read_csv give back the very float that was written."""
    import pandas as pd

    major, minor = (int(part) for part in pd.__version__.split(".")[:2])
    # Exact is the default since pandas 3.1, which warns about the old argument.
    return {} if (major, minor) >= (3, 1) else {"float_precision": "round_trip"}


def _to_frame(obj: Any) -> Any:
    if not is_arrow_table(obj):
        return obj
    import pandas as pd

    # Arrow-backed columns: pandas's own would turn integers beside a null into floats.
    return obj.to_pandas(types_mapper=pd.ArrowDtype)


def _refuse_what_is_lost(frame: Any, opts: Mapping[str, Any]) -> None:
    """Refuse what CSV could write but nobody could read back."""
    if not len(frame.columns):
        raise InvalidInputError("a table without columns can't be stored as text; use .parquet")
    if frame.columns.nlevels > 1:
        raise InvalidInputError("several header rows can't be read back; use .parquet")
    header_names = opts.get("header_names")
    if header_names and len(header_names) != len(frame.columns):
        raise InvalidInputError(
            f"header_names has {len(header_names)} names for {len(frame.columns)} columns"
        )
    levels = frame.index.nlevels
    index_names = opts.get("index_names")
    if index_names and len(index_names) != levels:
        raise InvalidInputError(f"index_names has {len(index_names)} names for {levels} index(es)")
    if opts["use_index"] and levels > 1 and not index_names:
        raise InvalidInputError(f"an index of {levels} levels needs the option index_names")


def _refuse_many_cells(data: bytes, arguments: Mapping[str, Any], max_size_bytes: int) -> None:
    """Refuse a wide header above many short lines, which pandas would fill with nulls."""
    import pandas as pd

    line_ends = {b"\n", b"\r", arguments.get("lineterminator", "\n").encode("utf-8")}
    rows = 1 + sum(data.count(line_end) for line_end in line_ends)
    head = pd.read_csv(io.BytesIO(data), nrows=1, **arguments)
    size_bytes = rows * (len(head.columns) + head.index.nlevels) * _CELL_BYTES
    if size_bytes > max_size_bytes:
        raise FormatError(
            f"about {rows:,} rows of {len(head.columns):,} columns take {size_bytes:,} bytes, "
            f"more than {max_size_bytes:,}; raise max_size_bytes if you trust it"
        )
