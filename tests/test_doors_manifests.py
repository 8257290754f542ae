"""Manifests that are not what they are called, or refer to what they must not.

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
| 42 | metadata of directories | `test_row_42_...` |
| 43 | the same content pushed elsewhere | `test_row_43_...` |
| - | a place that only looks inside | `test_a_place_...` |
| - | what these tests stand on | `test_the_plain_recipe_...` |
"""

from __future__ import annotations

import t4_ops as t4
from t4_ops import operations
from t4_ops.checksums import checksum_of
from tests.doors_support import (
    GOOD,
    LATEST,
    NAME,
    PLAIN,
    USE_DOORS,
    Outside,
    World,
    assert_refused_everywhere,
    chunked,
    hostile,
    plant,
    point,
    record,
    refused,
    sha256,
    top_hash_of,
)

V0 = {"version": "v0", "message": None}


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


def test_row_42_metadata_of_directories_is_kept_and_what_stands_stands(world: World) -> None:
    url, third = world.outside.url, (world.root / "third").as_uri()
    first = t4.Package().set("d/e/a.bin", b"a").set("b.bin", b"b")
    first["d"].set_meta({"v": 1})
    first["d/e"].set_meta({"w": 1})
    top_hash = first.build(NAME, url)
    second = t4.Package().set("d/e/a.bin", b"a").set("b.bin", b"b")
    assert second.build("team/other", url) == top_hash
    second = t4.Package().set("d/e/a.bin", b"a").set("b.bin", b"b")
    second["d"].set_meta({"v": 2})
    before = world.state()
    for action in (
        lambda: second.build("team/other", url),
        lambda: second.push("team/third", url, force=True),
        lambda: second["d"].set_meta({"w": 2}) and second.push(NAME, url, force=True),
    ):
        error = refused(action, t4.ConflictError)
        assert "'d/'" in str(error)
    assert world.state() == before
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
