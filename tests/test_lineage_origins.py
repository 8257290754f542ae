"""Where the entries of a published package came from: no more and no less than what is in it."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

import t4_ops as t4
from t4_ops import lineage, operations
from tests.ledger_support import stored_events
from tests.lineage_run_support import inputs_of


@pytest.fixture
def registry(tmp_path: Path) -> str:
    """A registry with `raw/a` and `raw/b`, one of whose files is the same in both."""
    url = str(tmp_path / "registry")
    for name in ("a", "b"):
        package = t4.Package().set("same.bin", b"same").set("own.json", {"of": name})
        package.set("d/x.bin", name.encode()).push(f"raw/{name}", url)
    return url


def browse(name: str, registry: str) -> t4.Package:
    return t4.Package.browse(name, registry)


def columns_of(registry: str, name: str) -> list[str]:
    """Return the columns that the last event with this output tells of."""
    events = [
        event
        for event in stored_events(registry).values()
        if event["outputs"][0]["name"].endswith(name)
    ]
    last = max(events, key=lambda event: event["eventTime"])
    schema = last["outputs"][0]["facets"].get("schema", {"fields": []})
    return [field["name"] for field in schema["fields"]]


def test_packages_that_share_an_object_are_both_inputs(registry: str) -> None:
    a, b = browse("raw/a", registry), browse("raw/b", registry)
    assert a["same.bin"].physical_key == b["same.bin"].physical_key
    with lineage.run(job="mix"):
        t4.Package().set("one", a["same.bin"]).set("two", b["same.bin"]).push("made/c", registry)

    assert inputs_of(registry) == {"raw/a": ["same.bin"], "raw/b": ["same.bin"]}


def test_an_entry_of_its_own_is_not_taken_for_anothers(registry: str) -> None:
    a, b = browse("raw/a", registry), browse("raw/b", registry)
    a.set("copy", b["same.bin"])
    with lineage.run(job="read"):
        a["same.bin"].get_bytes()

    assert inputs_of(registry) == {"raw/a": ["same.bin"]}


def test_an_entry_read_under_another_key_counts_by_its_own(registry: str) -> None:
    a = browse("raw/a", registry)
    other = t4.Package().set("z", a["d/x.bin"])
    with lineage.run(job="read"):
        other["z"].get_bytes()
        a.filter(lambda key, _: key == "own.json")["own.json"]()

    assert inputs_of(registry) == {"raw/a": ["d/x.bin", "own.json"]}


def test_what_was_deleted_or_replaced_is_no_input(registry: str, tmp_path: Path) -> None:
    for name in ("f.txt", "g.txt"):
        (tmp_path / name).write_text(name)
    a, b = browse("raw/a", registry), browse("raw/b", registry)
    package = t4.Package().set("gone", a["same.bin"]).set("kept", b["same.bin"])
    package.set("file", tmp_path / "f.txt").set("file", tmp_path / "g.txt").delete("gone")
    assert package.sources == [(tmp_path / "g.txt").as_uri()]
    with lineage.run(job="mix"):
        package.build("made/c", registry)

    assert list(inputs_of(registry)) == ["raw/b", f"{tmp_path.name}/g.txt"]


def test_a_view_is_made_of_what_is_in_it(registry: str, tmp_path: Path) -> None:
    for name in ("in", "out"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "f").write_text(name)
    a, b = browse("raw/a", registry), browse("raw/b", registry)
    package = t4.Package().set("p/a", a["same.bin"]).set("q/b", b["same.bin"])
    package.set_dir("p/in", tmp_path / "in").set_dir("q/out", tmp_path / "out")
    package.set("q/t.parquet", pd.DataFrame({"x": [1]}))
    with lineage.run(job="view"):
        package["p"].build("made/view", registry)

    assert list(inputs_of(registry)) == ["raw/a", f"{tmp_path.name}/in"]
    assert columns_of(registry, "made/view") == []


def test_a_directory_of_a_revision_is_named(registry: str) -> None:
    with lineage.run(job="view"):
        browse("raw/a", registry)["d"].build("made/view", registry)

    assert inputs_of(registry) == {"raw/a": ["d/"]}


def test_a_repeated_build_is_not_made_from_itself(registry: str) -> None:
    package = t4.Package().set("f", b"1")
    with lineage.run(job="twice"):
        package.build("made/one", registry)
        package.build("made/one", registry)
        t4.Package().set("g", b"2").build("made/two", registry)

    assert inputs_of(registry) == {}


def test_columns_are_those_of_the_bytes_that_were_published(tmp_path: Path) -> None:
    registry, file = str(tmp_path / "r"), tmp_path / "t.parquet"
    pd.DataFrame({"x": [1]}).to_parquet(file)
    built = operations.build("w/t", file, registry=registry)
    assert columns_of(registry, "w/t") == ["x"]
    operations.push(built, registry=str(tmp_path / "other"))
    assert columns_of(str(tmp_path / "other"), "w/t") == ["x"]

    pd.DataFrame({"other": [1]}).to_parquet(file)
    with lineage.run(job="again"):
        browse("w/t", registry).build("w/copy", registry)
    assert columns_of(registry, "w/copy") == []


def test_metadata_alone_does_not_hide_where_an_entry_is_from(registry: str) -> None:
    a = browse("raw/a", registry)
    a["own.json"].set_meta({"unit": "mm"})
    with lineage.run(job="read"):
        assert json.loads(a["own.json"].get_bytes()) == {"of": "a"}

    assert inputs_of(registry) == {"raw/a": ["own.json"]}


@pytest.mark.parametrize("how", ["moved", "filtered", "copied"])
def test_the_folder_that_files_are_from_goes_with_them(tmp_path: Path, how: str) -> None:
    (folder := tmp_path / "in").mkdir()
    (folder / "f").write_text("1")
    package = t4.Package().set_dir("a", folder)
    if how == "moved":
        package.set("b/f", package["a/f"]).delete("a")
    elif how == "filtered":
        package = package.filter(lambda *_: True)
    else:
        package = t4.Package().set("c", package["a/f"])
    with lineage.run(job="etl"):
        package.push("made/c", str(tmp_path / "r"))

    assert list(inputs_of(str(tmp_path / "r"))) == [f"{tmp_path.name}/in"]
