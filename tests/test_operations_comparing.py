"""Diff and verify: what changed, and whether what is promised is there."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest

import t4_ops as t4
from t4_ops import operations as ops
from t4_ops.keys import PhysicalKey
from t4_ops.settings import load_settings
from t4_ops.storage import open_store
from tests.ledger_support import stored_events
from tests.package_support import write_files

FILES = {f"d{i % 3}/f{i:03}": bytes([i]) * i for i in range(1, 40)}


def changed_in(folder: Path) -> None:
    write_files(folder, {"d0/f003": b"other", "d1/new": b"n", "d2/new2": b"m"})
    for gone in ("d0/f006", "d0/f009", "d2/f002"):
        (folder / gone).unlink()


def test_diff_counts_and_names_what_changed(tmp_path: Path, registry: str) -> None:
    folder = write_files(tmp_path / "files", FILES)
    old = ops.build("team/raw", folder, registry=registry)
    changed_in(folder)
    new = ops.build("team/raw", folder, registry=registry, meta={"n": 1}, message="second")
    found = ops.diff(old, new)
    assert json.loads(json.dumps(found)) == found
    assert found == {
        "old": old["uri"],
        "new": new["uri"],
        "added": 2,
        "modified": 1,
        "deleted": 3,
        "added_keys": ["d1/new", "d2/new2"],
        "modified_keys": ["d0/f003"],
        "deleted_keys": ["d0/f006", "d0/f009", "d2/f002"],
        "old_files": 39,
        "new_files": 38,
        "old_bytes": old["size_bytes"],
        "new_bytes": new["size_bytes"],
        "meta_changed": True,
        "truncated": False,
        "changed": True,
    }
    back = ops.diff(new, old, max_keys=1)
    assert (back["added"], back["deleted"], back["truncated"]) == (3, 2, True)
    assert (back["added_keys"], back["deleted_keys"]) == (["d0/f006"], ["d1/new"])
    none = ops.diff(old, old, max_keys=0)
    assert (none["changed"], none["truncated"], none["added"]) == (False, False, 0)
    # Only the message differs: a new revision of the same content.
    same = ops.build("team/same", folder, registry=registry, meta={"n": 1})
    assert same["top_hash"] != new["top_hash"]
    assert ops.diff(new, same)["changed"] is False


def test_diff_takes_whatever_names_a_revision(tmp_path: Path) -> None:
    folder = write_files(tmp_path / "files", FILES)
    old = ops.build("team/raw", folder)
    changed_in(folder)
    new = ops.build("team/raw", folder, registry=tmp_path / "other")
    assert ops.diff(f"team/raw@{old['top_hash'][:9]}", new["uri"])["added"] == 2
    with pytest.raises(t4.NotFoundError):
        ops.diff("team/raw", "team/none")
    with pytest.raises(t4.InvalidInputError):
        ops.diff(old, new, max_keys=-1)


def test_the_revision_before(tmp_path: Path) -> None:
    folder = write_files(tmp_path / "files", {"a": b"1"})
    made = [ops.build("team/raw", folder, message=str(i)) for i in range(3)]
    hashes = [result["top_hash"] for result in made]
    before = [ops.revision_before(result) for result in made]
    assert before == [None, *map(t4.PackageRef.from_dict, made[:2])]
    # The first published again: it now stands after the third.
    ops.build("team/raw", folder, message="0")
    again = ops.revision_before(made[0])
    assert again is not None
    assert again.top_hash == hashes[2]
    # One whose manifest is gone is none.
    path = PhysicalKey.parse(made[0]["registry"]).path
    os.unlink(f"{path}/.quilt/packages/{hashes[1]}")
    before_third = ops.revision_before(made[2])
    assert before_third is not None
    assert before_third.top_hash == hashes[0]


def test_verify_proves_the_objects_of_a_registry(tmp_path: Path, registry: str) -> None:
    big = {"big": os.urandom(3 * 1024 * 1024)}
    folder = write_files(tmp_path / "files", {**FILES, **big})
    pushed = ops.push(ops.build("team/raw", folder), registry=registry)
    good = ops.verify(pushed)
    assert json.loads(json.dumps(good)) == good
    assert {**good} == {
        **pushed,
        "inputs": [],
        "changed": False,
        "ok": True,
        "bad": 0,
        "bad_keys": [],
        "dest": None,
    }
    assert ops.verify(pushed, path="d1")["files"] == 13
    package = t4.Package.browse("team/raw", registry)
    store = open_store(pushed["registry"], load_settings())

    def place(logical_key: str) -> str:
        url = package.get(logical_key)
        key = PhysicalKey.parse(url)
        root = PhysicalKey.parse(f"{pushed['registry']}/").path
        return key.path[len(root) :].lstrip("/") if key.is_local else key.path

    if store.is_versioned:
        return  # other bytes at the same key are another version there, which nobody asks for
    store.write(place("d0/f003"), b"\x00\x00\x00")
    store.write(place("d1/f001"), b"longer")
    store.write(place("big"), os.urandom(3 * 1024 * 1024))
    store.delete(place("d2/f002"))
    bad = [
        {"key": "big", "problem": "different"},
        {"key": "d0/f003", "problem": "different"},
        {"key": "d1/f001", "problem": "different"},
        {"key": "d2/f002", "problem": "missing"},
    ]
    found = ops.verify(pushed, fail=False)
    assert (found["ok"], found["bad"], found["bad_keys"]) == (False, 4, bad)
    assert ops.verify(pushed, fail=False, max_keys=1)["bad_keys"] == bad[:1]
    assert ops.verify(pushed, path="d1/", fail=False)["bad_keys"] == [bad[2]]
    with pytest.raises(
        t4.IntegrityError, match=r"4 objects.*'big' different.*and 2 more"
    ) as caught:
        ops.verify(pushed, max_keys=2)
    assert (caught.value.key, caught.value.retryable) == ("big", False)


def test_verify_proves_an_installed_folder(tmp_path: Path) -> None:
    folder = write_files(tmp_path / "files", FILES)
    installed = ops.install(ops.build("team/raw", folder), dest=tmp_path / "there")
    good = ops.verify(installed, dest=installed["dest"])
    assert (good["ok"], good["dest"], good["host"]) == (True, installed["dest"], ops.host())
    there = write_files(tmp_path / "there", {"d1/f001": b"x", "extra": b""})
    (there / "d2/f002").unlink()
    bad = [
        {"key": "d1/f001", "problem": "different"},
        {"key": "d2/f002", "problem": "missing"},
        {"key": "extra", "problem": "extra"},
    ]
    assert ops.verify(installed, dest=there, fail=False)["bad_keys"] == bad
    found = ops.verify(installed, dest=there, fail=False, extra_files_ok=True)
    assert found["bad_keys"] == bad[:2]
    with pytest.raises(t4.IntegrityError, match=r"3 files in .*install again"):
        ops.verify(installed, dest=there)
    ops.install(installed, dest=tmp_path / "part", path="d1")
    assert ops.verify(installed, dest=tmp_path / "part", path="d1")["files"] == 13
    ops.install(installed, dest=tmp_path / "one", path="d1/f001")
    one = write_files(tmp_path / "one", {"f001": b"y"})
    found = ops.verify(installed, dest=one, path="d1/f001", fail=False)
    assert found["bad_keys"] == [{"key": "f001", "problem": "different"}]
    for bad_call in (
        lambda: ops.verify(installed, dest=tmp_path / "nothing"),
        lambda: ops.verify(installed, path="nothing"),
    ):
        with pytest.raises(t4.NotFoundError):
            bad_call()


def test_verify_stops_and_notes_what_it_read(tmp_path: Path, registry: str) -> None:
    folder = write_files(tmp_path / "files", FILES)
    pushed = ops.push(ops.build("team/raw", folder), registry=registry)
    stop = threading.Event()
    stop.set()
    before = stored_events(registry).keys()
    with pytest.raises(ops.Cancelled):
        ops.verify(pushed, stop=stop)
    assert stored_events(registry).keys() == before
    ops.verify(pushed)
    (event,) = [e for key, e in stored_events(registry).items() if key not in before]
    assert next(item["name"] for item in event["inputs"]).endswith("team/raw")
    assert event["outputs"] == []
    bad: Any = {**pushed, "top_hash": "0" * 64}
    with pytest.raises(t4.NotFoundError):
        ops.verify(bad)
    with pytest.raises(t4.InvalidInputError):
        ops.verify(pushed, max_keys=0)
