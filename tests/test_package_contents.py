"""Edits on top of a base: whatever is done, a package is the nested dictionary a model says."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import t4_ops as t4
from t4_ops.checksums import checksum_of
from t4_ops.errors import InvalidInputError, NotFoundError
from t4_ops.keys import DEFAULT_LIMITS
from t4_ops.manifest import Directory, Entry, Manifest
from t4_ops.package import Package
from t4_ops.package.contents import Contents
from tests.package_support import write_files
from tests.strategies import metadata

# Few names, so that keys meet; such that tree order and plain string order differ.
NAMES = ("a", "b", "a-b", "a.b", "é")
KEYS = st.lists(st.sampled_from(NAMES), min_size=1, max_size=3).map("/".join)
FOLDERS = st.lists(st.sampled_from(NAMES), max_size=2).map(lambda names: "/".join([*names, ""]))
PLACES = st.integers(0, 99).map("s3://bucket/{}".format)
SETTINGS = t4.Settings(progress=False)
SCANNED = {"a": b"1", "b/a": b"22", "a-b": b"333"}


def entry(key: str, place: str, meta: dict[str, Any] | None = None) -> Entry:
    return Entry(key, place, 1, checksum_of(b"x"), {"user_meta": meta} if meta else {})


def load(entries: list[Entry], directories: list[Directory]) -> Package:
    header = {"version": "v0", "message": None}
    manifest = Manifest.of(header, entries, directories)
    return Package.load(io.BytesIO(manifest.to_bytes()), settings=SETTINGS)


def is_file_above(key: str, files: Any) -> bool:
    parts = key.rstrip("/").split("/")
    return any("/".join(parts[:depth]) in files for depth in range(1, len(parts)))


class PackageMachine(RuleBasedStateMachine):
    """The model is two plain dictionaries: files by key, and directory metadata by key."""

    folder: Path

    @initialize(
        keys=st.dictionaries(KEYS, PLACES, max_size=6),
        metas=st.dictionaries(FOLDERS.filter(bool), metadata(), max_size=2),
    )
    def start(self, keys: dict[str, str], metas: dict[str, dict[str, Any]]) -> None:
        self.files: dict[str, tuple[str, dict[str, Any]]] = {
            key: (place, {}) for key, place in keys.items() if not is_file_above(key, keys)
        }
        self.metas = {
            key: meta
            for key, meta in metas.items()
            if meta and key[:-1] not in self.files and not is_file_above(key, self.files)
        }
        records = [entry(key, place) for key, (place, _) in self.files.items()]
        self.package = load(records, [Directory(k, m) for k, m in self.metas.items()])

    # What the model says

    def is_folder(self, prefix: str) -> bool:
        return any(key.startswith(prefix) for key in [*self.files, *self.metas])

    def may_set(self, key: str) -> bool:
        return not self.is_folder(f"{key}/") and not is_file_above(key, self.files)

    def folders(self) -> set[str]:
        found = {""}
        for key in [*self.files, *self.metas]:
            found |= {key[: i + 1] for i, letter in enumerate(key) if letter == "/"}
        return found

    # Edits

    def put(self, via: Any, prefix: str, relative: str, place: str, meta: Any) -> None:
        key = prefix + relative
        donor = load([entry("x", place, {"own": 1})], [])["x"]
        if not self.may_set(key):
            with pytest.raises(InvalidInputError):
                via.set(relative, donor, meta=meta)
        else:
            assert via.set(relative, donor, meta=meta) is via
            self.files[key] = (place, {"own": 1} if meta is None else meta)

    @rule(key=KEYS, place=PLACES, meta=st.none() | metadata())
    def set(self, key: str, place: str, meta: Any) -> None:
        self.put(self.package, "", key, place, meta)

    @precondition(lambda self: len(self.folders()) > 1)
    @rule(data=st.data(), relative=KEYS, place=PLACES)
    def set_through_a_view(self, data: st.DataObject, relative: str, place: str) -> None:
        prefix = data.draw(st.sampled_from(sorted(self.folders() - {""})))
        self.put(self.package[prefix[:-1]], prefix, relative, place, None)

    @rule(prefix=FOLDERS, existing=st.booleans(), meta=st.none() | metadata())
    def set_dir(self, prefix: str, existing: bool, meta: Any) -> None:
        keys = {prefix + key: str((self.folder / key).as_uri()) for key in SCANNED}
        if existing:
            keys = {key: place for key, place in keys.items() if key not in self.files}
        policy: Any = "existing" if existing else "incoming"
        if not all(self.may_set(key) for key in keys):
            with pytest.raises(InvalidInputError):
                self.package.set_dir(prefix, self.folder, meta=meta, update_policy=policy)
            return
        self.package.set_dir(prefix, self.folder, meta=meta, update_policy=policy)
        self.files |= {key: (place, {}) for key, place in keys.items()}
        if prefix and meta is not None:
            self.metas.pop(prefix, None)
            self.metas |= {prefix: meta} if meta else {}

    @rule(data=st.data(), relative=KEYS)
    def delete(self, data: st.DataObject, relative: str) -> None:
        prefix = data.draw(st.sampled_from(sorted(self.folders())))
        known = sorted({*self.files, *(f[:-1] for f in self.folders())} - {""})
        key = data.draw(st.sampled_from([*known, prefix + relative]))
        via = self.package[prefix[:-1]] if prefix and key.startswith(prefix) else self.package
        shown = key.removeprefix(prefix) if via is not self.package else key
        if key not in self.files and not self.is_folder(f"{key}/"):
            with pytest.raises(KeyError):
                via.delete(shown)
            return
        assert via.delete(shown) is via
        self.files.pop(key, None)
        for gone in [k for k in self.files if k.startswith(f"{key}/")]:
            del self.files[gone]
        for gone in [k for k in self.metas if k.startswith(f"{key}/")]:
            del self.metas[gone]

    @precondition(lambda self: len(self.folders()) > 1)
    @rule(data=st.data(), meta=metadata())
    def describe_a_folder(self, data: st.DataObject, meta: dict[str, Any]) -> None:
        prefix = data.draw(st.sampled_from(sorted(self.folders() - {""})))
        self.package[prefix[:-1]].set_meta(meta)
        self.metas.pop(prefix, None)
        self.metas |= {prefix: meta} if meta else {}

    @rule(meta=metadata(), every=st.integers(1, 3))
    def describe_files_in_a_walk(self, meta: dict[str, Any], every: int) -> None:
        seen = []
        for number, (key, item) in enumerate(self.package.walk()):
            seen.append(key)
            if number % every == 0:
                item.set_meta(meta)
                self.files[key] = (self.files[key][0], meta)
        assert seen == self.ordered()

    @rule()
    def delete_in_a_walk(self) -> None:
        for number, (key, _) in enumerate(self.package.walk()):
            if number % 2:
                self.package.delete(key)
                del self.files[key]

    @rule()
    def dump_and_load(self) -> None:
        written = io.BytesIO()
        self.package.dump(written)
        written.seek(0)
        self.package = Package.load(written, settings=SETTINGS)

    # What must always hold

    def ordered(self, prefix: str = "") -> list[str]:
        keys = [key for key in self.files if key.startswith(prefix)]
        return sorted(keys, key=lambda key: key.split("/"))

    @invariant()
    def is_as_the_model_says(self) -> None:
        if not hasattr(self, "package"):
            return
        found = [(key, e.physical_key, e.meta) for key, e in self.package.walk()]
        assert found == [(key, *self.files[key]) for key in self.ordered()]
        assert self.package.count_files() == len(self.files)
        for key in self.files:
            assert self.package[key].logical_key == key
            assert f"{key}/x" not in self.package
        described = self.package.map(lambda key, view: (key, view.meta), include_directories=True)
        assert [item for item in described if item[0].endswith("/")] == [
            (key, self.metas[key]) for key in sorted(self.metas, key=lambda k: k.split("/"))
        ]

    @invariant()
    def every_view_shows_its_part(self) -> None:
        if not hasattr(self, "package"):
            return
        for prefix in self.folders():
            view = self.package[prefix[:-1]] if prefix else self.package
            below = [
                key[len(prefix) :]
                for key in [*self.files, *self.metas]
                if key != prefix and key.startswith(prefix)
            ]
            names = sorted({key.split("/")[0] for key in below})
            assert view.keys() == list(view) == names
            assert len(view) == len(names)
            assert all(name in view for name in names)
            assert [key for key, _ in view.walk()] == [
                key[len(prefix) :] for key in self.ordered(prefix)
            ]
        for absent in ("zz", "a/zz", "zz/a"):
            assert absent not in self.package
            with pytest.raises(KeyError):
                self.package[absent]


@pytest.fixture(scope="module")
def scanned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_files(tmp_path_factory.mktemp("scanned"), SCANNED)


def test_edits_on_a_base_are_edits_of_a_dictionary(scanned: Path) -> None:
    from hypothesis.stateful import run_state_machine_as_test

    machine = type("Machine", (PackageMachine,), {"folder": scanned})
    run_state_machine_as_test(
        machine, settings=hypothesis_settings(max_examples=60, stateful_step_count=15)
    )


def test_many_edits_out_of_order_stay_in_order() -> None:
    keys = [f"{i % 7}/{i}" for i in range(3000)]
    package = load([entry(key, f"s3://b/{key}") for key in keys[::3]], [])
    for key in reversed(keys):
        package.set(key, load([entry("x", f"s3://c/{key}")], [])["x"])
        if key.endswith("0"):
            package.delete(key)
    left = sorted((k for k in keys if not k.endswith("0")), key=lambda key: key.split("/"))
    assert [key for key, _ in package.walk()] == left
    assert all(e.physical_key == f"s3://c/{key}" for key, e in package.walk())


def test_a_refused_folder_changes_nothing(tmp_path: Path) -> None:
    folder = write_files(tmp_path / "files", {"a": b"1", "b/c": b"2", "d": b"3"})
    package = load([entry("b", "s3://b/b"), entry("a", "s3://b/a")], [])
    before = package.top_hash
    with pytest.raises(InvalidInputError, match="b"):
        package.set_dir("", folder, meta={"new": True})
    assert package.top_hash == before
    assert (package.meta, package.sources) == ({}, [])
    package.set_dir("e", folder)
    with pytest.raises(InvalidInputError):
        package.set_dir("e", folder, meta={"bad": object()})
    assert package["e"].meta == {}


def test_a_file_and_a_directory_never_share_a_name() -> None:
    package = load([entry("a", "s3://b/a"), entry("d/x", "s3://b/x")], [])
    view = package["d"]
    donor = package["a"]
    for key in ("a/b", "a/b/c", "d"):
        with pytest.raises(InvalidInputError):
            package.set(key, donor)
    package.delete("d").set("d", donor)
    with pytest.raises(InvalidInputError):
        view.set_meta({"of": "a directory that is a file by now"})
    with pytest.raises(InvalidInputError):
        view.set("y", donor)
    assert [key for key, _ in package.walk()] == ["a", "d"]


def test_a_walk_sees_what_is_changed_ahead_of_it() -> None:
    package = load([entry(key, f"s3://b/{key}") for key in ("a", "b", "c", "d")], [])
    package.set("bb", package["a"]).set("cc", package["a"])
    seen = []
    for key, item in package.walk():
        seen.append((key, item.meta))
        if key == "a":
            for later in ("b", "bb"):
                package[later].set_meta({"set": "meanwhile"})
            package.delete("c").delete("cc")
    changed = {"set": "meanwhile"}
    assert seen == [("a", {}), ("b", changed), ("bb", changed), ("d", {})]


def test_an_entry_that_was_deleted_can_not_be_described() -> None:
    package = load([entry("a", "s3://b/a")], [])
    item = package["a"]
    package.delete("a")
    with pytest.raises(NotFoundError):
        item.set_meta({"x": 1})
    assert len(package) == 0


def test_metadata_is_given_out_as_copies() -> None:
    package = load([entry("d/a", "s3://b/a", {"n": {"x": 1}})], [Directory("d/", {"n": {"x": 1}})])
    package.set_meta({"n": {"x": 1}})
    before = package.top_hash
    for thing in (package, package["d"], package["d/a"]):
        thing.meta["n"]["x"] = 2
        thing.get_meta()["n"].clear()
    for record in package.manifest:
        record.get("user_meta", record.get("meta", {})).clear()
    assert package.meta == package["d"].meta == package["d/a"].meta == {"n": {"x": 1}}
    assert package.top_hash == before


def test_edits_that_cover_the_manifest_below_stand_for_it_and_only_then() -> None:
    def entry(key: str, size_bytes: int) -> Entry:
        return Entry(key, f"file:///x/{key}", size_bytes, checksum_of(b"x"))

    base = Manifest.of({"version": "v0"}, [entry("a", 1), entry("b/c", 1)])
    contents = Contents(base, DEFAULT_LIMITS)

    def held() -> list[tuple[str, int | None]]:
        return [(e.logical_key, e.size_bytes) for e in contents.entries()]

    contents.set(entry("d", 2))
    contents.set(entry("e", 2))
    # As many edits as entries below, but others.
    assert held() == [("a", 1), ("b/c", 1), ("d", 2), ("e", 2)]
    contents.set(entry("b/c", 2))
    contents.set(entry("a", 2))
    assert held() == [("a", 2), ("b/c", 2), ("d", 2), ("e", 2)]
    contents.delete("a")
    assert held() == [("b/c", 2), ("d", 2), ("e", 2)]
    contents.set(entry("a", 3))
    assert held() == [("a", 3), ("b/c", 2), ("d", 2), ("e", 2)]


MANY = [f"d/{number:04}" for number in range(1200)]


@pytest.mark.parametrize(
    "refused",
    ["d/0499/below", "d/1199/below", "d/0001", "d", ".."],
    ids=["below a file", "below the last one", "again", "a folder", "no legal key"],
)
def test_many_in_order_and_one_in_the_way(refused: str) -> None:
    """Entries of a fresh package go in by batches; what is refused is what `set` refuses."""
    contents = Contents(None, DEFAULT_LIMITS)
    entries = [entry(key, "s3://b/x") for key in [*MANY, refused]]
    if refused in MANY:
        contents.set_all(entries)
        assert [e.logical_key for e in contents.entries()] == MANY
        return
    with pytest.raises(InvalidInputError):
        contents.set_all(entries)
    assert list(contents.entries()) == []
    assert not contents.has_folder("d/")
    contents.set(entry("d", "s3://b/x"))
    assert contents.count() == 1


def test_batches_in_order_count_as_entries_set_one_by_one() -> None:
    together, alone = Contents(None, DEFAULT_LIMITS), Contents(None, DEFAULT_LIMITS)
    together.set_all(entry(key, "s3://b/x") for key in MANY)
    for key in MANY:
        alone.set(entry(key, "s3://b/x"))
    for contents in (together, alone):
        for key in MANY[1:]:
            contents.delete(key)
        assert contents.has_folder("d/")
        contents.delete(MANY[0])
        assert not contents.has_folder("d/")


def test_a_file_at_the_edge_of_a_batch_lets_nothing_below_it() -> None:
    keys = [f"d/{number:04}" for number in range(500)]
    contents = Contents(None, DEFAULT_LIMITS)
    with pytest.raises(InvalidInputError, match="can't lie below"):
        contents.set_all(entry(key, "s3://b/x") for key in [*keys, f"{keys[-1]}/below"])
    assert contents.count() == 0
