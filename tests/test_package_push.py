"""Pushing: where to, which entries, under whose eyes; who wins, and who has to look again."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

import t4_ops as t4
from demo.seaweedfs import SeaweedFS
from t4_ops.keys import PhysicalKey
from t4_ops.settings import load_settings
from t4_ops.transfer import Cancelled
from tests.package_support import (
    NAME,
    contents_of,
    objects_of,
    place_of,
    scan,
    store_of,
    write_files,
)
from tests.s3_support import client_of

FILES = {"a": b"one", "b/c": b"two", "large": b"l" * (8 * 1024 * 1024 + 1)}


def test_dest_says_where_new_objects_go(registry: str, tmp_path: Path) -> None:
    url = store_of(registry).url
    files = {"a": b"1", "b/c": b"2"}
    package = scan(tmp_path / "files", files)
    pushed = package.push(NAME, registry, dest=f"{url}/raw/area")
    assert objects_of(registry).keys() == {"raw/area/a", "raw/area/b/c"}
    assert contents_of(pushed) == files
    named = t4.Package().set_dir("/", write_files(tmp_path / "more", {"d": b"3"}))
    pushed = named.push(
        "team/other", registry, dest=lambda key, entry: f"{url}/by-size/{entry.size}/{key}"
    )
    assert "by-size/1/d" in objects_of(registry)
    assert contents_of(pushed) == {"d": b"3"}
    root = named.push("team/root", registry, dest=url)
    assert PhysicalKey.parse(root.get("d")).path.endswith("/d")

    before = objects_of(registry)
    other = scan(tmp_path / "others", {"x": b"x", "y": b"y"})
    for bad in (
        "s3://another-bucket/raw",
        "/elsewhere",
        f"{url}/raw?versionId=1",
        f"{url}/.quilt/packages",
        f"{url}/.t4/v1",
        f"{url}/../raw",
        lambda key, entry: f"{url}/one",
        lambda key, entry: url,
        lambda key, entry: 7,
    ):
        with pytest.raises(t4.InvalidInputError):
            other.push("team/bad", registry, dest=bad)  # type: ignore[arg-type]
    assert objects_of(registry) == before
    assert "team/bad" not in t4.list_packages(registry)


def test_dest_never_overwrites_what_an_older_revision_needs(registry: str, tmp_path: Path) -> None:
    dest = f"{store_of(registry).url}/raw"
    first = scan(tmp_path / "1", {"a": b"old"}).push(NAME, registry, dest=dest)
    changed = t4.Package.browse(NAME, registry).set("a", write_files(tmp_path, {"n": b"new"}) / "n")
    if store_of(registry).is_versioned:
        changed.push(NAME, registry, dest=dest)
    else:
        with pytest.raises(t4.ConflictError, match="raw/a"):
            changed.push(NAME, registry, dest=dest)
        # The very bytes that are there already are no conflict.
        scan(tmp_path / "1", {"a": b"old"}).push("team/same", registry, dest=dest)
    assert contents_of(t4.Package.browse(NAME, registry, first.top_hash)) == {"a": b"old"}


def test_selector_fn_says_what_is_brought(registry: str, tmp_path: Path) -> None:
    url = store_of(registry).url
    for key in ("raw/a", "raw/b"):
        store_of(registry).write(key, key.encode())
    package = t4.Package().set("a", f"{url}/raw/a").set("b", f"{url}/raw/b")
    before = {key: package.get(key) for key in "ab"}
    stays = package.push("team/stays", registry)
    assert {key: stays.get(key) for key in "ab"} == before
    package.set_meta({"another": "top hash"})
    asked: list[tuple[str, Any]] = []

    def only_a(key: str, entry: t4.PackageEntry) -> bool:
        asked.append((key, entry.size))
        return key == "a"

    brought = package.push(NAME, registry, selector_fn=only_a)
    assert {("a", 5), ("b", 5)} == set(asked)
    place = PhysicalKey.parse(f"{url}/").join(place_of(registry, "a", b"raw/a"))
    if store_of(registry).is_versioned:
        assert brought.get("a").startswith(str(place))
        assert brought.get("b") == before["b"]
    assert contents_of(brought) == {"a": b"raw/a", "b": b"raw/b"}

    local = scan(tmp_path / "files", {"x": b"x"})
    if registry.startswith("s3:"):
        with pytest.raises(t4.InvalidInputError, match="'x' is local"):
            local.push("team/local", registry, selector_fn=lambda *_: False)
    else:
        left = local.push("team/local", registry, selector_fn=lambda *_: False)
        assert left.get("x") == local.get("x")


def test_the_message_is_part_of_the_hash_and_kept(registry: str, tmp_path: Path) -> None:
    package = scan(tmp_path / "files", {"a": b"1"})
    built = package.build(NAME, tmp_path / "local", "built")
    assert package.push(NAME, registry).top_hash == built
    browsed = t4.Package.browse(NAME, registry)
    assert browsed.push(NAME, registry).top_hash == built
    other = browsed.push(NAME, registry, message="other")
    assert other.top_hash != built
    assert next(other.manifest)["message"] == "other"
    assert package.build(NAME, tmp_path / "local") not in (built, other.top_hash)
    with pytest.raises(t4.InvalidInputError):
        package.build(NAME, tmp_path / "local", 7)  # type: ignore[arg-type]


def test_who_pushes_second_has_to_look_first(registry: str, tmp_path: Path) -> None:
    files = write_files(tmp_path / "files", {"a": b"1", "b": b"2", "c": b"3"})
    mine = t4.Package().set("x", files / "a")
    pushed = mine.push(NAME, registry)
    # One object may be pushed twice, changed in between, and what it returned goes on as well.
    assert mine.push(NAME, registry).top_hash == pushed.top_hash
    second = mine.set("y", files / "b").push(NAME, registry)
    assert mine.ref == second.ref
    with pytest.raises(t4.ConflictError):
        pushed.set("z", files / "c").push(NAME, registry)

    theirs = t4.Package.browse(NAME, registry)
    third = t4.Package.browse(NAME, registry).set("z", files / "c").push(NAME, registry)
    before = objects_of(registry)
    late = theirs.set("late", write_files(tmp_path / "late", {"l": b"late"}) / "l")
    with pytest.raises(t4.ConflictError) as caught:
        late.push(NAME, registry)
    assert (caught.value.name, caught.value.expected, caught.value.actual) == (
        NAME,
        second.top_hash,
        third.top_hash,
    )
    # A stranger must not replace a package he never saw; the same content is no conflict.
    with pytest.raises(t4.ConflictError):
        t4.Package().set("l", tmp_path / "late" / "l").push(NAME, registry)
    same = t4.Package().set("x", files / "a").set("y", files / "b").set("z", files / "c")
    assert same.push(NAME, registry).top_hash == third.top_hash
    assert objects_of(registry) == before
    assert t4.Package.browse(NAME, registry).top_hash == third.top_hash
    forced = late.push(NAME, registry, force=True)
    assert t4.Package.browse(NAME, registry).top_hash == forced.top_hash
    # A build takes what it finds: it is for one's own registry.
    t4.Package().set("x", files / "a").build(NAME, registry)


def test_a_stopped_push_publishes_nothing(registry: str, tmp_path: Path) -> None:
    stop = threading.Event()
    package = scan(tmp_path / "files", FILES)

    def stop_at_last(key: str, entry: t4.PackageEntry) -> bool:
        if key == "large":
            stop.set()
        return True

    with pytest.raises(Cancelled):
        package.push(NAME, registry, selector_fn=stop_at_last, stop=stop)
    assert t4.list_packages(registry) == []
    for publish in (package.build, package.push):
        with pytest.raises(Cancelled):
            publish(NAME, registry, stop=stop)
    assert t4.list_packages(registry) == []
    stop.clear()
    assert contents_of(package.push(NAME, registry, stop=stop)) == FILES


def test_names_and_registries_are_checked_first(s3_env: SeaweedFS, tmp_path: Path) -> None:
    package = scan(tmp_path / "files", {"a": b"1"})
    for name in ("a", "a/b/c", "a/b\n", "../b", "a b/c", "é/b"):
        with pytest.raises(t4.InvalidInputError):
            package.push(name, tmp_path / "registry")
        with pytest.raises(t4.InvalidInputError):
            package.build(name, tmp_path / "registry")
    for registry in ("s3://bucket/below", "http://host", "s3://"):
        with pytest.raises(t4.InvalidInputError):
            package.push(NAME, registry)
    assert not (tmp_path / "registry").exists()
    with pytest.raises(t4.T4Error, match="no-such-bucket"):
        package.push(NAME, "s3://no-such-bucket-here")


def test_the_default_registry_is_the_settings(own_home: Path, tmp_path: Path) -> None:
    package = scan(tmp_path / "files", {"a": b"1"})
    top_hash = package.build(NAME)
    assert t4.list_packages() == [NAME]
    assert t4.list_package_versions(NAME)[-1] == ("latest", top_hash)
    assert (own_home / "registry" / ".quilt" / "packages" / top_hash).is_file()
    elsewhere = load_settings(registry=str(tmp_path / "mine"))
    t4.Package(settings=elsewhere).set("a", tmp_path / "files" / "a").push("team/mine")
    assert t4.list_packages(settings=elsewhere) == ["team/mine"]
    t4.delete_package(NAME)
    assert t4.list_packages() == []


@pytest.mark.parametrize("again", [False, True])
def test_bytes_are_sent_where_somebody_overwrote_the_place_that_held_them(
    again: bool, unversioned_bucket: str, s3_env: SeaweedFS
) -> None:
    registry, before = f"s3://{unversioned_bucket}", b"before" * 100
    client = client_of(s3_env)
    client.put_object(Bucket=unversioned_bucket, Key="raw/x", Body=before)
    t4.Package().set("x", f"{registry}/raw/x").push(NAME, registry)
    package = t4.Package.browse(NAME, registry)
    client.put_object(Bucket=unversioned_bucket, Key="raw/x", Body=b"behind" * 100)
    # The same revision once more, or another one with the same bytes.
    pushed = package.set("x" if again else "y", before).push(NAME, registry)
    assert pushed["x" if again else "y"].get_bytes() == before
    if again:
        assert t4.Package.browse(NAME, registry)["x"].get_bytes() == before
