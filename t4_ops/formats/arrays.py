"""NumPy arrays: one in `.npy`, several by name in `.npz`."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from typing import Any, Final

from t4_ops.errors import FormatError, InvalidInputError
from t4_ops.formats.base import FormatHandler, is_loaded_instance

# A zip member carries a time; a fixed one (the earliest that zip can hold, as numpy uses)
# keeps the bytes the same on every day.
_ZIP_TIME: Final = (1980, 1, 1, 0, 0, 0)
# "Made by Unix", on every system (zip specification, section 4.4.2).
_ZIP_SYSTEM: Final = 3
# First bytes of a zip archive with and without members (section 4.3).
_ZIP_MAGIC: Final = (b"PK\x03\x04", b"PK\x05\x06")


class NumpyHandler(FormatHandler):
    """Arrays without pickles; called "numpy" by quilt3 8.0.0 for both extensions.

    A single array set at an `.npz` key is stored under numpy's own name for it, `arr_0`.
    quilt3 writes `.npy` content at `.npz` keys; what a file holds is told by its first bytes.
    """

    name = "numpy"
    extensions = ("npy", "npz")
    accepts = "a numpy array (.npz: or a dict of arrays)"

    def handles(self, obj: object) -> bool:
        """Whether `obj` is an array, or a dict that holds arrays only."""
        if isinstance(obj, dict):
            return bool(obj) and all(_is_array(value) for value in obj.values())
        return _is_array(obj)

    def serialize(
        self,
        obj: object,
        *,
        extension: str,
        opts: Mapping[str, object],  # noqa: ARG002
    ) -> tuple[bytes, dict[str, object]]:
        """Write `.npz` for a dict or an `.npz` key, else `.npy`; object arrays are refused."""
        if isinstance(obj, dict):
            if extension == "npy":
                raise InvalidInputError(".npy holds one array; use .npz for a dict of arrays")
            return _write_npz(obj), {}
        if extension == "npz":
            return _write_npz({"arr_0": obj}), {}
        buffer = io.BytesIO()
        _write_npy(buffer, obj)
        return buffer.getvalue(), {}

    def deserialize(
        self,
        data: bytes,
        *,
        extension: str,  # noqa: ARG002
        opts: Mapping[str, object],  # noqa: ARG002
        max_size_bytes: int,
    ) -> object:
        """Read an array, or a dict of arrays from an archive."""
        import numpy as np

        try:
            if not data.startswith(_ZIP_MAGIC):
                return np.load(io.BytesIO(data), allow_pickle=False)
            _refuse_large_members(data, max_size_bytes)
            with np.load(io.BytesIO(data), allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in archive.files}
        except MemoryError as error:
            # The header names the shape, and numpy makes room for it before it reads.
            raise FormatError("its header claims an array too large for memory") from error
        for name, array in arrays.items():
            # numpy hands out members that are no .npy files as raw bytes.
            if not isinstance(array, np.ndarray):
                raise FormatError(f"its member {name!r} is not an array")
        return arrays


def _is_array(obj: object) -> bool:
    return is_loaded_instance(obj, "numpy", "ndarray")


def _write_npy(file: Any, array: Any) -> None:
    import numpy as np

    if isinstance(array, np.ma.MaskedArray):
        raise InvalidInputError("a masked array would lose its mask; fill it, or store both parts")
    if array.dtype.hasobject:
        raise InvalidInputError(
            f"an array of dtype {array.dtype} holds Python objects, which only a pickle could "
            "store; convert it to numbers or to a string dtype such as 'U'"
        )
    # numpy would come to 3.0 by itself, with a warning that concerns readers before 1.17.
    version = (3, 0) if _has_other_than_latin_names(array.dtype) else None
    np.lib.format.write_array(file, np.asanyarray(array), version=version, allow_pickle=False)


def _has_other_than_latin_names(dtype: Any) -> bool:
    import numpy as np

    try:
        repr(np.lib.format.dtype_to_descr(dtype)).encode("latin-1")
    except UnicodeEncodeError:
        return True
    return False


def _write_npz(arrays: Mapping[Any, Any]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            if not isinstance(name, str) or not name or "\0" in name:
                raise InvalidInputError(f"{name!r} can't name an array in an .npz archive")
            member = zipfile.ZipInfo(f"{name}.npy", _ZIP_TIME)
            member.create_system = _ZIP_SYSTEM
            # Members beyond 2 GiB need the larger header; numpy always writes it.
            with archive.open(member, "w", force_zip64=True) as file:
                _write_npy(file, array)
    return buffer.getvalue()


def _refuse_large_members(data: bytes, max_size_bytes: int) -> None:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        size_bytes = sum(member.file_size for member in archive.infolist())
    if size_bytes > max_size_bytes:
        raise FormatError(
            f"its members unpack to {size_bytes:,} bytes, more than {max_size_bytes:,}; "
            "raise max_size_bytes if you trust it"
        )
