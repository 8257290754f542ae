"""A package read as a nested dictionary: views, map, filter, diff, readme, get, and its print."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest

import t4_ops as t4
from tests.package_support import bytes_below, contents_of, write_files

FILES = {
    "README.md": b"# Data",
    "a-b": b"dash",
    "a/b": b"deep",
    "a/c/d": b"deeper",
    "a.b": b"dot",
    "z": b"",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_files(tmp_path / "files", FILES)


@pytest.fixture
def package(folder: Path) -> t4.Package:
    package = t4.Package().set_dir("/", folder, meta={"of": "package"})
    package["a"].set_meta({"of": "a"})
    package["a/c"].set_meta({"of": "c"})
    package["a/b"].set_meta({"of": "b"})
    return package


def test_paths_and_steps_lead_to_the_same_things(package: t4.Package) -> None:
    assert package.keys() == list(package) == ["README.md", "a", "a-b", "a.b", "z"]
    assert len(package) == 5
    assert package.count_files() == len(FILES)
    assert package.size_bytes() == sum(map(len, FILES.values()))
    assert [key for key, _ in package.walk()] == ["README.md", "a/b", "a/c/d", "a-b", "a.b", "z"]
    assert package["a"]["c"]["d"] == package["a/c/d"] == package["a/c"]["d"]
    assert package["a"]["c"]["d"].get_bytes() == b"deeper"
    assert isinstance(package["a"], t4.Package)
    assert isinstance(package["a/b"], t4.PackageEntry)
    assert "a/c" in package
    assert "c/d" in package["a"]
    assert "c/d" not in package
    assert "" not in package
    for absent in ("", "x", "a/x", "a/b/x", "a/b/", "A", "/a", "a//b"):
        assert absent not in package
        with pytest.raises(KeyError):
            package[absent]
    assert package.get_meta() == package.meta == {"of": "package"}
    assert [package.get_meta(key)["of"] for key in ("a", "a/c", "a/b")] == ["a", "c", "b"]
    assert package["a/b"].logical_key == "a/b"
    assert package
    assert t4.Package()


def test_get_and_readme(package: t4.Package, folder: Path) -> None:
    assert package.get("a/b") == package["a/b"].get() == (folder / "a/b").as_uri()
    assert package["a"].get("c/d") == (folder / "a/c/d").as_uri()
    with pytest.raises(ValueError, match="directory"):
        package.get("a")
    with pytest.raises(KeyError):
        package.get("nothing")
    assert package.readme().get_as_string() == "# Data"
    with pytest.raises(t4.NotFoundError):
        package["a"].readme()


def test_changes_through_a_view_reach_the_package(package: t4.Package, folder: Path) -> None:
    view, deeper = package["a"], package["a"]["c"]
    view.set("new", folder / "z", meta={"n": 1})
    view.set_dir("sub", folder / "a", meta={"of": "sub"})
    deeper.delete("d").set("e", folder / "a-b")
    view["b"].set_meta({"changed": True})
    view.set_meta({"of": "A"})
    assert package["a/new"].meta == {"n": 1}
    assert package["a/b"].meta == {"changed": True}
    assert (package["a"].meta, package["a/sub"].meta) == ({"of": "A"}, {"of": "sub"})
    assert view.keys() == ["b", "c", "new", "sub"]
    assert contents_of(deeper) == {"e": b"dash"}
    with pytest.raises(KeyError):
        view.delete("z")
    package.delete("a")
    assert (len(view), "a" in package, view.meta) == (0, False, {})
    assert package.count_files() == 4


def test_a_view_builds_pushes_and_fetches_as_a_package(
    package: t4.Package, registry: str, tmp_path: Path
) -> None:
    expected = {"b": b"deep", "c/d": b"deeper"}
    fetched = package["a"].fetch(tmp_path / "fetched")
    assert bytes_below(tmp_path / "fetched") == contents_of(fetched) == expected
    assert package["a"].verify(tmp_path / "fetched")
    top_hash = package["a"].build("team/part", registry, "part")
    pushed = package["a"].push("team/part", registry, message="part", force=True)
    assert pushed.top_hash == top_hash
    browsed = t4.Package.browse("team/part", registry)
    assert contents_of(browsed) == expected
    assert (browsed.meta, browsed["c"].meta, browsed["b"].meta) == (
        {"of": "a"},
        {"of": "c"},
        {"of": "b"},
    )
    again = io.BytesIO()
    browsed["c"].dump(again)
    again.seek(0)
    part = t4.Package.load(again)
    assert (contents_of(part), part.meta) == ({"d": b"deeper"}, {"of": "c"})
    assert part.top_hash == browsed["c"].top_hash
    # The package that the view is of was not published, and not changed.
    assert package.ref is None
    assert package.count_files() == len(FILES)


def test_map_and_filter(package: t4.Package) -> None:
    assert list(package.map(lambda key, entry: (key, entry.size)))[:2] == [
        ("README.md", 6),
        ("a/b", 4),
    ]
    both = list(package.map(lambda key, thing: (key, type(thing)), include_directories=True))
    assert both[:2] == [("a/", t4.Package), ("a/c/", t4.Package)]
    assert len(both) == 2 + len(FILES)

    kept = package.filter(lambda key, entry: entry.size > 3)
    assert [key for key, _ in kept.walk()] == ["README.md", "a/b", "a/c/d", "a-b"]
    assert kept.meta == {"of": "package"}
    assert [kept.get_meta(key)["of"] for key in ("a", "a/c", "a/b")] == ["a", "c", "b"]
    assert package.count_files() == len(FILES)

    asked: list[str] = []

    def not_c(key: str, thing: Any) -> bool:
        asked.append(key)
        return bool(thing.meta.get("of") != "c")

    without_c = package.filter(not_c, include_directories=True)
    assert [key for key, _ in without_c.walk()] == ["README.md", "a/b", "a-b", "a.b", "z"]
    assert "a/c" not in without_c
    assert asked[:2] == ["a/", "a/c/"]
    assert "a/c/d" not in asked

    part = package["a"].filter(lambda key, _: key.startswith("c"))
    assert ([key for key, _ in part.walk()], part.meta, part["c"].meta) == (
        ["c/d"],
        {"of": "a"},
        {"of": "c"},
    )
    part["c/d"].set_meta({"only": "here"})
    assert package["a/c/d"].meta == {}


def test_diff(package: t4.Package, folder: Path, tmp_path: Path) -> None:
    package.build("team/p", tmp_path / "registry")
    old = t4.Package.browse("team/p", str(tmp_path / "registry"))
    assert not old.diff(package)
    package.delete("a.b").set("added", folder / "z").set("a-b", folder / "z")
    package["a/b"].set_meta({"other": 1})
    package.build("team/p", tmp_path / "registry")
    diff = old.diff(package)
    assert diff == t4.Diff(["added"], ["a/b", "a-b"], ["a.b"])
    added, modified, deleted = package.diff(old)
    assert (added, modified, deleted) == (["a.b"], ["a/b", "a-b"], ["added"])
    assert old["a"].diff(package["a"]) == t4.Diff([], ["b"], [])
    # Another place is no change.
    moved = old.fetch(tmp_path / "elsewhere")
    assert not old.diff(moved)


def test_the_print_is_a_tree_of_at_most_20_lines(package: t4.Package, folder: Path) -> None:
    assert repr(t4.Package()) == "(empty Package)"
    assert repr(package) == (
        "(Package)\n └─README.md\n └─a/\n   └─b\n   └─c/\n     └─d\n └─a-b\n └─a.b\n └─z\n"
    )
    assert repr(package["a"]) == "(Package)\n └─b\n └─c/\n   └─d\n"
    for number in range(30):
        package.set(f"many/{number:02}", folder / "z")
    lines = repr(package).splitlines()
    assert lines[-1] == " ..."
    assert len(lines) == 1 + 20 + 1
    # The upper levels are there in full: what is cut off is deep.
    assert [line for line in lines if line.startswith(" └")] == [
        f" └─{name}" for name in ("README.md", "a/", "a-b", "a.b", "many/", "z")
    ]


def test_dump_load_and_manifest(package: t4.Package, tmp_path: Path) -> None:
    package.build("team/p", tmp_path / "registry", "first")
    written = io.BytesIO()
    package.dump(written)
    loaded = t4.Package.load(io.BytesIO(written.getvalue()))
    assert loaded.top_hash == package.top_hash
    assert loaded.meta == {"of": "package"}
    assert loaded.get_meta("a/c") == {"of": "c"}
    assert contents_of(loaded) == FILES
    again = io.BytesIO()
    loaded.dump(again)
    assert again.getvalue() == written.getvalue()
    header, *records = package.manifest
    assert header == {"version": "v0", "message": "first", "user_meta": {"of": "package"}}
    assert [record["logical_key"] for record in records] == [
        *("a/", "a/c/"),
        *(key for key, _ in package.walk()),
    ]
    assert records[3] == {
        "logical_key": "a/b",
        "physical_keys": [package.get("a/b")],
        "size": 4,
        "hash": package["a/b"].hash,
        "meta": {"user_meta": {"of": "b"}},
    }
    # Not hashed yet: it can be dumped, but nobody can say its top hash.
    fresh = t4.Package().set("z", tmp_path / "files" / "z")
    with pytest.raises(t4.FormatError, match="build"):
        _ = fresh.top_hash
    fresh.set("object.json", {"a": 1})
    with pytest.raises(t4.InvalidInputError, match="build"):
        fresh.dump(io.BytesIO())


def test_metadata_must_be_plain_json(package: t4.Package) -> None:
    before = [*package.map(lambda _, thing: thing.meta, include_directories=True), package.meta]
    bads: list[Any] = [{"x": float("nan")}, {1: "x"}, {"x": {1, 2}}, {"x": "\ud800"}, ["x"], "x"]
    for bad in bads:
        for thing in (package, package["a"], package["a/b"]):
            with pytest.raises(t4.InvalidInputError):
                thing.set_meta(bad)
    after = [*package.map(lambda _, thing: thing.meta, include_directories=True), package.meta]
    assert after == before
    assert package.set_meta({"tuple": (1, 2)}).meta == {"tuple": [1, 2]}
    assert package.set_meta(None).meta == {}
