"""The origin of an entry's bytes: where they were before, under which key, and where they began."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import t4_ops as t4
from t4_ops import lineage
from t4_ops.checksums import SHA256, SHA256_CHUNKED, Checksum, checksum_of
from t4_ops.errors import IntegrityError, InvalidInputError, NotFoundError, StorageError
from t4_ops.keys import PackageRef
from t4_ops.ledger import Input, RunInfo
from t4_ops.lineage import Origin
from t4_ops.lineage.samebytes import LocalFile, same_bytes
from t4_ops.manifest import Entry
from t4_ops.operations import build, push
from t4_ops.settings import Settings
from tests.ledger_support import no_server, note, revision
from tests.lineage_support import registry_of

OBSERVATIONS = b"day,rain\n2026-01-01,0.0\n"
SOURCE = {"namespace": "https://feed.example", "name": "daily.csv"}


def made(
    folder: Path, registry: str | Path, name: str, files: dict[str, bytes], inputs: Any = None
) -> PackageRef:
    """Build a revision with these files, as a job does that writes them anew."""
    place = folder / "work" / name / str(len(list(folder.rglob("*"))))
    for key, data in files.items():
        (place / key).parent.mkdir(parents=True, exist_ok=True)
        (place / key).write_bytes(data)
    return PackageRef.from_dict(build(name, place, registry=str(registry), inputs=inputs))


def way(found: Origin) -> list[tuple[str, tuple[str, ...], int]]:
    return [(holder.ref.name, holder.logical_keys, holder.depth) for holder in found.holders]


def test_bytes_are_followed_through_other_keys_and_names(tmp_path: Path, registry: str) -> None:
    raw = made(tmp_path, registry, "w/raw", {"in/day.csv": OBSERVATIONS, "b": b"b"}, SOURCE)
    clean = made(tmp_path, registry, "w/clean", {"day.csv": OBSERVATIONS, "log": b"1"}, raw)
    out = made(tmp_path, registry, "w/out", {"data.csv": OBSERVATIONS, "copy": OBSERVATIONS}, clean)

    found = lineage.origin(out, "data.csv")

    assert way(found) == [
        ("w/out", ("data.csv", "copy"), 0),
        ("w/clean", ("day.csv",), 1),
        ("w/raw", ("in/day.csv",), 2),
    ]
    assert found.first.ref == raw
    assert [holder.is_first for holder in found.holders] == [False, False, True]
    (run,) = found.first.runs
    assert Input.from_dict(SOURCE) in run.inputs
    assert found.entry.hash == checksum_of(OBSERVATIONS)


def test_bytes_that_were_made_here_begin_here(tmp_path: Path) -> None:
    raw = made(tmp_path, tmp_path / "r", "w/raw", {"day.csv": OBSERVATIONS})
    out = made(tmp_path, tmp_path / "r", "w/out", {"day.csv": b"other"}, raw)

    found = lineage.origin(out, "day.csv")

    assert way(found) == [("w/out", ("day.csv",), 0)]
    assert found.first.ref == out


def test_only_manifests_on_the_way_are_read(tmp_path: Path) -> None:
    registry = tmp_path / "r"
    far = made(tmp_path, registry, "w/far", {"a": b"far"})
    other = made(tmp_path, registry, "w/other", {"a": b"not it"}, far)
    raw = made(tmp_path, registry, "w/raw", {"a": OBSERVATIONS})
    out = made(tmp_path, registry, "w/out", {"a": OBSERVATIONS}, [raw, other])
    # What lies behind an input without the bytes can't be on their way.
    (registry / ".quilt/packages" / far.top_hash).write_bytes(b"damaged")

    found = lineage.origin(out, "a")

    assert way(found) == [("w/out", ("a",), 0), ("w/raw", ("a",), 1)]
    assert found.unread == {}


def test_of_several_ends_the_one_published_first_counts(tmp_path: Path) -> None:
    registry = tmp_path / "r"
    one = made(tmp_path, registry, "w/one", {"a": OBSERVATIONS})
    two = made(tmp_path, registry, "w/two", {"a": OBSERVATIONS})
    out = made(tmp_path, registry, "w/out", {"a": OBSERVATIONS}, [two, one])

    found = lineage.origin(out, "a")

    assert [holder.is_first for holder in found.holders] == [False, True, True]
    assert found.first.ref == one


def test_a_promotion_and_back_ends(tmp_path: Path) -> None:
    here = made(tmp_path, tmp_path / "dev", "w/p", {"a": OBSERVATIONS})
    there = PackageRef.from_dict(push(here.uri, registry=str(tmp_path / "prod")))
    note([there], [here])
    # One top hash is one content: the copy of the manifest need not be read.
    (tmp_path / "dev/.quilt/packages" / here.top_hash).unlink()

    found = lineage.origin(there, "a")

    assert [holder.ref for holder in found.holders] == [there, here]
    # What came back later did not bring the bytes.
    assert [holder.is_first for holder in found.holders] == [False, True]
    assert found.first.ref == here


def test_a_circle_does_not_hide_where_the_bytes_began(tmp_path: Path) -> None:
    registry = tmp_path / "r"
    here = made(tmp_path, registry, "w/a", {"a": OBSERVATIONS}, SOURCE)
    there = made(tmp_path, registry, "w/b", {"a": OBSERVATIONS, "b": b"b"}, here)
    assert made(tmp_path, registry, "w/a", {"a": OBSERVATIONS}, there) == here
    later = made(tmp_path, registry, "w/later", {"a": OBSERVATIONS}, SOURCE)
    out = made(tmp_path, registry, "w/out", {"a": OBSERVATIONS, "c": b"c"}, [there, later])

    assert lineage.origin(out, "a").first.ref == here


def test_a_run_that_is_tried_again_does_not_move_the_origin(tmp_path: Path) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "a").write_bytes(OBSERVATIONS)
    settings, run = Settings(registry=str(tmp_path / "r")), RunInfo.here("flow.build")
    one = build("w/one", folder, run=run, settings=settings)
    there = push(one, name="w/prod", settings=settings)
    before = lineage.origin(there["uri"], "a").first
    build("w/one", folder, run=replace(run, attempt=2), settings=settings)

    found = lineage.origin(there["uri"], "a")

    assert found.first.ref == before.ref == PackageRef.from_dict(one)
    assert [holder.is_first for holder in found.holders] == [False, True]
    assert found.first.published == before.published is not None
    assert found.to_dict()["holders"][1]["published"] == before.published.isoformat()


def test_bytes_that_a_package_kept_began_in_its_earlier_revision(tmp_path: Path) -> None:
    registry = tmp_path / "r"
    old = made(tmp_path, registry, "w/p", {"a": OBSERVATIONS}, SOURCE)
    new = made(tmp_path, registry, "w/p", {"a": OBSERVATIONS, "b": b"b"})

    found = lineage.origin(new, "a")

    assert found.first.ref == old
    assert [(one.ref, one.is_carried, one.is_first) for one in found.holders] == [
        (new, False, False),
        (old, True, True),
    ]
    assert "carried on from" in lineage.render_origin(found)
    assert lineage.origin(new, "b").first.ref == new


def test_depth_bounds_the_way(tmp_path: Path) -> None:
    registry = tmp_path / "r"
    ref = None
    for name in ("w/a", "w/b", "w/c"):
        ref = made(tmp_path, registry, name, {"a": OBSERVATIONS}, ref)
    assert ref is not None

    found = lineage.origin(ref, "a", depth=1)

    assert [holder.ref.name for holder in found.holders] == ["w/c", "w/b"]
    # Nobody has looked whether it began there.
    assert not any(holder.is_first for holder in found.holders)
    assert lineage.origin(ref, "a", depth=2).holders[-1].is_first


def test_what_cannot_be_read_on_the_way_is_named(tmp_path: Path) -> None:
    registry = tmp_path / "r"
    raw = made(tmp_path, registry, "w/raw", {"a": OBSERVATIONS})
    lost = revision("s3://gone", "w/gone")
    out = made(tmp_path, registry, "w/out", {"a": OBSERVATIONS, "b": b"b"}, [raw, lost])
    (registry / ".quilt/packages" / raw.top_hash).unlink()

    with no_server() as s3:
        settings = Settings(registry=str(registry), s3=s3)
        found = lineage.origin(out, "a", settings=settings)
        with pytest.raises(StorageError):
            lineage.origin(lost, "a", settings=settings)

    assert way(found) == [("w/out", ("a",), 0)]
    assert sorted(found.unread) == sorted([raw.uri, lost.uri])
    assert found.to_dict()["unread"][raw.uri].startswith(registry.as_uri())


def test_what_has_no_origin_is_refused(tmp_path: Path) -> None:
    ref = made(tmp_path, tmp_path / "r", "w/p", {"a": b"a"})

    with pytest.raises(NotFoundError, match="'b'"):
        lineage.origin(ref, "b")
    with pytest.raises(InvalidInputError, match="logical key"):
        lineage.origin(ref)
    with pytest.raises(InvalidInputError, match="revision"):
        lineage.origin(SOURCE, "a")
    assert lineage.origin(f"{ref.uri}&path=a").first.ref == ref


def test_an_origin_is_plain_json(tmp_path: Path) -> None:
    ref = made(tmp_path, tmp_path / "r", "w/p", {"a": b"a"}, SOURCE)

    value = lineage.origin(ref, "a").to_dict()

    assert value["first"] == ref.to_dict()
    assert value["hash"] == {"type": SHA256_CHUNKED, "value": checksum_of(b"a").value}
    assert SOURCE in value["holders"][0]["runs"][0]["inputs"]


def test_a_held_file_is_found_by_its_bytes(tmp_path: Path, registry: str) -> None:
    raw = made(tmp_path, registry, "w/raw", {"in.csv": OBSERVATIONS}, SOURCE)
    out = made(tmp_path, registry, "w/out", {"x/day.csv": OBSERVATIONS, "b": b"b"}, raw)
    held = tmp_path / "renamed.csv"
    held.write_bytes(OBSERVATIONS)

    for about in ({"package": out}, {"package": "w/out", "registry": registry}):
        found = lineage.origin_of_file(held, **about)
        assert way(found) == [("w/out", ("x/day.csv",), 0), ("w/raw", ("in.csv",), 1)]
    assert lineage.origin_of_file(held, f"w/out@{out.top_hash}", registry=registry).first.ref == raw


def test_a_held_file_of_an_older_revision_is_found(tmp_path: Path) -> None:
    registry = tmp_path / "r"
    old = made(tmp_path, registry, "w/p", {"day.csv": OBSERVATIONS})
    for number in range(3):
        made(tmp_path, registry, "w/p", {"day.csv": OBSERVATIONS + str(number).encode()})
    dest = tmp_path / "installed"
    t4.Package.install("w/p", str(registry), top_hash=old.top_hash, dest=str(dest))

    found = lineage.origin_of_file(dest / "day.csv", "w/p", registry=str(registry))

    assert found.first.ref == old
    latest = registry_of(registry).pointers.resolve("w/p")
    for about, most in ((f"w/p@{latest}", 100), ("w/p", 3)):
        with pytest.raises(NotFoundError, match="no entry of"):
            lineage.origin_of_file(
                dest / "day.csv", about, registry=str(registry), max_revisions=most
            )


def test_of_equal_files_the_one_called_alike_is_meant(tmp_path: Path) -> None:
    ref = made(tmp_path, tmp_path / "r", "w/p", {"a/x": b"same", "b/x": b"same", "y": b"same"})
    held = tmp_path / "b" / "x"
    held.parent.mkdir()
    held.write_bytes(b"same")

    found = lineage.origin_of_file(held, ref)

    assert found.entry.logical_key == "b/x"
    assert found.holders[0].logical_keys == ("b/x", "a/x", "y")


def test_a_revision_whose_manifest_is_lost_is_passed_over(tmp_path: Path) -> None:
    registry = tmp_path / "r"
    old = made(tmp_path, registry, "w/p", {"a": b"1"})
    lost = made(tmp_path, registry, "w/p", {"a": b"2"})
    made(tmp_path, registry, "w/p", {"a": b"3"})
    (registry / ".quilt/packages" / lost.top_hash).unlink()
    held = tmp_path / "held"
    held.write_bytes(b"1")

    found = lineage.origin_of_file(held, "w/p", registry=str(registry))

    assert found.holders[0].ref == old
    assert list(found.unread) == [lost.uri]
    with pytest.raises(NotFoundError, match="more were not looked at") as told:
        lineage.origin_of_file(held, "w/p", registry=str(registry), max_revisions=2)
    assert lost.top_hash in str(told.value)
    assert "revisions looked at: 1;" in str(told.value)


def test_a_damaged_or_withdrawn_pointer_hides_no_revision(tmp_path: Path) -> None:
    registry = tmp_path / "r"
    old, _, _, latest = (
        made(tmp_path, registry, "w/p", {"a": str(number).encode()}) for number in range(4)
    )
    places = sorted((registry / ".quilt/named_packages/w/p").glob("[0-9]*"))
    places[1].write_text("no hash")
    held = tmp_path / "held"
    held.write_bytes(b"0")

    found = lineage.origin_of_file(held, "w/p", registry=str(registry))

    assert found.holders[0].ref == old
    assert list(found.unread) == [places[1].as_uri()]
    held.write_bytes(b"5")
    with pytest.raises(NotFoundError, match=r"looked at: 3; .*no hash") as told:
        lineage.origin_of_file(held, "w/p", registry=str(registry))
    assert places[1].as_uri() in str(told.value)

    # One that is withdrawn after it was listed is no damage.
    damaged: dict[str, str] = {}
    pointers = registry_of(registry).pointers.newest_first("w/p", damaged)
    assert next(pointers).top_hash == latest.top_hash
    places[2].unlink()
    assert [pointer.top_hash for pointer in pointers] == [old.top_hash]
    assert list(damaged) == [places[1].as_uri()]


def test_a_file_that_is_in_no_revision_is_told(tmp_path: Path) -> None:
    ref = made(tmp_path, tmp_path / "r", "w/p", {"a": b"a"})
    changed = tmp_path / "a"
    changed.write_bytes(b"b")

    with pytest.raises(NotFoundError, match=r"no entry of .*w/p holds the bytes"):
        lineage.origin_of_file(changed, ref)
    with pytest.raises(NotFoundError, match="missing"):
        lineage.origin_of_file(tmp_path / "missing", ref)
    with pytest.raises(InvalidInputError, match="folder"):
        lineage.origin_of_file(tmp_path, ref)
    with pytest.raises(NotFoundError, match="w/none"):
        lineage.origin_of_file(changed, "w/none", registry=str(tmp_path / "r"))
    with pytest.raises(InvalidInputError, match="registry="):
        lineage.origin_of_file(changed, ref, registry=str(tmp_path / "r"))
    with pytest.raises(InvalidInputError, match="no revision"):
        lineage.origin_of_file(changed, SOURCE)


def entry(checksum: Checksum | None, size_bytes: int | None) -> Entry:
    return Entry("a", "s3://b/a", size_bytes, checksum)


def test_hashes_of_two_types_are_compared_where_one_follows_from_the_other() -> None:
    data = OBSERVATIONS
    plain = entry(Checksum(SHA256, hashlib.sha256(data).hexdigest()), len(data))
    chunked = entry(checksum_of(data), len(data))
    other = entry(Checksum(SHA256, hashlib.sha256(b"x" * len(data)).hexdigest()), len(data))

    assert same_bytes(plain, chunked)
    assert same_bytes(chunked, plain)
    assert same_bytes(plain, plain)
    assert not same_bytes(plain, other)
    assert not same_bytes(chunked, other)
    # The same digest of another size is a lie, and no hash is no answer.
    assert not same_bytes(plain, entry(chunked.hash, len(data) + 1))
    assert not same_bytes(entry(None, 3), entry(None, 3))
    large = 9 * 1024 * 1024
    assert not same_bytes(entry(plain.hash, large), entry(chunked.hash, large))
    empty = entry(Checksum(SHA256, hashlib.sha256(b"").hexdigest()), 0)
    assert same_bytes(empty, entry(checksum_of(b""), 0))
    damaged = entry(Checksum(SHA256, "no hex"), len(data))
    assert not same_bytes(damaged, chunked)


def test_a_held_file_is_found_by_other_types_of_hash(tmp_path: Path) -> None:
    """A package made by an older client, whose files have plain SHA-256 hashes."""
    from t4_ops.manifest import Manifest

    held = tmp_path / "large.bin"
    held.write_bytes(b"0123456789abcdef" * (9 * 65536))
    checksum = Checksum(SHA256, hashlib.sha256(held.read_bytes()).hexdigest())
    header = {"version": "v0", "message": None}
    entries = [Entry("large.bin", held.as_uri(), held.stat().st_size, checksum)]
    manifest = registry_of(tmp_path / "r").manifests.put(Manifest.of(header, entries))
    ref = PackageRef(str(tmp_path / "r"), "old/p", manifest.top_hash)

    found = lineage.origin_of_file(held, ref)

    assert found.entry.hash == checksum
    assert found.first.runs == ()


def test_a_held_file_that_changes_between_two_readings_is_noticed(tmp_path: Path) -> None:
    from t4_ops.manifest import Manifest

    held = tmp_path / "large.bin"
    held.write_bytes(b"0123456789abcdef" * (9 * 65536))
    file = LocalFile(held)
    checksum = Checksum(SHA256, "0" * 64)
    entries = [Entry("large.bin", held.as_uri(), held.stat().st_size, checksum)]
    os.utime(held, ns=(1, 1))

    with pytest.raises(IntegrityError, match="changed"):
        file.entries_in(Manifest.of({"version": "v0", "message": None}, entries))
