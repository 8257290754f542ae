"""Small steps: probe a registry, changes since the revision before, marks of single packages."""

from __future__ import annotations

from pathlib import Path

import pytest

import t4_ops as t4
from t4_ops import operations
from t4_ops.storage import open_store


def push(registry: str, **texts: str) -> str:
    package = t4.Package()
    for name, text in texts.items():
        package.set_text(f"{name}.txt", text)
    return package.push("team/raw", registry, force=True).top_hash


def test_a_probe_sees_what_is_there_and_writes_nothing(registry: str) -> None:
    before = operations.probe(registry)
    assert (before.registry, before.namespaces) == (registry, 0)
    push(registry, a="1")
    held = [info.key for info in open_store(registry, t4.load_settings()).list()]
    found = operations.probe(registry)
    assert (found.exists, found.namespaces) == (True, 1)
    assert [info.key for info in open_store(registry, t4.load_settings()).list()] == held


def test_a_probe_names_a_bucket_that_is_not_there(s3_env: object) -> None:
    with pytest.raises(t4.T4Error, match="t4-no-such-bucket"):
        operations.probe("s3://t4-no-such-bucket")


def test_changes_begin_with_the_first_revision(registry: str) -> None:
    push(registry, a="1", b="1")
    first = operations.changes("team/raw", registry=registry, max_keys=1)
    assert (first["added"], first["added_keys"], first["truncated"]) == (2, ["a.txt"], True)
    assert (first["old"], first["changed"]) == ("", True)
    push(registry, a="2", b="1")
    second = operations.changes("team/raw", registry=registry)
    assert (second["modified_keys"], second["added"], second["deleted"]) == (["a.txt"], 0, 0)


def test_marks_can_be_taken_apart_and_joined_again(tmp_path: Path) -> None:
    registry = str(tmp_path / "registry")
    names = ["team/a", "team/b"]
    for name in names:
        t4.Package().set_text("a.txt", name).push(name, registry)
    first = operations.poll(registry, names)
    marks = operations.marks_of(first.watermark)
    assert sorted(marks) == names
    joined = operations.joined_marks(registry, marks)
    assert joined == first.watermark
    t4.Package.browse("team/b", registry).set_text("b.txt", "b").push("team/b", registry)
    one = operations.poll(registry, "team/b", watermark=marks["team/b"])
    both = operations.poll(registry, names, watermark=joined)
    assert [move["id"] for move in one.moves] == [move["id"] for move in both.moves]
    assert len(one.moves) == 1
    with pytest.raises(t4.InvalidInputError, match="watermark is of"):
        operations.joined_marks(str(tmp_path / "other"), marks)


def test_datasets_are_those_of_the_ledger(tmp_path: Path) -> None:
    registry = str(tmp_path / "registry")
    (tmp_path / "a.txt").write_text("a")
    built = operations.build("team/raw", tmp_path / "a.txt", registry=registry)
    ((source,), (made,)) = operations.openlineage_datasets(built, publishes=True)
    assert (source.namespace, source.name) == ("file", str(tmp_path / "a.txt"))
    assert (made.namespace, made.name) == ("file", f"{registry}/team/raw")
    assert made.facets["version"].datasetVersion == built["top_hash"]
    ((read,), nothing) = operations.openlineage_datasets(built, publishes=False)
    assert (read.name, nothing) == (made.name, [])
    with pytest.raises(t4.InvalidInputError):
        operations.openlineage_datasets({"name": "team/raw"}, publishes=False)
