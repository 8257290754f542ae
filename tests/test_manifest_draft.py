"""A manifest written while its entries come is the one that is made of them afterwards."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pytest_mock import MockerFixture

import t4_ops as t4
from t4_ops.errors import FormatError, InvalidInputError, NotFoundError, StorageError, T4Error
from t4_ops.keys import DEFAULT_LIMITS, Limits, tree_order
from t4_ops.manifest import Directory, Draft, Entry, Manifest, drafting
from t4_ops.manifest.lines import Spool
from tests.manifest_support import HEADER, entry
from tests.package_support import write_files
from tests.strategies import metadata

NAMES = st.sampled_from(("a", "b", "a-b", "é", "a.b"))
KEYS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)


def drafted(
    entries: list[Entry],
    steps: int,
    header: dict[str, Any] = HEADER,
    directories: list[Directory] | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> Manifest | None:
    with Draft(header, directories or [], limits) as draft:
        for start in range(0, len(entries), steps):
            draft.add(entries[start : start + steps])
        return draft.manifest(len(entries))


@given(st.dictionaries(KEYS, st.binary(max_size=3), max_size=8), st.data())
def test_a_draft_is_the_manifest_of_its_entries_or_none(
    files: dict[str, bytes], data: st.DataObject
) -> None:
    entries = [
        entry(key, content, meta=data.draw(st.just({}) | metadata(), label="meta"))
        for key, content in files.items()
    ]
    if data.draw(st.booleans(), label="sorted"):
        entries.sort(key=lambda item: tree_order(item.logical_key))
    directories = [Directory("x/", {"n": 1})]
    made = drafted(entries, data.draw(st.integers(1, 4)), HEADER, directories)
    try:
        expected = Manifest.of(HEADER, entries, directories)
    except FormatError:
        assert made is None
        return
    orders = [tree_order(item.logical_key) for item in entries]
    assert (made is None) == (orders != sorted(orders))
    if made is not None:
        assert made.to_bytes() == expected.to_bytes()
        assert made.top_hash == Manifest.from_bytes(expected.to_bytes()).top_hash
        assert made.local_key == expected.local_key
        assert made.files_size_bytes() == expected.files_size_bytes()
        assert list(made.entries()) == entries


@pytest.mark.parametrize(
    "wrong",
    [
        Entry("b", "s3://b/k", 1),
        entry("b", meta={"user_meta": "\ud800"}),
        entry("b", meta={"user_meta": "é" * 600_000}),
        entry("b/../c"),
        entry("a"),
    ],
)
def test_what_can_not_be_written_leaves_no_draft(wrong: Entry) -> None:
    assert drafted([entry("a"), wrong, entry("c")], 1) is None


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="descriptors are counted in /proc")
def test_a_draft_that_is_dropped_or_never_begins_leaves_no_file(mocker: MockerFixture) -> None:
    mocker.patch.object(drafting, "Spool", partial(Spool, memory_bytes=0))
    before = len(os.listdir("/proc/self/fd"))
    with Draft(HEADER, [], DEFAULT_LIMITS) as draft:
        draft.add([entry("b")])
        assert len(os.listdir("/proc/self/fd")) > before
        draft.add([entry("a")])
        assert len(os.listdir("/proc/self/fd")) == before
        assert draft.manifest(2) is None
    with pytest.raises(InvalidInputError, match="directory 'b/'"):
        Draft(
            HEADER,
            [Directory("a/", {"n": 1}), Directory("b/", {"n": "x" * 2_000_000})],
            DEFAULT_LIMITS,
        )
    assert len(os.listdir("/proc/self/fd")) == before
    with Draft(HEADER, [], DEFAULT_LIMITS) as draft:
        draft.add([entry("a")])
        made = draft.manifest(1)
        assert made is not None
        assert len(os.listdir("/proc/self/fd")) == before + 1
    assert made.to_bytes() == Manifest.of(HEADER, [entry("a")]).to_bytes()


def test_a_full_disk_in_the_middle_leaves_no_draft(mocker: MockerFixture) -> None:
    with Draft(HEADER, [], DEFAULT_LIMITS) as draft:
        draft.add([entry("a")])
        full = StorageError("no space left")
        mocker.patch.object(Spool, "lines", autospec=True, side_effect=full)
        assert draft.manifest(1) is None


def test_a_draft_that_lacks_an_entry_is_none() -> None:
    with Draft(HEADER, [], DEFAULT_LIMITS) as draft:
        draft.add([entry("a")])
        assert draft.manifest(2) is None


def test_a_wrong_header_is_told_at_once() -> None:
    with pytest.raises(T4Error):
        Draft({"version": "v0", "user_meta": {"n": float("nan")}}, [], DEFAULT_LIMITS)
    with pytest.raises(InvalidInputError, match="message and metadata"):
        Draft({"version": "v0", "message": "x" * 2_000_000}, [], DEFAULT_LIMITS)


@pytest.mark.parametrize(
    ("files", "is_drafted"),
    [
        ({"a/b": b"1", "a-b": b"2", "é": b"3"}, True),
        ({"a": b"1", "b": b"large" * 10_000, "c": b"3"}, False),
        ({}, True),
    ],
)
def test_a_build_of_small_files_is_written_while_they_are_hashed(
    tmp_path: Path, mocker: MockerFixture, files: dict[str, bytes], is_drafted: bool
) -> None:
    of = mocker.spy(Manifest, "of")
    source = tmp_path / "source"
    source.mkdir()
    write_files(source, files)
    registry = str(tmp_path / "registry")
    package = t4.Package().set_dir("", source, meta={"of": "all"})
    top_hash = package.build("a/b", registry, message="first")
    assert of.called is not is_drafted
    assert {key: item.get_bytes() for key, item in package.walk()} == files
    again = t4.Package.browse("a/b", registry).check()
    assert again.top_hash == package.top_hash == top_hash
    assert list(again.manifest) == list(package.manifest)
    # By plainer means it is the same package: what has its hashes needs no draft.
    of.reset_mock()
    assert again.build("a/b", str(tmp_path / "other"), message="first") == top_hash
    stored = (f"{folder}/.quilt/packages/{top_hash}" for folder in (registry, tmp_path / "other"))
    assert len({Path(path).read_bytes() for path in stored}) == 1


@pytest.mark.parametrize("reason", ["hashed", "base", "object", "large"])
def test_other_builds_have_no_draft(tmp_path: Path, mocker: MockerFixture, reason: str) -> None:
    of = mocker.spy(Manifest, "of")
    add = mocker.spy(Draft, "add")
    source, registry = tmp_path / "source", str(tmp_path / "registry")
    write_files(source, {"a": b"1", "c": b"3"})
    package = t4.Package().set_dir("", source)
    if reason == "hashed":
        package.fetch(tmp_path / "elsewhere")  # hashes them
    elif reason == "base":
        package.build("a/b", registry)
        package.delete("a")
    elif reason == "object":
        package.set("d.bin", b"object")
    else:
        write_files(source, {"d": b"x" * 20_000})
        package.set("d", source / "d")
    write_files(source, {"b": b"2"})
    package.set("b", source / "b")
    of.reset_mock()
    add.reset_mock()
    top_hash = package.build("a/b", registry)
    assert of.called
    assert add.called is (reason == "hashed")  # it is found incomplete only in the end
    read = t4.Package.browse("a/b", registry).check()
    assert (read.top_hash, read["b"].get_bytes()) == (top_hash, b"2")
    assert [key for key, _ in read.walk()] == [key for key, _ in package.walk()]


def test_what_was_hashed_before_a_build_failed_stays_hashed(tmp_path: Path) -> None:
    write_files(tmp_path / "source", {"a": b"x" * 20_000, "b": b"2"})
    package = t4.Package().set_dir("", tmp_path / "source")
    (tmp_path / "source" / "b").unlink()
    with pytest.raises(NotFoundError):
        package.build("a/b", str(tmp_path / "registry"))
    assert package["a"].hash is not None
    write_files(tmp_path / "source", {"b": b"2"})
    assert package.build("a/b", str(tmp_path / "registry")) == package.top_hash
