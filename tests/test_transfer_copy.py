"""S3 to S3: the server copies, the result is proved, and bytes travel only where they must."""

from __future__ import annotations

import os
import threading
from binascii import a2b_base64
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest

import t4_ops as t4
from demo.seaweedfs import SeaweedFS
from t4_ops.checksums import checksum_of
from t4_ops.errors import IntegrityError, NotFoundError
from t4_ops.manifest import Entry
from t4_ops.settings import Settings
from t4_ops.storage import CopySource, PreconditionFailedError, open_bucket
from t4_ops.storage._s3_large import COPY_MAX_BYTES, LargeObjects
from t4_ops.transfer import Cancelled, Opener, hash_entries, progress
from tests.s3_support import (
    MIB,
    Fault,
    Relay,
    Request,
    client_of,
    run_relay,
    s3_fault,
    settings_for,
)

LARGE = os.urandom(17 * MIB + 77)
OBJECTS = {
    "a.bin": os.urandom(300_000),
    "b/c.bin": os.urandom(2 * MIB),
    "large.bin": LARGE,
    "no": b"",
    "tiny": b"tiny",
}


@pytest.fixture
def relay(s3_server: SeaweedFS) -> Iterator[Relay]:
    with run_relay(s3_server.endpoint_url) as running:
        yield running


@pytest.fixture
def settings(s3_server: SeaweedFS, relay: Relay, tmp_path: Path) -> Settings:
    s3 = settings_for(s3_server, endpoint_url=relay.url)
    return Settings(s3=s3, local_registry=str(tmp_path / "local"))


def _fill(bucket: str, settings: Settings) -> None:
    store = open_bucket(f"s3://{bucket}", settings)
    for key, data in OBJECTS.items():
        store.upload(f"in/{key}", iter([data] if data else []), len(data))


def _sent_bytes(relay: Relay) -> int:
    return sum(
        len(r.body) for r in relay.requests if r.method == "PUT" and "/.quilt/" not in r.target
    )


@pytest.mark.parametrize("source_is_versioned", [True, False])
@pytest.mark.parametrize("target", ["versioned", "unversioned"])
def test_objects_of_another_bucket_are_copied_by_the_server(
    source_is_versioned: bool,
    target: str,
    request: pytest.FixtureRequest,
    settings: Settings,
    relay: Relay,
    s3_server: SeaweedFS,
    tmp_path: Path,
) -> None:
    source = f"copy-source-{source_is_versioned}-{target}".lower()
    s3_server.create_bucket(source, versioned=source_is_versioned)
    registry = f"s3://{request.getfixturevalue(f'{target}_bucket')}"
    _fill(source, settings)
    relay.requests.clear()
    package = t4.Package(settings=settings).set_dir("/", f"s3://{source}/in")
    pushed = package.push("a/b", registry)
    copies = [r for r in relay.requests if "x-amz-copy-source" in r.headers]
    # But for tiny ones, which this server would have to be asked for again to prove the copy.
    assert len(copies) == 3
    assert _sent_bytes(relay) < 1000
    for key, data in OBJECTS.items():
        assert pushed[key].hash["value"] == checksum_of(data).value
        assert pushed[key].physical_key.startswith(f"{registry}/")
    t4.Package.install("a/b", registry, dest=tmp_path / "dest", settings=settings)
    assert {key: (tmp_path / "dest" / key).read_bytes() for key in OBJECTS} == OBJECTS
    # From registry to registry, by hashes that are known.
    promoted = t4.Package.browse("a/b", registry, settings=settings)
    promoted.push("a/c", f"s3://{source}", message="promoted")
    t4.Package.install("a/c", f"s3://{source}", dest=tmp_path / "more", settings=settings)
    assert {key: (tmp_path / "more" / key).read_bytes() for key in OBJECTS} == OBJECTS
    s3_server.delete_bucket(source)


def test_another_servers_or_users_objects_are_sent(
    settings: Settings, relay: Relay, s3_server: SeaweedFS, tmp_path: Path
) -> None:
    for name in ("from-one", "to-other"):
        s3_server.create_bucket(name, versioned=True)
    _fill("from-one", settings)
    other = Settings(
        s3=settings.s3,
        registries=(
            ("s3://to-other", settings_for(s3_server, endpoint_url=s3_server.endpoint_url)),
        ),
        local_registry=str(tmp_path / "local"),
    )
    relay.requests.clear()
    t4.Package(settings=other).set_dir("/", "s3://from-one/in").push("a/b", "s3://to-other")
    assert not [r for r in relay.requests if "x-amz-copy-source" in r.headers]
    t4.Package.install("a/b", "s3://to-other", dest=tmp_path / "dest", settings=other)
    assert (tmp_path / "dest/large.bin").read_bytes() == LARGE
    for name in ("from-one", "to-other"):
        s3_server.delete_bucket(name)


def test_objects_too_large_for_one_request_are_copied_in_parts(
    settings: Settings, relay: Relay, s3_server: SeaweedFS, versioned_bucket: str
) -> None:
    _fill(versioned_bucket, settings)
    store = open_bucket(f"s3://{versioned_bucket}", settings)
    info, checksum = store.stored("in/large.bin")
    assert (info.size_bytes, checksum) == (len(LARGE), checksum_of(LARGE))
    source = CopySource(versioned_bucket, "in/large.bin", len(LARGE), info.version_id, info.etag)
    relay.requests.clear()
    copied = store.copy_from(source, "out/large.bin", checksum_of(LARGE), whole_max_bytes=MIB)
    assert copied is not None
    assert copied.checksum == checksum_of(LARGE)
    assert len([r for r in relay.requests if "x-amz-copy-source-range" in r.headers]) == 3
    assert store.stored("out/large.bin")[1] == checksum_of(LARGE)
    with store.open("out/large.bin", version_id=copied.info.version_id) as reader:
        assert b"".join(bytes(piece) for piece in reader) == LARGE
    # The server's own checksums say it is another object than expected: nothing is written.
    with pytest.raises(IntegrityError, match="was not written"):
        store.copy_from(source, "wrong", checksum_of(b"x"), whole_max_bytes=MIB)
    with pytest.raises(NotFoundError):
        store.head("wrong")
    assert not client_of(s3_server).list_multipart_uploads(Bucket=versioned_bucket).get("Uploads")


@pytest.mark.parametrize("target", ["versioned", "unversioned"])
def test_a_push_copies_objects_too_large_for_one_request_in_parts(
    target: str,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    settings: Settings,
    relay: Relay,
    s3_server: SeaweedFS,
    tmp_path: Path,
) -> None:
    # 5 GiB in earnest: bound as a default when the function was defined.
    defaults = LargeObjects.copy_from.__kwdefaults__
    assert defaults is not None
    assert defaults["whole_max_bytes"] == COPY_MAX_BYTES
    monkeypatch.setitem(defaults, "whole_max_bytes", MIB)
    source = f"parts-source-{target}"
    s3_server.create_bucket(source, versioned=True)
    bucket = request.getfixturevalue(f"{target}_bucket")
    _fill(source, settings)
    relay.requests.clear()
    t4.Package(settings=settings).set_dir("/", f"s3://{source}/in").push("a/b", f"s3://{bucket}")
    ranges = [
        r.headers["x-amz-copy-source-range"]
        for r in relay.requests
        if "x-amz-copy-source-range" in r.headers
    ]
    # That of 2 MiB in one part; `a.bin` is smaller than what is copied at all.
    whole = f"bytes=0-{2 * MIB - 1}"
    large = (f"bytes=0-{8 * MIB - 1}", f"bytes={8 * MIB}-{16 * MIB - 1}")
    last = f"bytes={16 * MIB}-{len(LARGE) - 1}"
    assert sorted(ranges) == sorted([whole, *large, last])
    # Not one of those in one request, and of what is copied no byte is sent.
    assert len(relay.seen("POST", "uploadId=")) == 2
    assert _sent_bytes(relay) < len(OBJECTS["a.bin"]) + 1000
    dest = tmp_path / "dest"
    installed = t4.Package.install("a/b", f"s3://{bucket}", dest=dest, settings=settings)
    assert installed.verify(tmp_path / "dest")
    assert {key: (tmp_path / "dest" / key).read_bytes() for key in OBJECTS} == OBJECTS
    assert not client_of(s3_server).list_multipart_uploads(Bucket=bucket).get("Uploads")
    s3_server.delete_bucket(source)


def test_a_copy_in_parts_ends_soon_after_a_stop(
    settings: Settings, relay: Relay, s3_server: SeaweedFS, versioned_bucket: str
) -> None:
    _fill(versioned_bucket, settings)
    store, stop = open_bucket(f"s3://{versioned_bucket}", settings), threading.Event()
    info, checksum = store.stored("in/large.bin")
    assert checksum is not None
    source = CopySource(versioned_bucket, "in/large.bin", len(LARGE), info.version_id, info.etag)

    def stopped_meanwhile(request: Request) -> Fault | None:
        if "uploads" in request.target:
            stop.set()
        return None

    relay.rule, opener = stopped_meanwhile, Opener(settings, stop=stop)
    relay.requests.clear()
    with pytest.raises(Cancelled):
        store.copy_from(source, "out", checksum, check=opener.check, whole_max_bytes=MIB)
    assert not [r for r in relay.requests if "x-amz-copy-source" in r.headers]
    assert not client_of(s3_server).list_multipart_uploads(Bucket=versioned_bucket).get("Uploads")


def test_a_source_that_changed_meanwhile_is_not_copied(
    settings: Settings, unversioned_bucket: str
) -> None:
    store = open_bucket(f"s3://{unversioned_bucket}", settings)
    before = store.write("in/x", b"before")
    store.write("in/x", b"behind")
    source = CopySource(unversioned_bucket, "in/x", 6, None, before.etag)
    with pytest.raises(PreconditionFailedError):
        store.copy_from(source, "out/x", checksum_of(b"before"))
    with pytest.raises(NotFoundError):
        store.head("out/x")


@pytest.mark.parametrize("target", ["versioned", "unversioned"])
def test_a_source_that_is_gone_is_told_to_be(
    target: str,
    request: pytest.FixtureRequest,
    settings: Settings,
    s3_server: SeaweedFS,
) -> None:
    s3_server.create_bucket("gone-source", versioned=False)
    store = open_bucket("s3://gone-source", settings)
    store.write("x.bin", b"x" * 100_000)
    t4.Package(settings=settings).set("x.bin", "s3://gone-source/x.bin").build(
        "a/b", "s3://gone-source"
    )
    store.delete("x.bin")
    package = t4.Package.browse("a/b", "s3://gone-source", settings=settings)
    registry = f"s3://{request.getfixturevalue(f'{target}_bucket')}"
    with pytest.raises(NotFoundError, match=r"its object s3://gone-source/x\.bin is gone"):
        package.push("a/b", registry)
    source = CopySource("gone-source", "x.bin", 100_000)
    for whole_max_bytes in (MIB, 10):
        with pytest.raises(NotFoundError):
            open_bucket(registry, settings).copy_from(
                source, "y", checksum_of(b"x" * 100_000), whole_max_bytes=whole_max_bytes
            )
    s3_server.delete_bucket("gone-source")


def test_a_damaged_object_is_not_copied(
    settings: Settings, versioned_bucket: str, s3_server: SeaweedFS, tmp_path: Path
) -> None:
    target = "damaged-target"
    s3_server.create_bucket(target, versioned=False)
    store = open_bucket(f"s3://{versioned_bucket}", settings)
    t4.Package(settings=settings).set("x.bin", b"right" * 20_000).push(
        "a/b", f"s3://{versioned_bucket}"
    )
    package = t4.Package.browse("a/b", f"s3://{versioned_bucket}", settings=settings)
    # The same key and size, other bytes, and a manifest that points at them.
    wrong = store.write("a/b/x.bin", b"wrong" * 20_000)
    entry = next(package.entries())
    place = f"s3://{versioned_bucket}/a/b/x.bin?versionId={wrong.version_id}"
    package._contents.set(Entry("x.bin", place, entry.size_bytes, entry.hash, entry.meta))
    with pytest.raises(IntegrityError, match=r"x\.bin"):
        package.push("a/b", f"s3://{target}")
    other = open_bucket(f"s3://{target}", settings)
    assert list(other.list()) == []
    s3_server.delete_bucket(target)


def test_an_object_that_has_another_hash_by_now_never_takes_the_place_of_its_old_one(
    settings: Settings, relay: Relay, unversioned_bucket: str, s3_server: SeaweedFS
) -> None:
    source, target = f"s3://{unversioned_bucket}", "stale-target"
    s3_server.create_bucket(target, versioned=False)
    store = open_bucket(source, settings)
    store.write("x", b"before" * 20_000)
    t4.Package(settings=settings).set("old", f"{source}/x").build("a/b", source)
    package = t4.Package.browse("a/b", source, settings=settings)
    store.write("x", b"behind" * 20_000)
    package.set("new", f"{source}/x")
    # Whoever pushes may not be allowed to delete, or is killed before: nothing may need it.
    relay.rule = lambda r: s3_fault(403, "AccessDenied") if r.method == "DELETE" else None
    with pytest.raises(IntegrityError, match="'old'"):
        package.push("a/b", f"s3://{target}")
    relay.rule = lambda _: None
    there = open_bucket(f"s3://{target}", settings)
    for info in there.list(".t4/v1/objects/"):
        held = a2b_base64(checksum_of(there.read(info.key).data).value).hex()
        assert info.key.endswith(f"/{held}")
    s3_server.delete_bucket(target)


def test_hashes_of_large_objects_come_from_the_server_where_it_has_the_right_ones(
    settings: Settings, relay: Relay, s3_server: SeaweedFS, versioned_bucket: str
) -> None:
    client = client_of(s3_server)
    _fill(versioned_bucket, settings)
    # Parts of other sizes, and no checksum at all: the server has no hash of ours.
    upload = client.create_multipart_upload(
        Bucket=versioned_bucket, Key="in/odd", ChecksumAlgorithm="SHA256"
    )["UploadId"]
    parts = []
    for number, data in enumerate((LARGE[: 10 * MIB], LARGE[10 * MIB :]), 1):
        reply = client.upload_part(
            Bucket=versioned_bucket,
            Key="in/odd",
            UploadId=upload,
            PartNumber=number,
            Body=data,
            ChecksumAlgorithm="SHA256",
        )
        parts.append(
            {
                "PartNumber": number,
                "ETag": reply["ETag"],
                "ChecksumSHA256": reply["ChecksumSHA256"],
            }
        )
    client.complete_multipart_upload(
        Bucket=versioned_bucket, Key="in/odd", UploadId=upload, MultipartUpload={"Parts": parts}
    )
    client.put_object(Bucket=versioned_bucket, Key="in/plain", Body=LARGE)
    relay.requests.clear()
    entries = [
        Entry(key, f"s3://{versioned_bucket}/in/{key}", len(LARGE))
        for key in ("large.bin", "odd", "plain")
    ]
    with progress("hashing", shown=False) as bar:
        batches = hash_entries(entries, Opener(settings), bar, workers=2)
        hashed = list(chain.from_iterable(batches))
    assert [entry.hash for entry in hashed] == [checksum_of(LARGE)] * 3
    read = [r.target for r in relay.seen("GET") if "attributes" not in r.target]
    assert sorted(target.rpartition("/")[2].partition("?")[0] for target in read) == [
        "odd",
        "plain",
    ]
