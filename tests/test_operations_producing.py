"""Produce and take: what decorators do with what a function returns, and with what it asks for."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import t4_ops as t4
from t4_ops import operations as ops
from t4_ops.ledger import RunInfo
from tests.ledger_support import stored_events, use_run
from tests.package_support import bytes_below, contents_of, write_files

NAME = "team/made"
FRAME = pd.DataFrame({"a": [1, 2], "b": ["x", "y"]})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_files(tmp_path / "files", {"x.csv": b"x\n1\n", "d/y": b"y"})


def made_of(result: ops.StepResult) -> t4.Package:
    return t4.Package.browse(result["name"], result["registry"], result["top_hash"])


@pytest.mark.parametrize(
    ("value", "key", "logical_key"),
    [
        (FRAME, None, "data.parquet"),
        (FRAME, "t/x.csv", "t/x.csv"),
        (pa.table({"a": [1]}), None, "data.parquet"),
        (pa.table({"a": [1]}), "x.arrow", "x.arrow"),
        (np.arange(3), None, "data.npy"),
        (b"bytes", None, "data.bin"),
        (b"bytes", "x", "x"),
        ({"a": [1]}, "config.json", "config.json"),
        ([1, 2], "list.json", "list.json"),
    ],
)
def test_one_object_is_one_file(
    value: Any, key: str | None, logical_key: str, registry: str
) -> None:
    made = ops.produce(value, NAME, key=key, registry=registry)
    package = made_of(made)
    assert [entry.logical_key for entry in package.entries()] == [logical_key]
    (entry,) = package.entries()
    assert entry.physical_key.startswith(made["registry"])
    again = ops.produce(value, NAME, key=key, registry=registry)
    assert again == {**made, "changed": False}


def test_a_mapping_is_files_by_logical_key(registry: str, folder: Path) -> None:
    made = ops.produce(
        {
            "t.parquet": FRAME,
            "n/b.bin": b"b",
            "one.csv": folder / "x.csv",
            "in/": str(folder / "x.csv"),
            "all": folder,
            "j.json": {"k": 1},
        },
        NAME,
        registry=registry,
        meta={"n": 1},
        message="m",
    )
    package = made_of(made)
    contents = contents_of(package)
    assert package["t.parquet"]().equals(FRAME)
    del contents["t.parquet"]
    assert contents.pop("j.json")
    assert contents == {
        "n/b.bin": b"b",
        "one.csv": b"x\n1\n",
        "in/x.csv": b"x\n1\n",
        "all/x.csv": b"x\n1\n",
        "all/d/y": b"y",
    }
    assert package.meta == {"n": 1}
    assert all(e.physical_key.startswith(made["registry"]) for e in package.entries())
    assert {item["name"] for item in made["inputs"]} == {str(folder), str(folder / "x.csv")}


@pytest.mark.parametrize("form", [str, Path, lambda p: [p], lambda p: (p / "x.csv", p / "d")])
def test_paths_are_their_files(form: Callable[[Path], Any], folder: Path, registry: str) -> None:
    made = ops.produce(form(folder), NAME, registry=registry, message="m")
    built = ops.build("team/built", form(folder) if form is not str else folder, message="m")
    assert made["top_hash"] == built["top_hash"]
    file = ops.produce(folder / "x.csv", NAME, key="renamed.csv", registry=registry)
    assert contents_of(made_of(file)) == {"renamed.csv": b"x\n1\n"}


def test_a_package_is_pushed_as_it_is(folder: Path, registry: str) -> None:
    source = ops.push(ops.build("team/raw", folder), registry=registry)
    package = t4.Package().set_dir("", folder).set_meta({"k": 1})
    made = ops.produce(package, NAME, registry=registry, message="m")
    assert (made["files"], made_of(made).meta) == (2, {"k": 1})
    # Of another revision, edited: lineage knows which.
    edited = made_of(source).set("new.bin", b"n")
    made = ops.produce(edited, "team/edited", registry=registry)
    assert [item["top_hash"] for item in made["inputs"]] == [source["top_hash"]]
    view = ops.produce(made_of(source)["d"], "team/view", registry=registry)
    assert contents_of(made_of(view)) == {"y": b"y"}
    # A reference and a step's result stand for the files of that revision.
    for given in (source, t4.PackageRef.from_dict(source), source["uri"]):
        same = ops.produce(given, "team/same", registry=registry)
        assert contents_of(made_of(same)) == {"x.csv": b"x\n1\n", "d/y": b"y"}
        assert [item["top_hash"] for item in same["inputs"]] == [source["top_hash"]]
    other = ops.produce({"in/": source}, "team/other", registry=registry)
    assert contents_of(made_of(other)) == {"in/x.csv": b"x\n1\n", "in/d/y": b"y"}


@pytest.mark.parametrize(
    "bad",
    [None, {}, [], {"": b"x"}, {"/": b"x"}, {1: b"x"}, {"k": None}, {"../k": b"x"}, "", object()],
)
def test_what_is_no_package_is_refused_before_anything_is_written(bad: Any, tmp_path: Path) -> None:
    registry = tmp_path / "registry"
    with pytest.raises(t4.InvalidInputError):
        ops.produce(bad, NAME, registry=registry)
    assert not registry.exists()


def test_other_faults(tmp_path: Path) -> None:
    with pytest.raises(t4.NotFoundError, match=ops.host()):
        ops.produce(str(tmp_path / "nothing"), NAME)
    with pytest.raises(t4.InvalidInputError, match="key"):
        ops.produce(t4.Package(), NAME, key="x")
    with pytest.raises(t4.InvalidInputError):
        ops.produce(FRAME, NAME, key="x.png")
    with pytest.raises(t4.InvalidInputError):
        ops.produce(FRAME, "nonsense")
    made = ops.produce(FRAME, NAME)
    with pytest.raises(t4.ConflictError):
        ops.produce(b"x", NAME, expected=None)
    stop = threading.Event()
    stop.set()
    with pytest.raises(ops.Cancelled):
        ops.produce(b"x", NAME, stop=stop)
    latest = ops.latest(NAME)
    assert latest is not None
    assert latest.top_hash == made["top_hash"]


def test_an_edited_package_never_replaces_a_revision_it_has_not_seen(registry: str) -> None:
    first = ops.produce({"a": b"1"}, NAME, registry=registry)
    edited = made_of(first).set("b", b"2")
    newer = ops.produce({"a": b"3"}, NAME, registry=registry)
    with pytest.raises(t4.ConflictError):
        ops.produce(edited, NAME, registry=registry)
    both = ops.produce(edited, NAME, registry=registry, retry_conflicts=1)
    assert contents_of(made_of(both)) == {"a": b"3", "b": b"2"}
    ops.produce(made_of(first).set("c", b"4"), NAME, registry=registry, expected=both["top_hash"])
    # As in a retry, whose first try was killed when it had published.
    for changed in (True, False):
        again = made_of(first).set("c", b"5")
        made = ops.produce(again, "team/other", registry=registry)
        assert made["changed"] is changed
    assert newer["changed"]


@pytest.mark.parametrize("how", ["install", "browse"])
def test_what_a_function_takes_is_what_its_output_was_made_from(
    how: Any, folder: Path, registry: str, tmp_path: Path
) -> None:
    source = ops.push(ops.build("team/raw", folder), registry=registry)
    with use_run(RunInfo.here("a function")):
        taken = ops.take(f"team/raw@{source['top_hash']}", how, registry=registry)
        assert taken.result["top_hash"] == source["top_hash"]
        if isinstance(taken.value, Path):
            assert bytes_below(taken.value) == {"x.csv": b"x\n1\n", "d/y": b"y"}
        else:
            assert isinstance(taken.value, t4.Package)
            assert taken.value["d/y"].get_bytes() == b"y"
        made = ops.produce(FRAME, NAME, registry=registry, inputs=[taken.result])
    assert [item["top_hash"] for item in made["inputs"]] == [source["top_hash"]]
    events = [e for e in stored_events(registry).values() if e["job"]["name"] == "a function"]
    (event,) = [e for e in events if e["outputs"]]
    assert [item["name"].split("/")[-1] for item in event["inputs"]] == ["raw"]


def test_what_a_task_left_beside_its_input_reaches_no_other(folder: Path) -> None:
    """As of a try that failed: the next one would take its half-done output for input."""
    source = ops.produce(folder, "team/raw")

    def taken(path: str | None = None) -> Path:
        value = ops.take(source, path=path).value
        assert isinstance(value, Path)
        return value

    first = taken()
    write_files(first, {"d/half.csv": b"x", "x.csv": b"spoilt"})
    second = taken()
    assert bytes_below(second) == {"x.csv": b"x\n1\n", "d/y": b"y"}
    assert second != first
    assert (first / "d/half.csv").read_bytes() == b"x"  # perhaps it is being pushed
    assert taken() == second
    write_files(second, {"x.csv": b"spoilt", "more": b""})
    assert bytes_below(taken()) == {"x.csv": b"x\n1\n", "d/y": b"y"}
    file = taken("x.csv")
    write_files(file.parent, {"more": b""})
    assert taken("x.csv") != file
    assert bytes_below(taken("x.csv").parent) == {"x.csv": b"x\n1\n"}
    part = taken("d/")
    write_files(part, {"more": b""})
    assert bytes_below(taken("d")) == {"y": b"y"}


def test_tasks_with_different_revisions_do_not_meet(folder: Path, tmp_path: Path) -> None:
    first = ops.produce(folder, "team/raw")
    second = ops.produce(write_files(folder, {"d/y": b"newer"}), "team/raw")
    places = []
    for source, path in ((first, None), (second, None), (second, "d"), (second, "x.csv")):
        taken = ops.take(source, path=path)
        places.append(taken.value)
    old, new, part, file = places
    assert isinstance(new, Path)
    assert isinstance(part, Path)
    assert isinstance(file, Path)
    assert (new / "d/y").read_bytes() == b"newer"
    assert bytes_below(part) == {"y": b"newer"}
    assert (file.name, file.read_bytes()) == ("x.csv", b"x\n1\n")
    assert len({old, new, part, file.parent}) == 4
    # One and the same is shared, and kept.
    again = ops.take(second)
    assert (again.value, again.result["changed"]) == (new, False)
    chosen = ops.take(second, dest=tmp_path / "chosen", path="d/")
    assert chosen.value == tmp_path / "chosen"
    part_of_it = ops.take(f"{second['uri']}&path=d%2Fy", "browse")
    assert part_of_it.value.get_bytes() == b"newer"  # type: ignore[union-attr]
    assert (part_of_it.result["path"], part_of_it.result["files"]) == ("d/y", 1)
    with pytest.raises(t4.InvalidInputError):
        ops.take(second, "download")  # type: ignore[arg-type]
    with pytest.raises(t4.NotFoundError):
        ops.take(second, "browse", path="nothing")
