"""A push that was interrupted goes on where it stopped, on buckets that keep versions too."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import t4_ops as t4
from demo.seaweedfs import SeaweedFS
from t4_ops.settings import Settings
from t4_ops.storage import open_bucket
from tests.s3_support import MIB, Fault, Relay, Request, run_relay, s3_fault, settings_for


@pytest.fixture
def relay(s3_server: SeaweedFS) -> Iterator[Relay]:
    with run_relay(s3_server.endpoint_url) as running:
        yield running


@pytest.fixture
def settings(s3_server: SeaweedFS, relay: Relay, tmp_path: Path) -> Settings:
    s3 = settings_for(s3_server, endpoint_url=relay.url)
    return Settings(s3=s3, local_registry=str(tmp_path / "local"))


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
