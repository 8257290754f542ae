"""Registries of every kind: manifests, pointers, compare-and-swap, and rivals."""

from __future__ import annotations

import json
import multiprocessing
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from pytest_mock import MockerFixture

from t4_ops.checksums import checksum_of
from t4_ops.errors import (
    ConflictError,
    FormatError,
    IntegrityError,
    InvalidInputError,
    NotFoundError,
)
from t4_ops.keys import DEFAULT_LIMITS
from t4_ops.manifest import Directory, Entry, Manifest
from t4_ops.registry import ANYTHING, Registry
from t4_ops.settings import load_settings
from t4_ops.storage import Store, open_store

NAME = "team/data"
LATEST = f".quilt/named_packages/{NAME}/latest"


@pytest.fixture
def store(registry: str) -> Store:
    return open_store(registry, load_settings())


@pytest.fixture
def reg(store: Store) -> Registry:
    return Registry(store, DEFAULT_LIMITS)


def manifest(content: str, *places: str, message: str | None = None) -> Manifest:
    header = {"version": "v0", "message": message, "user_meta": {"content": content}}
    keys = [f"f{i}" for i in range(len(places))]
    entries = [
        Entry(key, place, 1, checksum_of(b"x")) for key, place in zip(keys, places, strict=True)
    ]
    return Manifest.of(header, entries)


def publish(reg: Registry, content: str, expected: Any = ANYTHING) -> str:
    stored = reg.manifests.put(manifest(content))
    return reg.pointers.publish(NAME, stored.top_hash, expected=expected).top_hash


def test_a_published_revision_is_there_under_its_names(reg: Registry, store: Store) -> None:
    before = int(time.time())
    top_hash = publish(reg, "one", expected=None)
    assert store.read(LATEST).data == top_hash.encode()
    assert store.read(f".quilt/packages/{top_hash}").data == manifest("one").to_bytes()
    (revision,) = reg.pointers.revisions(NAME)
    assert revision.top_hash == top_hash
    assert before <= int(revision.name) <= time.time() + 1
    assert reg.pointers.packages() == [NAME]
    assert reg.manifests.get(top_hash).top_hash == top_hash


def test_publishing_again_changes_nothing(reg: Registry) -> None:
    top_hash = publish(reg, "one")
    again = reg.pointers.publish(NAME, top_hash, expected=None)
    assert (again.changed, again.previous) == (False, top_hash)
    assert len(reg.pointers.revisions(NAME)) == 1


def test_what_is_expected_must_hold(reg: Registry) -> None:
    first = publish(reg, "one", expected=None)
    second = reg.manifests.put(manifest("two")).top_hash
    for expected in (None, "0" * 64):
        with pytest.raises(ConflictError) as caught:
            reg.pointers.publish(NAME, second, expected=expected)
        assert (caught.value.name, caught.value.expected, caught.value.actual) == (
            NAME,
            expected,
            first,
        )
    assert [p.top_hash for p in reg.pointers.revisions(NAME)] == [first]
    outcome = reg.pointers.publish(NAME, second, expected=first)
    assert (outcome.previous, outcome.changed) == (first, True)
    third = reg.manifests.put(manifest("three")).top_hash
    assert reg.pointers.publish(NAME, third, expected=ANYTHING).previous == second


def test_same_second_publishes_all_stay_listed(reg: Registry, mocker: MockerFixture) -> None:
    mocker.patch("time.time", autospec=True, return_value=1_700_000_000.5)
    hashes = [publish(reg, str(i)) for i in range(4)]
    revisions = reg.pointers.revisions(NAME)
    assert [p.top_hash for p in revisions] == hashes
    assert [int(p.name) - 1_700_000_000 for p in revisions] == [0, 1, 2, 3]


def test_a_slow_clock_does_not_make_a_new_revision_old(
    reg: Registry, mocker: MockerFixture
) -> None:
    clock = mocker.patch("time.time", autospec=True, return_value=1_700_000_000.0)
    first = publish(reg, "one")
    clock.return_value -= 86_400
    second, third = publish(reg, "two"), publish(reg, "three")
    assert [p.top_hash for p in reg.pointers.revisions(NAME)] == [first, second, third]
    reg.pointers.delete(NAME, third)
    assert reg.pointers.resolve(NAME) == second


def test_prefixes_resolve_among_the_packages_own_revisions_only(reg: Registry) -> None:
    own = [publish(reg, str(i)) for i in range(3)]
    foreign = reg.manifests.put(manifest("foreign")).top_hash
    reg.pointers.publish("other/package", foreign, expected=None)
    assert reg.pointers.resolve(NAME) == own[-1]
    for top_hash in own:
        assert reg.pointers.resolve(NAME, top_hash[:12]) == top_hash
    with pytest.raises(NotFoundError):
        reg.pointers.resolve(NAME, foreign[:12])
    with pytest.raises(NotFoundError):
        reg.pointers.resolve("no/such")
    for bad in ("abc", "xyzxyz", own[0].upper(), f"{own[0]}0", "../" * 21 + "x"):
        with pytest.raises(InvalidInputError):
            reg.pointers.resolve(NAME, bad)
    with pytest.raises(NotFoundError):
        reg.manifests.get("0" * 64)


def test_rollback_takes_only_the_packages_own_revisions(reg: Registry) -> None:
    first, second = publish(reg, "one"), publish(reg, "two")
    foreign = reg.manifests.put(manifest("foreign")).top_hash
    reg.pointers.publish("other/package", foreign, expected=None)
    with pytest.raises(NotFoundError):
        reg.pointers.rollback(NAME, foreign, expected=ANYTHING)
    with pytest.raises(ConflictError):
        reg.pointers.rollback(NAME, first, expected=first)
    assert reg.pointers.resolve(NAME) == second
    assert reg.pointers.rollback(NAME, first[:10], expected=second).top_hash == first
    assert reg.pointers.resolve(NAME) == first
    assert not reg.pointers.rollback(NAME, first, expected=ANYTHING).changed


def test_deleting_a_revision_moves_latest_to_the_newest_left(reg: Registry) -> None:
    hashes = [publish(reg, str(i)) for i in range(3)]
    reg.pointers.delete(NAME, hashes[1])
    assert reg.pointers.resolve(NAME) == hashes[2]
    reg.pointers.delete(NAME, hashes[2])
    assert reg.pointers.resolve(NAME) == hashes[0]
    assert reg.manifests.get(hashes[2]).top_hash == hashes[2]
    with pytest.raises(NotFoundError):
        reg.pointers.delete(NAME, hashes[2])
    reg.pointers.delete(NAME, hashes[0])
    assert reg.pointers.latest(NAME) is None
    with pytest.raises(NotFoundError):
        reg.pointers.resolve(NAME)
    # SeaweedFS goes on listing the emptied folder of an unversioned bucket; S3 knows no folders.
    if reg.url.startswith("file:"):
        assert reg.pointers.packages() == []


def test_deleting_a_package_leaves_its_neighbours(reg: Registry) -> None:
    for name in ("team/data", "team/data-2", "team/other", "teams/data"):
        reg.pointers.publish(name, reg.manifests.put(manifest(name)).top_hash, expected=None)
    reg.pointers.delete("team/data")
    left = set(reg.pointers.packages()) - {"team/data"}
    assert left == {"team/data-2", "team/other", "teams/data"}
    for name in left:
        assert reg.pointers.latest(name) is not None
    with pytest.raises(NotFoundError):
        reg.pointers.delete("team/data")


def test_stray_objects_are_neither_packages_nor_revisions(reg: Registry, store: Store) -> None:
    top_hash = publish(reg, "one")
    for stray in ("notes.txt", "team/readme", f"{NAME}/tmp", f"{NAME}/12x", "bad ns/x/latest"):
        store.write(f".quilt/named_packages/{stray}", b"stray")
    assert reg.pointers.packages() == [NAME]
    assert [p.top_hash for p in reg.pointers.revisions(NAME)] == [top_hash]


def test_pointers_are_stripped_and_their_text_is_checked(reg: Registry, store: Store) -> None:
    top_hash = publish(reg, "one")
    store.write(LATEST, f" {top_hash}\n".encode())
    assert reg.pointers.resolve(NAME) == top_hash
    for bad in (b"", b"../../secret", top_hash.upper().encode(), b"\xff" * 64, b"a" * 5000):
        store.write(LATEST, bad)
        with pytest.raises(FormatError) as caught:
            reg.pointers.resolve(NAME)
        assert caught.value.key is not None


@pytest.mark.parametrize("name", ["team", "a/b/c", "../x/y", "a/b\n", "é/b", "a/", "", "a b/c"])
def test_names_are_checked_at_every_door(reg: Registry, name: str) -> None:
    pointers, top_hash = reg.pointers, "0" * 64
    for door in (
        lambda: pointers.latest(name),
        lambda: pointers.revisions(name),
        lambda: pointers.resolve(name, top_hash),
        lambda: pointers.publish(name, top_hash, expected=ANYTHING),
        lambda: pointers.rollback(name, top_hash, expected=ANYTHING),
        lambda: pointers.delete(name),
    ):
        with pytest.raises(InvalidInputError):
            door()


def test_a_changed_manifest_is_never_returned(reg: Registry, store: Store) -> None:
    top_hash = publish(reg, "one")
    key = f".quilt/packages/{top_hash}"
    store.write(key, manifest("two").to_bytes())
    with pytest.raises(IntegrityError):
        reg.manifests.get(top_hash)
    store.write(key, manifest("one").to_bytes()[:-5])
    with pytest.raises(FormatError):
        reg.manifests.get(top_hash)
    with pytest.raises((IntegrityError, FormatError)):
        reg.manifests.put(manifest("one"))
    assert store.read(key).data == manifest("one").to_bytes()[:-5]


def test_a_stored_manifest_only_gains_places_inside(reg: Registry) -> None:
    inside = [f"{reg.url}/o/{i}" for i in range(2)]
    other = "s3://somewhere-else/o"
    half = reg.manifests.put(manifest("c", inside[0], other))
    theirs = reg.manifests.put(manifest("c", other, f"{other}2"))
    assert theirs.to_bytes() == half.to_bytes() or reg.url.startswith("file:")
    stored = reg.manifests.get(half.top_hash)
    assert next(stored.entries()).physical_key == inside[0]
    both = reg.manifests.put(manifest("c", other, inside[1]))
    assert [e.physical_key for e in both.entries()] == inside
    assert reg.manifests.get(both.top_hash).to_bytes() == both.to_bytes()
    # Whoever comes later with other places inside finds the first ones standing.
    late = reg.manifests.put(manifest("c", f"{inside[0]}-copy", f"{inside[1]}-copy"))
    assert [e.physical_key for e in late.entries()] == inside


def test_a_folder_follows_the_newest_build_for_files_outside(tmp_path: Path) -> None:
    reg = Registry(open_store(str(tmp_path / "reg"), load_settings()), DEFAULT_LIMITS)
    first = reg.manifests.put(manifest("c", "file:///old/place"))
    second = reg.manifests.put(manifest("c", "file:///new/place"))
    assert first.top_hash == second.top_hash
    (entry,) = reg.manifests.get(second.top_hash).entries()
    assert entry.physical_key == "file:///new/place"


def test_a_bucket_takes_no_manifest_with_local_files(reg: Registry, store: Store) -> None:
    local = manifest("c", "file:///etc/passwd")
    if reg.url.startswith("file:"):
        assert reg.manifests.put(local).top_hash == local.top_hash
        return
    with pytest.raises(InvalidInputError):
        reg.manifests.put(local)
    # Nor does it give one out that somebody else put there.
    store.write(f".quilt/packages/{local.top_hash}", local.to_bytes())
    with pytest.raises(FormatError):
        reg.manifests.get(local.top_hash)


def test_metadata_of_directories_is_neither_overwritten_nor_dropped_silently(
    reg: Registry,
) -> None:
    header = {"version": "v0", "message": None}
    entries = [Entry("a/b", f"{reg.url}/x", 1, checksum_of(b"x"))]
    first = reg.manifests.put(Manifest.of(header, entries, [Directory("a/", {"v": 1})]))
    with pytest.raises(ConflictError):
        reg.manifests.put(Manifest.of(header, entries, [Directory("a/", {"v": 2})]))
    # Who has none to lose finds what stands.
    assert reg.manifests.put(Manifest.of(header, entries)).to_bytes() == first.to_bytes()
    assert list(reg.manifests.get(first.top_hash).directories()) == [Directory("a/", {"v": 1})]


def test_a_lost_object_may_be_brought_to_another_place(reg: Registry) -> None:
    gone, there = f"{reg.url}/o/gone", f"{reg.url}/o/there"
    reg.manifests.put(manifest("c", gone, there))
    new = manifest("c", f"{reg.url}/o/new", f"{there}-copy")
    merged = reg.manifests.put(new, {gone})
    assert [e.physical_key for e in merged.entries()] == [f"{reg.url}/o/new", there]


def test_a_damaged_pointer_hides_no_other_and_can_be_removed(reg: Registry, store: Store) -> None:
    first = publish(reg, "one")
    store.write(f".quilt/named_packages/{NAME}/1", b"damaged")
    assert [p.top_hash for p in reg.pointers.revisions(NAME)] == [first]
    store.write(LATEST, b"damaged")
    reg.pointers.delete(NAME)
    assert list(store.list(f".quilt/named_packages/{NAME}/")) == []


def test_of_rivals_with_one_expectation_exactly_one_wins(reg: Registry) -> None:
    start = publish(reg, "start")
    hashes = [reg.manifests.put(manifest(f"rival {i}")).top_hash for i in range(8)]
    outcomes: dict[str, bool] = {}
    barrier = threading.Barrier(len(hashes))

    def push(top_hash: str) -> None:
        barrier.wait()
        try:
            outcomes[top_hash] = reg.pointers.publish(NAME, top_hash, expected=start).changed
        except ConflictError:
            outcomes[top_hash] = False

    threads = [threading.Thread(target=push, args=(top_hash,)) for top_hash in hashes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    winners = [top_hash for top_hash, won in outcomes.items() if won]
    assert len(outcomes) == 8
    assert len(winners) == 1
    assert reg.pointers.resolve(NAME) == winners[0]
    assert [p.top_hash for p in reg.pointers.revisions(NAME)] == [start, winners[0]]


def _push_many(url: str, worker: int, count: int) -> None:
    reg = Registry(open_store(url, load_settings()), DEFAULT_LIMITS)
    for i in range(count):
        publish(reg, f"{worker}-{i}")


def test_processes_that_force_lose_no_revision(reg: Registry) -> None:
    workers, count = 4, 5
    context = multiprocessing.get_context("spawn")
    processes = [
        context.Process(target=_push_many, args=(reg.url, worker, count))
        for worker in range(workers)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(90)
        assert process.exitcode == 0
    expected = {manifest(f"{w}-{i}").top_hash for w in range(workers) for i in range(count)}
    listed = [p.top_hash for p in reg.pointers.revisions(NAME)]
    assert sorted(listed) == sorted(expected)
    assert reg.pointers.resolve(NAME) in expected


def test_the_files_are_quilt3s(reg: Registry, store: Store) -> None:
    top_hash = publish(reg, "one")
    keys = sorted(info.key for info in store.list(".quilt/"))
    (revision,) = reg.pointers.revisions(NAME)
    assert keys == sorted(
        [LATEST, f".quilt/named_packages/{NAME}/{revision.name}", f".quilt/packages/{top_hash}"]
    )
    header = json.loads(store.read(f".quilt/packages/{top_hash}").data.splitlines()[0])
    assert header == {"version": "v0", "message": None, "user_meta": {"content": "one"}}
