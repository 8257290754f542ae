"""Logical keys that lead astray, at every door of the library.

Each row is a case that was tried on another client of this format; the tests show that here it is
refused, with nothing written, or survived, with nothing lost.

| row | case | tests |
|---|---|---|
| 1 | `../` in a key of a remote manifest, install | `test_rows_1_3_28_...`, `test_rows_1_28_...` |
| 2 | the same by fetch and install(path=) | `test_rows_1_3_28_...`, `test_row_2_...` |
| 3 | absolute key | `test_rows_1_3_28_...` |
| 26 | duplicate keys | `test_rows_26_27_...` |
| 27 | a file and a directory of one name | `test_rows_26_27_...`, `test_row_27_...` |
| 28 | `a//b`, `.`, `..`, empty, NUL, newline | `test_rows_1_3_28_...`, `test_rows_1_28_...` |
| 29 | a record without physical keys and slash | `test_row_29_...` |
| 31 | nesting of 1,000 levels | `test_rows_1_3_28_31_34_...` |
| 34 | lone surrogates in keys | `test_rows_1_3_28_31_34_...` |
| - | keys in `.quilt/` and `.t4/` | `test_a_key_...` |
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import t4_ops as t4
from demo.seaweedfs import SeaweedFS
from t4_ops import operations
from tests.doors_support import (
    GOOD,
    NAME,
    PLAIN,
    USE_DOORS,
    Outside,
    World,
    assert_refused_everywhere,
    chunked,
    hostile,
    record,
    refused,
)
from tests.s3_support import Fault, run_relay

BAD_KEYS = (
    "../../evil",
    "a/../../../evil",
    "..",
    ".",
    "a/./b",
    "/absolute",
    "//absolute",
    "",
    "a//b",
    "a/",
    "a\0b",
    "a\nb",
    "a\x7fb",
    "back\\slash",
    "..\\evil",
    "C:/evil",
    "C:evil",
    "lone\ud800",
    "/".join(["d"] * 1000),
    "k" * 1025,
)


@pytest.mark.parametrize("key", BAD_KEYS)
def test_rows_1_3_28_31_34_a_bad_key_in_a_stored_manifest_is_refused(
    local: World, key: str
) -> None:
    evil = local.outside.put("objects/evil", b"evil")
    planted = hostile(local.outside, record(key, evil, b"evil"))
    assert_refused_everywhere(local, planted, t4.FormatError)


def test_rows_1_3_28_a_bad_key_in_a_remote_manifest_is_refused(remote: World) -> None:
    evil = remote.outside.put("objects/evil", b"evil")
    for key in ("../../evil", "/absolute", "a//b", "a\nb", "lone\ud800"):
        planted = hostile(remote.outside, record(key, evil, b"evil"))
        assert_refused_everywhere(remote, planted, t4.FormatError)


@pytest.mark.parametrize("key", BAD_KEYS)
def test_rows_1_3_28_31_34_a_bad_key_in_a_manifest_file_is_refused(local: World, key: str) -> None:
    evil = local.outside.put("objects/evil", b"evil")
    planted = hostile(local.outside, record(key, evil, b"evil"))
    before = local.state()
    refused(lambda: list(planted.load().walk()), t4.FormatError)
    assert local.state() == before


SETTERS: dict[str, Callable[[t4.Package, str, Path], Any]] = {
    "set path": lambda p, key, file: p.set(key, file),
    "set object": lambda p, key, file: p.set(key, b"evil"),
    "set text": lambda p, key, file: p.set_text(key, "evil"),
    "set entry": lambda p, key, file: p.set(key, t4.Package().set("x", file)["x"]),
    "set in a view": lambda p, key, file: p["good"].set(key, file),
    "set entry with metadata": lambda p, key, file: p.set(key, file, meta={"a": 1}),
}


@pytest.mark.parametrize("setter", SETTERS)
@pytest.mark.parametrize("key", BAD_KEYS)
def test_rows_1_3_28_31_34_a_bad_key_is_not_set(local: World, setter: str, key: str) -> None:
    if "view" in setter and key.startswith("C:"):
        key = f"C:\\{key}"  # below a directory a colon is a letter like others
    file = local.root / "source"
    file.write_bytes(b"evil")
    package = t4.Package().set(GOOD, file)
    refused(lambda: SETTERS[setter](package, key, file), t4.InvalidInputError)
    assert [name for name, _ in package.walk()] == [GOOD]
    package.build(NAME, local.outside.url)
    assert [name for name, _ in t4.Package.browse(NAME, local.outside.url).walk()] == [GOOD]


@pytest.mark.parametrize("key", ["..", "../up", "a/../../up", "a//b", "a\nb", "a\\b", "lone\ud800"])
def test_rows_1_28_a_bad_directory_is_not_set(local: World, key: str) -> None:
    source = local.root / "source"
    source.mkdir()
    (source / "file").write_bytes(b"evil")
    package = t4.Package()
    before = local.state()
    refused(lambda: package.set_dir(key, source), t4.InvalidInputError)
    refused(lambda: package.set_dir(key, source, meta={"a": 1}), t4.InvalidInputError)
    refused(
        lambda: operations.build(NAME, {key: source}, registry=local.outside.url),
        t4.InvalidInputError,
    )
    assert list(package.walk()) == []
    assert package.keys() == []
    assert local.state() == before


@PLAIN
def test_row_2_a_path_that_leads_out_is_refused(world: World) -> None:
    planted = hostile(world.outside)
    before = world.state()
    for path in ("..", "../x", "good/../..", "/", "good//x", "a\0", "\ud800"):
        options: dict[str, Any] = {"registry": planted.url, "dest": world.dest, "path": path}
        refused(lambda o=options: t4.Package.install(NAME, **o), t4.InvalidInputError)
        refused(lambda o=options: operations.install(NAME, **o), t4.InvalidInputError)
    assert world.state() == before


def listing(*keys: str) -> Fault:
    """Return a server's answer that lists these keys below `in/`."""
    items = [
        f"<Contents><Key>in/{key}</Key><Size>4</Size><ETag>x</ETag>"
        "<LastModified>2026-01-01T00:00:00Z</LastModified></Contents>"
        for key in keys
    ]
    start = "<ListBucketResult><IsTruncated>false</IsTruncated>"
    body = f"{start}{''.join(items)}</ListBucketResult>"
    return Fault(200, body.encode(), {"Content-Type": "application/xml"})


def test_rows_1_3_28_a_bucket_that_lists_bad_keys_is_refused(
    unversioned_bucket: str, s3_env: SeaweedFS, tmp_path: Path
) -> None:
    url = f"s3://{unversioned_bucket}"
    home = World(tmp_path, Outside(url))
    home.outside.put("in/first.txt", b"good")
    before = home.state()
    with run_relay(s3_env.endpoint_url) as relay:
        settings = t4.load_settings(s3=t4.S3Settings(endpoint_url=relay.url))
        bucket = t4.Bucket(url, settings=settings)
        package = t4.Package(settings=settings)
        for key in ("../../evil", "a/../../evil", "//absolute", "a//b", "back\\slash", "a/./x"):
            answer = listing("first.txt", key)
            relay.rule = lambda r, a=answer: a if "list-type=2" in r.target else None
            for action in (
                lambda: bucket.fetch("in/", tmp_path / "dest"),
                lambda: package.set_dir("", f"{url}/in"),
                lambda: package.set_dir("below", f"{url}/in"),
                lambda: operations.build(NAME, f"{url}/in/", settings=settings),
            ):
                refused(action, t4.InvalidInputError)
            assert package.keys() == []
            assert home.state() == before, key


def test_row_27_a_bucket_with_a_file_and_a_directory_of_one_name(
    bucket_registry: str, tmp_path: Path
) -> None:
    home = World(tmp_path, Outside(bucket_registry))
    for key in ("in/a", "in/a/b", "in/c"):
        home.outside.put(key, b"x")
    package = t4.Package().set_text("kept", "x")
    before = home.state()
    for action in (
        lambda: package.set_dir("", f"{bucket_registry}/in"),
        lambda: t4.Bucket(bucket_registry).fetch("in/", home.dest),
    ):
        refused(action, t4.InvalidInputError)
    assert package.keys() == ["kept"]
    assert home.state() == before


@PLAIN
def test_rows_26_27_a_key_twice_or_a_file_and_directory_of_one_name_is_refused(
    world: World,
) -> None:
    first, second = (world.outside.put(f"objects/{name}", b"x") for name in "ab")
    x = b"x"
    for bad in (
        [record("a", first, x), record("a", second, x)],
        [record(GOOD, first, x)],
        [record("a", first, x), record("a/b", second, x)],
        [record("a/b", first, x), record("a", second, x)],
        [record("good", second, x)],
        [{"logical_key": f"{GOOD}/", "meta": {"a": 1}}],
        [{"logical_key": "d/", "meta": {"a": 1}}, {"logical_key": "d/", "meta": {"a": 2}}],
    ):
        planted = hostile(world.outside, *bad)
        assert_refused_everywhere(world, planted, t4.FormatError)
        refused(planted.load, t4.FormatError)


def test_row_27_a_file_is_not_set_over_a_directory_nor_below_a_file(local: World) -> None:
    folder = local.root / "source"
    (folder / "f").mkdir(parents=True)
    (folder / "f" / "inner").write_bytes(b"x")
    (folder / "first").write_bytes(b"x")
    package = t4.Package().set_text("d/f", "file").set_text("g/h", "file")
    keys = [key for key, _ in package.walk()]
    for action in (
        lambda: package.set_text("d", "over a directory"),
        lambda: package.set_text("d/f/x", "below a file"),
        lambda: package.set("d", package["g/h"]),
        lambda: package.set_dir("d", folder),
        lambda: package["d"].set_dir("f", folder),
        lambda: package["d"].set_text("f/x", "below a file"),
        lambda: package.set_dir("d/f", folder, meta={"a": 1}),
    ):
        refused(action, t4.InvalidInputError)
        assert [key for key, _ in package.walk()] == keys
    package.delete("d")
    package.set_text("d", "now it may be one")
    assert package["d"].get_as_string() == "now it may be one"


@PLAIN
def test_row_29_a_record_without_place_does_not_overwrite_its_parents_metadata(
    world: World,
) -> None:
    header = {"version": "v0", "message": None, "user_meta": {"of": "the package"}}
    for bad in (
        record("stray", "", b"", physical_keys=..., size=..., hash=..., meta={"of": "evil"}),
        record("good/stray", "", b"", physical_keys=[], meta={"of": "evil"}),
        record("stray", "", b"", physical_keys=None, meta={"of": "evil"}),
    ):
        planted = hostile(world.outside, bad, header=header)
        assert_refused_everywhere(world, planted, t4.FormatError)
        loaded = planted.load()
        assert loaded.meta == {"of": "the package"}
        for name, door in USE_DOORS.items():
            if name != "fetch view":
                refused(lambda d=door, p=loaded: d(world, p), t4.FormatError)


RESERVED_KEYS = (
    ".quilt/packages/" + "0" * 64,
    f".quilt/named_packages/{NAME}/latest",
    ".t4/v1/objects/ab/cd",
    ".QUILT/x",
    "sub/.quilt/x",
    "sub/.T4/x",
    ".quilt",
)


@PLAIN
def test_a_key_in_a_registrys_folder_is_not_installed(world: World) -> None:
    evil = world.outside.put("objects/evil", b"evil")
    # A registry is the destination where the file would do the most harm.
    dest = world.dest
    t4.Package().set_text("a", "x").build(NAME, dest.as_uri())
    for key in RESERVED_KEYS:
        planted = hostile(world.outside, record(key, evil, b"evil", hash=chunked(b"evil")))
        package = t4.Package.browse(NAME, planted.url)
        before = world.state()
        for action in (
            lambda p=planted: t4.Package.install(NAME, p.url, dest=dest),
            lambda p=planted: operations.install(NAME, registry=p.url, dest=dest),
            lambda p=package: p.fetch(dest),
            lambda p=planted: p.load().fetch(dest),
            lambda p=package: p.verify(dest),
        ):
            refused(action, t4.InvalidInputError)
        assert world.state() == before, key


def test_a_key_that_is_a_registrys_folder_is_not_fetched(local: World) -> None:
    evil = local.outside.put("objects/evil", b"evil")
    planted = hostile(local.outside, record("sub/.quilt", evil, b"evil"))
    entry = t4.Package.browse(NAME, planted.url)["sub/.quilt"]
    before = local.state()
    refused(lambda: entry.fetch(local.dest), t4.InvalidInputError)
    refused(
        lambda: t4.Package.install(NAME, planted.url, dest=local.dest, path="sub/.quilt"),
        t4.InvalidInputError,
    )
    assert local.state() == before
