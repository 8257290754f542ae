"""What a transfer says and leaves when threads, servers or deletions fail; and what it counts."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pytest_mock import MockerFixture

import t4_ops as t4
from demo.seaweedfs import SeaweedFS
from t4_ops.checksums import checksum_of
from t4_ops.errors import IntegrityError
from t4_ops.manifest import Entry
from t4_ops.settings import Settings
from t4_ops.storage import PreconditionFailedError, Tree, open_bucket
from t4_ops.transfer import Opener, Target, mismatches, run_all
from t4_ops.transfer.copying import server_copy
from t4_ops.transfer.plan import Move, Plan
from t4_ops.transfer.progress import Tally
from t4_ops.transfer.upload import upload_objects
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


@pytest.fixture
def relay(s3_server: SeaweedFS) -> Iterator[Relay]:
    with run_relay(s3_server.endpoint_url) as running:
        yield running


@pytest.fixture
def settings(s3_server: SeaweedFS, relay: Relay, tmp_path: Path) -> Settings:
    s3 = settings_for(s3_server, endpoint_url=relay.url)
    return Settings(s3=s3, local_registry=str(tmp_path / "local"))


class Counted:
    """Progress that a test can look at."""

    def __init__(self) -> None:
        self.done_bytes = 0
        self._lock = threading.Lock()

    def advance(self, size_bytes: int) -> None:
        with self._lock:
            self.done_bytes += size_bytes

    def grow(self, size_bytes: int) -> None:
        """Take no notice of what is still to be done."""


@pytest.mark.parametrize("running", [0, 2])
def test_a_thread_that_can_not_be_started_is_told_and_not_waited_for(
    running: int, mocker: MockerFixture
) -> None:
    start = threading.Thread.start
    begun: list[threading.Thread] = []

    def limited(thread: threading.Thread) -> None:
        if len(begun) == running:
            raise RuntimeError("can't start new thread")
        begun.append(thread)
        start(thread)

    mocker.patch.object(threading.Thread, "start", autospec=True, side_effect=limited)
    with pytest.raises(RuntimeError, match="can't start new thread"):
        list(run_all(range(20), lambda item: item, workers=4))
    assert not [thread for thread in begun if thread.is_alive()]


def copied_entry(settings: Settings, bucket: str, data: bytes, promised: bytes) -> Entry:
    info = open_bucket(f"s3://{bucket}", settings).write("x", data)
    version = "" if info.version_id is None else f"?versionId={info.version_id}"
    return Entry("x", f"s3://{bucket}/x{version}", len(data), checksum_of(promised))


def test_a_wrong_copy_that_can_not_be_deleted_is_told_with_the_reason(
    settings: Settings, relay: Relay, unversioned_bucket: str
) -> None:
    entry = copied_entry(settings, unversioned_bucket, b"b" * 300_000, b"a" * 300_000)
    opener = Opener(settings)
    # As if it had been hashed, and changed behind an etag that didn't.
    etag = open_bucket(f"s3://{unversioned_bucket}", settings).head("x").etag
    assert entry.hash is not None
    opener.note(entry.physical_key, entry.hash, etag)
    relay.rule = lambda r: s3_fault(403, "AccessDenied") if r.method == "DELETE" else None
    store = open_bucket(f"s3://{unversioned_bucket}", settings)
    with pytest.raises(IntegrityError) as caught:
        server_copy(entry, ".t4/v1/objects/aa/aa", store, opener, create_only=True)
    assert any("stays until it is deleted" in note for note in caught.value.__notes__)


def test_a_copy_does_not_rely_on_the_server_to_keep_what_is_there(
    settings: Settings, relay: Relay, unversioned_bucket: str
) -> None:
    """Servers there are that ignore If-None-Match on CopyObject."""
    store = open_bucket(f"s3://{unversioned_bucket}", settings)
    data = os.urandom(300_000)
    store.write("in/x", data)
    store.write("kept/x", b"somebody else's")
    relay.requests.clear()
    entry = Entry("x", f"{store.url}/in/x", len(data), checksum_of(data))
    with pytest.raises(PreconditionFailedError):
        server_copy(entry, "kept/x", store, Opener(settings), create_only=True)
    assert not [r for r in relay.requests if "x-amz-copy-source" in r.headers]
    assert store.read("kept/x").data == b"somebody else's"


@pytest.mark.parametrize("kind", ["versioned", "unversioned"])
def test_checksum_and_parts_are_those_of_one_state(
    kind: str,
    settings: Settings,
    relay: Relay,
    s3_server: SeaweedFS,
    request: pytest.FixtureRequest,
) -> None:
    bucket = request.getfixturevalue(f"{kind}_bucket")
    client, clean = client_of(s3_server), Settings(s3=settings_for(s3_server))
    odd = client.create_multipart_upload(Bucket=bucket, Key="k", ChecksumAlgorithm="SHA256")
    given: dict[str, Any] = {"Bucket": bucket, "Key": "k", "UploadId": odd["UploadId"]}
    parts = []
    for number, data in enumerate((LARGE[: 10 * MIB], LARGE[10 * MIB :]), 1):
        reply = client.upload_part(
            **given, PartNumber=number, Body=data, ChecksumAlgorithm="SHA256"
        )
        names = ("ETag", "ChecksumSHA256")
        parts.append({"PartNumber": number, **{name: reply[name] for name in names}})
    client.complete_multipart_upload(**given, MultipartUpload={"Parts": parts})
    replaced = threading.Event()

    def meanwhile(request: Request) -> Fault | None:
        if "attributes" in request.target and not replaced.is_set():
            replaced.set()
            # Its parts are those of the schedule.
            open_bucket(f"s3://{bucket}", clean).upload("k", [LARGE[::-1]], len(LARGE))
        return None

    relay.rule = meanwhile
    _, checksum = open_bucket(f"s3://{bucket}", settings).stored("k")
    assert replaced.is_set()
    assert checksum is None
    assert open_bucket(f"s3://{bucket}", settings).stored("k")[1] == checksum_of(LARGE[::-1])


@pytest.mark.parametrize("part", ["partNumber=2", "uploads"])
def test_progress_counts_what_is_sent_again_once(
    part: str, s3_server: SeaweedFS, relay: Relay, unversioned_bucket: str, tmp_path: Path
) -> None:
    # More faults than boto3 outlives, so that the work itself is done again.
    settings = Settings(s3=settings_for(s3_server, endpoint_url=relay.url, max_attempts=2))
    (tmp_path / "large").write_bytes(LARGE)
    entry = Entry("large", (tmp_path / "large").as_uri(), len(LARGE), checksum_of(LARGE))
    left = [3]

    def hurt(request: Request) -> Fault | None:
        if part in request.target and left[0]:
            left[0] -= 1
            return s3_fault(503, "SlowDown")
        return None

    relay.rule, bar = hurt, Counted()
    plan = Plan(moves=[Move(entry, "out", is_pinned=False)])
    store = open_bucket(f"s3://{unversioned_bucket}", settings)
    upload_objects(plan, store, Opener(settings), bar, workers=1)
    assert left == [0]
    assert bar.done_bytes == len(LARGE)


def test_a_tally_takes_each_byte_once() -> None:
    bar = Counted()
    tally = Tally(bar, 20 * MIB)
    for start, end in ((0, 3 * MIB), (2 * MIB, 9 * MIB), (0, 8 * MIB), (16 * MIB, 20 * MIB)):
        tally.read(start, end)
    assert bar.done_bytes == 13 * MIB
    tally.forget()
    assert bar.done_bytes == 0


def read_bytes() -> int:
    """Return how many bytes this process has read so far."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("rchar:"))


def test_who_looks_for_one_difference_does_not_wait_for_the_rest(tmp_path: Path) -> None:
    size_bytes = 4 * 1024 * MIB  # takes many seconds to hash, and no room on the disk
    with (tmp_path / "large").open("wb") as file:
        file.truncate(size_bytes)
    targets = [
        Target("missing", Entry("missing", "s3://b/x", 1, checksum_of(b"x"))),
        Target("large", Entry("large", "s3://b/y", size_bytes, checksum_of(b"y"))),
    ]
    with Tree(str(tmp_path)) as tree:
        before_bytes = read_bytes()
        found = mismatches(targets, tree, workers=2)
        assert next(found) == "missing"
        found.close()
    assert read_bytes() - before_bytes < size_bytes / 2


def test_what_an_interrupted_push_sent_is_not_sent_again(
    tmp_path: Path, settings: Settings, relay: Relay, versioned_bucket: str
) -> None:
    folder, registry = tmp_path / "files", f"s3://{versioned_bucket}"
    folder.mkdir()
    contents = {
        "changed.bin": os.urandom(3 * MIB),
        "large.bin": os.urandom(17 * MIB + 5),
        "middle.bin": os.urandom(3 * MIB),
        "small.bin": os.urandom(100),
    }
    for key, data in contents.items():
        (folder / key).write_bytes(data)

    def no_manifest(request: Request) -> Fault | None:
        is_manifest = request.method == "PUT" and "/.quilt/packages/" in request.target
        return s3_fault(403, "AccessDenied") if is_manifest else None

    relay.rule = no_manifest
    with pytest.raises(t4.StorageError):
        t4.Package(settings=settings).set_dir("/", folder).push("a/b", registry)
    relay.rule = lambda _: None
    assert t4.list_packages(registry, settings=settings) == []

    # Same size, other bytes: only the hash tells.
    contents["changed.bin"] = os.urandom(3 * MIB)
    (folder / "changed.bin").write_bytes(contents["changed.bin"])
    relay.requests.clear()
    t4.Package(settings=settings).set_dir("/", folder).push("a/b", registry)
    sent = {r.target for r in relay.requests if r.method == "PUT" and ".bin" in r.target}
    assert {name for name in contents if any(name in target for target in sent)} == {
        "changed.bin",
        "small.bin",
    }
    store = open_bucket(registry, settings)
    newest = {info.key: info.version_id for info in store.list_versions("a/b/")}
    pushed = t4.Package.browse("a/b", registry, settings=settings)
    for key in contents:
        place = t4.PhysicalKey.parse(pushed[key].physical_key)
        assert place.version_id == newest[f"a/b/{key}"]
    t4.Package.install("a/b", registry, dest=tmp_path / "dest", settings=settings)
    assert {key: (tmp_path / "dest" / key).read_bytes() for key in contents} == contents
