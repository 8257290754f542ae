"""What only the folder store promises: nothing leads out of it, and its lock outlives crashes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pytest_mock import MockerFixture

from t4_ops.errors import InvalidInputError, NotFoundError, StorageError
from t4_ops.settings import S3Settings, Settings
from t4_ops.storage import (
    FolderStore,
    PreconditionFailedError,
    Tree,
    _lock,
    open_bucket,
    open_store,
)

ROOT = Path(__file__).resolve().parents[1]
LOCK = ".t4/v1/lock"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "registry"


@pytest.fixture
def store(root: Path) -> FolderStore:
    return FolderStore(f"file://{root}")


def test_a_path_and_a_url_are_one_store(root: Path) -> None:
    for name in (str(root), f"file://{root}", f"{root}/"):
        store = open_store(name, Settings())
        assert isinstance(store, FolderStore)
        assert store.url == f"file://{root}"
    with pytest.raises(InvalidInputError):
        open_bucket(str(root), Settings())


def test_a_bucket_has_one_store_for_the_same_settings() -> None:
    settings = Settings(s3=S3Settings(region="eu-west-1"))
    first = open_store("s3://t4-bucket", settings)
    assert open_store("s3://t4-bucket/", Settings(s3=S3Settings(region="eu-west-1"))) is first
    assert open_bucket("s3://t4-bucket", settings) is first
    assert open_store("s3://t4-other", settings) is not first
    assert open_store("s3://t4-bucket", Settings(s3=S3Settings(region="eu-west-2"))) is not first


def test_reading_and_deleting_make_no_folder(root: Path, store: FolderStore) -> None:
    for call in (store.head, store.read):
        with pytest.raises(NotFoundError):
            call("a/x")
    store.delete("a/x")
    assert list(store.list("a/")) == []
    assert store.list_folder().folders == ()
    assert not root.exists()
    with pytest.raises(PreconditionFailedError):
        store.write("a/x", b"1", if_match="etag")
    assert not root.exists()


BAD_KEYS = [
    *("", "/", "/x", "a//b", "a/", "..", "../x", "a/../../x", "./x", "a/./x", "x\0y", "\udcff"),
    *(LOCK, ".t4-0123456789abcdef.tmp", "a/.t4-0123456789abcdef.tmp/x", "x" * 256),
]


@pytest.mark.parametrize("key", BAD_KEYS)
def test_keys_that_are_none_are_refused_everywhere(
    root: Path, store: FolderStore, key: str
) -> None:
    store.write("kept", b"kept")
    (root.parent / "x").write_bytes(b"outside")
    calls: list[Callable[[], object]] = [
        lambda: store.head(key),
        lambda: store.read(key),
        lambda: store.open(key).__enter__(),
        lambda: store.write(key, b"1"),
        lambda: store.write(key, b"1", create_only=True),
        lambda: store.write(key, b"1", if_match="etag"),
        lambda: store.upload(key, [b"1"], 1),
        lambda: store.delete(key),
    ]
    for call in calls:
        with pytest.raises(InvalidInputError):
            call()
    assert [info.key for info in store.list()] == ["kept"]
    assert sorted(os.listdir(root.parent)) == ["home", "registry", "x"]


@pytest.mark.parametrize("prefix", ["/", "/etc/", "../", "a/../", "a//", "./", "x\0/"])
def test_prefixes_that_lead_out_are_refused(store: FolderStore, prefix: str) -> None:
    store.write("a/x", b"")
    with pytest.raises(InvalidInputError):
        list(store.list(prefix))
    with pytest.raises(InvalidInputError):
        store.list_folder(prefix)


def test_a_folder_is_named_with_its_slash(store: FolderStore) -> None:
    with pytest.raises(InvalidInputError):
        store.list_folder("a")


def test_a_key_below_an_object_is_refused_and_nothing_is_lost(store: FolderStore) -> None:
    store.write("a", b"object")
    store.write("b/c", b"object")
    with pytest.raises(InvalidInputError):
        store.write("a/b", b"1")
    with pytest.raises(InvalidInputError):
        store.write("b", b"1", create_only=True)
    with pytest.raises(InvalidInputError):
        store.upload("b", [b"1"], 1)
    store.delete("b")
    store.delete("a/b")
    assert [info.key for info in store.list()] == ["a", "b/c"]


def test_no_symlink_leads_out(root: Path, store: FolderStore, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    root.mkdir()
    (root / "folder").symlink_to(outside)
    (root / "file").symlink_to(outside / "secret")
    (root / "dangling").symlink_to(outside / "new")
    for key in ("folder/secret", "file", "dangling"):
        calls: list[Callable[[], object]] = [
            lambda key=key: store.read(key),  # type: ignore[misc]
            lambda key=key: store.head(key),  # type: ignore[misc]
            lambda key=key: store.write(key, b"1", create_only=True),  # type: ignore[misc]
            lambda key=key: store.write(key, b"1", if_match="etag"),  # type: ignore[misc]
            lambda key=key: store.delete(key),  # type: ignore[misc]
        ]
        for call in calls:
            with pytest.raises(InvalidInputError, match="symlink"):
                call()
    with pytest.raises(InvalidInputError, match="symlink"):
        store.upload("folder/secret", [b"1"], 1)
    with pytest.raises(InvalidInputError, match="symlink"):
        list(store.list("folder/"))
    store.upload("file", [b"ours"], 4)
    store.write("dangling", b"ours")
    assert [info.key for info in store.list()] == ["dangling", "file"]
    assert store.list_folder().folders == ()
    assert {p.name: p.read_bytes() for p in outside.iterdir()} == {"secret": b"secret"}


def test_a_symlinked_registry_of_ours_is_refused(root: Path, store: FolderStore) -> None:
    outside = root.parent / "outside"
    outside.mkdir()
    root.mkdir()
    (root / ".t4").symlink_to(outside)
    with pytest.raises(InvalidInputError, match="symlink"):
        store.write("x", b"1")
    assert list(outside.iterdir()) == []
    assert [path.name for path in root.iterdir()] == [".t4"]


def test_what_is_no_object_is_not_listed(root: Path, store: FolderStore) -> None:
    store.write("a/x", b"1")
    (root / "a/.t4-0123456789abcdef.tmp").write_bytes(b"of a process that died")
    (root / "empty/deeper").mkdir(parents=True)
    (root / "only-temporary").mkdir()
    (root / "only-temporary/.t4-0123456789abcdef.tmp").write_bytes(b"")
    os.mkfifo(root / "fifo")
    with open(os.fsencode(root) + b"/\xff", "wb"):
        pass
    assert [info.key for info in store.list()] == ["a/x"]
    level = store.list_folder()
    assert (level.folders, level.objects) == (("a/",), ())
    assert (root / LOCK).exists()
    assert store.list_folder(".t4/v1/").objects == ()


def test_a_name_that_the_system_lists_twice_does_no_harm(
    root: Path, store: FolderStore, mocker: MockerFixture
) -> None:
    for key in ("a/x", "b", "c"):
        store.write(key, b"1")
    real = os.scandir

    def scandir_twice(fd: int) -> Any:
        with real(fd) as found:
            before = list(found)
        for item in before:
            item.stat(follow_symlinks=False)
        (root / "b").write_bytes(b"it grows")
        with real(fd) as found:
            return nullcontext([*before, *found])

    # As some network file systems do while a folder changes.
    mocker.patch("os.scandir", autospec=True, side_effect=scandir_twice)
    assert {info.key for info in store.list()} == {"a/x", "b", "c"}
    assert set(store.list_folder().folders) == {"a/"}


def test_the_etag_sees_bytes_behind_an_unchanged_time(root: Path, store: FolderStore) -> None:
    etag = store.write("x", b"a" * 64).etag
    facts = (root / "x").stat()
    with (root / "x").open("r+b") as file:
        file.write(b"b" * 64)
    os.utime(root / "x", ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert (root / "x").stat().st_ino == facts.st_ino
    with pytest.raises(PreconditionFailedError):
        store.write("x", b"c" * 64, if_match=etag)


def test_large_objects_of_one_moment_have_different_etags(root: Path, store: FolderStore) -> None:
    data = b"x" * 100_000
    store.write("x", data)
    year_ns = 365 * 24 * 3600 * 10**9
    ahead_ns = time.time_ns() + year_ns
    os.utime(root / "x", ns=(ahead_ns, ahead_ns))  # a clock that stands still, or was set back
    etags = [store.head("x").etag]
    times = [ahead_ns]
    for _ in range(30):
        etags.append(store.write("x", data, if_match=etags[-1]).etag)
        times.append((root / "x").stat().st_mtime_ns)
        assert store.head("x").etag == etags[-1]
    assert len(set(etags)) == len(etags)
    assert times == sorted(set(times))


_HOLD_LOCK = """
import sys, time
from t4_ops.storage import Tree
from t4_ops.storage._lock import locked
with locked(Tree(sys.argv[1])):
    print("locked", flush=True)
    time.sleep(60)
"""


def test_the_lock_of_a_killed_process_is_free(
    root: Path, store: FolderStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    etag = store.write("x", b"1").etag
    command = [sys.executable, "-c", _HOLD_LOCK, str(root)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"locked\n"
            monkeypatch.setattr(_lock, "LOCK_TIMEOUT_S", 0.1)
            with pytest.raises(StorageError, match="locked") as caught:
                store.write("x", b"2", if_match=etag)
            assert caught.value.retryable
            assert store.read("x").data == b"1"
            store.write("new", b"1", create_only=True)  # needs no lock
        finally:
            holder.kill()
        assert holder.wait(timeout=20) == -signal.SIGKILL
    store.write("x", b"2", if_match=etag)
    assert sorted(info.key for info in store.list()) == ["new", "x"]


def test_a_writer_that_waits_while_the_registry_is_replaced_locks_the_new_one(
    root: Path, store: FolderStore
) -> None:
    store.write("x", b"1")
    other = FolderStore(str(root))
    with _lock.locked(Tree(root)):
        waiting = threading.Thread(target=lambda: other.write("x", b"2"))
        waiting.start()
        while not [name for name in os.listdir(root) if name.endswith(".tmp")]:
            time.sleep(0.001)
        shutil.rmtree(root / ".t4")
        store.write("y", b"1", create_only=True)
    waiting.join(timeout=20)
    assert store.read("x").data == b"2"
    assert (root / LOCK).exists()


def test_a_store_survives_a_fork(root: Path, store: FolderStore) -> None:
    store.write("x", b"1")
    child = os.fork()
    if child == 0:
        status = 1
        try:
            store.write("x", b"2", if_match=store.read("x").info.etag)
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    assert store.read("x").data == b"2"


NAMES = st.text(alphabet="ab-.0é", min_size=1, max_size=3).filter(
    lambda name: name not in (".", "..")
)
KEYS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)


@given(keys=st.lists(KEYS, unique=True, max_size=12), prefix=KEYS | st.just(""), after=KEYS)
def test_listings_are_what_sorting_and_filtering_all_keys_gives(
    keys: list[str], prefix: str, after: str
) -> None:
    # An object can't be a folder too.
    kept = [key for key in keys if not any(other.startswith(f"{key}/") for other in keys)]
    with tempfile.TemporaryDirectory() as folder:
        store = FolderStore(folder)
        for key in kept:
            (Path(folder) / key).parent.mkdir(parents=True, exist_ok=True)
            (Path(folder) / key).write_bytes(b"")
        found = [info.key for info in store.list(prefix, start_after=after)]
        assert found == sorted(key for key in kept if key.startswith(prefix) and key > after)
        level = store.list_folder()
        below = {key.partition("/")[0] + "/" for key in kept if "/" in key}
        assert level.folders == tuple(sorted(below))
        assert [info.key for info in level.objects] == sorted(k for k in kept if "/" not in k)
