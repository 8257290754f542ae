"""About how large the DataFrame of an Arrow Table becomes, before it is made.

Most columns take in pandas about what they take in Arrow. Some types keep one stored value for
many rows (views, run ends) or none at all (nulls): a small file of those can fill any memory.
"""

from __future__ import annotations

from typing import Any, Final

from t4_ops.errors import FormatError

# A row of a column takes at least a number or a pointer.
_CELL_BYTES: Final = 8


def frame_size_bytes(table: Any) -> int:
    """Estimate the size of `table.to_pandas()`.

    Raises:
        FormatError: A column is of a type whose size can't be told in advance.
    """
    size_bytes = int(table.num_rows) * int(table.num_columns) * _CELL_BYTES
    for field, column in zip(table.schema, table.columns, strict=True):
        size_bytes += _column_bytes(field.name, column)
    return size_bytes


def _column_bytes(name: str, column: Any) -> int:
    from pyarrow import types

    if types.is_string_view(column.type) or types.is_binary_view(column.type):
        return sum(_view_bytes(chunk) for chunk in column.chunks)
    stored = column.type.value_type if types.is_dictionary(column.type) else column.type
    if not _is_measurable(stored):
        raise FormatError(
            f"its column {name!r} of type {column.type} has no safe form in pandas; "
            "read it with the option as_arrow=True"
        )
    return int(column.nbytes)


def _view_bytes(array: Any) -> int:
    """Sum of the string lengths: the first of the four 32-bit numbers of each view."""
    import numpy as np

    views = np.frombuffer(array.buffers()[1], dtype="<i4").reshape(-1, 4)
    return int(views[array.offset : array.offset + len(array), 0].sum(dtype=np.int64))


def _is_measurable(kind: Any) -> bool:
    """Whether a value of this type takes in pandas about what its buffers take."""
    import pyarrow as pa
    from pyarrow import types

    if isinstance(kind, pa.BaseExtensionType):
        return _is_measurable(kind.storage_type)
    if types.is_fixed_size_list(kind):
        return _is_fixed_width(kind.value_type)
    if types.is_struct(kind) or types.is_list(kind) or types.is_large_list(kind):
        return _has_measurable_children(kind)
    if types.is_map(kind):
        return _has_measurable_children(kind)
    return not types.is_nested(kind) and not types.is_run_end_encoded(kind)


def _has_measurable_children(kind: Any) -> bool:
    from pyarrow import types

    children = [kind.field(number).type for number in range(kind.num_fields)]
    return bool(children) and not any(
        types.is_null(child)
        or types.is_dictionary(child)
        or types.is_string_view(child)
        or types.is_binary_view(child)
        or not _is_measurable(child)
        for child in children
    )


def _is_fixed_width(kind: Any) -> bool:
    try:
        return int(kind.bit_width) > 0
    except ValueError:  # a type of varying width has none
        return False
