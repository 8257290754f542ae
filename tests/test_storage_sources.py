"""A local file is read as one state of it, or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from t4_ops.errors import IntegrityError, InvalidInputError, NotFoundError
from t4_ops.storage import Source, Tree, open_source
from t4_ops.storage._files import READ_BYTES


def read(source: Source) -> bytes:
    return b"".join([bytes(piece) for piece in source])


@pytest.mark.parametrize("size_bytes", [0, 1, READ_BYTES - 1, READ_BYTES, 3 * READ_BYTES + 7])
def test_a_file_is_read_whole_in_bounded_pieces(tmp_path: Path, size_bytes: int) -> None:
    path = tmp_path / "x"
    path.write_bytes(data := os.urandom(size_bytes))
    with open_source(str(path)) as source:
        assert source.size_bytes == size_bytes
        assert source.mtime_ns == path.stat().st_mtime_ns
        pieces = [bytes(piece) for piece in source]
        assert b"".join(pieces) == data
        assert max(map(len, pieces), default=0) <= READ_BYTES
        assert read(source) == data


def test_parts_are_read_at_their_places(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(data := os.urandom(2 * READ_BYTES + 10))
    with open_source(str(path)) as source:
        first, second = source.pieces(0, READ_BYTES + 5), source.pieces(READ_BYTES + 5, len(data))
        taken: list[list[bytes]] = [[], []]
        for a, b in zip(first, second, strict=True):
            taken[0].append(bytes(a))
            taken[1].append(bytes(b))
        assert b"".join(taken[0] + taken[1]) == data
        source.check_unchanged()
        with pytest.raises(IntegrityError):
            list(source.pieces(0, len(data) + 1))


def _grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def _shrink(path: Path) -> None:
    os.truncate(path, READ_BYTES + 1)


def _rewrite(path: Path) -> None:
    path.write_bytes(b"y" * 2 * READ_BYTES)
    os.utime(path, ns=(1, 1))


def _replace(path: Path) -> None:
    facts = path.stat()
    other = path.with_name("other")
    other.write_bytes(b"y" * 2 * READ_BYTES)
    os.utime(other, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    other.rename(path)


def _remove(path: Path) -> None:
    path.unlink()


def _lead_elsewhere(path: Path) -> None:
    path.rename(path.with_name("aside"))
    path.symlink_to("/dev/null")


@pytest.mark.parametrize(
    "change",
    [_grow, _shrink, _rewrite, _replace, _remove, _lead_elsewhere],
    ids=lambda f: f.__name__,
)
@pytest.mark.parametrize("moment", ["before", "between", "after"])
def test_a_file_that_changes_meanwhile_is_noticed(
    tmp_path: Path, change: Callable[[Path], None], moment: str
) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"x" * 2 * READ_BYTES)
    with open_source(str(path)) as source, pytest.raises(IntegrityError) as caught:  # noqa: PT012
        if moment == "before":
            change(path)
        for number, _ in enumerate(source):
            if moment == ("between", "after")[number]:
                change(path)
    assert caught.value.key == str(path)
    assert "changed" in str(caught.value)


def test_only_existing_regular_files_are_sources(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "dangling").symlink_to("nothing")
    (tmp_path / "file").write_bytes(b"")
    for name in ("missing", "dangling", "file/below"):
        with pytest.raises(NotFoundError), open_source(str(tmp_path / name)):
            pass
    for path in (str(tmp_path), str(tmp_path / "fifo"), "/dev/null"):
        with pytest.raises(InvalidInputError), open_source(path):
            pass


def test_a_link_the_user_named_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"data")
    (tmp_path / "link").symlink_to("real")
    with open_source(str(tmp_path / "link")) as source:
        assert read(source) == b"data"


def test_a_recorded_path_leads_through_no_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real/x").write_bytes(b"data")
    (tmp_path / "folder").symlink_to("real")
    (tmp_path / "real/link").symlink_to("x")
    for root in (Path("/"), tmp_path):
        tree = Tree(root)
        with open_source(str(tmp_path.resolve() / "real/x"), tree=tree) as source:
            assert read(source) == b"data"
        for name in ("folder/x", "real/link"):
            with pytest.raises(InvalidInputError), open_source(str(tmp_path / name), tree=tree):
                pass
    for path in (str(tmp_path), "/etc/hostname", "relative"):
        with pytest.raises(InvalidInputError), open_source(path, tree=Tree(tmp_path)):
            pass


def test_the_file_is_closed_whatever_happens(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"data")
    before = len(os.listdir("/dev/fd"))
    for _ in range(5):
        with suppress(ZeroDivisionError), open_source(str(tmp_path / "x")) as source:
            next(iter(source))
            raise ZeroDivisionError
        with pytest.raises(InvalidInputError), open_source(str(tmp_path)):
            pass
    assert len(os.listdir("/dev/fd")) == before
