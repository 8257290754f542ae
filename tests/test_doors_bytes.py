"""Objects that are not what was promised, destinations that are traps, and files that bite.

Each row is a case that was tried on another client of this format; the tests show that here it is
refused, with nothing written, or survived, with nothing lost.

| row | case | tests |
|---|---|---|
| 6 | corrupted object of the same size | `test_rows_6_7_8_20_21_...`, `test_rows_6_7_21_...` |
| 7 | object of another size, small and multipart | the same |
| 8 | what is checked on read: everything | `test_rows_6_7_8_20_21_...` |
| 14 | a second push to an unversioned bucket | `test_row_14_...` |
| 20 | missing object during install | `test_row_20_...` |
| 21 | existing good file, download fails | `test_rows_6_7_8_20_21_...`, `test_row_21_...` |
| 22 | symlinks at the destination | `test_row_22_...` |
| 44 | decompression bomb | `test_row_44_...` |
| 45 | pickle | `test_row_45_...` |
| 49 | local files written in place | `test_row_49_...` |
"""

from __future__ import annotations

import gzip
import io
import os
import pickle
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pytest_mock import MockerFixture

import t4_ops as t4
from demo.seaweedfs import SeaweedFS
from t4_ops import operations
from tests.doors_support import (
    MIB,
    NAME,
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
TEXT = b'{"value": "what was promised"}'
LARGE = bytes(range(251)) * (8 * MIB // 251 + 1000)
"""More than one part, no part like another."""


# For cases that an object's version has no part in.
PLAIN = pytest.mark.parametrize("registry", ["folder", "unversioned"], indirect=True)


@pytest.fixture
def world(tmp_path: Path, registry: str) -> World:
    return world_of(tmp_path, registry)


@pytest.fixture
def local(tmp_path: Path) -> World:
    return world_of(tmp_path, (tmp_path / "registry").as_uri())


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
    started_s = time.monotonic()
    error = refused(
        lambda: t4.Package.install(NAME, world.outside.url, dest=world.dest), t4.NotFoundError
    )
    assert time.monotonic() - started_s < 4
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


# Traps at the destination


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


# Files that bite when they are read


def small_bounds(size_bytes: int) -> t4.Settings:
    return t4.load_settings(limits=t4.Limits(decompressed_bytes=size_bytes))


@PLAIN
def test_row_44_a_bomb_stops_at_the_bound(world: World) -> None:
    zeros = bytes(4 * MIB)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        array = io.BytesIO()
        np.lib.format.write_array(array, np.zeros(4 * MIB, np.uint8))
        file.writestr("x.npy", array.getvalue())
    bombs = {
        "bomb.txt.gz": gzip.compress(zeros),
        "bomb.json.gz": gzip.compress(b"[" + b" " * (4 * MIB) + b"]"),
        "bomb.csv.zst": pa.Codec("zstd").compress(b"a\n" + b"1\n" * (2 * MIB), asbytes=True),
        "members.txt.gz": gzip.compress(zeros[: MIB // 2]) * 8,
        "bomb.npz": archive.getvalue(),
    }
    planted = plant(
        world.outside,
        *(record(key, world.outside.put(f"o/{key}", data), data) for key, data in bombs.items()),
    )
    bounded = t4.Package.browse(NAME, planted.url, settings=small_bounds(MIB))
    for key, data in bombs.items():
        assert len(data) < MIB / 2
        error = refused(bounded[key].deserialize, t4.FormatError)
        assert key in str(error)
        refused(bounded[key], t4.FormatError)
        # The file itself is no bomb: whoever wants it as it is gets it.
        assert bounded[key].get_bytes() == data
    t4.Package.install(NAME, planted.url, dest=world.dest)
    assert (world.dest / "bomb.txt.gz").read_bytes() == bombs["bomb.txt.gz"]
    unbounded = t4.Package.browse(NAME, planted.url)
    assert len(unbounded["bomb.txt.gz"]()) == len(zeros)
    if not world.outside.is_folder:
        bucket = t4.Bucket(planted.url, settings=small_bounds(MIB))
        for key in bombs:
            refused(lambda k=key: bucket.get(f"o/{k}"), t4.FormatError)


class _Bite:
    """What a pickle runs when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def pickles(bitten: Path) -> dict[str, tuple[bytes, dict[str, Any]]]:
    """Return files that hold a pickle, by key, with metadata that says how to read them."""
    raw = pickle.dumps(_Bite(bitten))
    array = io.BytesIO()
    np.save(array, np.array([_Bite(bitten)], dtype=object), allow_pickle=True)
    arrays = io.BytesIO()
    np.savez(arrays, x=np.array([_Bite(bitten)], dtype=object))
    return {
        "bare.npy": (raw, {}),
        "object.npy": (array.getvalue(), {}),
        "object.npz": (arrays.getvalue(), {}),
        "object.npy.gz": (gzip.compress(array.getvalue()), {}),
        "bare.parquet": (raw, {}),
        "bare.arrow": (raw, {}),
        "named.bin": (raw, {"format": {"name": "pickle"}}),
        "named.pkl": (raw, {"format": {"name": "pickle"}, "target": "pickle"}),
        "allowed.npy": (
            array.getvalue(),
            {"format": {"name": "numpy", "opts": {"allow_pickle": True}}},
        ),
        "unknown.pkl": (raw, {}),
        "unknown.pickle.gz": (gzip.compress(raw), {}),
    }


@PLAIN
def test_row_45_nothing_is_unpickled(world: World) -> None:
    bitten = world.root / "bitten"
    files = pickles(bitten)
    planted = plant(
        world.outside,
        *(
            record(key, world.outside.put(f"o/{key}", data), data, meta=meta)
            for key, (data, meta) in files.items()
        ),
    )
    package = t4.Package.browse(NAME, planted.url)
    for key, (data, _) in files.items():
        refused(package[key].deserialize, t4.FormatError)
        refused(package[key], t4.FormatError)
        assert package[key].get_bytes() == data
        assert not bitten.exists(), key
    for key in ("object.npy", "object.npz", "allowed.npy"):
        refused(lambda k=key: package[k].deserialize(allow_pickle=True), t4.InvalidInputError)
    t4.Package.install(NAME, planted.url, dest=world.dest)
    if not world.outside.is_folder:
        # The same objects, less the metadata that calls mere bytes a pickle.
        for key in files.keys() - {"named.bin"}:
            refused(lambda k=key: t4.Bucket(planted.url).get(f"o/{k}"), t4.FormatError)
    assert not bitten.exists()
    # The bait is real: whoever unpickles it is bitten.
    pickle.loads(files["bare.npy"][0])  # noqa: S301
    assert bitten.exists()


def test_row_45_no_object_is_pickled(local: World) -> None:
    package = t4.Package()
    for key, value in (
        ("a.npy", np.array([object()], dtype=object)),
        ("a.npz", {"x": np.array([{}], dtype=object)}),
        ("a.pkl", {"a": 1}),
        ("a.parquet", object()),
        ("a.json", {"a": object()}),
        ("a", object()),
    ):
        refused(lambda k=key, v=value: package.set(k, v), t4.InvalidInputError)
    assert package.keys() == []


# Writes that end in the middle

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
