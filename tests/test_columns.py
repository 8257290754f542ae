"""Packages as tables."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import t4_ops as t4
from t4_ops.columns import COLUMNS, arrow_table, write_parquet
from t4_ops.errors import IntegrityError, InvalidInputError
from t4_ops.manifest import Entry
from t4_ops.storage import is_temporary
from tests.package_support import NAME, write_files

FILES = {"a/1.txt": b"one", "a/b/2.txt": b"", "é-3.txt": b"three"}
META = {"label": "Zürich", "n": 1e16, "none": None}


@pytest.fixture
def package(tmp_path: Path) -> t4.Package:
    package = t4.Package().set_dir("/", write_files(tmp_path / "files", FILES), meta={"k": "é"})
    package["a/1.txt"].set_meta(META)
    package.build(NAME, tmp_path / "registry")
    return t4.Package.browse(NAME, tmp_path / "registry")


def test_a_row_is_an_entry(package: t4.Package) -> None:
    table = package.to_arrow()
    assert tuple(table.column_names) == COLUMNS
    rows = table.to_pylist()
    assert [row["logical_key"] for row in rows] == list(dict(package.walk()))
    for row in rows:
        entry = package[row["logical_key"]]
        assert row["physical_key"] == entry.physical_key
        assert row["size_bytes"] == entry.size
        assert {"type": row["hash_type"], "value": row["hash_value"]} == entry.hash
        assert (json.loads(row["meta"]) if row["meta"] else {}) == entry.meta
    assert package.ref is not None
    assert table.schema.metadata[b"t4_ops.uri"].decode() == package.ref.uri
    assert json.loads(table.schema.metadata[b"t4_ops.user_meta"]) == {"k": "é"}


def test_pandas_and_parquet_hold_the_same(package: t4.Package, tmp_path: Path) -> None:
    table = package.to_arrow()
    frame = package.to_pandas()
    assert list(frame.columns) == list(COLUMNS)
    assert list(frame["size_bytes"]) == table["size_bytes"].to_pylist()
    path = tmp_path / "entries.parquet"
    path.write_bytes(b"what was there before")
    package.to_parquet(path)
    assert pq.read_table(path).equals(table)
    assert pq.read_schema(path).metadata[b"t4_ops.uri"] == table.schema.metadata[b"t4_ops.uri"]
    assert [p.name for p in tmp_path.iterdir() if p.name.endswith(".tmp")] == []


def test_a_folder_s_table_has_keys_relative_to_it(package: t4.Package) -> None:
    table = package["a"].to_arrow()
    assert table["logical_key"].to_pylist() == ["1.txt", "b/2.txt"]
    assert table.schema.metadata[b"t4_ops.path"] == b"a/"


def test_what_is_not_known_yet_is_null(tmp_path: Path) -> None:
    package = t4.Package().set_dir("/", write_files(tmp_path / "files", FILES))
    assert package.to_arrow()["hash_value"].to_pylist() == [None] * len(FILES)
    assert t4.Package().to_arrow().num_rows == 0


def test_many_rows_come_in_groups(tmp_path: Path) -> None:
    entries = [Entry(f"{n:06}", "s3://b/k", n) for n in range(120_001)]
    write_parquet(entries, str(tmp_path / "x.parquet"), {})
    file = pq.ParquetFile(tmp_path / "x.parquet")
    assert file.metadata.num_row_groups == 2
    assert file.read().equals(arrow_table(entries, {}))


@pytest.mark.parametrize("path", ["", "/", "no/such/folder/x.parquet", "s3://bucket/x.parquet"])
def test_a_path_that_can_be_no_file_is_refused(package: t4.Package, path: str) -> None:
    with pytest.raises(InvalidInputError):
        package.to_parquet(path)


def test_a_failure_leaves_what_was_there(package: t4.Package, tmp_path: Path) -> None:
    path = tmp_path / "tables" / "entries.parquet"
    path.parent.mkdir()
    path.write_bytes(b"what was there before")

    def broken() -> Iterator[Entry]:
        yield from package.entries()
        raise IntegrityError("changed meanwhile")

    with pytest.raises(IntegrityError):
        write_parquet(broken(), str(path), {})
    assert path.read_bytes() == b"what was there before"
    assert list(path.parent.iterdir()) == [path]
    with pytest.raises(InvalidInputError):
        package.to_parquet(path.parent)


def test_what_a_killed_process_leaves_is_no_data(package: t4.Package, tmp_path: Path) -> None:
    names: list[str] = []

    def looking() -> Iterator[Entry]:
        yield from package.entries()
        names.extend(path.name for path in tmp_path.iterdir())

    write_parquet(looking(), str(tmp_path / "entries.parquet"), {})
    assert any(is_temporary(name) for name in names)
    assert "entries.parquet" not in names
