"""quilt3 8.0.0 and we read, verify and hash each other's packages, on folders and on real S3."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import t4_ops as t4
from tests.quilt_peer import ask_quilt3

MIB = 1024 * 1024
FILES: dict[str, bytes] = {
    "a-b": b"dash",
    "a/b": b"slash",
    "a.b": b"dot",
    "a/b.c/d": b"deep",
    "with space/x y.txt": b"space",
    "é/ü": b"accents",
    "plus+plus": b"+",
    "hash#tag": b"#",
    "question?": b"?",
    "percent%41": b"%",
    "\U0001f600.txt": b"emoji",
    "tilde~": b"~",
    "empty": b"",
    "sizes/below": bytes(8 * MIB - 1),
    "sizes/exact": b"\1" * (8 * MIB),
    "sizes/above": b"\2" * (8 * MIB + 1),
}
META = {"name": "é \U0001f600", "n": [1, 1.0, 1e16, -0.0, None, True], "big": 2**70}
ENTRY_META = {"a-b": {"unit": "°C", "nested": {"b": 1, "a": 2}}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("files")
    for key, data in FILES.items():
        (root / key).parent.mkdir(parents=True, exist_ok=True)
        (root / key).write_bytes(data)
    return root


@pytest.fixture
def home(tmp_path: Path) -> Path:
    place = tmp_path / "quilt3"
    place.mkdir()
    return place


def bytes_below(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def ours(folder: Path) -> t4.Package:
    package = t4.Package().set_dir("/", folder, meta=META)
    for key, meta in ENTRY_META.items():
        package[key].set_meta(meta)
    return package


def theirs(home: Path, folder: Path, name: str, registry: str, message: str) -> Any:
    return ask_quilt3(
        home,
        "publish",
        folder=str(folder),
        name=name,
        registry=registry,
        message=message,
        meta=META,
        entry_meta=ENTRY_META,
    )


def described(package: t4.Package) -> dict[str, list[Any]]:
    return {key: [e.size, e.hash, dict(e.entry.meta)] for key, e in package.walk()}


def test_on_s3_each_reads_verifies_and_hashes_the_others_package(
    bucket_registry: str, folder: Path, home: Path, tmp_path: Path
) -> None:
    we = ours(folder).push("ours/p", bucket_registry, message="é \U0001f600")
    seen = ask_quilt3(home, "browse", name="ours/p", registry=bucket_registry, top_hash=None)
    assert seen["top_hash"] == we.top_hash
    assert seen["meta"] == META
    assert {k: v[0] for k, v in seen["entries"].items()} == {k: e.get() for k, e in we.walk()}
    assert {k: v[1:] for k, v in seen["entries"].items()} == described(we)
    installed = ask_quilt3(
        home,
        "install",
        name="ours/p",
        registry=bucket_registry,
        top_hash=we.top_hash,
        dest=str(tmp_path / "by-quilt3"),
    )
    assert installed["verified"]
    assert installed["top_hash"] == we.top_hash
    assert bytes_below(tmp_path / "by-quilt3") == FILES

    # Only now: quilt3 overwrites the stored manifest of that hash, so it would read its own.
    they = theirs(home, folder, "theirs/p", bucket_registry, "é \U0001f600")
    assert they["top_hash"] == we.top_hash
    theirs_here = t4.Package.browse("theirs/p", bucket_registry)
    assert theirs_here.top_hash == they["top_hash"]
    assert described(theirs_here) == described(we)
    t4.Package.install("theirs/p", bucket_registry, dest=tmp_path / "by-us")
    assert bytes_below(tmp_path / "by-us") == FILES
    assert theirs_here.verify(tmp_path / "by-us")

    listed = ask_quilt3(home, "versions", name="ours/p", registry=bucket_registry)
    assert listed["packages"] == t4.list_packages(bucket_registry) == ["ours/p", "theirs/p"]
    assert sorted(map(tuple, listed["versions"])) == sorted(
        t4.list_package_versions("ours/p", bucket_registry)
    )


def test_in_a_folder_each_reads_verifies_and_hashes_the_others_package(
    folder: Path, home: Path, tmp_path: Path
) -> None:
    registry = str(tmp_path / "shared")
    top_hash = ours(folder).build("ours/p", registry, "built")
    seen = ask_quilt3(home, "browse", name="ours/p", registry=registry, top_hash=top_hash)
    assert seen["entries"].keys() == FILES.keys()
    assert seen["top_hash"] == top_hash
    they = theirs(home, folder, "theirs/p", registry, "built")
    assert they["top_hash"] == top_hash
    here = t4.Package.browse("theirs/p", registry)
    assert here.top_hash == top_hash
    here.fetch(tmp_path / "fetched")
    assert bytes_below(tmp_path / "fetched") == FILES
    assert t4.list_packages(registry) == ["ours/p", "theirs/p"]


def test_a_change_by_one_is_a_revision_for_the_other(
    bucket_registry: str, home: Path, tmp_path: Path
) -> None:
    first, second = tmp_path / "one", tmp_path / "two"
    for place, text in ((first, "1"), (second, "2")):
        place.mkdir()
        (place / "x.txt").write_text(text)
    they = ask_quilt3(
        home,
        "publish",
        folder=str(first),
        name="team/p",
        registry=bucket_registry,
        message="first",
        meta=None,
        entry_meta={},
    )
    # Without metadata quilt3 writes null at the root; the same calls give the same hash here.
    package = t4.Package().set_dir("/", first)
    assert (
        package.push("team/p", bucket_registry, message="first", force=True).top_hash
        == they["top_hash"]
    )
    browsed = t4.Package.browse("team/p", bucket_registry)
    pushed = browsed.set("x.txt", second / "x.txt").push(
        "team/p", bucket_registry, message="second"
    )
    seen = ask_quilt3(home, "browse", name="team/p", registry=bucket_registry, top_hash=None)
    assert seen["top_hash"] == pushed.top_hash
    old = ask_quilt3(
        home,
        "install",
        name="team/p",
        registry=bucket_registry,
        top_hash=they["top_hash"],
        dest=str(tmp_path / "old"),
    )
    assert old["verified"]
    assert (tmp_path / "old" / "x.txt").read_text() == "1"


def test_objects_set_here_are_deserialised_there(bucket_registry: str, home: Path) -> None:
    import numpy as np
    import pandas as pd

    table = pd.DataFrame({"a": [1, 2], "b": ["x", "y"]})
    objects = {
        "t.csv": table,
        "t.parquet": table,
        "d.json": {"a": [1, None]},
        "n.npy": np.arange(3),
    }
    package = t4.Package()
    for key, obj in objects.items():
        package.set(key, obj)
    package.set_text("t.txt", "text é")
    package.push("ours/objects", bucket_registry)
    seen = ask_quilt3(
        home,
        "read_objects",
        name="ours/objects",
        registry=bucket_registry,
        keys=[*objects, "t.txt"],
    )
    assert seen == {**{key: repr(obj) for key, obj in objects.items()}, "t.txt": repr("text é")}
