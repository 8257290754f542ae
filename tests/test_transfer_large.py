"""Large objects: parts and ranges side by side, verified, within bounds, and nothing half done."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
from binascii import b2a_base64
from pathlib import Path

import pytest

import t4_ops as t4
from demo.seaweedfs import SeaweedFS
from t4_ops.checksums import CHUNK_BYTES, checksum_of
from t4_ops.errors import IntegrityError, StorageError
from t4_ops.settings import Settings
from t4_ops.storage import open_bucket, open_source
from tests.s3_support import (
    MIB,
    Fault,
    Request,
    client_of,
    pieces,
    run_relay,
    s3_fault,
    settings_for,
)

# Three chunks, the last one short.
LARGE = os.urandom(20 * MIB + 12345)


@pytest.fixture
def large_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "large.bin").write_bytes(LARGE)
    (folder / "small.bin").write_bytes(b"small")
    return folder


def test_a_large_object_travels_in_parts_and_comes_back(
    large_folder: Path, tmp_path: Path, s3_server: SeaweedFS, bucket_registry: str
) -> None:
    package = t4.Package().set_dir("/", large_folder).push("a/b", bucket_registry)
    assert package["large.bin"].hash == {
        "type": "sha2-256-chunked",
        "value": checksum_of(LARGE).value,
    }
    url = t4.PhysicalKey.parse(package["large.bin"].physical_key)
    head = client_of(s3_server).head_object(Bucket=url.bucket, Key=url.path, ChecksumMode="ENABLED")
    # What the server itself says of the object is the manifest's hash.
    assert head["ChecksumSHA256"] == f"{checksum_of(LARGE).value}-3"
    dest = tmp_path / "dest"
    t4.Package.install("a/b", bucket_registry, dest=dest)
    assert (dest / "large.bin").read_bytes() == LARGE
    # A file of the right size with other bytes is brought again.
    (dest / "large.bin").write_bytes(bytes(len(LARGE)))
    t4.Package.install("a/b", bucket_registry, dest=dest)
    assert (dest / "large.bin").read_bytes() == LARGE
    assert sorted(path.name for path in dest.iterdir()) == ["large.bin", "small.bin"]


def test_a_source_that_is_not_what_was_hashed_is_not_stored(
    large_folder: Path, s3_server: SeaweedFS, versioned_bucket: str
) -> None:
    settings = Settings(s3=settings_for(s3_server))
    store = open_bucket(f"s3://{versioned_bucket}", settings)
    with (
        open_source(str(large_folder / "large.bin")) as source,
        pytest.raises(IntegrityError, match="was not written"),
    ):
        store.upload_ranges("x/large.bin", source, checksum_of(b"other"))
    client = client_of(s3_server)
    assert not client.list_objects_v2(Bucket=versioned_bucket).get("Contents")
    assert not client.list_multipart_uploads(Bucket=versioned_bucket).get("Uploads")


def chunk_digests(data: bytes) -> list[bytes]:
    """Return the digests of the chunks of an object of less than 80 GB."""
    starts = range(0, len(data), CHUNK_BYTES)
    return [hashlib.sha256(data[start : start + CHUNK_BYTES]).digest() for start in starts]


def is_part(request: Request) -> bool:
    return "partNumber=" in request.target


@pytest.mark.parametrize(
    "server",
    [None, Fault(200, headers={"ETag": '"x"'})],
    ids=["compares", "takes anything"],
)
def test_digests_of_other_bytes_are_found_out(
    server: Fault | None, large_folder: Path, s3_server: SeaweedFS, versioned_bucket: str
) -> None:
    other = LARGE[:-1] + bytes([LARGE[-1] ^ 1])
    with run_relay(s3_server.endpoint_url) as relay:
        relay.rule = lambda request: server if is_part(request) else None
        settings = Settings(s3=settings_for(s3_server, endpoint_url=relay.url))
        store = open_bucket(f"s3://{versioned_bucket}", settings)
        with (
            open_source(str(large_folder / "large.bin")) as source,
            pytest.raises(IntegrityError, match="is not what was hashed"),
        ):
            store.upload_ranges("x", source, checksum_of(other), digests=chunk_digests(other))
    client = client_of(s3_server)
    assert not client.list_objects_v2(Bucket=versioned_bucket).get("Contents")
    assert not client.list_multipart_uploads(Bucket=versioned_bucket).get("Uploads")


@pytest.mark.parametrize("without", [None, "x-amz-checksum"], ids=["compares", "is silent"])
@pytest.mark.parametrize("known", [0, 2, 3])
def test_known_digests_change_nothing_of_what_is_written(
    known: int,
    without: str | None,
    large_folder: Path,
    s3_server: SeaweedFS,
    versioned_bucket: str,
) -> None:
    with run_relay(s3_server.endpoint_url) as relay:
        relay.rule = lambda request: Fault(without=without) if is_part(request) else None
        settings = Settings(s3=settings_for(s3_server, endpoint_url=relay.url))
        store = open_bucket(f"s3://{versioned_bucket}", settings)
        # As many as there are parts are taken; others are of the file as it was before.
        digests = chunk_digests(LARGE)[:known]
        with open_source(str(large_folder / "large.bin")) as source:
            store.upload_ranges("x", source, checksum_of(LARGE), digests=digests)
        sent = [r.headers["x-amz-checksum-sha256"] for r in relay.seen("PUT", "partNumber=")]
    expected = [b2a_base64(digest, newline=False).decode() for digest in chunk_digests(LARGE)]
    assert sorted(sent) == sorted(expected)
    found = client_of(s3_server).get_object(Bucket=versioned_bucket, Key="x")
    assert found["Body"].read() == LARGE


def test_uploads_that_failed_keep_no_room_from_later_ones(
    s3_server: SeaweedFS, unversioned_bucket: str
) -> None:
    size_bytes = 33 * MIB  # five parts: one is read while four are sent
    with run_relay(s3_server.endpoint_url) as relay:
        settings = Settings(s3=settings_for(s3_server, endpoint_url=relay.url))
        store = open_bucket(f"s3://{unversioned_bucket}", settings)
        relay.rule = lambda r: s3_fault(403, "AccessDenied") if "partNumber=" in r.target else None
        for _ in range(6):
            with pytest.raises(StorageError, match="UploadPart"):
                store.upload("x", pieces(bytes(size_bytes)), size_bytes)
        relay.rule = lambda _: None
        last = threading.Thread(
            target=store.upload, args=("x", pieces(bytes(9 * MIB)), 9 * MIB), daemon=True
        )
        last.start()
        last.join(30)
        assert not last.is_alive()
        assert store.head("x").size_bytes == 9 * MIB


def test_a_range_that_arrives_wrong_leaves_no_file(
    large_folder: Path, tmp_path: Path, s3_server: SeaweedFS, versioned_bucket: str
) -> None:
    registry = f"s3://{versioned_bucket}"
    settings = Settings(s3=settings_for(s3_server), local_registry=str(tmp_path / "local"))
    package = t4.Package(settings=settings).set_dir("/", large_folder)
    package.push("a/b", registry)

    def rule(request: Request) -> Fault | None:
        if request.method != "GET" or not request.headers.get("range", "").startswith("bytes=8388"):
            return None
        headers = {
            "Content-Range": f"bytes 8388608-16777215/{len(LARGE)}",
            "Last-Modified": "Sun, 01 Mar 2026 06:00:00 GMT",
            "ETag": '"x"',
            "x-amz-version-id": request.target.partition("versionId=")[2],
        }
        return Fault(206, bytes(8 * MIB), headers)

    with run_relay(s3_server.endpoint_url) as relay:
        relay.rule = rule
        broken = Settings(
            s3=settings_for(s3_server, endpoint_url=relay.url),
            local_registry=str(tmp_path / "local"),
        )
        with pytest.raises(IntegrityError, match=r"large\.bin"):
            t4.Package.install("a/b", registry, dest=tmp_path / "dest", settings=broken)
    assert not (tmp_path / "dest/large.bin").exists()
    left = [path.name for path in (tmp_path / "dest").iterdir()]
    assert set(left) <= {"small.bin"}
    # The same call goes on once the bytes are right.
    t4.Package.install("a/b", registry, dest=tmp_path / "dest", settings=settings)
    assert (tmp_path / "dest/large.bin").read_bytes() == LARGE


# What a push may take, interpreter included, above the bytes of its manifest.
PUSH_MAX_BYTES = 150_000_000
PUSH = """
import sys
from pathlib import Path

import t4_ops as t4

t4.Package().set_dir("/", sys.argv[1]).push("a/b", sys.argv[2])
# Not `ru_maxrss`, which counts the memory of the process that started this one.
status = Path("/proc/self/status").read_text()
print(next(int(x.split()[1]) * 1024 for x in status.splitlines() if x.startswith("VmHWM:")))
"""
ON_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")


def pushed_peak_bytes(source: str, registry: str) -> int:
    """Push a folder or prefix in a process of its own; return the most memory it ever had."""
    done = subprocess.run(
        [sys.executable, "-c", PUSH, source, registry],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@ON_LINUX
# Sizes on both sides of where files are read whole, go in one request, and go in parts.
@pytest.mark.parametrize(
    ("files", "size_mib"), [(96, 1), (64, 2), (32, 7), (48, 8), (24, 12), (16, 26)]
)
def test_many_files_at_once_take_no_more_memory_than_six_parts(
    files: int, size_mib: int, tmp_path: Path, s3_env: SeaweedFS, unversioned_bucket: str
) -> None:
    folder = tmp_path / "middle"
    folder.mkdir()
    for number in range(files):
        (folder / f"{number}.bin").write_bytes(b"%d" % number + os.urandom(MIB) * size_mib)
    # Without a bound, 16 threads took two to three times that.
    assert pushed_peak_bytes(str(folder), f"s3://{unversioned_bucket}") < PUSH_MAX_BYTES


@ON_LINUX
@pytest.mark.parametrize("size_mib", [1, 9])
def test_copies_of_many_objects_take_no_more_memory_than_pushes(
    size_mib: int, s3_env: SeaweedFS, versioned_bucket: str, unversioned_bucket: str
) -> None:
    client, some = client_of(s3_env), os.urandom(size_mib * MIB)
    for number in range(96 // size_mib):
        # No byte more: the largest that are read whole are of 1 MiB.
        body = b"%03d" % number + some[3:]
        client.put_object(Bucket=versioned_bucket, Key=f"in/{number}", Body=body)
    peak_bytes = pushed_peak_bytes(f"s3://{versioned_bucket}/in", f"s3://{unversioned_bucket}")
    assert peak_bytes < PUSH_MAX_BYTES


def test_pushing_again_sends_no_request_for_each_file(
    tmp_path: Path, s3_server: SeaweedFS, versioned_bucket: str
) -> None:
    folder, registry = tmp_path / "many", f"s3://{versioned_bucket}"
    folder.mkdir()
    for number in range(60):
        (folder / f"{number:03}.bin").write_bytes(os.urandom(100))
    with run_relay(s3_server.endpoint_url) as relay:
        s3 = settings_for(s3_server, endpoint_url=relay.url)
        settings = Settings(s3=s3, local_registry=str(tmp_path / "local"))
        t4.Package(settings=settings).set_dir("/", folder).push("a/b", registry)
        first = len(relay.requests)
        assert first > 60
        relay.requests.clear()
        again = t4.Package.browse("a/b", registry, settings=settings).set_dir("/", folder)
        again.push("a/b", registry)
        assert len(relay.requests) < 12
        relay.requests.clear()
        (folder / "007.bin").write_bytes(b"changed")
        again.set_dir("/", folder).push("a/b", registry, force=True)
        puts = [r for r in relay.requests if r.method == "PUT" and ".bin" in r.target]
        assert [r.body for r in puts] == [b"changed"]


def test_large_files_of_a_folder_registry_come_in_ranges_too(
    large_folder: Path, tmp_path: Path
) -> None:
    registry, dest = tmp_path / "registry", tmp_path / "dest"
    pushed = t4.Package().set_dir("/", large_folder).push("a/b", registry)
    t4.Package.install("a/b", registry, dest=dest)
    assert (dest / "large.bin").read_bytes() == LARGE
    stored = Path(t4.PhysicalKey.parse(pushed["large.bin"].physical_key).path)
    # Never a hard link: who edits the copy must not change the registry.
    assert stored.stat().st_nlink == 1
    with stored.open("r+b") as file:
        file.seek(9 * MIB)
        file.write(b"damaged")
    with pytest.raises(IntegrityError, match=r"large\.bin"):
        t4.Package.install("a/b", registry, dest=tmp_path / "other")
    assert [path.name for path in (tmp_path / "other").iterdir()] in ([], ["small.bin"])
