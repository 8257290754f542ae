"""Many empty objects at once, on every kind of store."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pytest_mock import MockerFixture

from t4_ops.errors import InvalidInputError, T4Error
from t4_ops.settings import Settings
from t4_ops.storage import Store, open_store

KEYS = [".t4/v1/a/1/x", ".t4/v1/a/2/x", ".t4/v1/b/1/x y", "top"]


def contents(store: Store) -> dict[str, bytes]:
    return {info.key: store.read(info.key).data for info in store.list()}


def test_they_are_created_where_nothing_is(registry: str) -> None:
    store = open_store(registry, Settings())
    store.write(KEYS[1], b"old")

    assert store.create_empty(KEYS, workers=4) == [KEYS[1]]
    assert contents(store) == {**dict.fromkeys(KEYS, b""), KEYS[1]: b"old"}
    assert store.create_empty(KEYS, workers=4) == KEYS
    assert store.create_empty([], workers=4) == []


def test_a_folder_is_made_with_all_above_it(tmp_path: Path) -> None:
    root = tmp_path / "not" / "there"

    open_store(str(root), Settings()).create_empty(KEYS, workers=1)

    assert (root / "top").read_bytes() == b""


def test_every_folder_above_them_is_flushed(tmp_path: Path, mocker: MockerFixture) -> None:
    flushed: set[int] = set()
    real = os.fsync

    def fsync(fd: int) -> None:
        flushed.add(os.fstat(fd).st_ino)
        real(fd)

    mocker.patch("os.fsync", autospec=True, side_effect=fsync)
    open_store(str(tmp_path / "r"), Settings()).create_empty(KEYS, workers=4)

    folders = [tmp_path, *(path for path in tmp_path.rglob("*") if path.is_dir())]
    assert {f.stat().st_ino for f in folders if f != tmp_path / "home"} == flushed
    assert len(flushed) == 9


@pytest.mark.parametrize("key", ["a/../b", "/abs", "a//b", "", ".t4/v1/lock", "a\0b", "\ud800"])
def test_a_key_that_is_none_is_refused(tmp_path: Path, key: str) -> None:
    with pytest.raises(InvalidInputError):
        open_store(str(tmp_path), Settings()).create_empty([key], workers=1)


def test_no_symlink_is_followed(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "a").symlink_to(tmp_path / "outside")
    store = open_store(str(tmp_path / "r"), Settings())

    with pytest.raises(InvalidInputError, match="symlink"):
        store.create_empty(["b/x", "a/x"], workers=1)
    assert list((tmp_path / "outside").iterdir()) == []


def test_a_file_in_the_way_is_told(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a file")

    with pytest.raises(T4Error, match="a"):
        open_store(str(tmp_path), Settings()).create_empty(["a/x"], workers=1)


def test_folders_may_vanish_while_they_are_filled(tmp_path: Path) -> None:
    """Another process removes markers, and with them the folders that are empty then."""
    store = open_store(str(tmp_path), Settings())
    stop = threading.Event()

    def remove() -> None:
        while not stop.is_set():
            for number in range(5):
                store.delete(f"a/{number}/old")

    def fill(worker: int) -> None:
        for round_ in range(40):
            store.create_empty([f"a/{n}/{worker}-{round_}" for n in range(5)], workers=2)
            store.create_empty([f"a/{n}/old" for n in range(5)], workers=2)

    remover = threading.Thread(target=remove)
    remover.start()
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(fill, range(2)))
    stop.set()
    remover.join()

    kept = [key for key in contents(store) if not key.endswith("/old")]
    assert len(kept) == 2 * 40 * 5
