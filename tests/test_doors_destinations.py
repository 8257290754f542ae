"""Places to write that are traps: links, registries' own folders, two files in one place.

Each row is a case that was tried on another client of this format; the tests show that here it is
refused, with nothing written, or survived, with nothing lost.

| row | case | tests |
|---|---|---|
| 22 | symlinks at the destination | `test_row_22_...` |
| 30 | keys that differ in case only | `test_row_30_...` |
| 41 | two keys to one destination | `test_row_41_...` |
| - | a `dest` that leads elsewhere | `test_no_dest_...` |
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import t4_ops as t4
from t4_ops import operations
from t4_ops.checksums import checksum_of
from t4_ops.transfer import Target, check_targets
from tests.doors_support import (
    NAME,
    PLAIN,
    World,
    files_below,
    plant,
    record,
    refused,
    tree,
)

TEXT = b'{"value": "what was promised"}'


@PLAIN
def test_row_30_keys_that_differ_in_case_only_are_two_files_here(world: World) -> None:
    contents = {"A": b"1", "a": b"2", "d/É": b"3", "d/é": b"4", "D/x": b"5", "e\u0301": b"6"}
    contents["é"] = b"7"
    package = t4.Package()
    for key, data in contents.items():
        package.set(key + ".bin", data)
    package.build(NAME, world.outside.url)
    installed = t4.Package.install(NAME, world.outside.url, dest=world.root / "out")
    found = files_below(world.root / "out")
    assert found == {f"{key}.bin": data for key, data in contents.items()}
    assert installed.verify(world.root / "out")


@pytest.mark.parametrize(
    "keys", [("a", "A"), ("d/x", "D/x"), ("stra\u00dfe", "STRASSE"), ("é", "e\u0301")]
)
def test_row_30_where_case_does_not_count_twins_are_refused(keys: tuple[str, str]) -> None:
    package = t4.Package()
    for key in keys:
        package.set(f"{key}.bin", key.encode())
    targets = [Target(key, entry.entry) for key, entry in package.walk()]
    check_targets(targets, folds_case=False)
    error = refused(lambda: check_targets(targets, folds_case=True), t4.InvalidInputError)
    assert all(repr(f"{key}.bin") in str(error) for key in keys)
    check_targets(targets[:1], folds_case=True)


def two_files(world: World, first: bytes, second: bytes) -> t4.Package:
    package = t4.Package()
    for key, data in (("one.txt", first), ("two.txt", second)):
        (world.root / key).write_bytes(data)
        package.set(key, world.root / key)
    return package


def test_row_41_two_keys_with_different_bytes_do_not_go_to_one_place(world: World) -> None:
    package = two_files(world, b"first", b"second")
    before = world.state()
    for dest in (
        lambda key, entry: f"{world.outside.url}/both",
        lambda key, entry: f"{world.outside.url}/x/../both",
    ):
        refused(
            lambda dest=dest: package.push(NAME, world.outside.url, dest=dest), t4.InvalidInputError
        )
        assert world.state() == before


def test_row_41_a_hash_that_can_be_forged_does_not_make_two_files_one(world: World) -> None:
    planted = plant(
        world.other,
        *(
            record(
                key,
                world.other.put(f"objects/{key}", data),
                data,
                hash={"type": "CRC64NVME", "value": checksum_of(data, "CRC64NVME").value},
            )
            for key, data in (("one", b"first"), ("two", b"second"))
        ),
    )
    package = t4.Package.browse(NAME, planted.url)
    before = world.state()
    refused(
        lambda: package.push(
            NAME, world.outside.url, dest=lambda key, entry: f"{world.outside.url}/both"
        ),
        t4.InvalidInputError,
    )
    assert world.state() == before


def test_row_41_two_keys_with_equal_bytes_share_a_place(world: World) -> None:
    package = two_files(world, b"same", b"same")
    pushed = package.push(
        NAME, world.outside.url, dest=lambda key, entry: f"{world.outside.url}/both"
    )
    assert [pushed[key].get_bytes() for key in ("one.txt", "two.txt")] == [b"same", b"same"]
    assert world.outside.get("both") == b"same"


def test_no_dest_leads_out_of_the_registry_or_into_its_own_folders(world: World) -> None:
    url, file = world.outside.url, world.root / "file"
    file.write_bytes(b"evil")
    top_hash = t4.Package().set_text("a", "x").build("team/victim", url)
    package = t4.Package().set(f".quilt/packages/{top_hash}", file)
    elsewhere = "s3://another-bucket/x" if url.startswith("s3:") else "file:///elsewhere/x"
    other_kind = "file:///elsewhere/x" if url.startswith("s3:") else "s3://another-bucket/x"
    before = world.state()
    bad = [
        url,
        f"{url}/",
        f"{url}/.quilt",
        f"{url}/.t4/v1",
        f"{url}/.QUILT/x",
        f"{url}/../x",
        f"{url}/a/../../x",
        f"{url}//.quilt/packages",
        f"{url}-other/x",
        elsewhere,
        other_kind,
        "https://example.invalid/x",
    ]
    if url.startswith("s3:"):
        bad.append(f"{url}/x?versionId=1")
    for dest in bad:
        for given in (dest, lambda key, entry, dest=dest: dest):
            refused(
                lambda given=given: package.push(NAME, url, dest=given, force=True),
                t4.InvalidInputError,
            )
        refused(
            lambda dest=dest: operations.push(
                package.build("team/local") and "team/local", registry=url, name=NAME, dest=dest
            ),
            t4.InvalidInputError,
        )
        before.update({k: v for k, v in world.state().items() if "/home/" in k})
        assert world.state() == before, dest
    for wrong in (None, 5, b"bytes"):
        refused(
            lambda wrong=wrong: package.push(NAME, url, dest=lambda key, entry: wrong),
            t4.InvalidInputError,
        )
    assert t4.Package.browse("team/victim", url).top_hash == top_hash


def _source(world: World, data: bytes) -> Path:
    file = world.root / "source.json"
    file.write_bytes(data)
    return file


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """A folder beside the destination, with files that nobody may touch."""
    folder = tmp_path / "victim"
    (folder / "d").mkdir(parents=True)
    for name in ("data.json", "d/data.json"):
        (folder / name).write_bytes(b"the victim's")
    return folder


def writers(world: World) -> dict[str, Callable[[], Any]]:
    """Return every way to write `d/data.json` below the destination."""
    url = world.outside.url
    package = t4.Package().set("d/data.json", _source(world, TEXT)).push(NAME, url)
    world.outside.put("files/d/data.json", TEXT)
    found: dict[str, Callable[[], Any]] = {
        "fetch": lambda: package.fetch(world.dest),
        "install": lambda: t4.Package.install(NAME, url, dest=world.dest),
        "operations.install": lambda: operations.install(NAME, registry=url, dest=world.dest),
    }
    if not world.outside.is_folder:
        found["Bucket.fetch"] = lambda: t4.Bucket(url).fetch("files/", world.dest)
    return found


@PLAIN
def test_row_22_a_link_in_place_of_a_file_is_replaced_not_followed(
    world: World, victim: Path
) -> None:
    place = world.dest / "d" / "data.json"
    place.parent.mkdir()
    package_writers = writers(world)
    package = t4.Package.browse(NAME, world.outside.url)
    package_writers["entry.fetch"] = lambda: package["d/data.json"].fetch(place)
    package_writers["copy"] = lambda: t4.copy(package["d/data.json"].physical_key, place)
    before = tree(victim)
    for name, writer in package_writers.items():
        for target in (victim / "data.json", victim / "not there", Path("data.json")):
            place.unlink(missing_ok=True)
            place.symlink_to(target)
            writer()
            assert not place.is_symlink(), name
            assert place.read_bytes() == TEXT
            assert tree(victim) == before, name
    # A link to the very bytes is none of ours either: they could change.
    (victim / "same").write_bytes(TEXT)
    place.unlink()
    place.symlink_to(victim / "same")
    assert not package.verify(world.dest, extra_files_ok=True)
    package_writers["install"]()
    assert not place.is_symlink()
    assert package.verify(world.dest, extra_files_ok=True)


@PLAIN
def test_row_22_a_link_in_place_of_a_directory_is_refused(world: World, victim: Path) -> None:
    targets = {
        "outside": victim / "d",
        "inside": world.dest / "real",
        "dangling": victim / "not there",
        "loop": world.dest / "d",
        "relative": Path("../../victim/d"),
    }
    (world.dest / "real").mkdir()
    actions = writers(world)
    link = world.dest / "d"
    package = t4.Package.browse(NAME, world.outside.url)
    for where, target in targets.items():
        link.unlink(missing_ok=True)
        link.symlink_to(target)
        before = world.state()
        for name, action in actions.items():
            error = refused(action, t4.InvalidInputError)
            assert str(link) in str(error), name
        assert not package.verify(world.dest, extra_files_ok=True)
        assert world.state() == before, where


@PLAIN
def test_row_22_the_destination_itself_may_be_a_link(world: World, victim: Path) -> None:
    real = world.root / "real"
    real.mkdir()
    for name, action in writers(world).items():
        real.rename(world.root / f"was {name}")
        real.mkdir()
        for old in (world.dest, *world.dest.glob("theirs.txt")):
            if old.is_symlink():
                old.unlink()
        if world.dest.is_dir():
            (world.dest / "theirs.txt").unlink()
            world.dest.rmdir()
        world.dest.symlink_to(real)
        action()
        assert world.dest.is_symlink()
        assert files_below(real) == {"d/data.json": TEXT}, name
        assert t4.Package.browse(NAME, world.outside.url).verify(world.dest)


@PLAIN
def test_row_22_a_destination_that_can_not_be_is_refused(world: World, victim: Path) -> None:
    (world.root / "dangling").symlink_to(victim / "not there")
    (world.root / "loop").symlink_to(world.root / "loop")
    writers(world)
    url = world.outside.url
    package = t4.Package.browse(NAME, url)
    before = world.state()
    for dest in (
        victim / "data.json",
        victim / "data.json" / "below",
        world.root / "dangling",
        world.root / "loop",
    ):
        actions = [
            lambda d=dest: package.fetch(d),
            lambda d=dest: package["d"].fetch(d),
            lambda d=dest: t4.Package.install(NAME, url, dest=d),
            lambda d=dest: operations.install(NAME, registry=url, dest=d),
            lambda d=dest: package["d/data.json"].fetch(d / "x"),
            lambda d=dest: t4.copy(package["d/data.json"].physical_key, d / "x"),
        ]
        if not world.outside.is_folder:
            actions.append(lambda d=dest: t4.Bucket(url).fetch("files/", d))
        for action in actions:
            refused(action, t4.InvalidInputError, t4.StorageError)
        assert world.state() == before, dest


@PLAIN
def test_row_22_a_directory_or_special_file_in_the_way_stays(world: World) -> None:
    place = world.dest / "d" / "data.json"
    actions = writers(world)
    for make in (lambda: (place / "x").mkdir(parents=True), lambda: place.parent.write_bytes(b"f")):
        make()
        before = world.state()
        for action in actions.values():
            refused(action, t4.InvalidInputError)
        assert world.state() == before
        (place / "x").rmdir() if place.is_dir() else place.parent.unlink()
        if place.is_dir():
            place.rmdir()
            place.parent.rmdir()
    place.parent.mkdir()
    os.mkfifo(place)
    actions["install"]()
    assert place.read_bytes() == TEXT


def test_row_22_links_in_a_folder_registry_are_not_followed(local: World, victim: Path) -> None:
    """Whoever can write into a registry can't have us write elsewhere through it."""
    root = Path(local.outside.url.removeprefix("file://"))
    for link in (
        ".quilt",
        ".quilt/packages",
        ".quilt/named_packages",
        f".quilt/named_packages/{NAME}",
        ".t4",
        ".t4/v1/objects",
    ):
        place = root / link
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(victim)
        before = local.state()
        refused(
            lambda: t4.Package().set("a.bin", b"x").push(NAME, local.outside.url),
            t4.InvalidInputError,
        )
        assert local.state() == before, link
        place.unlink()
    pushed = t4.Package().set("a.bin", b"x").push(NAME, local.outside.url)
    manifest = root / ".quilt" / "packages" / pushed.top_hash
    manifest.rename(local.root / "moved")
    manifest.symlink_to(local.root / "moved")
    refused(lambda: t4.Package.browse(NAME, local.outside.url), t4.InvalidInputError)
