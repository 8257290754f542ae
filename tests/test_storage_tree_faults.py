"""A tree loses nothing, whatever happens while it works: swaps, full disks, killed writers."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pytest_mock import MockerFixture

from t4_ops.checksums import Buffer
from t4_ops.errors import InvalidInputError, NotFoundError, StorageError, T4Error
from t4_ops.storage import Tree
from tests.tree_tools import everything_in, open_descriptors, read

ROOT = Path(__file__).resolve().parents[1]


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


class _Swapper:
    """Replaces a folder by a symlink and back, over and over, until the block ends."""

    def __init__(self, folder: Path, target: Path) -> None:
        self._folder = folder
        self._target = target
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        aside = self._folder.with_name("aside")
        while not self._done.is_set():
            self._folder.rename(aside)
            self._insist(lambda: self._folder.symlink_to(self._target))
            time.sleep(0.0005)
            self._folder.unlink()
            self._insist(lambda: aside.rename(self._folder))
            time.sleep(0.0005)

    def _insist(self, action: Callable[[], object]) -> None:
        """Do it, though a writer may make the folder anew while the name is free."""
        while True:
            try:
                action()
            except OSError:
                shutil.rmtree(self._folder, ignore_errors=True)
            else:
                return

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *exc_info: object) -> None:
        self._done.set()
        self._thread.join()


def test_a_folder_swapped_for_a_symlink_never_leads_outside(root: Path, outside: Path) -> None:
    (root / "a").mkdir()
    (root / "a/secret").write_bytes(b"ours")
    (outside / "only-outside").write_bytes(b"x")
    tree = Tree(root)
    done, refused = 0, 0
    deadline_s = time.monotonic() + 20
    with _Swapper(root / "a", outside):
        while time.monotonic() < deadline_s and (done < 500 or refused < 200):
            actions: list[Callable[[], object]] = [
                lambda: tree.write(f"a/new{done}", [b"x"], durable=False),  # noqa: B023
                lambda: tree.write(f"a/deep{done}/y", [b"x"], durable=False),  # noqa: B023
                lambda: tree.write("a/secret", [b"ours"], durable=False),
                lambda: tree.remove("a/only-outside"),
                lambda: [entry.name for entry in tree.entries("a")],
                lambda: read(tree, "a/secret"),
            ]
            for action in actions:
                try:
                    result = action()
                except (InvalidInputError, NotFoundError):
                    refused += 1
                else:
                    done += 1
                    assert result != b"secret"
                    assert not isinstance(result, list) or "only-outside" not in result
    assert done >= 500
    assert refused >= 200
    assert everything_in(outside) == {"secret": b"secret", "only-outside": b"x"}


def test_an_error_of_the_chunks_leaves_the_old_file_and_nothing_else(root: Path) -> None:
    def breaks() -> Iterator[Buffer]:
        yield b"new"
        raise OSError(errno.ENOSPC, "of the source, not of ours")

    tree = Tree(root)
    tree.write("x", [b"old"], durable=False)
    for key in ("x", "new/deep/y"):
        with pytest.raises(OSError, match="of the source"):
            tree.write(key, breaks(), durable=True)
        with pytest.raises(OSError, match="of the source"):
            tree.write(key, breaks(), durable=False, create_only=True)
    assert everything_in(root) == {"x": b"old"}
    assert not (root / "new").exists()


def test_folders_that_were_there_stay_after_a_failed_write(root: Path) -> None:
    (root / "mine/empty").mkdir(parents=True)

    def breaks() -> Iterator[Buffer]:
        raise ValueError
        yield b""

    with pytest.raises(ValueError):  # noqa: PT011 - the chunks' own
        Tree(root).write("mine/empty/new/x", breaks(), durable=False)
    assert [str(path.relative_to(root)) for path in root.rglob("*")] == ["mine", "mine/empty"]


@pytest.mark.parametrize(
    ("code", "word", "retryable"),
    [
        (errno.ENOSPC, "ENOSPC", False),
        (errno.EDQUOT, "EDQUOT", False),
        (errno.EROFS, "EROFS", False),
        (errno.EACCES, "EACCES", False),
        (errno.EIO, "error", False),
        (errno.ESTALE, "handle", True),
    ],
)
@pytest.mark.parametrize("call", ["os.write", "os.fsync", "os.rename", "os.link"])
def test_a_disk_that_fails_loses_nothing(
    root: Path, mocker: MockerFixture, call: str, code: int, word: str, retryable: bool
) -> None:
    tree = Tree(root)
    tree.write("x", [b"old"], durable=False)
    mocker.patch(call, autospec=True, side_effect=OSError(code, os.strerror(code)))
    target = "new" if call == "os.link" else "x"
    with pytest.raises(StorageError, match=word) as caught:
        tree.write(target, [b"new"], durable=True, create_only=call == "os.link")
    assert caught.value.retryable is retryable
    assert caught.value.key == str(root / target)
    mocker.stopall()
    assert everything_in(root) == {"x": b"old"}


def test_a_folder_that_cannot_be_made(root: Path, mocker: MockerFixture) -> None:
    mocker.patch("os.mkdir", autospec=True, side_effect=OSError(errno.EROFS, "read-only"))
    with pytest.raises(StorageError, match="EROFS"):
        Tree(root).write("a/x", [b"1"], durable=False)


def test_what_needs_not_be_durable_is_not_flushed(root: Path, mocker: MockerFixture) -> None:
    mocker.patch("os.fsync", autospec=True, side_effect=OSError(errno.EIO, "broken"))
    Tree(root).write("a/x", [b"1"], durable=False)
    assert everything_in(root) == {"a/x": b"1"}


@pytest.mark.parametrize("broken", ["", "root", "root/a", "root/a/b"])
def test_every_folder_that_gets_a_name_is_flushed(
    tmp_path: Path, mocker: MockerFixture, broken: str
) -> None:
    if broken:
        (tmp_path / broken).mkdir(parents=True)
    failing = (tmp_path / broken).stat().st_ino
    whole = os.fsync

    def fails_for_one(fd: int) -> None:
        if os.fstat(fd).st_ino == failing:
            raise OSError(errno.EIO, "broken")
        whole(fd)

    mocker.patch("os.fsync", autospec=True, side_effect=fails_for_one)
    with pytest.raises(StorageError):
        Tree(tmp_path / "root").write("a/b/x", [b"1"], durable=True)
    Tree(tmp_path / "root").write("a/b/x", [b"2"], durable=False)


def test_folders_without_flush_are_no_error(root: Path, mocker: MockerFixture) -> None:
    whole = os.fsync

    def files_only(fd: int) -> None:
        if os.path.isdir(f"/dev/fd/{fd}"):
            raise OSError(errno.EINVAL, "no fsync for folders here")
        whole(fd)

    mocker.patch("os.fsync", autospec=True, side_effect=files_only)
    Tree(root).write("a/x", [b"1"], durable=True)
    assert everything_in(root) == {"a/x": b"1"}


def test_a_file_system_without_hard_links_is_named(root: Path, mocker: MockerFixture) -> None:
    mocker.patch("os.link", autospec=True, side_effect=OSError(errno.EOPNOTSUPP, "no links"))
    with pytest.raises(StorageError, match="hard links"):
        Tree(root).write("x", [b"1"], durable=False, create_only=True)
    assert everything_in(root) == {}


_SLOW_WRITER = """
import sys, time
from t4_ops.storage import Tree
def chunks():
    yield b"half"
    print("half", flush=True)
    time.sleep(60)
Tree(sys.argv[1]).write("a/x", chunks(), durable=False)
"""


def test_a_killed_writer_leaves_the_old_file_and_a_temporary_one(root: Path) -> None:
    tree = Tree(root)
    tree.write("a/x", [b"old"], durable=False)
    command = [sys.executable, "-c", _SLOW_WRITER, str(root)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as writer:
        try:
            assert writer.stdout is not None
            assert writer.stdout.readline() == b"half\n"
        finally:
            writer.kill()
        assert writer.wait(timeout=20) == -signal.SIGKILL
    found = everything_in(root)
    assert found.pop("a/x") == b"old"
    assert list(found.values()) == [b"half"]
    assert [entry.name for entry in tree.entries("a")] == ["x"]
    tree.write("a/x", [b"new"], durable=False)
    assert read(tree, "a/x") == b"new"


def test_threads_that_write_and_remove_in_one_place_do_not_disturb_each_other(root: Path) -> None:
    tree = Tree(root)

    def work(number: int) -> None:
        for turn in range(60):
            key = f"a/b/{number}"
            tree.write(key, [b"%d" % turn], durable=False, create_only=True)
            assert read(tree, key) == b"%d" % turn
            assert tree.remove(key) is True

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(6)))
    assert list(root.iterdir()) == []


# Descriptors


def test_no_descriptor_is_left_open(root: Path, outside: Path) -> None:
    (root / "link").symlink_to(outside)
    (root / "file").write_bytes(b"")
    before = open_descriptors()
    tree = Tree(root)
    for number in range(20):
        tree.write(f"a/{number}/x", [b"1"], durable=number % 2 == 0)
        for key in ("link/x", "file/x", "a", "file/../x"):
            with pytest.raises(T4Error):
                tree.write(key, [b"1"], durable=False)
        for key in ("link/x", "link", "no", "a", "a/no/x"):
            with pytest.raises(T4Error):
                tree.open_file(key)
        tree.entries("a")
        tree.remove(f"a/{number}/x")
    assert open_descriptors() == before


def test_a_block_keeps_some_folders_open_and_closes_them(root: Path) -> None:
    before = open_descriptors()
    with Tree(root) as tree:
        for number in range(200):
            tree.write(f"d{number}/x", [b"1"], durable=False)
            assert read(tree, f"d{number}/x") == b"1"
        assert before < open_descriptors() <= before + 70
    assert open_descriptors() == before


def test_a_folder_removed_during_a_block_is_made_again(root: Path) -> None:
    with Tree(root) as tree:
        tree.write("a/b/x", [b"1"], durable=False)
        assert read(tree, "a/b/x") == b"1"
        (root / "a/b/x").unlink()
        (root / "a/b").rmdir()
        (root / "a").rmdir()
        tree.write("a/b/x", [b"2"], durable=False)
    assert everything_in(root) == {"a/b/x": b"2"}
