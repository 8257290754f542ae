"""A tree lets nothing out and loses nothing, whatever stands in the way."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pytest_mock import MockerFixture

from t4_ops.checksums import Buffer
from t4_ops.errors import InvalidInputError, NotFoundError
from t4_ops.storage import PreconditionFailedError, Tree
from tests.tree_tools import everything_in, read


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    folder.mkdir()
    return folder


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "secret").write_bytes(b"secret")
    return folder


# Writing and reading


def test_a_file_is_written_replaced_and_read(root: Path) -> None:
    tree = Tree(root)
    pieces: list[list[Buffer]] = [[b"one"], [], [b"", memoryview(b"th"), bytearray(b"ree")]]
    for chunks in pieces:
        data = b"".join(chunks)
        found = tree.write("a/b/c", chunks, durable=False)
        assert found.st_size == len(data)
        assert read(tree, "a/b/c") == data
        assert tree.stat("a/b/c").st_ino == found.st_ino
    assert everything_in(root) == {"a/b/c": b"three"}


@pytest.mark.parametrize("durable", [True, False])
def test_the_root_is_made_by_the_first_write(tmp_path: Path, durable: bool) -> None:
    tree = Tree(tmp_path / "new" / "root")
    with pytest.raises(NotFoundError):
        tree.stat("x")
    with pytest.raises(NotFoundError):
        tree.entries()
    assert tree.remove("x") is False
    assert not (tmp_path / "new").exists()
    tree.write("a/x", [b"1"], durable=durable)
    assert (tmp_path / "new/root/a/x").read_bytes() == b"1"


def test_create_only_leaves_what_is_there(root: Path) -> None:
    tree = Tree(root)
    tree.write("x", [b"first"], durable=True, create_only=True)
    with pytest.raises(PreconditionFailedError):
        tree.write("x", [b"second"], durable=True, create_only=True)
    assert everything_in(root) == {"x": b"first"}


def test_the_umask_decides_who_may_read(root: Path) -> None:
    before = os.umask(0o027)
    try:
        Tree(root).write("d/x", [b"1"], durable=False)
        Tree(root).write("d/y", [b"1"], durable=False, create_only=True)
    finally:
        os.umask(before)
    modes = [(root / name).stat().st_mode & 0o777 for name in ("d", "d/x", "d/y")]
    assert modes == [0o750, 0o640, 0o640]


def test_a_write_the_system_cuts_short_is_continued(root: Path, mocker: MockerFixture) -> None:
    whole = os.write

    def half(fd: int, data: Buffer) -> int:
        return whole(fd, memoryview(data)[: max(1, len(data) // 2)])

    mocker.patch("os.write", autospec=True, side_effect=half)
    Tree(root).write("x", [b"0123456789"], durable=False)
    assert (root / "x").read_bytes() == b"0123456789"


def test_parts_are_written_whole_in_small_pieces(root: Path, mocker: MockerFixture) -> None:
    whole, sizes = os.pwrite, []

    def half(fd: int, data: Buffer, offset: int) -> int:
        sizes.append(len(data))
        return whole(fd, memoryview(data)[: max(1, len(data) // 2)], offset)

    mocker.patch("os.pwrite", autospec=True, side_effect=half)
    data = os.urandom(300_000)
    with Tree(root).stage_parts("x") as parts:
        parts.write(100_000, data[100_000:])
        parts.write(0, data[:100_000])
        parts.replace()
    assert (root / "x").read_bytes() == data
    # Linux looks for memory in pieces of a write's size.
    assert max(sizes) == 64 * 1024


@pytest.mark.parametrize(
    "key", ["", "/", "/x", "a//b", "a/", "./x", "..", "a/../../x", "a/.", "x\0"]
)
def test_paths_that_lead_outside_are_refused(root: Path, outside: Path, key: str) -> None:
    tree = Tree(root)
    calls: list[Callable[[], object]] = [
        lambda: tree.open_file(key),
        lambda: tree.stat(key),
        lambda: tree.write(key, [b"1"], durable=False),
        lambda: tree.remove(key),
    ]
    for call in calls:
        with pytest.raises(InvalidInputError):
            call()
    with pytest.raises(InvalidInputError):
        tree.entries(key or "..")
    assert everything_in(root) == {}


def test_a_name_too_long_is_refused(root: Path) -> None:
    with pytest.raises(InvalidInputError, match="x" * 256):
        Tree(root).write("x" * 256, [b"1"], durable=False)
    Tree(root).write("y" * 255, [b"1"], durable=False)
    assert list(everything_in(root)) == ["y" * 255]


# What stands in the way


def test_a_symlink_in_place_of_a_file_is_replaced_not_followed(root: Path, outside: Path) -> None:
    (root / "x").symlink_to(outside / "secret")
    (root / "y").symlink_to(outside / "not-there")
    tree = Tree(root)
    for name in ("x", "y"):
        with pytest.raises(PreconditionFailedError):
            tree.write(name, [b"new"], durable=False, create_only=True)
        with pytest.raises(InvalidInputError):
            tree.open_file(name)
        with pytest.raises(InvalidInputError):
            tree.stat(name)
        tree.write(name, [b"new"], durable=False)
    assert everything_in(root) == {"x": b"new", "y": b"new"}
    assert everything_in(outside) == {"secret": b"secret"}


def test_a_symlinked_folder_is_refused_by_name(root: Path, outside: Path) -> None:
    (root / "a").mkdir()
    (root / "a/link").symlink_to(outside)
    (root / "inner").symlink_to(root / "a")
    tree = Tree(root)
    for link, key in (("a/link", "a/link/secret"), ("a/link", "a/link/b/c"), ("inner", "inner/x")):
        calls: list[Callable[[], object]] = [
            lambda key=key: tree.open_file(key),  # type: ignore[misc]
            lambda key=key: tree.stat(key),  # type: ignore[misc]
            lambda key=key: tree.write(key, [b"1"], durable=False),  # type: ignore[misc]
            lambda key=key: tree.write(key, [b"1"], durable=True, create_only=True),  # type: ignore[misc]
            lambda key=key: tree.remove(key),  # type: ignore[misc]
            lambda link=link: tree.entries(link),  # type: ignore[misc]
        ]
        for call in calls:
            with pytest.raises(InvalidInputError, match="symlink") as caught:
                call()
            assert caught.value.key == str(root / link)
    assert everything_in(outside) == {"secret": b"secret"}
    assert everything_in(root / "a") == {"link": None}


def test_the_root_itself_may_be_a_symlink(root: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(root)
    tree = Tree(tmp_path / "link")
    tree.write("a/x", [b"1"], durable=True)
    assert read(tree, "a/x") == b"1"
    assert everything_in(root) == {"a/x": b"1"}


def test_a_file_where_a_folder_is_needed_stays(root: Path) -> None:
    (root / "a").write_bytes(b"mine")
    tree = Tree(root)
    with pytest.raises(InvalidInputError) as caught:
        tree.write("a/b/c", [b"1"], durable=False)
    assert caught.value.key == str(root / "a")
    with pytest.raises(NotFoundError):
        tree.stat("a/b")
    assert everything_in(root) == {"a": b"mine"}
    with pytest.raises(InvalidInputError):
        Tree(root / "a").write("x", [b"1"], durable=True)
    with pytest.raises(InvalidInputError):
        Tree(root / "a/below").write("x", [b"1"], durable=True)


@pytest.mark.parametrize("content", [["inner"], []])
def test_a_folder_where_a_file_is_needed_stays(root: Path, content: list[str]) -> None:
    (root / "a").mkdir()
    for name in content:
        (root / "a" / name).write_bytes(b"mine")
    tree = Tree(root)
    with pytest.raises(InvalidInputError) as caught:
        tree.write("a", [b"1"], durable=False)
    assert caught.value.key == str(root / "a")
    with pytest.raises(NotFoundError):
        tree.open_file("a")
    assert tree.remove("a") is False
    assert (root / "a").is_dir()
    assert everything_in(root) == {f"a/{name}": b"mine" for name in content}


def test_special_files_are_refused_without_waiting(root: Path) -> None:
    os.mkfifo(root / "fifo")
    with pytest.raises(InvalidInputError):
        Tree(root).open_file("fifo")
    with pytest.raises(InvalidInputError):
        Tree(root).stat("fifo")
    with pytest.raises(InvalidInputError):
        Tree("/dev").open_file("zero")
    assert Tree(root).remove("fifo") is True


# Removing and listing


def test_remove_takes_empty_folders_along(root: Path) -> None:
    tree = Tree(root)
    for key in ("a/b/x", "a/b/y", "c/d/e/z"):
        tree.write(key, [b"1"], durable=False)
    assert [tree.remove("a/b/x"), tree.remove("a/b/x"), tree.remove("no/where")] == [
        True,
        False,
        False,
    ]
    assert tree.remove("c/d/e/z") is True
    assert everything_in(root) == {"a/b/y": b"1"}
    assert not (root / "c").exists()
    assert tree.remove("a/b/y") is True
    assert root.is_dir()


def test_remove_takes_a_symlink_not_its_target(root: Path, outside: Path) -> None:
    (root / "x").symlink_to(outside / "secret")
    assert Tree(root).remove("x") is True
    assert everything_in(outside) == {"secret": b"secret"}


def test_entries_say_what_is_there(root: Path, outside: Path) -> None:
    (root / "file").write_bytes(b"123")
    (root / "folder").mkdir()
    (root / "link").symlink_to(outside)
    os.mkfifo(root / "fifo")
    (root / ".t4-0123456789abcdef.tmp").write_bytes(b"ours, of a process that died")
    (root / ".t4-notours.tmp").write_bytes(b"")
    found = {entry.name: entry for entry in Tree(root).entries()}
    assert {name: entry.kind for name, entry in found.items()} == {
        "file": "file",
        "folder": "folder",
        "link": "link",
        "fifo": "special",
        ".t4-notours.tmp": "file",
    }
    assert found["file"].stat is not None
    assert found["file"].stat.st_size == 3
    kept = Tree(root).entries("", lambda name, kind: kind == "file" and name.startswith("f"))
    assert [entry.name for entry in kept] == ["file"]


def test_threads_may_list_one_folder_at_once(root: Path) -> None:
    for number in range(300):
        (root / f"{number}").write_bytes(b"")
    with Tree(root) as tree, ThreadPoolExecutor(8) as pool:
        listings = list(pool.map(lambda _: len(tree.entries()), range(64)))
    assert set(listings) == {300}
