"""Where lines begin: large manifests take another way to the same answer."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pytest_mock import MockerFixture

from t4_ops.errors import FormatError, StorageError
from t4_ops.manifest import Manifest, checks, lines
from t4_ops.manifest.lines import Lines, Spool
from tests.manifest_support import HEADER, entry

TEXTS = st.lists(st.binary(max_size=12).map(lambda text: text.replace(b"\r", b"\n")), max_size=20)


@given(TEXTS, st.integers(0, 40))
def test_numpy_finds_the_lines_that_splitting_finds(texts: list[bytes], from_bytes: int) -> None:
    pieces = [*texts, b"end\n"]
    expected = Lines.read(pieces)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "_NUMPY_BYTES", from_bytes)
        found = Lines.read(pieces)
        assert [found.start(n) for n in range(len(found) + 1)] == [
            expected.start(n) for n in range(len(expected) + 1)
        ]
        assert found.longest_line() == max(map(len, b"".join(pieces)[:-1].split(b"\n")))
    assert expected.longest_line() == found.longest_line()


OBJECTS = st.lists(st.text("{}\n x", max_size=12).map(str.encode), max_size=20)


@given(OBJECTS, st.integers(1, 40))
def test_lines_that_are_called_objects_look_like_them(texts: list[bytes], from_bytes: int) -> None:
    pieces = [*texts, b"{}\n"]
    whole = b"".join(pieces)[:-1].split(b"\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "_NUMPY_BYTES", from_bytes)
        found = Lines.read(pieces)
    for first in range(len(found)):
        look_so = all(line[:1] == b"{" and line[-1:] == b"}" for line in whole[first:])
        assert look_so or not found.are_objects(first)


def test_only_what_does_not_look_like_objects_is_not_called_so() -> None:
    pieces = [b"{1}\n{2", b"}", b"\n", b"{3}\n[4]\n{5}\n", b"{6}\n", b"{7}", b"\n{8}\n"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "_NUMPY_BYTES", 1)
        found = Lines.read(pieces)
    # A piece is judged as a whole, the first one not at all.
    assert [found.are_objects(n) for n in range(8)] == [False] * 5 + [True] * 3


def test_a_large_manifest_of_two_records_on_a_line_is_refused(mocker: MockerFixture) -> None:
    data = Manifest.of(HEADER, [entry(f"{n:05}") for n in range(4000)]).to_bytes()
    # As many records as lines: one of them stands on two, the next two on one.
    one, two, three = data.splitlines(keepends=True)[3500:3503]
    odd = one.replace(b", ", b",\n", 1) + two.rstrip() + three
    assert len(odd.splitlines()) == 3
    asked = mocker.spy(checks, "orders_of")
    mocker.patch.object(lines, "_NUMPY_BYTES", 1000)
    assert len(Manifest.read([data[:1000], data[1000:]])) == 4000
    assert any(call.kwargs["are_objects"] for call in asked.call_args_list)
    broken = data.replace(one + two + three, odd)
    with pytest.raises(FormatError, match="line 3501"):
        Manifest.read([broken[:1000], broken[1000:]])


def test_a_large_manifest_that_is_cut_off_is_refused() -> None:
    data = Manifest.of(HEADER, [entry(f"{n:05}") for n in range(500)]).to_bytes()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "_NUMPY_BYTES", 1000)
        assert len(Manifest.read([data[:1000], data[1000:]])) == 500
        with pytest.raises(FormatError, match="line 501 has no end: the manifest is cut off"):
            Manifest.read([data[:1000], data[1000:-1]])


def test_without_a_disk_a_manifest_stays_on_the_heap_up_to_a_size(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # What a folder that can't be written does, as far as a caller sees.
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
    monkeypatch.setattr(lines, "_DISKLESS_BYTES", 40)
    with Spool(memory_bytes=10) as spool:
        spool.write(b"more than ten bytes\n")
        spool.write(b"and\n")
        assert b"".join(spool.lines().chunks()) == b"more than ten bytes\nand\n"
        with pytest.raises(StorageError, match=r"gone.*free some space, or set TMPDIR"):
            spool.write(b"more than forty bytes with those before\n")


def test_a_disk_that_comes_back_is_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
    with Spool(memory_bytes=10) as spool:
        spool.write(b"more than ten bytes\n")
        (tmp_path / "gone").mkdir()
        spool.write(b"and\n")
        found = spool.lines()
    assert os.fstat(found._data._fd).st_size == found.size_bytes == 24  # type: ignore[union-attr]
    assert [found[0], found[1]] == [b"more than ten bytes", b"and"]


def test_no_temporary_folder_at_all_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> str:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found")

    monkeypatch.setattr("tempfile.gettempdir", none)
    monkeypatch.setattr(lines, "_DISKLESS_BYTES", 0)
    monkeypatch.setattr("tempfile._sanitize_params", lambda *_: none())
    with Spool(memory_bytes=10) as spool, pytest.raises(StorageError, match="any temporary folder"):
        spool.write(b"more than ten bytes\n")
