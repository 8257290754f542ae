"""Objects that are not what was promised, and writes that end in the middle.

Each row is a case that was tried on another client of this format; the tests show that here it is
refused, with nothing written, or survived, with nothing lost.

| row | case | tests |
|---|---|---|
| 6 | corrupted object of the same size | `test_rows_6_7_...` |
| 7 | object of another size, small and of many parts | the same |
| 8 | what is checked on read: everything | `test_rows_6_7_8_20_21_...` |
| 14 | a second push to an unversioned bucket | `test_row_14_...` |
| 20 | missing object during install | `test_row_20_...`, `test_rows_6_7_8_20_21_...` |
| 21 | existing good file, download fails | `test_row_21_...`, `test_rows_6_7_8_20_21_...` |
| 49 | local files written in place | `test_row_49_...` |
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pytest_mock import MockerFixture

import t4_ops as t4
from demo.seaweedfs import SeaweedFS
from t4_ops import operations
from tests.doors_support import (
    MIB,
    NAME,
    PLAIN,
    Outside,
    World,
    files_below,
    hostile,
    plant,
    record,
    refused,
    tree,
    world_of,
)
from tests.s3_support import Fault, Relay, run_relay

ROOT = Path(__file__).resolve().parents[1]


LARGE = bytes(range(251)) * (8 * MIB // 251 + 1000)
"""More than one part, no part like another."""


def flipped(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


DAMAGES: dict[str, Callable[[bytes], bytes | None]] = {
    "same size": flipped,
    "first byte": lambda data: bytes([data[0] ^ 1]) + data[1:],
    "shorter": lambda data: data[:-1],
    "longer": lambda data: data + b"x",
    "empty": lambda data: b"",
    "gone": lambda data: None,
}


def damaged(world: World, data: bytes, damage: str) -> t4.Package:
    """Push a package of one file, then damage its object; where versions are kept, refer to it."""
    package = t4.Package().set("d/data.json", _source(world, data))
    pushed = package.push(NAME, world.outside.url, force=True)
    url = pushed["d/data.json"].physical_key
    bad = DAMAGES[damage](data)
    if bad is None:
        world.outside.remove(url)
        return pushed
    found = world.outside.replace(url, bad)
    if found != url:
        key = f".quilt/packages/{pushed.top_hash}"
        manifest = world.outside.get(key).replace(url.encode(), found.encode())
        world.outside.put(key, manifest)
    return t4.Package.browse(NAME, world.outside.url)


def _source(world: World, data: bytes) -> Path:
    file = world.root / "source.json"
    file.write_bytes(data)
    return file


READERS: dict[str, Callable[[World, t4.Package], Any]] = {
    "get_bytes": lambda w, p: p["d/data.json"].get_bytes(),
    "get_as_string": lambda w, p: p["d/data.json"].get_as_string(),
    "get_as_json": lambda w, p: p["d/data.json"].get_as_json(),
    "deserialize": lambda w, p: p["d/data.json"].deserialize(),
    "deserialize with a function": lambda w, p: p["d/data.json"].deserialize(bytes),
    "call": lambda w, p: p["d/data.json"](),
    "entry.fetch": lambda w, p: p["d/data.json"].fetch(w.dest / "d" / "data.json"),
    "entry.fetch into a folder": lambda w, p: p["d/data.json"].fetch(w.dest / "d"),
    "fetch": lambda w, p: p.fetch(w.dest),
    "fetch of a directory": lambda w, p: p["d"].fetch(w.dest / "d"),
    "install": lambda w, p: t4.Package.install(NAME, w.outside.url, dest=w.dest),
    "install a file": lambda w, p: t4.Package.install(
        NAME, w.outside.url, dest=w.dest / "d", path="d/data.json"
    ),
    "install a directory": lambda w, p: t4.Package.install(
        NAME, w.outside.url, dest=w.dest / "d", path="d"
    ),
    "operations.install": lambda w, p: operations.install(
        NAME, registry=w.outside.url, dest=w.dest
    ),
    "push": lambda w, p: p.push(NAME, w.other.url),
    "push to a place": lambda w, p: p.push(NAME, w.other.url, dest=f"{w.other.url}/place"),
    "operations.push": lambda w, p: operations.push(
        {"registry": w.outside.url, "name": NAME, "top_hash": p.top_hash}, registry=w.other.url
    ),
}


def test_rows_6_7_8_20_21_no_reader_takes_a_damaged_object(world: World) -> None:
    (world.dest / "d").mkdir()
    (world.dest / "d" / "data.json").write_bytes(b"the good file of an earlier revision")
    for damage in DAMAGES:
        package = damaged(world, b'{"promised": "%b"}' % damage.encode(), damage)
        kind = t4.NotFoundError if damage == "gone" else t4.IntegrityError
        before = world.state()
        for name, reader in READERS.items():
            error = refused(lambda r=reader, p=package: r(world, p), kind)
            assert "data.json" in str(error), name
        assert world.state() == before, damage


def test_rows_6_7_21_a_large_file_survives_a_damaged_object_of_many_parts(world: World) -> None:
    (world.dest / "d").mkdir()
    (world.dest / "d" / "data.json").write_bytes(LARGE[:-5])
    for damage in ("same size", "shorter", "longer"):
        package = damaged(world, LARGE + damage.encode(), damage)
        before = world.state()
        for name in ("entry.fetch", "install", "push", "get_bytes"):
            refused(lambda n=name, p=package: READERS[n](world, p), t4.IntegrityError)
        assert world.state() == before, damage


def test_rows_6_7_an_upload_of_many_parts_that_fails_leaves_nothing(
    bucket_registry: str, tmp_path: Path
) -> None:
    """The bytes are found out when all parts but the last step are at the server."""
    world = world_of(tmp_path, bucket_registry)
    planted = plant(
        world.other, record("d/data.json", world.other.put("objects/x", flipped(LARGE)), LARGE)
    )
    package = t4.Package.browse(NAME, planted.url)
    before = world.state()
    for dest in (None, f"{bucket_registry}/place"):
        refused(lambda d=dest: package.push(NAME, bucket_registry, dest=d), t4.IntegrityError)
    assert world.state() == before


def test_row_14_older_revisions_keep_their_bytes_where_nothing_is_versioned(world: World) -> None:
    url = world.outside.url
    package = t4.Package()
    hashes = []
    for data in (b"first", b"second", b"third"):
        package.set("a.bin", data)
        hashes.append(package.push(NAME, url).top_hash)
        t4.Package.install(NAME, url, dest=world.dest)
        assert (world.dest / "a.bin").read_bytes() == data
    for top_hash, data in zip(hashes, (b"first", b"second", b"third"), strict=True):
        t4.Package.install(NAME, url, top_hash, dest=world.dest)
        assert (world.dest / "a.bin").read_bytes() == data
        assert t4.Package.browse(NAME, url, top_hash)["a.bin"].get_bytes() == data


def test_row_20_a_missing_object_stops_an_install_and_a_retry_completes_it(world: World) -> None:
    package = t4.Package()
    for number in range(20):
        package.set(f"f{number:02}.bin", b"%d" % number)
    pushed = package.push(NAME, world.outside.url)
    url = pushed["f07.bin"].physical_key
    gone = pushed["f07.bin"].get_bytes()
    world.outside.remove(url)
    error = refused(
        lambda: t4.Package.install(NAME, world.outside.url, dest=world.dest), t4.NotFoundError
    )
    assert "f07.bin" in str(error)
    found = files_below(world.dest)
    del found["theirs.txt"]
    assert "f07.bin" not in found
    assert all(data == b"%d" % int(name[1:3]) for name, data in found.items())
    assert not Path(t4.load_settings().registry.removeprefix("file://")).exists()
    restored = world.outside.replace(url, gone)
    if restored != url:
        key = f".quilt/packages/{pushed.top_hash}"
        world.outside.put(key, world.outside.get(key).replace(url.encode(), restored.encode()))
    t4.Package.install(NAME, world.outside.url, dest=world.dest)
    assert len(files_below(world.dest)) == 21
    assert t4.list_packages() == [NAME]


@pytest.fixture
def relay(s3_env: SeaweedFS) -> Iterator[Relay]:
    with run_relay(s3_env.endpoint_url) as running:
        yield running


@pytest.mark.parametrize("size_bytes", [1000, 8 * MIB + 1000])
def test_row_21_a_file_survives_an_answer_that_is_cut_off(
    relay: Relay, unversioned_bucket: str, tmp_path: Path, mocker: MockerFixture, size_bytes: int
) -> None:
    mocker.patch("random.uniform", autospec=True, return_value=0.0)  # no pauses before retries
    url = f"s3://{unversioned_bucket}"
    world = world_of(tmp_path, url)
    pushed = t4.Package().set("a.json", _source(world, LARGE[:size_bytes])).push(NAME, url)
    key = pushed["a.json"].physical_key.removeprefix(f"{url}/")
    (world.dest / "a.json").write_bytes(b"the good file of an earlier revision")
    settings = t4.load_settings(s3=t4.S3Settings(endpoint_url=relay.url, max_attempts=1))
    bucket = t4.Bucket(url, settings=settings)
    package = t4.Package.browse(NAME, url, settings=settings)
    relay.rule = lambda r: (
        Fault(truncate_bytes=size_bytes // 2) if r.method == "GET" and key in r.target else None
    )
    before = world.state()
    for action in (
        lambda: package["a.json"].fetch(world.dest / "a.json"),
        lambda: t4.Package.install(NAME, url, dest=world.dest, settings=settings),
        lambda: bucket.fetch(key, world.dest / "a.json"),
        lambda: bucket.get(key),
        lambda: t4.copy(f"{url}/{key}", world.dest / "a.json", settings=settings),
        lambda: package.push(NAME, world.other.url),
    ):
        error = refused(action, t4.StorageError)
        assert isinstance(error, t4.StorageError)
        assert error.retryable
    assert world.state() == before


@PLAIN
def test_row_21_a_copy_that_fails_leaves_the_file(world: World) -> None:
    good = world.dest / "theirs.txt"
    missing = f"{world.outside.url}/missing"
    world.outside.put("there", b"x")
    before = world.state()
    refused(lambda: t4.copy(missing, good), t4.NotFoundError)
    if not world.outside.is_folder:
        refused(lambda: t4.Bucket(world.outside.url).fetch("missing", good), t4.NotFoundError)
        refused(lambda: t4.Bucket(world.outside.url).fetch("gone/", world.dest), t4.NotFoundError)
    assert world.state() == before


_PUBLISH = """
import sys
import t4_ops as t4
url = sys.argv[1]
package = t4.Package()
for number in range(10_000):
    package.set("n.bin", b"%d" % number)
    package.push("team/data", url)
    print(number, flush=True)
"""


@pytest.mark.parametrize("round_number", range(3))
def test_row_49_a_publisher_that_is_killed_leaves_a_registry_that_reads(
    local: World, round_number: int
) -> None:
    url = local.outside.url
    with subprocess.Popen(
        [sys.executable, "-c", _PUBLISH, url], stdout=subprocess.PIPE, cwd=ROOT
    ) as child:
        assert child.stdout is not None
        for _ in range(3):
            told = int(child.stdout.readline())
        time.sleep(0.003 * (round_number + 1))
        child.send_signal(signal.SIGKILL)
        told = max([told, *map(int, child.stdout.read().split())])
    versions = t4.list_package_versions(NAME, url)
    for _, top_hash in versions:
        assert t4.Package.browse(NAME, url, top_hash)["n.bin"].get_bytes().isdigit()
    latest = t4.Package.browse(NAME, url)
    # What was reported is there; a publication that had begun may be, too.
    assert int(latest["n.bin"].get_bytes()) in (told, told + 1)
    assert len(versions) - 1 >= told + 1
    after = latest.set("n.bin", b"later").push(NAME, url)
    assert t4.Package.browse(NAME, url).top_hash == after.top_hash


def test_row_49_a_disk_that_is_full_loses_nothing(local: World, mocker: MockerFixture) -> None:
    url = local.outside.url
    package = t4.Package().set("a.bin", b"1")
    first = package.push(NAME, url).top_hash
    (local.dest / "a.bin").write_bytes(b"the good file of an earlier revision")
    before = local.state()
    full = OSError(28, os.strerror(28))
    mocker.patch("os.write", autospec=True, side_effect=full)
    changed = t4.Package.browse(NAME, url).set("a.bin", b"2")
    for action in (
        lambda: changed.push(NAME, url),
        lambda: changed.build(NAME, url),
        lambda: t4.Package.install(NAME, url, dest=local.dest),
        lambda: t4.Package.browse(NAME, url).fetch(local.dest),
        lambda: t4.Package.browse(NAME, url)["a.bin"].fetch(local.dest),
        lambda: t4.copy(local.dest / "theirs.txt", local.dest / "a.bin"),
    ):
        error = refused(action, t4.StorageError)
        assert "space" in str(error)
    mocker.stopall()
    assert local.state() == before
    assert t4.Package.browse(NAME, url).top_hash == first


def test_row_49_a_rename_that_fails_loses_nothing(local: World, mocker: MockerFixture) -> None:
    url = local.outside.url
    first = t4.Package().set("a.bin", b"1").push(NAME, url).top_hash
    (local.dest / "a.bin").write_bytes(b"the good file of an earlier revision")
    before = tree(local.dest)
    mocker.patch("os.rename", autospec=True, side_effect=OSError(5, os.strerror(5)))
    changed = t4.Package.browse(NAME, url).set("a.bin", b"2")
    refused(lambda: changed.push(NAME, url), t4.StorageError)
    refused(lambda: t4.Package.install(NAME, url, dest=local.dest), t4.StorageError)
    mocker.stopall()
    assert tree(local.dest) == before
    assert t4.Package.browse(NAME, url).top_hash == first
    assert hostile(local.other).load()  # other registries are none the worse
    assert changed.push(NAME, url).top_hash == t4.Package.browse(NAME, url).top_hash
    left = [key for key in Outside(url).all_keys() if key.endswith(".tmp")]
    assert left == []
