"""Columns: their lineage as users give it, and the schema of tables where it is cheap."""

from __future__ import annotations

import datetime
import decimal
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

import t4_ops as t4
from t4_ops import lineage, operations
from t4_ops.errors import FormatError, InvalidInputError
from t4_ops.formats import parquet_columns
from t4_ops.formats.parquet_columns import MAX_COLUMNS
from t4_ops.keys import PackageRef
from t4_ops.ledger import Column, ColumnSource, parse_column_lineage
from tests.ledger_support import check_event, stored_events, top_hash

REF = PackageRef("s3://bucket", "in/p", top_hash("x"))
SOURCE = ColumnSource("s3://bucket", "in/p", "amount")
STEP = {"registry": "s3://bucket", "name": "in/p", "top_hash": REF.top_hash, "files": 3}


@pytest.mark.parametrize(
    "given",
    [
        (REF, "amount"),
        [REF, "amount"],
        [(REF, "amount")],
        [[STEP, "amount"], (REF, "amount")],
        (REF.uri, "amount"),
        ("quilt+s3://bucket#package=in/p", "amount"),
        {"namespace": "s3://bucket", "name": "in/p", "field": "amount"},
        [{"namespace": "s3://bucket", "name": "in/p", "field": "amount"}],
        {**STEP, "field": "amount"},
        SOURCE,
        iter([SOURCE]),
    ],
)
def test_a_column_may_be_named_in_every_way(given: Any) -> None:
    assert parse_column_lineage({"total": given}) == (("total", (SOURCE,)),)


@pytest.mark.parametrize(
    "given",
    [
        "total",
        {"total": "amount"},
        {"total": None},
        {"total": [REF]},
        {"total": (REF, 3)},
        {"total": (REF, "")},
        {"total": ("in/p", "amount")},
        {"total": {"namespace": "n", "name": "x"}},
        {"total": {"field": "x"}},
        {"total": {"namespace": "n", "name": "x", "field": 3}},
        {"": (REF, "amount")},
        {3: (REF, "amount")},
        {"total": (REF, "x" * 2000)},
        {str(number): () for number in range(10_001)},
        {"total": [(REF, str(number)) for number in range(10_001)]},
    ],
)
def test_what_names_no_column_is_refused(given: Any) -> None:
    with pytest.raises(InvalidInputError):
        parse_column_lineage(given)


def test_nothing_is_no_lineage() -> None:
    assert parse_column_lineage(None) == ()


def the_output(registry: str | Path) -> Any:
    (event,) = (e for e in stored_events(registry).values() if e["outputs"])
    check_event(event)
    (output,) = event["outputs"]
    return output


def fields(output: Any) -> Any:
    """Return the column lineage of an output, without what OpenLineage leaves empty."""
    return {
        column: [(f["namespace"], f["name"], f["field"]) for f in told["inputFields"]]
        for column, told in output["facets"]["columnLineage"]["fields"].items()
    }


WANTED = {"total": [("s3://bucket", "in/p", "amount"), ("pg://h:1", "a.b", "rate")], "empty": []}
GIVEN: Any = {
    "total": [(REF, "amount"), {"namespace": "pg://h:1", "name": "a.b", "field": "rate"}],
    "empty": [],
}


def test_a_build_tells_it(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x")
    operations.build("out/p", tmp_path / "f", registry=str(tmp_path / "r"), column_lineage=GIVEN)

    assert fields(the_output(tmp_path / "r")) == WANTED


def test_a_push_tells_it(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x")
    built = operations.build("out/p", tmp_path / "f")
    operations.push(built, registry=str(tmp_path / "r"), column_lineage=GIVEN)

    assert fields(the_output(tmp_path / "r")) == WANTED


def test_bad_column_lineage_publishes_nothing(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x")
    with pytest.raises(InvalidInputError):
        operations.build(
            "out/p", tmp_path / "f", registry=str(tmp_path / "r"), column_lineage={"a": 3}
        )
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("when", ["argument", "before", "after"])
def test_a_run_tells_it_of_one_of_its_outputs(tmp_path: Path, when: str) -> None:
    registry = str(tmp_path / "r")
    with lineage.run(
        job="etl", column_lineage={"out/p": GIVEN} if when == "argument" else None
    ) as run:
        if when == "before":
            run.set_column_lineage("out/p", GIVEN)
        t4.Package().set("x.bin", b"").build("out/p", registry)
        t4.Package().set("x.bin", b"").build("out/q", registry)
        if when == "after":
            run.set_column_lineage("out/p", GIVEN)

    (event,) = stored_events(registry).values()
    check_event(event)
    first, second = event["outputs"]
    assert fields(first) == WANTED
    assert "columnLineage" not in second["facets"]


# Schemas


def columns_of(table: pa.Table) -> list[tuple[str, str]]:
    return [(column.name, column.type) for column in read_columns(in_parquet(table))]


def in_parquet(table: pa.Table, **options: Any) -> bytes:
    sink = pa.BufferOutputStream()
    parquet.write_table(table, sink, **options)
    data: bytes = sink.getvalue().to_pybytes()
    return data


def read_columns(data: bytes) -> Any:
    return parquet_columns(len(data), lambda start, end: data[start:end])


TYPES = {
    "boolean": pa.array([True]),
    "int64": pa.array([1]),
    "int8": pa.array([1], pa.int8()),
    "uint16": pa.array([1], pa.uint16()),
    "float": pa.array([1.0], pa.float32()),
    "double": pa.array([1.0]),
    "string": pa.array(["x"]),
    "binary": pa.array([b"x"]),
    "date": pa.array([datetime.date(2026, 1, 1)]),
    "time": pa.array([datetime.time(1)]),
    "timestamp": pa.array([1], pa.timestamp("ns", "UTC")),
    "decimal(5,2)": pa.array([decimal.Decimal("1.25")], pa.decimal128(5, 2)),
    "list": pa.array([[{"a": 1}]]),
    "map": pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int32())),
    "struct": pa.array([{"a": 1, "b": {"c": "x"}}]),
    "null": pa.nulls(1),
}


def test_a_column_has_its_logical_type() -> None:
    table = pa.table({f"a {name}": values for name, values in TYPES.items()})

    assert columns_of(table) == [(f"a {name}", name) for name in TYPES]


def test_a_struct_has_columns() -> None:
    (column,) = read_columns(in_parquet(pa.table({"s": TYPES["struct"]})))

    assert [(c.name, c.type) for c in column.columns] == [("a", "int64"), ("b", "struct")]
    assert [(c.name, c.type) for c in column.columns[1].columns] == [("c", "string")]


def test_a_table_without_columns_has_none() -> None:
    assert read_columns(in_parquet(pa.table({}))) == ()


def test_every_damage_is_a_format_error() -> None:
    data = in_parquet(pa.table({"a": [1, 2], "b": ["x", "y"], "s": pa.array([{"x": 1}] * 2)}))
    footer = int.from_bytes(data[-8:-4], "little") + 8
    for cut in range(len(data)):
        with pytest.raises(FormatError):
            read_columns(data[:cut])
    for position in range(len(data) - footer, len(data)):
        for value in (0, 1, 0x15, 0x19, 0x7F, 0xFF):
            broken = data[:position] + bytes([value]) + data[position + 1 :]
            try:
                read_columns(broken)
            except FormatError:
                continue


def test_too_many_columns_are_not_told() -> None:
    table = pa.table({str(number): [1] for number in range(MAX_COLUMNS + 1)})
    with pytest.raises(FormatError, match="too many"):
        read_columns(in_parquet(table))


def test_a_schema_behind_much_metadata_is_read() -> None:
    """Statistics of ten thousand row groups stand after the schema."""
    table = pa.table({"a": range(10_000)})
    data = in_parquet(table, row_group_size=1)
    assert int.from_bytes(data[-8:-4], "little") > 1_000_000

    assert [column.name for column in read_columns(data)] == ["a"]


FRAME = pd.DataFrame({"day": ["2026-01-01"], "rain": [0.5]})
FRAME_COLUMNS = [("day", "string"), ("rain", "double")]
PLACES = ["memory", "file", "pushed", "built by a step", "pushed by a step"]


@pytest.mark.parametrize("place", PLACES)
def test_an_event_tells_the_schema_of_a_table(tmp_path: Path, place: str) -> None:
    registry, other = str(tmp_path / "r"), str(tmp_path / "other")
    file = tmp_path / "t.parquet"
    FRAME.to_parquet(file, index=False)
    with lineage.run(job="etl"):
        if place == "memory":
            t4.Package().set("t.parquet", FRAME).build("out/p", registry)
        elif place == "file":
            t4.Package().set("t.parquet", file).build("out/p", registry)
        elif place == "pushed":
            t4.Package().set("t.parquet", file).push("out/p", registry)
        elif place == "built by a step":
            operations.build("out/p", file, registry=registry)
    if place == "pushed by a step":
        operations.push(operations.build("out/p", file, registry=other), registry=registry)

    schema = the_output(registry)["facets"]["schema"]
    found = [(field["name"], field["type"]) for field in schema["fields"]]
    assert [pair for pair in found if pair[0] != "__index_level_0__"] == FRAME_COLUMNS


def test_a_table_in_parts_is_one_table(tmp_path: Path) -> None:
    package = t4.Package()
    for number in range(20):
        package.set(f"part-{number}.parquet", FRAME)
    package.set("notes.bin", b"x")

    assert [column.name for column in package.table_columns()] == ["day", "rain"]
    package.set("part-20.parquet", FRAME)
    assert package.table_columns() == ()


def test_tables_that_differ_are_told_apart() -> None:
    package = t4.Package().set("in/a.parquet", FRAME).set("b.pq", FRAME[["day"]])

    assert package.table_columns() == (
        Column("b.pq", "struct", (Column("day", "string"),)),
        Column("in/a.parquet", "struct", (Column("day", "string"), Column("rain", "double"))),
    )
    assert [column.name for column in package["in"].table_columns()] == ["day", "rain"]


def test_what_is_not_here_or_no_table_tells_nothing(tmp_path: Path) -> None:
    broken = tmp_path / "broken.parquet"
    broken.write_bytes(b"PAR1 not really")
    assert t4.Package().table_columns() == ()
    assert t4.Package().set("a.csv", FRAME).table_columns() == ()
    package = t4.Package().set("a.parquet", FRAME).set("b.parquet", broken)
    assert package.table_columns() == ()
    with lineage.run(job="etl"):
        package.build("out/p", str(tmp_path / "r"))
    assert "schema" not in the_output(tmp_path / "r")["facets"]


def test_a_hostile_column_name_is_bounded(tmp_path: Path) -> None:
    file = tmp_path / "t.parquet"
    parquet.write_table(pa.table({"x" * 100_000: [1], "https://u:hunter2@h": [1]}), file)
    operations.build("out/p", file, registry=str(tmp_path / "r"))

    output = the_output(tmp_path / "r")
    assert max(len(field["name"]) for field in output["facets"]["schema"]["fields"]) == 256
    assert "hunter2" not in json.dumps(output)


def test_a_bucket_is_not_asked_for_schemas(
    bucket_registry: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    t4.Package().set("t.parquet", FRAME).build("out/p", bucket_registry)

    assert t4.Package.browse("out/p", bucket_registry).table_columns() == ()
