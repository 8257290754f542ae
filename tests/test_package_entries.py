"""Entries: read, fetched and deserialised, and never without a look at their hash."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import t4_ops as t4
from t4_ops.keys import Limits, PhysicalKey
from t4_ops.manifest import Manifest
from t4_ops.settings import load_settings
from tests.package_support import bytes_below, store_of, write_files

NAME = "team/data"
FILES = {
    "d/a.json": b'{"n": [1, null, "\xc3\xa9"]}',
    "d/t.txt": "é\n".encode(),
    "raw": b"\xff\0\1",
    "bad.json": b"{",
    "nan.json": b"NaN",
    "empty": b"",
    "t.csv": b"a;b\n1;2\n",
}


@pytest.fixture
def package(registry: str, tmp_path: Path) -> t4.Package:
    return t4.Package().set_dir("/", write_files(tmp_path / "files", FILES)).push(NAME, registry)


def test_what_an_entry_says_of_itself(package: t4.Package, tmp_path: Path) -> None:
    entry = package["d/a.json"]
    assert (entry.logical_key, entry.size) == ("d/a.json", len(FILES["d/a.json"]))
    assert entry.hash["type"] == "sha2-256-chunked"
    assert entry.physical_key == entry.get() == package.get("d/a.json")
    assert repr(entry) == f"PackageEntry({entry.physical_key!r})"
    assert (entry.meta, entry.get_meta()) == ({}, {})
    assert entry.set_meta({"unit": "m"}) is entry
    assert entry.meta == package["d/a.json"].meta == {"unit": "m"}
    # Equal is who has the same bytes and metadata, wherever they lie.
    local = t4.Package().set_dir("/", tmp_path / "files")
    local.build("team/local")
    assert local["d/a.json"] != entry
    assert local["raw"] == package["raw"]
    assert local["raw"] != package["empty"]
    assert local["raw"] != "raw"
    with pytest.raises(TypeError):
        hash(entry)


def test_bytes_text_and_json(package: t4.Package) -> None:
    assert {key: entry.get_bytes() for key, entry in package.walk()} == FILES
    assert package["d/t.txt"].get_as_string() == "é\n"
    assert package["d/a.json"].get_as_json() == {"n": [1, None, "é"]}
    assert package["d/a.json"]() == package["d/a.json"].deserialize() == {"n": [1, None, "é"]}
    assert package["d/t.txt"]() == "é\n"
    assert package["raw"].deserialize(len) == 3
    assert package["d/a.json"](json.loads) == {"n": [1, None, "é"]}
    table = package["t.csv"].deserialize(fieldsep=";")
    assert table.equals(pd.DataFrame({"a": [1], "b": [2]}))
    for read, key in (
        ("get_as_string", "raw"),
        ("get_as_json", "bad.json"),
        ("get_as_json", "raw"),
        ("get_as_json", "empty"),
        ("deserialize", "bad.json"),
        ("deserialize", "raw"),
    ):
        with pytest.raises(t4.FormatError, match=key):
            getattr(package[key], read)()
    with pytest.raises(t4.InvalidInputError):
        package["t.csv"].deserialize(no_such_option=1)


def test_fetch_takes_a_file_a_folder_or_nothing(
    package: t4.Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = package["d/a.json"]
    data = FILES["d/a.json"]
    fetched = entry.fetch(tmp_path / "one" / "new.json")
    assert (tmp_path / "one/new.json").read_bytes() == data
    assert fetched.get() == (tmp_path / "one/new.json").as_uri()
    assert (fetched.logical_key, fetched.get_bytes(), fetched) == ("d/a.json", data, entry)
    fetched.set_meta({"own": 1})
    assert package["d/a.json"].meta == {}
    entry.fetch(f"{tmp_path}/two/")
    (tmp_path / "three").mkdir()
    entry.fetch(tmp_path / "three")
    entry.fetch((tmp_path / "four" / "x.json").as_uri())
    monkeypatch.chdir(tmp_path / "one")
    entry.fetch()
    entry.fetch("relative/x.json")
    below = bytes_below(tmp_path)
    for place in ("two/a.json", "three/a.json", "four/x.json", "one/a.json"):
        assert below[place] == data
    assert below["one/relative/x.json"] == data
    with pytest.raises(t4.InvalidInputError):
        entry.fetch("s3://bucket/x")
    with pytest.raises(t4.InvalidInputError):
        entry.fetch(tmp_path / "one" / "new.json" / "below")
    # A file that was only set is fetched as it is now.
    write_files(tmp_path / "files", {"raw": b"now"})
    fresh = t4.Package().set("raw", tmp_path / "files" / "raw")
    assert fresh["raw"].fetch(tmp_path / "now").get_bytes() == b"now"
    assert fresh["raw"].hash is None
    made = t4.Package().set("x.json", [1])
    assert made["x.json"].fetch(tmp_path / "made.json").get_as_json() == [1]


def at_place(entry: t4.PackageEntry, physical_key: str) -> t4.PackageEntry:
    """Return an entry of a package that promises the same bytes at another place."""
    record = entry.entry.but(physical_key=physical_key)
    manifest = Manifest.of({"version": "v0", "message": None}, [record])
    found: t4.PackageEntry = t4.Package.load(BytesIO(manifest.to_bytes()))[entry.logical_key]
    return found


def test_bytes_are_verified_however_they_are_read(package: t4.Package, tmp_path: Path) -> None:
    """An object that was changed at its place is never given out, whatever its size."""
    registry = package.ref.registry if package.ref else ""
    store = store_of(registry)
    place = PhysicalKey.parse(package.get("d/a.json"))
    root = PhysicalKey.parse(f"{registry}/").path if place.is_local else ""
    key = place.path.removeprefix(root).lstrip("/")
    (tmp_path / "good").write_bytes(b"good")
    for wrong in (FILES["d/a.json"].replace(b"1", b"2"), b"{}", b"", FILES["d/a.json"] + b" "):
        store.write(key, wrong)
        entry = package["d/a.json"]
        if store.is_versioned:
            # Pinned: whoever writes to the key changes nothing for this revision.
            assert entry.get_bytes() == FILES["d/a.json"]
            entry = at_place(entry, str(PhysicalKey(place.bucket, place.path)))
        reads: tuple[Any, ...] = (
            entry.get_bytes,
            entry.get_as_string,
            entry.get_as_json,
            entry.deserialize,
            entry,
            lambda entry=entry: entry.deserialize(len),
            lambda entry=entry: entry.fetch(tmp_path / "good"),
            lambda entry=entry: entry.fetch(tmp_path / "new" / "x"),
        )
        for read in reads:
            with pytest.raises(t4.IntegrityError):
                read()
        assert (tmp_path / "good").read_bytes() == b"good"
        assert not (tmp_path / "new" / "x").exists()


def test_gone_objects_and_limits(tmp_path: Path) -> None:
    files = write_files(tmp_path / "files", {"a": b"1"})
    package = t4.Package().set_dir("/", files)
    package.set("zeros.bin.gz", bytes(100_000))
    package.build(NAME)
    (files / "a").unlink()
    with pytest.raises(t4.NotFoundError, match="'a'"):
        package["a"].get_bytes()
    small = load_settings(limits=Limits(decompressed_bytes=1000))
    browsed = t4.Package.browse(NAME, settings=small)
    with pytest.raises(t4.FormatError, match="1,000 bytes"):
        browsed["zeros.bin.gz"]()
    assert t4.Package.browse(NAME)["zeros.bin.gz"]() == bytes(100_000)
    with pytest.raises(t4.InvalidInputError):
        t4.Package(settings=load_settings(limits=Limits(depth=2))).set("a/b/c", files)
