"""What a bucket holds: lists, versions, objects' own metadata, and many deletions."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from demo.seaweedfs import SeaweedFS
from t4_ops.errors import InvalidInputError, NotFoundError
from t4_ops.storage.s3 import S3Store
from tests.s3_support import (
    bucket_of,
    client_of,
    settings_for,
)


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


def test_lists_hold_odd_keys_in_order_as_they_are(unversioned: S3Store) -> None:
    keys = ["a\tb", "a b", "a-b", "a.b", "a/b", "a/c/d", "a0", "\x01", "é", "\uffee", "\U0001f600"]
    for key in keys:
        unversioned.write(key, key.encode())

    found = list(unversioned.list())

    assert [info.key for info in found] == sorted(keys)
    assert [info.size_bytes for info in found] == [len(key.encode()) for key in sorted(keys)]
    assert all(info.etag and info.mtime_s and info.version_id is None for info in found)


def test_a_prefix_is_a_string(store: S3Store) -> None:
    for key in ("a", "ab", "ab/c", "ab-d", "b"):
        store.write(key, b"1")

    def keys(prefix: str, start_after: str = "") -> list[str]:
        return [info.key for info in store.list(prefix, start_after=start_after)]

    assert keys("a") == ["a", "ab", "ab-d", "ab/c"]
    assert keys("ab/") == ["ab/c"]
    assert keys("a", "ab-d") == ["ab/c"]
    assert keys("x") == []


def test_list_folder_is_one_level(store: S3Store) -> None:
    for key in ("top", "d/1", "d/e/2", "d/e/3", "d-x", "f/4"):
        store.write(key, b"1")

    top, inside = store.list_folder(), store.list_folder("d/")

    assert (top.folders, [info.key for info in top.objects]) == (("d/", "f/"), ["d-x", "top"])
    assert (inside.folders, [info.key for info in inside.objects]) == (("d/e/",), ["d/1"])


def test_versions_are_listed_newest_only_and_without_deleted_objects(versioned: S3Store) -> None:
    versioned.write("a", b"old")
    new = versioned.write("a", b"new!")
    versioned.write("gone", b"1")
    versioned.delete("gone")

    (found,) = versioned.list_versions()

    assert (found.key, found.size_bytes, found.version_id) == ("a", 4, new.version_id)


def test_versions_of_more_objects_than_a_page(versioned: S3Store) -> None:
    keys = sorted([*(f"d/{number:04}" for number in range(1005)), "d-x", "d.x", "c/1", "e"])
    with ThreadPoolExecutor(16) as pool:
        written = dict(
            zip(keys, pool.map(lambda key: versioned.write(key, b"1"), keys), strict=True)
        )

    found = list(versioned.list_versions())

    assert [info.key for info in found] == keys
    assert all(info.version_id == written[info.key].version_id for info in found)
    assert [info.key for info in versioned.list()] == keys


def test_versions_of_a_bucket_without_them(unversioned: S3Store) -> None:
    unversioned.write("a", b"1")
    assert list(unversioned.list_versions()) == list(unversioned.list())


def test_an_old_version_is_read(versioned: S3Store) -> None:
    old = versioned.write("k", b"old")
    new = versioned.write("k", b"newer")

    assert versioned.read("k", version_id=old.version_id).data == b"old"
    assert versioned.head("k", version_id=old.version_id).size_bytes == 3
    assert versioned.read("k").info.version_id == new.version_id


def test_a_deleted_object_is_found_by_version_only(versioned: S3Store, other: Any) -> None:
    old = versioned.write("k", b"old")
    versioned.delete("k")
    (marker,) = other.list_object_versions(Bucket=bucket_of(versioned))["DeleteMarkers"]

    for version_id in (None, marker["VersionId"], "0" * 32):
        with pytest.raises(NotFoundError, match=r"/k does not exist"):
            versioned.head("k", version_id=version_id)
        with pytest.raises(NotFoundError, match=r"/k does not exist"):
            versioned.read("k", version_id=version_id)
    assert versioned.read("k", version_id=old.version_id).data == b"old"
    versioned.write("k", b"again", create_only=True)


def test_a_version_of_an_unversioned_bucket_is_not_what_is_there_now(unversioned: S3Store) -> None:
    unversioned.write("k", b"now")

    with pytest.raises(NotFoundError, match="version"):
        unversioned.read("k", version_id="0" * 32)
    assert unversioned.read("k", version_id="null").data == b"now"


def test_what_was_there_before_versioning_has_the_version_null(
    unversioned: S3Store, other: Any
) -> None:
    unversioned.write("k", b"before")
    enabled = {"Status": "Enabled"}
    other.put_bucket_versioning(Bucket=bucket_of(unversioned), VersioningConfiguration=enabled)
    unversioned.write("k", b"after")

    assert unversioned.read("k", version_id="null").data == b"before"
    assert unversioned.read("k").data == b"after"


def test_is_versioned(
    unversioned: S3Store, versioned: S3Store, s3_server: SeaweedFS, other: Any
) -> None:
    assert versioned.is_versioned
    assert not unversioned.is_versioned
    suspended = {"Status": "Suspended"}
    other.put_bucket_versioning(Bucket=bucket_of(versioned), VersioningConfiguration=suspended)
    assert versioned.is_versioned, "asked once"
    assert not S3Store(versioned.url, settings_for(s3_server, max_attempts=2)).is_versioned


@pytest.mark.parametrize(("setting", "expected"), [("enabled", True), ("off", False)])
def test_versioning_can_be_set(
    unversioned: S3Store, s3_server: SeaweedFS, setting: str, expected: bool
) -> None:
    told = settings_for(s3_server, versioning=setting)
    assert S3Store(unversioned.url, told).is_versioned is expected


def test_user_metadata_is_replaced_and_the_rest_stays(store: S3Store, other: Any) -> None:
    other.put_object(
        Bucket=bucket_of(store),
        Key="k",
        Body=b"body",
        ContentType="text/x-test",
        CacheControl="no-cache",
        Metadata={"old": "1"},
        Tagging="color=blue",
    )
    assert store.user_metadata("k") == {"old": "1"}

    info = store.set_user_metadata("k", {"helium": '{"a": 1}'})

    assert store.user_metadata("k") == {"helium": '{"a": 1}'}
    reply = other.get_object(Bucket=bucket_of(store), Key="k")
    assert reply["Body"].read() == b"body"
    assert (reply["ContentType"], reply["CacheControl"]) == ("text/x-test", "no-cache")
    assert (reply["ETag"], reply.get("VersionId")) == (info.etag, info.version_id)
    tags = other.get_object_tagging(Bucket=bucket_of(store), Key="k")["TagSet"]
    assert tags == [{"Key": "color", "Value": "blue"}]


def test_user_metadata_of_nothing_and_not_of_ascii(store: S3Store) -> None:
    with pytest.raises(NotFoundError):
        store.user_metadata("k")
    with pytest.raises(NotFoundError):
        store.set_user_metadata("k", {})
    store.write("k", b"1")
    with pytest.raises(InvalidInputError, match="ASCII"):
        store.set_user_metadata("k", {"name": "é"})


def test_delete_many(store: S3Store) -> None:
    keys = ["a", "b/c", "é <&>", "tab\t", "e"]
    # More than one request takes, with some to delete in the first and some in the second.
    many = [*keys[:2], *(f"absent-{number}" for number in range(1000)), *keys[2:]]
    for key in [*keys, "stays"]:
        store.write(key, b"1")

    store.delete_many(many)

    assert [info.key for info in store.list()] == ["stays"]


def test_a_list_does_not_load_obstore(store: S3Store, s3_env: SeaweedFS) -> None:
    store.write("k", b"1")
    code = (
        "import sys\n"
        "from t4_ops.settings import load_settings\n"
        "from t4_ops.storage import open_store\n"
        f"print([info.key for info in open_store({store.url!r}, load_settings()).list()],"
        " 'obstore' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.stdout, done.stderr) == ("['k'] False\n", "")
