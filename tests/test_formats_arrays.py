"""NumPy arrays, and the doors in front of pickles and bombs."""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from t4_ops import formats
from t4_ops.errors import FormatError, InvalidInputError

ARRAYS = hnp.arrays(
    hnp.scalar_dtypes() | hnp.array_dtypes(), hnp.array_shapes(min_dims=0, min_side=0, max_side=3)
)


class Payload:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.write_text, (self.path, "executed"))


def archive(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return buffer.getvalue()


def npy(array: Any, *, allow_pickle: bool = False) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=allow_pickle)
    return buffer.getvalue()


def check_same(found: Any, array: Any) -> None:
    # Bytes, because NaN and NaT inside records are unequal to themselves.
    assert (found.dtype, found.shape) == (array.dtype, array.shape)
    assert found.tobytes() == array.tobytes()


@given(ARRAYS)
def test_an_array_comes_back(array: Any) -> None:
    data = formats.serialize(array, "a.npy").data
    check_same(formats.deserialize(data, "a.npy"), array)
    check_same(np.load(io.BytesIO(data)), array)


@given(st.dictionaries(st.text(st.characters(codec="ascii", exclude_characters="\0")), ARRAYS))
def test_named_arrays_come_back(arrays: dict[str, Any]) -> None:
    arrays = {f"a{name}": array for name, array in arrays.items()} | {"file": np.eye(2)}
    data = formats.serialize(arrays, "a.npz").data
    found = formats.deserialize(data, "a.npz")
    assert isinstance(found, dict)
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        check_same(found[name], array)


def test_column_order_survives() -> None:
    array = np.asfortranarray(np.arange(6).reshape(2, 3))
    found: Any = formats.deserialize(formats.serialize(array, "a.npy").data, "a.npy")
    assert found.flags.f_contiguous


def test_one_array_at_an_npz_key_has_numpys_name() -> None:
    found: Any = formats.deserialize(formats.serialize(np.eye(2), "a.npz").data, "a.npz")
    assert list(found) == ["arr_0"]


def test_npy_content_at_an_npz_key_is_read() -> None:
    found: Any = formats.deserialize(npy(np.eye(2)), "a.npz")
    np.testing.assert_array_equal(found, np.eye(2))


@pytest.mark.parametrize(
    ("obj", "key", "told"),
    [
        (np.array([{"a": 1}], dtype=object), "a.npy", "pickle"),
        (np.array([(1, "a")], dtype=[("n", int), ("o", object)]), "a.npy", "pickle"),
        ({"a": np.array([None])}, "a.npz", "pickle"),
        (np.ma.masked_array([1, 2], [True, False]), "a.npy", "mask"),
        ({"a": np.eye(2)}, "a.npy", "use .npz"),
        ({"": np.eye(2)}, "a.npz", "can't name"),
        ({1: np.eye(2)}, "a.npz", "can't name"),
        ({"a\0": np.eye(2)}, "a.npz", "can't name"),
    ],
)
def test_what_numpy_files_cannot_hold_is_refused(obj: Any, key: str, told: str) -> None:
    with pytest.raises(InvalidInputError, match=told) as caught:
        formats.serialize(obj, key)
    assert caught.value.key == key


@pytest.mark.parametrize("wrap", [lambda data: data, lambda data: archive(**{"a.npy": data})])
def test_pickled_arrays_are_never_unpickled(wrap: Any, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    hostile = wrap(npy(np.array([Payload(mark)], dtype=object), allow_pickle=True))
    with pytest.raises(FormatError, match="allow_pickle=False"):
        formats.deserialize(hostile, "a.npy")
    assert not mark.exists()
    # The same bytes do run in a reader that unpickles: the test is no blank cartridge.
    loaded = np.load(io.BytesIO(hostile), allow_pickle=True)
    if isinstance(loaded, np.lib.npyio.NpzFile):
        loaded["a"]
    assert mark.read_text() == "executed"


def test_a_bare_pickle_is_never_unpickled(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    with pytest.raises(FormatError, match="pickle"):
        formats.deserialize(pickle.dumps(Payload(mark)), "a.npy")
    assert not mark.exists()


def test_a_zip_bomb_is_refused_before_it_is_unpacked() -> None:
    bomb = archive(**{f"{n}.npy": npy(np.zeros(500_000)) for n in range(4)})
    assert len(bomb) < 100_000
    with pytest.raises(FormatError, match="unpack to"):
        formats.deserialize(bomb, "a.npz", max_size_bytes=10_000_000)
    found: Any = formats.deserialize(bomb, "a.npz", max_size_bytes=20_000_000)
    assert len(found) == 4


def test_a_header_that_claims_too_much_is_refused() -> None:
    claim = npy(np.zeros(10, "u1")).replace(b"(10,), }          ", b"(9999999999999,), }")
    with pytest.raises(FormatError) as caught:
        formats.deserialize(claim, "a.npy")
    assert caught.value.key == "a.npy"


@pytest.mark.parametrize(
    "data",
    [
        npy(np.eye(3))[:-1],
        npy(np.eye(3))[:20],
        archive(**{"notes.txt": b"hello"}),
        archive(**{"a.npy": npy(np.eye(3))})[:-30],
        b"\x93NUMPY\x09\x00v\x00{}",
    ],
)
def test_damaged_files_are_told(data: bytes) -> None:
    with pytest.raises(FormatError) as caught:
        formats.deserialize(data, "a.npz")
    assert caught.value.key == "a.npz"
