"""The bucket store against a real server: what another client sees of it."""

from __future__ import annotations

import os
import pickle
import threading
from base64 import b64decode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from demo.seaweedfs import SeaweedFS
from t4_ops.checksums import CHUNK_BYTES, Buffer, checksum_of, combine_digests
from t4_ops.errors import (
    FormatError,
    IntegrityError,
    InvalidInputError,
    NotFoundError,
    StorageError,
)
from t4_ops.storage._rooms import ROOMS
from t4_ops.storage._s3_obstore import carries
from t4_ops.storage.base import PreconditionFailedError
from t4_ops.storage.s3 import S3Store
from tests.s3_support import (
    MIB,
    bucket_of,
    client_of,
    pieces,
    run_relay,
    s3_fault,
    settings_for,
)

# Keys that both libraries carry, and keys that only boto3 does.
PLAIN_KEYS = ("a b", "é", "e\u0301", "+", "#", "?", "%41", "%2F", "a&b=c;d:e", "\U0001f600", "...")
ODD_KEYS = ("tab\tin", "line\nin", "\x01", "del\x7f", "a//b", "/lead")


@pytest.fixture
def unversioned(s3_server: SeaweedFS, unversioned_bucket: str) -> S3Store:
    return S3Store(f"s3://{unversioned_bucket}", settings_for(s3_server))


@pytest.fixture
def versioned(s3_server: SeaweedFS, versioned_bucket: str) -> S3Store:
    return S3Store(f"s3://{versioned_bucket}", settings_for(s3_server))


@pytest.fixture(params=["unversioned", "versioned"])
def store(request: pytest.FixtureRequest) -> S3Store:
    found: S3Store = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def other(s3_server: SeaweedFS) -> Any:
    return client_of(s3_server)


def stored(other: Any, store: S3Store, key: str) -> bytes:
    body: bytes = other.get_object(Bucket=bucket_of(store), Key=key)["Body"].read()
    return body


def open_uploads(other: Any, store: S3Store) -> list[Any]:
    return list(other.list_multipart_uploads(Bucket=bucket_of(store)).get("Uploads", ()))


def all_versions(other: Any, store: S3Store) -> list[Any]:
    reply = other.list_object_versions(Bucket=bucket_of(store))
    return [*reply.get("Versions", ()), *reply.get("DeleteMarkers", ())]


def test_a_write_is_seen_by_another_client(store: S3Store, other: Any) -> None:
    info = store.write("dir/key", b"hello")

    reply = other.get_object(Bucket=bucket_of(store), Key="dir/key", ChecksumMode="ENABLED")
    assert reply["Body"].read() == b"hello"
    assert reply["ETag"] == info.etag
    assert reply.get("VersionId") == info.version_id
    assert combine_digests([b64decode(reply["ChecksumSHA256"])]) == checksum_of(b"hello")


def test_head_and_read_say_the_same(store: S3Store) -> None:
    written = store.write("k", b"hello")

    found = store.head("k")
    content = store.read("k")

    assert content.data == b"hello"
    assert content.info == found
    assert (found.key, found.size_bytes, found.etag) == ("k", 5, written.etag)
    assert found.version_id == written.version_id
    assert found.mtime_s is not None


@pytest.mark.parametrize(
    "size_bytes", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 20 * MIB + 7]
)
def test_the_server_stores_the_checksum_that_manifests_hold(
    unversioned: S3Store, other: Any, size_bytes: int
) -> None:
    data = os.urandom(size_bytes)

    info = unversioned.upload("big", pieces(data, 3 * MIB + 1), size_bytes)

    reply = other.head_object(Bucket=bucket_of(unversioned), Key="big", ChecksumMode="ENABLED")
    checksum, _, parts = reply["ChecksumSHA256"].partition("-")
    if size_bytes and not parts:
        checksum = combine_digests([b64decode(checksum)]).value
    assert checksum == checksum_of(data).value
    assert parts == ("" if size_bytes < CHUNK_BYTES else str(-(-size_bytes // CHUNK_BYTES)))
    assert (info.size_bytes, info.etag) == (size_bytes, reply["ETag"])
    assert stored(other, unversioned, "big") == data


@pytest.mark.parametrize("promised", [5, 9 * MIB])
@pytest.mark.parametrize("difference", [-1, 1])
def test_another_number_of_bytes_is_an_error_and_leaves_nothing(
    store: S3Store, other: Any, promised: int, difference: int
) -> None:
    with pytest.raises(IntegrityError, match="nothing was written") as caught:
        store.upload("k", pieces(bytes(promised + difference)), promised)

    assert caught.value.expected == str(promised)
    assert all_versions(other, store) == []
    assert open_uploads(other, store) == []


@pytest.mark.parametrize("size_bytes", [5, 9 * MIB])
def test_an_error_of_the_source_is_passed_on_and_leaves_nothing(
    store: S3Store, other: Any, size_bytes: int
) -> None:
    failure = OSError("the disk is gone")

    def failing() -> Iterator[Buffer]:
        yield bytes(size_bytes - 1)
        raise failure

    with pytest.raises(OSError, match="the disk is gone") as caught:
        store.upload("k", failing(), size_bytes)

    assert caught.value is failure
    assert all_versions(other, store) == []
    assert open_uploads(other, store) == []
    assert free_rooms() == 6


@pytest.mark.parametrize("started", [0, 1])
def test_a_thread_that_can_not_be_started_keeps_no_room(
    store: S3Store, other: Any, monkeypatch: pytest.MonkeyPatch, started: int
) -> None:
    start, left = threading.Thread.start, [True] * started

    def refused(thread: threading.Thread) -> None:
        if thread.name.startswith("t4-upload") and not (left and left.pop()):
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refused)
    with pytest.raises(RuntimeError, match="new thread"):
        store.upload("k", pieces(bytes(20 * MIB)), 20 * MIB)
    assert open_uploads(other, store) == []
    assert free_rooms() == 6


def test_a_part_that_fails_gives_its_room_back(
    s3_server: SeaweedFS, unversioned_bucket: str
) -> None:
    with run_relay(s3_server.endpoint_url) as relay:
        relay.rule = lambda request: (
            s3_fault(403, "AccessDenied") if "partNumber=2" in request.target else None
        )
        settings = settings_for(s3_server, endpoint_url=relay.url)
        store = S3Store(f"s3://{unversioned_bucket}", settings)
        with pytest.raises(StorageError, match="AccessDenied"):
            store.upload("k", pieces(bytes(90 * MIB)), 90 * MIB)
    assert free_rooms() == 6


def free_rooms() -> int:
    """Return how many parts there is room for, of six."""
    count = sum(ROOMS._free.acquire(timeout=1) for _ in range(6))
    for _ in range(count):
        ROOMS._free.release()
    return count


def test_an_object_is_copied_by_uploading_what_is_read(
    unversioned: S3Store, versioned: S3Store, other: Any
) -> None:
    data = os.urandom(17 * MIB)
    unversioned.upload("from", pieces(data), len(data))

    with unversioned.open("from") as reader:
        versioned.upload("to", reader, reader.info.size_bytes)

    assert stored(other, versioned, "to") == data


@pytest.mark.parametrize("size_bytes", [5, 9 * MIB])
def test_create_only_never_replaces(store: S3Store, other: Any, size_bytes: int) -> None:
    store.upload("k", pieces(bytes(size_bytes)), size_bytes, create_only=True)

    with pytest.raises(PreconditionFailedError, match=r"/k"):
        store.upload("k", pieces(b"x" * size_bytes), size_bytes, create_only=True)
    with pytest.raises(PreconditionFailedError):
        store.write("k", b"new", create_only=True)

    assert stored(other, store, "k") == bytes(size_bytes)
    assert open_uploads(other, store) == []


def test_create_only_holds_for_an_object_that_comes_during_a_long_upload(
    store: S3Store, other: Any
) -> None:
    def slow() -> Iterator[Buffer]:
        yield bytes(9 * MIB)
        other.put_object(Bucket=bucket_of(store), Key="k", Body=b"first")
        yield bytes(MIB)

    with pytest.raises(PreconditionFailedError):
        store.upload("k", slow(), 10 * MIB, create_only=True)

    assert stored(other, store, "k") == b"first"
    assert open_uploads(other, store) == []


def test_of_many_creators_one_wins(store: S3Store, other: Any) -> None:
    together = threading.Barrier(8)

    def create(number: int) -> bool:
        together.wait(10)
        try:
            store.write("k", b"%d" % number, create_only=True)
        except PreconditionFailedError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(create, range(8)))

    assert won.count(True) == 1
    assert stored(other, store, "k") == b"%d" % won.index(True)


def test_if_match_replaces_only_what_was_read(store: S3Store, other: Any) -> None:
    first = store.write("k", b"one")
    second = store.write("k", b"two", if_match=first.etag)

    with pytest.raises(PreconditionFailedError):
        store.write("k", b"three", if_match=first.etag)
    with pytest.raises(PreconditionFailedError):
        store.write("absent", b"three", if_match=first.etag)

    assert store.head("k").etag == second.etag
    assert stored(other, store, "k") == b"two"


def test_delete_with_if_match(store: S3Store) -> None:
    old = store.write("k", b"one")
    new = store.write("k", b"two")

    with pytest.raises(PreconditionFailedError):
        store.delete("k", if_match=old.etag)
    assert store.read("k").data == b"two"

    store.delete("k", if_match=new.etag)
    with pytest.raises(NotFoundError):
        store.head("k")
    store.delete("k", if_match=new.etag)
    store.delete("k")


@pytest.mark.parametrize("key", [*PLAIN_KEYS, *ODD_KEYS])
def test_every_key_carries_its_own_bytes(unversioned: S3Store, other: Any, key: str) -> None:
    unversioned.write(key, b"small")
    assert stored(other, unversioned, key) == b"small"
    assert unversioned.head(key).key == key
    assert unversioned.read(key).data == b"small"

    with unversioned.open(key, start=1, end=3) as reader:
        assert b"".join(reader) == b"ma"
    unversioned.delete(key)
    with pytest.raises(NotFoundError):
        unversioned.read(key)


def test_which_keys_go_which_way() -> None:
    assert all(carries(key) for key in (*PLAIN_KEYS, "a\\b", ".a", "a..b", "a/.b", "~", "\x80"))
    refused = ("a/", "a/./b", "..", "a/..", ".", *ODD_KEYS)
    assert not any(carries(key) for key in refused)


@pytest.mark.parametrize("key", ["", "\ud800"])
def test_keys_that_s3_can_not_have_are_refused(unversioned: S3Store, key: str) -> None:
    with pytest.raises(InvalidInputError):
        unversioned.write(key, b"")


def test_a_folder_is_no_object(store: S3Store) -> None:
    store.write("dir/key", b"1")
    for key in ("dir", "dir/"):
        with pytest.raises(NotFoundError):
            store.head(key)
        with pytest.raises(NotFoundError):
            store.read(key)


def test_ranges(store: S3Store) -> None:
    store.write("k", b"0123456789")
    store.write("empty", b"")

    def part(key: str, start: int, end: int | None) -> bytes:
        with store.open(key, start=start, end=end) as reader:
            assert reader.info == store.head(key)
            return b"".join(reader)

    assert part("k", 2, 5) == b"234"
    assert part("k", 7, None) == b"789"
    assert part("k", 7, 99) == b"789"
    assert part("k", 10, None) == part("k", 99, 120) == part("k", 3, 3) == b""
    assert part("empty", 0, None) == part("empty", 0, 5) == b""
    with pytest.raises(NotFoundError), store.open("absent", start=3, end=3):
        pass


@pytest.mark.parametrize("key", ["plain", "odd\t"])
def test_a_reader_gives_bounded_pieces_and_may_be_left_early(
    unversioned: S3Store, key: str
) -> None:
    data = os.urandom(24 * MIB)
    unversioned.upload(key, pieces(data), len(data))

    with unversioned.open(key) as reader:
        sizes = [len(piece) for piece in reader]
    assert sum(sizes) == len(data)
    assert max(sizes) <= 4 * MIB

    for _ in range(5):
        with unversioned.open(key) as reader:
            first = bytes(next(iter(reader)))
        assert data.startswith(first)
    assert unversioned.head(key).size_bytes == len(data)


def test_what_is_too_large_is_not_read(store: S3Store) -> None:
    store.write("k", b"12345")
    assert store.read("k", max_bytes=5).data == b"12345"
    with pytest.raises(FormatError, match="has 5 bytes, the limit is 4"):
        store.read("k", max_bytes=4)


def test_no_bucket(s3_server: SeaweedFS) -> None:
    nowhere = S3Store("s3://t4-there-is-none", settings_for(s3_server))
    for ask in (
        lambda: nowhere.read("k"),
        lambda: list(nowhere.list()),
        nowhere.list_folder,
    ):
        with pytest.raises(NotFoundError, match="bucket s3://t4-there-is-none does not exist"):
            ask()


def test_a_store_is_pickled_and_shows_no_secret(store: S3Store, s3_server: SeaweedFS) -> None:
    store.write("k", b"1")

    again = pickle.loads(pickle.dumps(store))  # noqa: S301 - our own

    assert again.read("k").data == b"1"
    assert s3_server.secret_key not in repr(store)
    assert s3_server.access_key not in repr(store)
