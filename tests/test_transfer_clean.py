"""What killed processes leave behind is found and removed; what others work on stays."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

import t4_ops as t4
from demo.seaweedfs import SeaweedFS
from t4_ops.errors import InvalidInputError
from t4_ops.settings import Settings
from tests.s3_support import client_of, settings_for

HOUR_S = 3600.0


def _temporary(folder: Path, name: str, age_s: float) -> Path:
    path = folder / f".t4-{name * 16}.tmp"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"half")
    os.utime(path, (time.time() - age_s,) * 2)
    return path


def test_old_temporary_files_of_a_folder_go_and_nothing_else_does(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "a.txt").write_bytes(b"a")
    registry = tmp_path / "registry"
    top_hash = t4.Package().set_dir("/", source).push("a/b", registry).top_hash
    old = _temporary(registry / ".t4/v1/objects/aa", "a", 2 * HOUR_S)
    young = _temporary(registry / "deep/er", "b", 60)
    own = registry / ".t4-mine.tmp"
    own.write_bytes(b"a user's own file")
    os.utime(own, (0, 0))
    outside = _temporary(tmp_path / "outside", "c", 2 * HOUR_S)
    (registry / "link").symlink_to(tmp_path / "outside")

    looked = t4.clean(registry, HOUR_S, dry_run=True)
    assert [left.key for left in looked] == [f".t4/v1/objects/aa/{old.name}"]
    assert looked[0].size_bytes == 4
    assert old.exists()
    assert t4.clean(registry, HOUR_S) == looked
    assert not old.exists()
    assert all(path.exists() for path in (young, own, outside))
    assert t4.clean(registry, HOUR_S) == []
    t4.Package.install("a/b", registry, top_hash, tmp_path / "dest")
    assert (tmp_path / "dest/a.txt").read_bytes() == b"a"


def test_a_folder_that_is_not_there_has_nothing_and_no_age_is_negative(tmp_path: Path) -> None:
    assert t4.clean(tmp_path / "none") == []
    with pytest.raises(InvalidInputError, match="older_than_s"):
        t4.clean(tmp_path, -1)


def test_uploads_that_were_begun_and_left_are_given_up(
    s3_server: SeaweedFS, versioned_bucket: str, tmp_path: Path
) -> None:
    bucket, registry = versioned_bucket, f"s3://{versioned_bucket}"
    settings = Settings(s3=settings_for(s3_server), local_registry=str(tmp_path))
    client = client_of(s3_server)
    package = t4.Package(settings=settings).set("a.bin", b"whole")
    top_hash = package.push("a/b", registry).top_hash
    keys = [".t4/v1/objects/aa/x", "a/b/large.bin", "a/bother/d", "elsewhere/c"]
    for key in keys:
        client.create_multipart_upload(Bucket=bucket, Key=key)

    def left() -> list[str]:
        reply = client.list_multipart_uploads(Bucket=bucket)
        return sorted(upload["Key"] for upload in reply.get("Uploads", ()))

    # Young ones may be somebody's work; the server counts whole seconds.
    assert t4.clean(registry, HOUR_S, settings=settings) == []
    assert left() == keys
    time.sleep(2.1)
    found = t4.clean(registry, 1, settings=settings)
    assert sorted(leftover.key for leftover in found) == keys[:2]
    assert left() == keys[2:]
    found = t4.clean(registry, 1, prefix="elsewhere/", settings=settings)
    assert [leftover.key for leftover in found] == keys[3:]
    assert left() == keys[2:3]
    again = t4.Package.browse("a/b", registry, top_hash, settings=settings)
    assert again["a.bin"].get_bytes() == b"whole"
