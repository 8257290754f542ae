"""Filling a package: files, URLs, other packages' entries, objects, folders and S3 prefixes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import t4_ops as t4
from t4_ops.settings import load_settings
from t4_ops.storage import open_bucket
from tests.package_support import ROOT, bytes_below, contents_of, store_of, write_files

TABLE = pd.DataFrame({"n": [1, 2, 3], "text": ["a", "é", " "]})
BIG = np.arange(2_200_000, dtype=np.float64)  # above the 16 MiB that stay in memory
OBJECTS: dict[str, Any] = {
    "table.parquet": TABLE,
    "table.csv": TABLE,
    "table.tsv.gz": TABLE,
    "arrow.feather": pa.table({"n": [1, None]}),
    "array.npy": np.eye(2),
    "dict.json": {"a": [1, None, "é"], "b": {"c": 1.5}},
    "list.json": [1, "two", None],
    "rows.jsonl": [{"a": 1}, {"a": 2}],
    "raw.bin": b"\0\1raw",
    "zipped.bin.zst": b"compressed" * 100,
}


def same(found: Any, expected: Any) -> bool:
    """Return whether an object came back; tables of every kind come back as DataFrames."""
    if isinstance(expected, pa.Table):
        return same(found, expected.to_pandas())
    if isinstance(expected, pd.DataFrame):
        return bool(found.equals(expected))
    if isinstance(expected, np.ndarray):
        return bool(np.array_equal(found, expected))
    return bool(found == expected)


def test_files_are_set_by_path_url_and_entry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_home: Path
) -> None:
    folder = write_files(tmp_path / "f", {"a b#?.txt": b"data", "d/x": b"x"})
    write_files(own_home, {"mine": b"home"})
    monkeypatch.chdir(folder)
    place = (folder / "a b#?.txt").as_uri()
    package = t4.Package()
    assert package.set("1", "a b#?.txt") is package
    package.set("2", Path("a b#?.txt")).set("3", folder / "a b#?.txt").set("4", place)
    package.set("5", f"file://localhost{place.removeprefix('file://')}").set("d/x").set(
        "~", "~/mine"
    )
    assert [package.get(key) for key in "12345"] == [place] * 5
    assert package.get("d/x") == (folder / "d/x").as_uri()
    assert package["~"].get_bytes() == b"home"
    assert (package["1"].size, package["1"].hash, package["1"].get_bytes()) == (4, None, b"data")
    os.symlink(folder / "d/x", folder / "link")
    # A link is the file behind it: what is read later must not depend on where it leads then.
    assert package.set("link").get("link") == (folder / "d/x").resolve().as_uri()

    package.set("1", "d/x", meta={"m": 1})
    other = t4.Package().set("kept", package["1"]).set("new", package["1"], meta={"m": 2})
    assert [other[key].meta for key in ("kept", "new")] == [{"m": 1}, {"m": 2}]
    assert contents_of(other) == {"kept": b"x", "new": b"x"}

    for key, source, error in (
        ("x", "nothing-here", t4.NotFoundError),
        ("x", folder, t4.InvalidInputError),
        ("x", "http://host/x", t4.InvalidInputError),
        ("x", "", t4.InvalidInputError),
        ("x", object(), t4.InvalidInputError),
        ("x", package["d"], t4.InvalidInputError),
        ("../x", "d/x", t4.InvalidInputError),
        ("a//b", "d/x", t4.InvalidInputError),
        ("", "d/x", t4.InvalidInputError),
        (7, "d/x", t4.InvalidInputError),
        ("d", "d/x", t4.InvalidInputError),
        ("1/below", "d/x", t4.InvalidInputError),
    ):
        with pytest.raises(error):
            package.set(key, source)  # type: ignore[arg-type]
    with pytest.raises(t4.InvalidInputError):
        package.set("x", "d/x", meta={"bad": object()})
    assert "x" not in package


def test_objects_are_kept_built_and_read_back(registry: str, tmp_path: Path) -> None:
    package = t4.Package()
    for key, obj in OBJECTS.items():
        package.set(f"objects/{key}", obj, meta={"of": key})
    package.set_text("note.md", "# é")
    package.set("options.csv", TABLE, serialization_format_opts={"fieldsep": ";"})
    package.set("big.npy", BIG)
    # Readable before anything is stored, and set into another package too.
    assert same(package["objects/table.csv"](), TABLE)
    assert package["note.md"].deserialize() == "# é"
    taken = package["objects/dict.json"]
    other = t4.Package().set("copy.json", taken)
    other.build("team/other", registry)

    top_hash = package.build("team/objects", registry)
    browsed = t4.Package.browse("team/objects", registry, top_hash)
    for key, obj in OBJECTS.items():
        entry = browsed[f"objects/{key}"]
        assert same(entry.deserialize(), obj), key
        assert entry.meta == {"of": key}
    assert same(browsed["big.npy"](), BIG)
    assert browsed["note.md"].get_as_string() == "# é"
    assert browsed["options.csv"].get_as_string().splitlines()[0] == "n;text"
    assert same(browsed["options.csv"](), TABLE)
    assert t4.Package.browse("team/other", registry)["copy.json"]() == OBJECTS["dict.json"]
    # Each object lies where its hash says, and an entry taken before the build knows that place.
    entry = package["objects/raw.bin"]
    assert entry.physical_key.startswith(f"{store_of(registry).url}/.t4/v1/objects/")
    assert taken.physical_key == package.get("objects/dict.json")
    assert taken() == OBJECTS["dict.json"]
    taken.set_meta({"later": True})
    assert package["objects/dict.json"].meta == {"later": True}
    again = package.build("team/objects", registry)
    assert again != top_hash
    with pytest.raises(t4.InvalidInputError):
        t4.Package().set("x.parquet", {"not": "a table"})
    with pytest.raises(t4.InvalidInputError):
        t4.Package().set("x.unknown", {"a": 1})


_FORKING = """
import os, sys
import numpy as np
import t4_ops as t4
package = t4.Package().set("big.npy", np.zeros(2_200_000))
child = os.fork()
if not child:
    sys.exit(0)  # an ordinary end, with all that runs then
os.waitpid(child, 0)
assert package["big.npy"]().shape == (2_200_000,)
"""


def test_a_large_object_lives_in_a_file_as_long_as_its_owner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    package = t4.Package().set("big.npy", BIG)
    other = t4.Package().set("copy.npy", package["big.npy"])
    (kept,) = tmp_path.glob("t4-object-*")
    del package
    assert same(other["copy.npy"](), BIG)
    del other
    assert not kept.exists()
    # A forked child ends before its parent has read the object.
    environ = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-W", "ignore", "-c", _FORKING]
    subprocess.run(command, env=environ, timeout=60, check=True)
    assert list(tmp_path.glob("t4-object-*")) == []


def test_set_dir_takes_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {"a": b"1", "b/c": b"2", "b/skip.tmp": b"3", "b/keep.tmp": b"4", "log/x": b"5"}
    registries = {".quilt/packages/x": b"", "sub/.t4/v1/x": b""}
    folder = write_files(tmp_path / "f", {**files, **registries})
    (folder / "empty").mkdir()
    (folder / "out").symlink_to("/nonexistent")
    (folder / "inside").symlink_to("b/c")
    ignore = "# comment\n*.tmp\n!keep.tmp\n/log/\n"
    (folder / ".quiltignore").write_text(ignore)
    wanted = {
        ".quiltignore": ignore.encode(),
        "a": b"1",
        "b/c": b"2",
        "b/keep.tmp": b"4",
        "inside": b"2",
    }
    for root in ("", ".", "/"):
        package = t4.Package().set_dir(root, folder)
        assert contents_of(package) == wanted
    package = t4.Package().set_dir("/", folder.as_uri(), meta={"of": "all"})
    assert (contents_of(package), package.meta) == (wanted, {"of": "all"})
    below = t4.Package()
    for spelling in ("x/y", "x/y/", "/x/y"):
        below = t4.Package().set_dir(spelling, folder, meta={"of": "y"})
        assert contents_of(below["x/y"]) == wanted
        assert (below.meta, below["x"].meta, below["x/y"].meta) == ({}, {}, {"of": "y"})
    assert below.sources == [folder.as_uri()]
    below.set_dir("x/y", folder)
    assert below["x/y"].meta == {"of": "y"}
    monkeypatch.chdir(tmp_path)
    assert contents_of(t4.Package().set_dir("f")["f"]) == wanted
    monkeypatch.chdir(folder)
    assert contents_of(t4.Package().set_dir(".")) == wanted

    with pytest.raises(t4.NotFoundError):
        package.set_dir("x", tmp_path / "nothing")
    with pytest.raises(t4.NotFoundError):
        package.set_dir("x", folder / "a")
    with pytest.raises(t4.InvalidInputError):
        package.set_dir("x/../y", folder)
    with pytest.raises(t4.InvalidInputError):
        package.set_dir("x", folder, update_policy="newest")  # type: ignore[arg-type]
    (folder / "escape").symlink_to(tmp_path)
    with pytest.raises(t4.InvalidInputError, match="escape"):
        package.set_dir("x", folder)
    assert "x" not in package


def test_update_policy_says_which_entry_stays(tmp_path: Path) -> None:
    old = write_files(tmp_path / "old", {"a": b"old", "b": b"old"})
    new = write_files(tmp_path / "new", {"b": b"new", "c": b"new"})
    incoming = t4.Package().set_dir("d", old).set_dir("d", new)
    assert contents_of(incoming["d"]) == {"a": b"old", "b": b"new", "c": b"new"}
    existing = t4.Package().set_dir("d", old).set_dir("d", new, update_policy="existing")
    assert contents_of(existing["d"]) == {"a": b"old", "b": b"old", "c": b"new"}
    # Also of entries that were browsed, not set.
    existing.build("team/p", tmp_path / "registry")
    browsed = t4.Package.browse("team/p", str(tmp_path / "registry"))
    browsed.set_dir("d", new, update_policy="existing")
    assert contents_of(browsed["d"]) == {"a": b"old", "b": b"old", "c": b"new"}
    browsed.set_dir("d", new)
    assert contents_of(browsed["d"]) == {"a": b"old", "b": b"new", "c": b"new"}


def test_a_file_that_grew_since_it_was_set_is_built_as_it_is(tmp_path: Path) -> None:
    folder = write_files(tmp_path / "f", {"a": b"1"})
    package = t4.Package().set_dir("", folder)
    (folder / "a").write_bytes(b"grown")
    assert package["a"].get_bytes() == b"grown"
    package.build("team/p", tmp_path / "registry")
    assert (package["a"].size, package["a"].get_bytes()) == (5, b"grown")
    (folder / "a").write_bytes(b"again")
    with pytest.raises(t4.IntegrityError, match="set again"):
        package["a"].get_bytes()


def test_s3_objects_are_pinned_where_the_bucket_keeps_versions(bucket_registry: str) -> None:
    store = open_bucket(bucket_registry, load_settings())
    first = store.write("raw/a b+.txt", b"first").version_id
    package = t4.Package().set("now", f"{bucket_registry}/raw/a%20b%2B.txt")
    store.write("raw/a b+.txt", b"second!")
    url = f"{bucket_registry}/raw/a%20b%2B.txt"
    if store.is_versioned:
        assert package.get("now") == f"{url}?versionId={first}"
        assert package["now"].get_bytes() == b"first"
        package.set("pinned", f"{url}?versionId={first}").set("latest", url)
        assert contents_of(package) == {"now": b"first", "pinned": b"first", "latest": b"second!"}
    else:
        assert package.get("now") == url
        assert package["now"].get_bytes() == b"second!"
        with pytest.raises(t4.NotFoundError):
            package.set("x", f"{url}?versionId=abc")
    assert package.sources[0] == package.get("now")
    for source, error in (
        ("raw/nothing", t4.NotFoundError),
        ("raw/", t4.InvalidInputError),
        ("", t4.InvalidInputError),
        ("raw/a%20b%2B.txt?x=1", t4.InvalidInputError),
    ):
        with pytest.raises(error):
            package.set("x", f"{bucket_registry}/{source}")


def test_set_dir_takes_an_s3_prefix(bucket_registry: str, tmp_path: Path) -> None:
    store = open_bucket(bucket_registry, load_settings())
    objects = {
        "data/a": b"1",
        "data/a-b": b"2",
        "data/d/é #?%41": b"3",
        "database": b"no",
        "data/gone": b"deleted",
        "data/.quilt/named_packages/x": b"no",
        "data/d/.t4/v1/objects/x": b"no",
    }
    for key, data in objects.items():
        store.write(key, data)
    # What consoles write for a folder, at the prefix itself and below.
    for key in ("data/", "data/folder/"):
        store.write(key, b"")
    store.write("data/a", b"newer")
    store.delete("data/gone")
    wanted = {"a": b"newer", "a-b": b"2", "d/é #?%41": b"3"}
    package = t4.Package()
    for prefix in ("data", "data/"):
        package = t4.Package().set_dir("/", f"{bucket_registry}/{prefix}")
        assert contents_of(package) == wanted
    keys = [entry.physical_key for _, entry in package.walk()]
    assert all(("?versionId=" in key) == store.is_versioned for key in keys)
    store.write("data/a", b"newest")
    expected = b"newer" if store.is_versioned else b"newest"
    assert package["a"].get_bytes() == expected

    floating = t4.Package().set_dir("x", f"{bucket_registry}/data/", unversioned=True)
    assert not any("versionId" in entry.physical_key for _, entry in floating.walk())
    assert floating["x/a"].get_bytes() == b"newest"
    whole = t4.Package().set_dir("", bucket_registry)
    assert {key for key, _ in whole.walk()} == {"database", *(f"data/{key}" for key in wanted)}

    package.fetch(tmp_path / "here")
    assert bytes_below(tmp_path / "here") == {**wanted, "a": expected}
    with pytest.raises(t4.NotFoundError):
        t4.Package().set_dir("", f"{bucket_registry}/nothing/")
    with pytest.raises(t4.InvalidInputError):
        t4.Package().set_dir("", f"{bucket_registry}/data/a?versionId=x")
    store.write("data/bad\x7fkey", b"x")
    with pytest.raises(t4.InvalidInputError, match="bad"):
        package.set_dir("", f"{bucket_registry}/data/")
    assert package.count_files() == len(wanted)
