"""Build and push: what lands where, what is sent, and what is kept."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import pytest

import t4_ops as t4
from demo.seaweedfs import SeaweedFS
from t4_ops.checksums import CRC64NVME, SHA256, checksum_of
from t4_ops.keys import PhysicalKey
from t4_ops.manifest import Entry, Manifest
from t4_ops.transfer import object_key
from tests.package_support import (
    NAME,
    bytes_below,
    contents_of,
    objects_of,
    place_of,
    scan,
    store_of,
    watched,
    write_files,
)

FILES = {
    "a": b"one",
    "b/c d#?%41.txt": b"two",
    "b/é+": b"three",
    "copy of a": b"one",
    "empty": b"",
    "large": b"l" * (8 * 1024 * 1024 + 1),
}
SMALL = {f"{i % 3}/{i}": f"file {i}".encode() for i in range(12)}


def check_layout(package: t4.Package, registry: str, files: dict[str, bytes]) -> None:
    """Check that every entry names its object, and that nothing else lies in the registry."""
    store = store_of(registry)
    places = {key: place_of(registry, key, data) for key, data in files.items()}
    for key, entry in package.walk():
        place = PhysicalKey.parse(entry.physical_key)
        assert str(PhysicalKey(place.bucket, place.path)) == str(
            PhysicalKey.parse(f"{store.url}/").join(places[key])
        )
        assert (place.version_id is not None) == store.is_versioned
        assert store.read(places[key], version_id=place.version_id).data == files[key]
    assert objects_of(registry).keys() == set(places.values())


def test_push_puts_each_object_where_the_layout_says(registry: str, tmp_path: Path) -> None:
    package = scan(tmp_path / "files", FILES)
    package["b"].set_meta({"of": "b"})
    package["a"].set_meta({"of": "a"})
    pushed = package.push(NAME, registry, message="first")
    check_layout(pushed, registry, FILES)
    browsed = t4.Package.browse(NAME, registry)
    assert browsed.top_hash == pushed.top_hash
    assert contents_of(browsed) == FILES
    assert (browsed.meta, browsed["b"].meta, browsed["a"].meta) == (
        {"n": 1},
        {"of": "b"},
        {"of": "a"},
    )
    assert next(browsed.manifest)["message"] == "first"
    # The package that was pushed still points at the files it was made of.
    assert package.get("a") == (tmp_path / "files" / "a").as_uri()
    assert (pushed.ref, browsed.ref) == (package.ref, package.ref)
    assert t4.list_packages(registry) == [NAME]


def test_build_copies_nothing_into_a_folder_and_all_into_a_bucket(
    registry: str, tmp_path: Path
) -> None:
    files = tmp_path / "files"
    package = scan(files, FILES)
    top_hash = package.build(NAME, registry, "first")
    if registry.startswith("file:"):
        assert objects_of(registry) == {}
        assert package.get("a") == (files / "a").as_uri()
        assert t4.Package.browse(NAME, registry).get("a") == (files / "a").as_uri()
    else:
        places = {object_key(checksum_of(data)) for data in FILES.values()}
        assert objects_of(registry).keys() == places
        # Another machine has none of the files.
        shutil.rmtree(files)
        t4.Package.install(NAME, registry, top_hash, dest=tmp_path / "installed")
        assert bytes_below(tmp_path / "installed") == FILES
    assert t4.list_package_versions(NAME, registry)[-1] == ("latest", top_hash)
    before = objects_of(registry)
    assert package.build(NAME, registry, "first") == top_hash
    assert objects_of(registry) == before
    assert len(t4.list_package_versions(NAME, registry)) == 2


def test_push_after_build_in_one_registry_completes_the_manifest(
    registry: str, tmp_path: Path
) -> None:
    package = scan(tmp_path / "files", SMALL)
    package.set("object.json", {"a": 1})
    top_hash = package.build(NAME, registry, "first")
    pushed = package.push(NAME, registry)
    assert pushed.top_hash == top_hash
    assert len(t4.list_package_versions(NAME, registry)) == 2
    url = store_of(registry).url
    shutil.rmtree(tmp_path / "files")
    for complete in (pushed, t4.Package.browse(NAME, registry, top_hash)):
        assert all(entry.physical_key.startswith(url) for _, entry in complete.walk())
        assert {k: v for k, v in contents_of(complete).items() if k in SMALL} == SMALL
    before = objects_of(registry)
    assert pushed.push(NAME, registry).top_hash == top_hash
    assert objects_of(registry) == before


def test_push_after_build_brings_files_into_the_registry(registry: str, tmp_path: Path) -> None:
    """Nothing else changes: in a folder all that is there afterwards was moved by this push."""
    package = scan(tmp_path / "files", SMALL)
    top_hash = package.build(NAME, registry, "first")
    assert package.push(NAME, registry, message="first").top_hash == top_hash
    url = store_of(registry).url
    shutil.rmtree(tmp_path / "files")
    complete = t4.Package.browse(NAME, registry, top_hash)
    assert all(entry.physical_key.startswith(url) for _, entry in complete.walk())
    assert contents_of(complete) == SMALL


def test_every_revision_keeps_its_bytes(registry: str, tmp_path: Path) -> None:
    states = [{"a": f"state {i}".encode(), "same": b"same"} for i in range(3)]
    package = t4.Package()
    hashes = []
    for number, state in enumerate(states):
        package.set_dir("/", write_files(tmp_path / str(number), state))
        hashes.append(package.push(NAME, registry, message=str(number)).top_hash)
    for top_hash, state in zip(hashes, states, strict=True):
        assert contents_of(t4.Package.browse(NAME, registry, top_hash)) == state
        t4.Package.install(NAME, registry, top_hash[:12], dest=tmp_path / "here")
        assert bytes_below(tmp_path / "here") == state
    assert t4.Package.rollback(NAME, registry, hashes[0][:10]) == hashes[0]
    assert contents_of(t4.Package.browse(NAME, registry)) == states[0]
    assert t4.Package.resolve_hash(NAME, registry, hashes[1][:8]) == hashes[1]
    versions = t4.list_package_versions(NAME, registry)
    assert [top_hash for _, top_hash in versions] == [*hashes, hashes[0]]
    assert versions[-1][0] == "latest"
    t4.delete_package(NAME, registry, hashes[0])
    assert t4.Package.browse(NAME, registry).top_hash == hashes[2]
    t4.delete_package(NAME, registry)
    with pytest.raises(t4.NotFoundError):
        t4.Package.browse(NAME, registry)
    assert contents_of(t4.Package.browse(NAME, registry, hashes[1])) == states[1]


def test_only_what_is_new_is_sent(registry: str, tmp_path: Path) -> None:
    root = tmp_path / "files"
    first = scan(root, SMALL).push(NAME, registry)
    before = objects_of(registry)
    # Nothing new: from a scan as from a browsed package.
    assert scan(root, SMALL).push(NAME, registry).top_hash == first.top_hash
    t4.Package.browse(NAME, registry).push(NAME, registry, message="other message")
    assert objects_of(registry) == before

    # One file of many has changed.
    second = t4.Package.browse(NAME, registry)
    second.set_dir("/", write_files(root, {"0/3": b"changed"}))
    pushed = second.push(NAME, registry)
    after = objects_of(registry)
    changed = place_of(registry, "0/3", b"changed")
    assert {key for key in after if after[key] != before.get(key)} == {changed}
    assert pushed.get("0/6") == first.get("0/6")

    # The same bytes at other keys: the parent's objects are used again.
    moved = t4.Package().set_dir("elsewhere", root).set("top", root / "0/3")
    moved_pushed = moved.push(NAME, registry, force=True)
    assert objects_of(registry) == after
    assert moved_pushed.get("elsewhere/0/6") == first.get("0/6")
    assert contents_of(moved_pushed)["top"] == b"changed"


def test_an_unchanged_push_asks_for_no_object(
    bucket_registry: str, s3_server: SeaweedFS, tmp_path: Path
) -> None:
    scan(tmp_path / "files", SMALL).push(NAME, bucket_registry)
    with watched(s3_server.endpoint_url) as (relay, settings):
        again = t4.Package(settings=settings).set_dir("/", tmp_path / "files", meta={"n": 1})
        again.push(NAME, bucket_registry)
        changed = write_files(tmp_path / "new", {"0/3": b"changed"})
        browsed = t4.Package.browse(NAME, bucket_registry, settings=settings)
        browsed.set_dir("/", changed)
        sent = len(relay.requests)
        browsed.push(NAME, bucket_registry)
    about_others = (".quilt", "versioning", ".t4/v1/index/")
    asked = [r for r in relay.requests if not any(part in r.target for part in about_others)]
    assert [r.method for r in asked] == ["PUT"]
    assert asked[0] in relay.requests[sent:]


def test_weakly_hashed_entries_are_sent_once(registry: str, tmp_path: Path) -> None:
    files = write_files(tmp_path / "files", {"crc": b"crc", "sha": b"sha"})
    entries = [
        Entry(key, (files / key).as_uri(), 3, checksum_of(key.encode(), kind))
        for key, kind in (("crc", CRC64NVME), ("sha", SHA256))
    ]
    manifest = Manifest.of({"version": "v0", "message": None}, entries).to_bytes()
    pushed = t4.Package.load(io.BytesIO(manifest)).push(NAME, registry)
    check_layout(pushed, registry, {"crc": b"crc", "sha": b"sha"})
    assert pushed.top_hash == Manifest.from_bytes(manifest).top_hash
    before = objects_of(registry)
    t4.Package.load(io.BytesIO(manifest)).push(NAME, registry)
    assert objects_of(registry) == before


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("folder", "versioned"),
        ("folder", "unversioned"),
        ("versioned", "unversioned"),
        ("unversioned", "versioned"),
        ("versioned", "folder"),
        ("folder", "folder"),
    ],
)
def test_push_from_registry_to_registry(
    source: str, target: str, request: pytest.FixtureRequest, s3_env: SeaweedFS, tmp_path: Path
) -> None:
    def registry(kind: str, role: str) -> str:
        if kind == "folder":
            return (tmp_path / role).as_uri()
        return f"s3://{request.getfixturevalue(f'{kind}_bucket')}"

    start, end = registry(source, "source"), registry(target, "target")
    top_hash = scan(tmp_path / "files", FILES).push(NAME, start, message="kept").top_hash
    shutil.rmtree(tmp_path / "files")
    browsed = t4.Package.browse(NAME, start)
    pushed = browsed.push(NAME, end)
    assert pushed.top_hash == top_hash
    check_layout(pushed, end, FILES)
    assert t4.Package.browse(NAME, start).get("a").startswith(start)
    t4.Package.install(NAME, end, dest=tmp_path / "installed")
    assert bytes_below(tmp_path / "installed") == FILES


def test_a_source_that_changed_since_the_build_is_not_pushed(registry: str, tmp_path: Path) -> None:
    files = write_files(tmp_path / "files", {"a": b"aaaa", "b": b"1234"})
    package = t4.Package().set_dir("/", files)
    package.build(NAME, tmp_path / "local")
    for change in (b"other bytes", b"1", b"4321"):
        (files / "b").write_bytes(change)
        with pytest.raises(t4.IntegrityError, match="'b'"):
            package.push(NAME, registry)
    (files / "b").unlink()
    with pytest.raises(t4.NotFoundError, match="'b'"):
        package.push(NAME, registry)
    assert t4.list_packages(registry) == []
    assert place_of(registry, "b", b"4321") not in objects_of(registry)
    (files / "b").write_bytes(b"1234")
    assert contents_of(package.push(NAME, registry)) == {"a": b"aaaa", "b": b"1234"}


def test_a_damaged_revision_keeps_nobody_from_publishing(registry: str, tmp_path: Path) -> None:
    first = scan(tmp_path / "1", {"a": b"1"}).push(NAME, registry)
    store = store_of(registry)
    store.write(f".quilt/packages/{first.top_hash}", b"{}\n")
    second = scan(tmp_path / "2", {"a": b"1", "b": b"2"})
    pushed = second.push(NAME, registry, force=True)
    assert contents_of(t4.Package.browse(NAME, registry)) == {"a": b"1", "b": b"2"}
    store.delete(f".quilt/packages/{pushed.top_hash}")
    scan(tmp_path / "3", {"c": b"3"}).push(NAME, registry, force=True)
    assert contents_of(t4.Package.browse(NAME, registry)) == {"c": b"3"}
