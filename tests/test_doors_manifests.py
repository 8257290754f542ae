"""Manifests, hashes and pointers that lie, at every door of the library.

Each row is a case that was tried on another client of this format; the tests show that here it is
refused, with nothing written, or survived, with nothing lost.

| row | case | tests |
|---|---|---|
| 4 | `file://` in a remote manifest, install | `test_rows_4_5_...` |
| 5 | the same, push and get_bytes | `test_rows_4_5_...`, `test_row_5_...` |
| 9 | manifest changed under its hash, browse | `test_rows_9_10_...` |
| 10 | the same, install | `test_rows_9_10_...` |
| 11 | manifest without a message | `test_row_11_...` |
| 12 | local manifest edited on disk | `test_row_12_...` |
| 17 | revisions of one second | `test_row_17_...` |
| 18 | a slow clock | `test_row_18_...` |
| 31 | deep nesting | `test_row_31_...`, `test_rows_31_37_...` |
| 32 | huge records | `test_row_32_...` |
| 33 | NaN and infinity | `test_row_33_...` |
| 34 | lone surrogates | `test_row_34_...` |
| 35 | integer metadata keys | `test_row_35_...` |
| 36 | hash of an unknown type | `test_row_36_...` |
| 37 | 64 characters that are no hash | `test_rows_37_38_...`, `test_rows_31_37_...` |
| 38 | another package's hash | `test_row_38_...` |
| 39 | pointers with a newline, with `../` | `test_row_39_...` |
| 42 | metadata of directories | `test_row_42_...` |
| 43 | the same content pushed elsewhere | `test_row_43_...` |
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pytest_mock import MockerFixture

import t4_ops as t4
from t4_ops import operations
from t4_ops.checksums import checksum_of
from tests.doors_support import (
    GOOD,
    LATEST,
    NAME,
    SECOND,
    USE_DOORS,
    Outside,
    World,
    assert_refused_everywhere,
    chunked,
    files_below,
    hostile,
    plant,
    point,
    record,
    refused,
    sha256,
    top_hash_of,
    world_of,
)

V0 = {"version": "v0", "message": None}


# For cases that an object's version has no part in.
PLAIN = pytest.mark.parametrize("registry", ["folder", "unversioned"], indirect=True)


@pytest.fixture
def local(tmp_path: Path) -> World:
    return world_of(tmp_path, (tmp_path / "registry").as_uri())


@pytest.fixture
def remote(tmp_path: Path, bucket_registry: str) -> World:
    return world_of(tmp_path, bucket_registry)


@pytest.fixture
def world(tmp_path: Path, registry: str) -> World:
    return world_of(tmp_path, registry)


# Local files in remote manifests


def test_rows_4_5_a_remote_manifest_with_a_local_file_is_refused(remote: World) -> None:
    secret = remote.root / "secret"
    secret.write_bytes(b"the reader's own")
    path = str(secret)
    for url in (
        secret.as_uri(),
        f"file://localhost{path}",
        f"FILE://{path}",
        f"file:{path}",
        path,
        f"file:///{remote.root.name}/../..{path}",
        "t4-object:00000000-0000-0000-0000-000000000000",
        "https://example.invalid/secret",
    ):
        planted = hostile(remote.outside, record("stolen", url, secret.read_bytes()))
        assert_refused_everywhere(remote, planted, t4.FormatError)


def test_rows_4_5_a_manifest_file_names_files_and_objects_only(local: World) -> None:
    for url in (
        "t4-object:00000000-0000-0000-0000-000000000000",
        "https://example.invalid/secret",
        "/etc/hostname",
        "file://elsewhere/secret",
        "",
    ):
        loaded = hostile(local.outside, record("stolen", url, b"x")).load()
        before = local.state()
        for name, door in USE_DOORS.items():
            if name != "fetch view":
                refused(lambda d=door, p=loaded: d(local, p), t4.FormatError)
        refused(lambda p=loaded: p["stolen"], t4.FormatError)
        assert local.state() == before, url


def test_row_5_a_push_does_not_refer_a_bucket_to_local_files(remote: World) -> None:
    secret = remote.root / "secret"
    secret.write_bytes(b"the reader's own")
    package = t4.Package().set("a", secret)
    package.build(NAME, remote.other.url)
    before = remote.state()
    refused(
        lambda: package.push(NAME, remote.outside.url, selector_fn=lambda key, entry: False),
        t4.InvalidInputError,
    )
    assert remote.state() == before


def test_row_5_a_local_file_whose_bytes_a_manifest_does_not_know_is_not_read(world: World) -> None:
    """A manifest in a file may name local files; without their hash it still gets none of them."""
    secret = world.root / "secret"
    secret.write_bytes(b"the reader's own")
    planted = hostile(world.other, record("stolen", secret.as_uri(), b"a guess"))
    for package in (planted.load(), t4.Package.browse(NAME, planted.url)):
        entry = package["stolen"]
        for action in (
            entry.get_bytes,
            entry.get_as_string,
            lambda e=entry: e.deserialize(bytes),
            lambda e=entry: e.fetch(world.dest),
            lambda p=package: p.fetch(world.dest),
            lambda p=package: p.push(NAME, world.outside.url),
        ):
            refused(action, t4.IntegrityError)
    assert not (world.dest / "stolen").exists()
    # Objects that nothing refers to may be left; this one may not, and nothing is published.
    assert all(world.outside.get(key) != secret.read_bytes() for key in world.outside.all_keys())
    assert not any(key.startswith(".quilt/") for key in world.outside.all_keys())


# Manifests that are not what they are called


def changed(data: bytes) -> dict[str, bytes]:
    """Return ways in which a manifest can be changed under its name."""
    lines = data.splitlines(keepends=True)
    return {
        "size": data.replace(b'"size": 4', b'"size": 3', 1),
        "key": data.replace(b"good/file", b"evil/file", 1),
        "hash": data.replace(b'"value": "', b'"value": "0', 1),
        "metadata": data.replace(b'"meta": {}', b'"meta": {"user_meta": {"a": 1}}', 1),
        "message": data.replace(b'"message": null', b'"message": ""', 1),
        "version": data.replace(b'"v0"', b'"v1"', 1),
        "header key": data.replace(b'"message": null', b'"message": null, "x": 1', 1),
        "entry removed": lines[0],
        "entry added": data + lines[1].replace(b"good/file", b"good/more"),
        "cut off": data[:-9],
        "cut off in the header": data[:9],
        "empty": b"",
        "other text": b"<html>",
        "bytes": bytes(range(256)),
    }


@PLAIN
def test_rows_9_10_a_manifest_changed_under_its_hash_is_refused(world: World) -> None:
    planted = hostile(world.outside)
    for what, data in changed(planted.data).items():
        assert data != planted.data, what
        world.outside.put(f".quilt/packages/{planted.top_hash}", data)
        assert_refused_everywhere(world, planted, t4.IntegrityError, t4.FormatError)
    world.outside.put(f".quilt/packages/{planted.top_hash}", planted.data)
    assert t4.Package.browse(NAME, planted.url).top_hash == planted.top_hash


@PLAIN
def test_rows_9_10_a_manifest_that_is_gone_is_told(world: World) -> None:
    planted = hostile(world.outside)
    point(world.outside, "1" * 64)
    missing = type(planted)(world.outside, "1" * 64, planted.data)
    error = assert_refused_everywhere(world, missing, t4.NotFoundError)
    assert "1" * 64 in str(error)


def test_rows_9_10_a_push_gets_past_a_damaged_latest_and_keeps_the_history(world: World) -> None:
    url = world.outside.url
    first = t4.Package().set("a.bin", b"1").build(NAME, url)
    package = t4.Package.browse(NAME, url).set("a.bin", b"2")
    damaged = package.push(NAME, url).top_hash
    world.outside.put(f".quilt/packages/{damaged}", b"damaged")
    pushed = package.set("a.bin", b"3").push(NAME, url)
    assert t4.Package.browse(NAME, url)["a.bin"].get_bytes() == b"3"
    assert [top_hash for _, top_hash in t4.list_package_versions(NAME, url)] == [
        first,
        damaged,
        pushed.top_hash,
        pushed.top_hash,
    ]
    assert world.outside.get(f".quilt/packages/{damaged}") == b"damaged"


@PLAIN
def test_rows_9_10_a_push_does_not_repair_a_manifest_by_overwriting_it(world: World) -> None:
    url = world.outside.url
    package = t4.Package().set("a.bin", b"1")
    top_hash = package.build(NAME, url)
    world.outside.put(f".quilt/packages/{top_hash}", b"damaged\n")
    before = world.state()
    for force in (False, True):
        refused(
            lambda force=force: package.push(NAME, url, force=force),
            t4.IntegrityError,
            t4.FormatError,
        )
    assert world.state() == before


@PLAIN
def test_row_11_a_manifest_without_a_message_is_installed_as_it_is(world: World) -> None:
    url = world.outside.put("objects/good", b"good")
    planted = plant(world.outside, record(GOOD, url, b"good"), header={"version": "v0"})
    for action in (
        lambda: t4.Package.install(NAME, planted.url, dest=world.dest),
        lambda: t4.Package.install(NAME, planted.url, planted.top_hash, dest=world.dest),
    ):
        assert action().top_hash == planted.top_hash
    assert (world.dest / GOOD).read_bytes() == b"good"
    if not world.outside.is_folder or "/home/" not in world.outside.url:
        noted = Outside(t4.load_settings().registry)
        assert noted.get(f".quilt/packages/{planted.top_hash}") == planted.data
        assert noted.get(LATEST) == planted.top_hash.encode()
    assert t4.Package.browse(NAME, top_hash=planted.top_hash)[GOOD].get_bytes() == b"good"


def test_row_12_a_local_manifest_edited_on_disk_is_not_used(remote: World) -> None:
    planted = hostile(remote.outside)
    t4.Package.install(NAME, planted.url, dest=remote.root / "first")
    noted = Outside(t4.load_settings().registry)
    key = f".quilt/packages/{planted.top_hash}"
    secret = remote.root / "secret"
    secret.write_bytes(b"the reader's own")
    for what, data in changed(planted.data).items():
        noted.put(key, data)
        before = remote.state()
        for action in (
            lambda: t4.Package.browse(NAME),
            lambda: t4.Package.browse(NAME, top_hash=planted.top_hash),
            lambda: t4.Package.install(NAME, dest=remote.dest),
            lambda: operations.browse(NAME),
            lambda: operations.install(NAME, dest=remote.dest),
            lambda: operations.push(NAME, registry=remote.outside.url),
        ):
            refused(action, t4.IntegrityError, t4.FormatError)
        assert remote.state() == before, what
    # Places are not part of the hash, so one that was edited is found out by the bytes.
    noted.put(key, planted.data.replace(b'["s3:', b'["' + secret.as_uri().encode() + b'", "s3:'))
    before = remote.state()
    for action in (
        t4.Package.browse(NAME)[GOOD].get_bytes,
        lambda: t4.Package.install(NAME, dest=remote.dest),
    ):
        refused(action, t4.IntegrityError)
    assert remote.state() == before


# Pointers


def test_row_17_revisions_of_one_second_stay_apart(world: World, mocker: MockerFixture) -> None:
    mocker.patch("time.time", autospec=True, return_value=SECOND + 0.5)
    url = world.outside.url
    hashes = []
    for number in range(4):
        package = t4.Package().set("n.bin", b"%d" % number)
        hashes.append(package.push(NAME, url, force=True).top_hash)
    versions = t4.list_package_versions(NAME, url)
    assert [top_hash for _, top_hash in versions] == [*hashes, hashes[-1]]
    assert len({pointer for pointer, _ in versions}) == 5
    for number, top_hash in enumerate(hashes):
        assert t4.Package.browse(NAME, url, top_hash)["n.bin"].get_bytes() == b"%d" % number


def test_row_18_a_slow_clock_does_not_make_an_old_revision_latest(
    world: World, mocker: MockerFixture
) -> None:
    url = world.outside.url
    clock = mocker.patch("time.time", autospec=True, return_value=float(SECOND))
    package = t4.Package()
    hashes = [package.set("n.bin", b"0").build(NAME, url)]
    clock.return_value -= 24 * 60 * 60
    hashes += [package.set("n.bin", b"%d" % number).build(NAME, url) for number in (1, 2)]
    assert [top_hash for _, top_hash in t4.list_package_versions(NAME, url)][:3] == hashes
    t4.delete_package(NAME, url, hashes[-1])
    assert t4.Package.browse(NAME, url)["n.bin"].get_bytes() == b"1"


@PLAIN
def test_row_39_a_pointer_with_white_space_is_read(world: World) -> None:
    planted = hostile(world.outside)
    for text in (f"{planted.top_hash}\n", f" \t{planted.top_hash}\r\n\n"):
        for pointer in ("latest", str(SECOND)):
            world.outside.put(f".quilt/named_packages/{NAME}/{pointer}", text.encode())
        assert t4.Package.browse(NAME, planted.url).top_hash == planted.top_hash
        installed = t4.Package.install(NAME, planted.url, dest=world.dest)
        assert installed.top_hash == planted.top_hash
        assert t4.resolve(NAME, planted.url).top_hash == planted.top_hash
        pointers = [(str(SECOND), planted.top_hash), ("latest", planted.top_hash)]
        assert t4.list_package_versions(NAME, planted.url) == pointers


def bad_pointers(secret: Path) -> list[bytes]:
    up = "../" * 40 + str(secret).lstrip("/")
    sixty_four = ("../" * 25 + str(secret).lstrip("/"))[:64]
    return [
        up.encode(),
        sixty_four.encode(),
        b"../" * 21 + b"x",
        b"",
        b"\n",
        b"A" * 64,
        b"0" * 63,
        b"0" * 65,
        b"0" * 32 + b"\n" + b"0" * 32,
        b"\xff" * 64,
        b"0" * 2_000_000,
    ]


@PLAIN
def test_row_39_a_pointer_that_holds_something_else_is_refused(world: World) -> None:
    planted = hostile(world.outside)
    secret = world.root / "secret"
    secret.write_bytes(planted.data)
    package = t4.Package().set_text("a", "x")
    for bad in bad_pointers(secret)[:: 1 if world.outside.is_folder else 4]:
        world.outside.put(LATEST, bad)
        before = world.state()
        for action in (
            lambda: t4.Package.browse(NAME, planted.url),
            lambda: t4.Package.install(NAME, planted.url, dest=world.dest),
            lambda: t4.resolve(NAME, planted.url),
            lambda: operations.browse(NAME, registry=planted.url),
            lambda: operations.install(NAME, registry=planted.url, dest=world.dest),
            lambda: package.push(NAME, planted.url, force=True),
            lambda: package.build(NAME, planted.url),
            lambda: t4.list_package_versions(NAME, planted.url),
        ):
            refused(action, t4.FormatError)
        assert world.state() == before, bad
        # What the messages advise must work.
        assert t4.Package.rollback(NAME, planted.url, planted.top_hash) == planted.top_hash
        assert world.outside.get(LATEST) == planted.top_hash.encode()


@PLAIN
def test_row_39_a_damaged_older_pointer_does_not_block_the_package(world: World) -> None:
    planted = hostile(world.outside)
    world.outside.put(f".quilt/named_packages/{NAME}/{SECOND - 1}", b"../../secret")
    assert t4.Package.browse(NAME, planted.url, planted.top_hash[:8]).top_hash == planted.top_hash
    assert t4.Package.rollback(NAME, planted.url, planted.top_hash[:8]) == planted.top_hash
    pushed = t4.Package.browse(NAME, planted.url).set("b.bin", b"b").push(NAME, planted.url)
    assert t4.Package.rollback(NAME, planted.url, planted.top_hash) == planted.top_hash
    assert t4.resolve(f"{NAME}@{pushed.top_hash[:10]}", planted.url).top_hash == pushed.top_hash


# Hashes as names


NO_HASHES = (
    "../" * 21 + "x",
    "A" * 64,
    "g" * 64,
    "0" * 63 + "\n",
    "0" * 65,
    "0" * 5,
    "",
    "/" + "0" * 63,
    "0" * 63 + "\u0660",
    "latest",
    "*" * 64,
)

HASH_DOORS: dict[str, Callable[[World, str], Any]] = {
    "browse": lambda w, h: t4.Package.browse(NAME, w.outside.url, h),
    "install": lambda w, h: t4.Package.install(NAME, w.outside.url, h, dest=w.dest),
    "rollback": lambda w, h: t4.Package.rollback(NAME, w.outside.url, h),
    "resolve_hash": lambda w, h: t4.Package.resolve_hash(NAME, w.outside.url, h),
    "delete": lambda w, h: t4.delete_package(NAME, w.outside.url, h),
    "PackageRef": lambda w, h: t4.PackageRef(w.outside.url, NAME, h),
    "resolve": lambda w, h: t4.resolve(f"{NAME}@{h}", w.outside.url),
    "resolve mapping": lambda w, h: t4.resolve(
        {"registry": w.outside.url, "name": NAME, "top_hash": h}
    ),
    "operations.browse": lambda w, h: operations.browse(f"{NAME}@{h}", registry=w.outside.url),
    "operations.install": lambda w, h: operations.install(
        {"registry": w.outside.url, "name": NAME, "top_hash": h}, dest=w.dest
    ),
    "operations.push": lambda w, h: operations.push(
        {"registry": w.outside.url, "name": NAME, "top_hash": h}, registry=w.other.url
    ),
}


@PLAIN
def test_rows_37_38_what_is_no_hash_reaches_no_file(world: World) -> None:
    planted = hostile(world.outside)
    before = world.state()
    for name, door in HASH_DOORS.items():
        for text in NO_HASHES:
            if "\n" in text and name in ("resolve", "operations.browse"):
                continue  # text that names a package loses white space at its end
            refused(lambda d=door, t=text: d(world, t), t4.InvalidInputError)
    assert world.state() == before
    assert t4.resolve(NAME, planted.url).top_hash == planted.top_hash


@pytest.mark.parametrize(
    "text",
    [
        '{"a":' * 100_000,
        "{'a':" * 100_000,
        "{" * 100_000,
        "[1]",
        '{"registry": 5, "name": [], "top_hash": {}}',
        "{'registry': 'x', 'name': ().__class__, 'top_hash': 1}",
        "{1: 9**9**9}",
        f"{NAME}@",
        f"{NAME}@{'../' * 30}",
        f"{NAME}@{'0' * 64}@{'0' * 64}",
        "quilt+s3://bucket/../other#package=team/data",
        "t4+file:///etc/../#package=../../etc",
    ],
)
def test_rows_31_37_text_that_names_no_package_is_refused(local: World, text: str) -> None:
    hostile(local.outside)
    before = local.state()
    for action in (
        lambda: t4.resolve(text, local.outside.url),
        lambda: operations.browse(text, registry=local.outside.url),
        lambda: operations.install(text, registry=local.outside.url, dest=local.dest),
        lambda: operations.push(text, registry=local.outside.url),
    ):
        refused(action, t4.InvalidInputError)
    assert local.state() == before


@PLAIN
def test_row_38_another_packages_hash_is_not_this_packages_revision(world: World) -> None:
    url = world.outside.url
    own = hostile(world.outside)
    foreign = plant(
        world.outside,
        record("foreign", world.outside.put("objects/f", b"foreign"), b"foreign"),
        name="team/foreign",
    )
    prefix = foreign.top_hash[:12]
    before = world.state()
    for action in (
        lambda: t4.Package.rollback(NAME, url, foreign.top_hash),
        lambda: t4.Package.rollback(NAME, url, prefix),
        lambda: t4.Package.browse(NAME, url, prefix),
        lambda: t4.Package.install(NAME, url, prefix, dest=world.dest),
        lambda: t4.Package.resolve_hash(NAME, url, prefix),
        lambda: t4.resolve(f"{NAME}@{prefix}", url),
        lambda: t4.delete_package(NAME, url, foreign.top_hash),
        lambda: t4.delete_package(NAME, url, prefix),
        lambda: operations.browse(f"{NAME}@{prefix}", registry=url),
        lambda: operations.install(f"{NAME}@{prefix}", registry=url, dest=world.dest),
    ):
        refused(action, t4.NotFoundError)
    assert world.state() == before
    assert t4.Package.browse(NAME, url).top_hash == own.top_hash


# What records may hold


def meta_line(text: str, key: str = "bad") -> bytes:
    """Return an entry's line with this text as its metadata."""
    line = json.dumps(record(key, "s3://nowhere/x", b"", meta="META"))
    return line.replace('"META"', text).encode()


@pytest.mark.parametrize("where", ["entry", "directory", "header"])
@pytest.mark.parametrize("levels", [450, 990, 5_000, 200_000])
def test_row_31_metadata_nested_too_deeply_is_refused(
    local: World, where: str, levels: int
) -> None:
    deep = '{"a": ' + "[" * levels + "]" * levels + "}"
    options: dict[str, Any] = {"top_hash": "5" * 64}
    bad = meta_line(deep)
    if where == "directory":
        bad = b'{"logical_key": "d/", "meta": ' + deep.encode() + b"}"
    if where == "header":
        options["header"] = b'{"version": "v0", "message": null, "user_meta": %b}' % deep.encode()
        bad = json.dumps(record("bad", "s3://nowhere/x", b"")).encode()
    planted = hostile(local.outside, bad, **options)
    assert_refused_everywhere(local, planted, t4.FormatError)


@PLAIN
def test_row_31_what_is_set_is_never_nested_too_deeply_to_be_read_back(world: World) -> None:
    def nested(levels: int) -> dict[str, Any]:
        value: dict[str, Any] = {}
        for _ in range(levels):
            value = {"a": value}
        return value

    file = world.root / "file"
    file.write_bytes(b"x")
    before = world.state()
    for action in (
        lambda: t4.Package().set_meta(nested(100_000)),
        lambda: t4.Package().set("a", file, meta=nested(300)),
        lambda: t4.Package().set_text("a", "x", meta=nested(300)),
        lambda: t4.Package().set_dir("", world.dest, meta=nested(300)),
        lambda: t4.Package().set("a", file)["a"].set_meta(nested(300)),
        lambda: t4.Package().set("d/a", file)["d"].set_meta(nested(300)),
        lambda: operations.build(NAME, world.dest, meta=nested(300), registry=world.outside.url),
    ):
        refused(action, t4.InvalidInputError)
    assert world.state() == before
    package = t4.Package().set("d/a", file, meta=nested(190)).set_meta(nested(190))
    package["d"].set_meta(nested(190))
    package.build(NAME, world.outside.url)
    browsed = t4.Package.browse(NAME, world.outside.url)
    assert browsed.meta == browsed["d"].meta == browsed["d/a"].meta == nested(190)


@PLAIN
def test_row_32_a_huge_record_is_read_up_to_a_bound(world: World) -> None:
    large = {"user_meta": {"text": "x" * 5_000_000}}
    url = world.outside.put("objects/large", b"large")
    planted = hostile(world.outside, record("large", url, b"large", meta=large))
    package = t4.Package.browse(NAME, planted.url)
    assert package["large"].meta == large["user_meta"]
    installed = t4.Package.install(NAME, planted.url, dest=world.dest)
    assert installed["large"].get_bytes() == b"large"
    assert files_below(world.dest)["large"] == b"large"
    # It is too large to be written anew, which is said before anything is moved.
    before = world.state()
    third = (world.root / "third").as_uri()
    for action in (
        lambda: package.push(NAME, third),
        lambda: package.build(NAME, third),
        lambda: operations.push(
            {"registry": planted.url, "name": NAME, "top_hash": planted.top_hash}, registry=third
        ),
    ):
        error = refused(action, t4.InvalidInputError)
        assert "large" in str(error)
    assert world.state() == before


def test_row_32_a_record_beyond_the_bound_is_refused(local: World) -> None:
    huge = {"user_meta": {"text": "x" * 17_000_000}}
    planted = hostile(local.outside, record("huge", "s3://nowhere/x", b"", meta=huge))
    assert_refused_everywhere(local, planted, t4.FormatError)
    refused(planted.load, t4.FormatError)


@PLAIN
def test_row_32_a_record_too_large_is_not_written(world: World) -> None:
    large = {"text": "x" * 1_000_000}
    file = world.root / "file"
    file.write_bytes(b"x")
    before = world.state()
    for package, message in (
        (t4.Package().set("a.bin", b"x", meta=large), None),
        (t4.Package().set("a", file, meta=large), None),
        (t4.Package().set("d/a.bin", b"x").set_meta(large), None),
        (t4.Package().set("d/a.bin", b"x"), "x" * 1_000_000),
    ):
        for action in (
            lambda p=package, m=message: p.build(NAME, world.outside.url, m),
            lambda p=package, m=message: p.push(NAME, world.outside.url, message=m),
        ):
            refused(action, t4.InvalidInputError)
    described = t4.Package().set("d/a.bin", b"x")
    described["d"].set_meta(large)
    refused(lambda: described.push(NAME, world.outside.url), t4.InvalidInputError)
    assert world.state() == before


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"])
def test_row_33_a_number_that_is_none_is_refused_on_read(local: World, text: str) -> None:
    inner = '{"user_meta": {"a": [1.5, ' + text + "]}}"
    header = b'{"version": "v0", "message": null, "user_meta": {"a": %b}}' % text.encode()
    last = json.dumps(record("last", "s3://nowhere/x", b"")).encode()
    for planted in (
        hostile(local.outside, meta_line(inner), top_hash="5" * 64),
        hostile(local.outside, last, header=header, top_hash="6" * 64),
        hostile(
            local.outside,
            b'{"logical_key": "d/", "meta": {"a": %b}}' % text.encode(),
            last,
            top_hash="7" * 64,
        ),
    ):
        point(local.outside, planted.top_hash)
        assert_refused_everywhere(local, planted, t4.FormatError)


BAD_VALUES: dict[str, Any] = {
    "NaN": math.nan,
    "infinity": -math.inf,
    "a lone surrogate": "a\ud800",
    "an integer key": {9: "a", 10: "b"},
    "a key of None": {None: 1},
    "a surrogate as key": {"\udfff": 1},
    "bytes": b"x",
    "a set": {1, 2},
    "an object": object(),
    "an integer nobody reads": 10**5000,
    "a path": Path("x"),
}

META_DOORS: dict[str, Callable[[World, Any], Any]] = {
    "set path": lambda w, m: t4.Package().set("a", w.root / "file", meta=m),
    "set object": lambda w, m: t4.Package().set("a.bin", b"x", meta=m),
    "set_text": lambda w, m: t4.Package().set_text("a", "x", meta=m),
    "set entry": lambda w, m: t4.Package().set(
        "b", t4.Package().set("a", w.root / "file")["a"], meta=m
    ),
    "set_dir": lambda w, m: t4.Package().set_dir("d", w.dest, meta=m),
    "set_dir of the root": lambda w, m: t4.Package().set_dir("", w.dest, meta=m),
    "set_meta": lambda w, m: t4.Package().set_meta(m),
    "set_meta of an entry": lambda w, m: t4.Package().set_text("a", "x")["a"].set_meta(m),
    "set_meta of a directory": lambda w, m: t4.Package().set_text("d/a", "x")["d"].set_meta(m),
    "operations.build": lambda w, m: operations.build(NAME, w.dest, meta=m, registry=w.outside.url),
}


@pytest.mark.parametrize("what", BAD_VALUES)
def test_rows_33_34_35_metadata_that_would_not_be_read_back_is_refused(
    local: World, what: str
) -> None:
    (local.root / "file").write_bytes(b"x")
    before = local.state()
    for door in META_DOORS.values():
        for meta in ({"a": BAD_VALUES[what]}, {"a": [{"b": BAD_VALUES[what]}]}):
            refused(lambda d=door, m=meta: d(local, m), t4.InvalidInputError)
    assert local.state() == before


def test_rows_33_34_35_a_buckets_object_takes_the_same_metadata(
    remote: World,
) -> None:
    bucket = t4.Bucket(remote.outside.url)
    bucket.put("a.json", {"x": 1}, meta={"kept": True})
    before = remote.state()
    for value in BAD_VALUES.values():
        refused(lambda v=value: bucket.put("b.json", {}, meta={"a": v}), t4.InvalidInputError)
        refused(lambda v=value: bucket.put("a.json", {}, meta={"a": v}), t4.InvalidInputError)
        refused(lambda v=value: bucket.set_meta("a.json", {"a": v}), t4.InvalidInputError)
    for value in (math.nan, {1: 2}, object()):
        refused(lambda v=value: bucket.put("a.json", {"a": v}), t4.InvalidInputError)
    assert remote.state() == before
    assert bucket.get_meta("a.json") == {"kept": True}


def test_row_35_metadata_keeps_its_hash_when_it_is_read_back(world: World) -> None:
    url = world.outside.url
    meta = {"9": 1, "10": {"b": 1.0, "a": -0.0, "é": 1e16}, "z": [1e-7, 2**70, None, True, ""]}
    package = t4.Package().set_text("d/a", "x", meta=meta).set_meta(meta)
    package["d"].set_meta(meta)
    top_hash = package.build(NAME, url)
    browsed = t4.Package.browse(NAME, url)
    assert browsed.top_hash == top_hash
    assert browsed.meta == browsed["d"].meta == browsed["d/a"].meta == meta
    data = io.BytesIO()
    browsed.dump(data)
    assert t4.Package.load(io.BytesIO(data.getvalue())).top_hash == top_hash
    # Setting what is there already is no change.
    browsed.set_meta(browsed.meta)["d/a"].set_meta(meta)
    assert browsed.push(NAME, url).top_hash == top_hash


@PLAIN
def test_row_34_a_message_that_is_no_text_is_refused_before_anything_moves(world: World) -> None:
    package, url = t4.Package().set_text("a", "x"), world.outside.url
    before = world.state()
    for message in ("\ud800", 5, b"x", ["x"]):
        bad: Any = message
        for action in (
            lambda m=bad: package.build(NAME, url, m),
            lambda m=bad: package.push(NAME, url, message=m),
            lambda m=bad: operations.build(NAME, world.dest, registry=url, message=m),
        ):
            refused(action, t4.InvalidInputError)
    assert world.state() == before


def test_row_34_a_stored_message_that_is_no_text_is_refused(local: World) -> None:
    for text in (b"5", b'["x"]', b"{}", b'"\\ud800"', b"NaN", b"true"):
        planted = hostile(
            local.outside,
            header=b'{"version": "v0", "message": %b}' % text,
            top_hash="5" * 64,
        )
        assert_refused_everywhere(local, planted, t4.FormatError)


# Hashes of entries


@PLAIN
def test_row_36_a_hash_of_an_unknown_type_lets_nothing_through(world: World) -> None:
    url = world.outside.put("objects/new", b"new")
    unknown = {"type": "blake3", "value": "ab" * 32}
    planted = hostile(world.outside, record("new", url, b"new", hash=unknown))
    package = t4.Package.browse(NAME, planted.url)
    (world.dest / "new").write_bytes(b"new")
    (world.root / "good").mkdir()
    (world.root / "good" / "file.txt").write_bytes(b"good")
    entry = package["new"]
    third = (world.root / "third").as_uri()
    before = world.state()
    for action in (
        lambda: t4.Package.install(NAME, planted.url, dest=world.dest),
        lambda: operations.install(NAME, registry=planted.url, dest=world.dest),
        lambda: t4.Package.install(NAME, planted.url, dest=world.dest, path="new"),
        lambda: package.fetch(world.dest),
        lambda: package.verify(world.dest),
        lambda: entry.fetch(world.dest),
        entry.get_bytes,
        entry.get_as_string,
        entry.get_as_json,
        lambda: entry.deserialize(bytes),
        lambda: package.push(NAME, third),
        lambda: operations.push(
            {"registry": planted.url, "name": NAME, "top_hash": planted.top_hash}, registry=third
        ),
    ):
        error = refused(action, t4.FormatError)
        assert "blake3" in str(error)
    assert world.state() == before
    # What can be verified is not lost with it.
    t4.Package.install(NAME, planted.url, dest=world.dest, path=GOOD)
    assert (world.dest / "file.txt").read_bytes() == b"good"


@PLAIN
def test_row_36_a_hash_that_is_none_is_never_matched(world: World) -> None:
    url = world.other.put("objects/new", b"new")
    right = chunked(b"new")["value"]
    # An object of these bytes is there already, so that nothing has to be read.
    t4.Package().set("new.bin", b"new").push("team/first", world.outside.url)
    before = world.outside.all_keys()
    for value in ("", "no base64!", "AAAA", "zz", f" {right}", f"{right}\n", "../../x", "A" * 44):
        bad = record("new", url, b"new", hash={"type": "sha2-256-chunked", "value": value})
        package = t4.Package.browse(NAME, hostile(world.other, bad).url)
        for action in (
            package["new"].get_bytes,
            lambda p=package: p.fetch(world.dest),
            lambda p=package: p.push(NAME, world.outside.url),
        ):
            refused(action, t4.IntegrityError, t4.FormatError)
        assert not (world.dest / "new").exists()
    # The good entry's object may be there by now; nothing refers to it.
    assert [key for key in world.outside.all_keys() if not key.startswith((".t4/", NAME))] == [
        key for key in before if not key.startswith((".t4/", NAME))
    ]


@PLAIN
def test_row_36_an_entry_without_hash_or_size_is_refused(world: World) -> None:
    url = world.outside.put("objects/new", b"new")
    for missing in (("hash",), ("size",), ("hash", "size")):
        planted = hostile(world.outside, record("new", url, b"new", **dict.fromkeys(missing)))
        assert_refused_everywhere(world, planted, t4.FormatError)


@pytest.mark.parametrize("size", [-1, 2**63, 10**400, 1.5, "4", True])
def test_row_36_a_size_that_is_none_is_refused(local: World, size: Any) -> None:
    url = local.outside.put("objects/new", b"new")
    planted = hostile(local.outside, record("new", url, b"new", size=size))
    assert_refused_everywhere(local, planted, t4.FormatError)


# What is not hashed


def test_row_42_metadata_of_directories_is_kept_and_what_stands_stands(world: World) -> None:
    url, third = world.outside.url, (world.root / "third").as_uri()
    first = t4.Package().set("d/e/a.bin", b"a").set("b.bin", b"b")
    first["d"].set_meta({"v": 1})
    first["d/e"].set_meta({"w": 1})
    top_hash = first.build(NAME, url)
    second = t4.Package().set("d/e/a.bin", b"a").set("b.bin", b"b")
    second["d"].set_meta({"v": 2})
    assert second.build("team/other", url) == top_hash
    for name in (NAME, "team/other"):
        browsed = t4.Package.browse(name, url)
        assert (browsed["d"].meta, browsed["d/e"].meta) == ({"v": 1}, {"w": 1})
    pushed = t4.Package.browse(NAME, url).push(NAME, third)
    assert (pushed["d"].meta, pushed["d/e"].meta) == ({"v": 1}, {"w": 1})
    assert t4.Package.browse(NAME, third)["d/e"].meta == {"w": 1}
    kept = pushed.filter(lambda key, entry: key.startswith("d/"))
    assert (kept["d"].meta, kept["d/e"].meta) == ({"v": 1}, {"w": 1})
    assert t4.Package.install(NAME, url, dest=world.dest)["d"].meta == {"v": 1}
    assert t4.Package.browse(NAME)["d"].meta == {"v": 1}


def test_row_43_content_pushed_elsewhere_keeps_the_places_that_stand(world: World) -> None:
    url = world.outside.url
    package = t4.Package().set("a.bin", b"a").set("d/b.bin", b"b")
    first = package.push(NAME, url, dest=f"{url}/first")
    stored = world.outside.get(f".quilt/packages/{first.top_hash}")
    before = world.outside.state()
    again = t4.Package().set("a.bin", b"a").set("d/b.bin", b"b")
    second = again.push("team/other", url, dest=f"{url}/second")
    assert second.top_hash == first.top_hash
    assert world.outside.get(f".quilt/packages/{first.top_hash}") == stored
    assert [e.physical_key for _, e in second.walk()] == [e.physical_key for _, e in first.walk()]
    assert {k: v for k, v in world.outside.state().items() if k in before} == before
    third = (world.root / "third").as_uri()
    t4.Package.browse(NAME, url).push(NAME, third)
    assert world.outside.get(f".quilt/packages/{first.top_hash}") == stored
    assert t4.Package.browse(NAME, url)["d/b.bin"].get_bytes() == b"b"
    assert t4.Package.browse(NAME, third)["d/b.bin"].get_bytes() == b"b"


def test_row_43_a_place_outside_does_not_displace_one_inside(remote: World) -> None:
    url = remote.outside.url
    (remote.root / "a").write_bytes(b"a")
    pushed = t4.Package().set("a", remote.root / "a").push(NAME, url)
    elsewhere = plant(
        remote.other, record("a", "s3://nowhere/gone", b"a", hash=chunked(b"a")), name=NAME
    )
    stranger = t4.Package.browse(NAME, elsewhere.url)
    assert stranger.top_hash == pushed.top_hash
    again = stranger.push(NAME, url, force=True)
    assert again["a"].get_bytes() == b"a"
    assert t4.Package.browse(NAME, url)["a"].get_bytes() == b"a"


def test_a_place_that_only_looks_inside_is_not_taken_for_inside(local: World) -> None:
    """A file beside a folder registry, named through it, is brought in like any other."""
    beside = local.root / "beside"
    beside.write_bytes(b"beside")
    url = f"{local.outside.url}/../beside"
    planted = hostile(local.outside, record("beside", url, b"beside", hash=chunked(b"beside")))
    pushed = t4.Package.browse(NAME, planted.url).push(NAME, planted.url)
    beside.write_bytes(b"BESIDE")
    assert pushed["beside"].get_bytes() == b"beside"
    assert t4.Package.browse(NAME, planted.url)["beside"].get_bytes() == b"beside"


def test_the_plain_recipe_gives_the_librarys_top_hash(local: World) -> None:
    """The tests above stand on a recipe of their own; here it is held to the library's."""
    meta = {"user_meta": {"é": [1.0, 2**70, "\x7f/\U0001f600"]}}
    url = local.outside.put("objects/x", b"x")
    records = [record(key, url, b"x", meta=meta) for key in ("a-b", "a/b", "a.b", "a/b.c")[:3]]
    planted = plant(local.outside, *records, header={**V0, "message": "m"})
    assert (
        planted.load().top_hash
        == planted.top_hash
        == top_hash_of([{**V0, "message": "m"}, *records])
    )
    assert checksum_of(b"x").value == chunked(b"x")["value"]
    assert checksum_of(b"x", "SHA256").value == sha256(b"x")["value"]
    for door in USE_DOORS:
        if door not in {"verify", "fetch view"}:
            USE_DOORS[door](local, planted.load())
