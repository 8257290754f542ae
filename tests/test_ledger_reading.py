"""Reading events back: everything ours say, and what others leave out or put in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from t4_ops.ledger import (
    CodeLocation,
    Column,
    ColumnSource,
    Event,
    Input,
    Output,
    RunInfo,
    event_ids_for,
    merge_runs,
    record,
)
from t4_ops.settings import Settings
from t4_ops.storage import open_store
from tests.ledger_support import events_for, note, revision

BARE: dict[str, Any] = {
    "eventTime": "2026-01-01T00:00:00Z",
    "run": {"runId": "0192aaaa-bbbb-7ccc-8ddd-000000000001"},
    "job": {"namespace": "spark", "name": "job"},
}


def parsed(**parts: Any) -> Event:
    return Event.parse(json.dumps({**BARE, **parts}).encode(), "events/id.json")


def test_what_was_recorded_is_read_back(tmp_path: Path) -> None:
    out, raw = revision(tmp_path, "w/out"), revision(tmp_path, "w/raw")
    code = CodeLocation("dags/w.py", "build", "f" * 64, "https://git.example/w", "a" * 40, "main")
    run = RunInfo.here("job", code=code)
    output = Output(
        out,
        files=2,
        size_bytes=10,
        changed=False,
        message="m",
        parent=raw.top_hash,
        columns=(Column("a", "struct", (Column("b", "int64"),)), Column("c")),
        column_lineage=(("a", (ColumnSource("file", "/data/in.csv", "x"),)),),
    )
    inputs = [Input.of_ref(raw, ["day.csv", "log/"]), Input("file", "/data/in.csv")]
    record(run, inputs, [output], settings=Settings(), open_store=open_store)

    item = Input.of_ref(out)
    (event,) = events_for(
        open_store(str(tmp_path), Settings()), "outputs", item.dataset, item.version
    )

    assert event.run == run
    assert event.outputs == (output,)
    assert event.inputs == tuple(inputs)
    assert event.inputs[0].paths == ("day.csv", "log/")
    assert event.omitted_inputs == 0


def test_code_of_other_writers_is_read_from_the_standard_facet() -> None:
    location = {"type": "git", "url": "https://git.example/w/blob/main/w.py", "version": "abc"}
    job = {**BARE["job"], "facets": {"sourceCodeLocation": location}}

    assert parsed(job=job).run.code == CodeLocation(location["url"], commit="abc")
    assert parsed().run.code is None
    assert parsed(job={**BARE["job"], "facets": {"t4_code": 3}}).run.code is None


@pytest.mark.parametrize(
    "facets",
    [
        {"schema": {"fields": 3}, "columnLineage": {"fields": {}}},
        {"schema": {"fields": [{"type": "x"}, 3]}, "columnLineage": 3},
        {"schema": None},
    ],
)
def test_odd_columns_are_passed_over(facets: dict[str, Any]) -> None:
    item = {
        "namespace": "s3://bucket",
        "name": "w/p",
        "facets": {**facets, "version": {"datasetVersion": "a" * 64}},
    }

    (output,) = parsed(outputs=[item]).outputs

    assert (output.columns, output.column_lineage) == ((), ())


def test_odd_column_sources_are_passed_over() -> None:
    sources = [
        {"namespace": "n", "name": "d"},
        {"namespace": "n", "name": "d", "field": 3},
        {"namespace": 3, "name": "d", "field": "f"},
        "x",
        {"namespace": "n", "name": "d", "field": "f"},
    ]
    facets = {
        "version": {"datasetVersion": "a" * 64},
        "columnLineage": {"fields": {"c": {"inputFields": sources}, "e": None}},
    }
    item = {"namespace": "s3://bucket", "name": "w/p", "facets": facets}

    (output,) = parsed(outputs=[item]).outputs

    assert output.column_lineage == (("c", (ColumnSource("n", "d", "f"),)), ("e", ()))


def test_columns_are_nested_only_so_deep() -> None:
    fields: list[Any] = []
    for _ in range(200):
        fields = [{"name": "a", "fields": fields}]
    facets = {"version": {"datasetVersion": "a" * 64}, "schema": {"fields": fields}}
    item = {"namespace": "s3://bucket", "name": "w/p", "facets": facets}

    (output,) = parsed(outputs=[item]).outputs

    depth, columns = 0, output.columns
    while columns:
        depth, columns = depth + 1, columns[0].columns
    assert depth == 16


def test_merged_runs_keep_what_any_of_them_changed_and_read() -> None:
    out, raw = revision("s3://bucket", "w/out"), revision("s3://bucket", "w/raw")
    run = RunInfo.here("job")

    def event(number: int, changed: bool, paths: list[str], omitted: int = 0) -> Event:
        return Event(
            f"e{number}",
            "COMPLETE",
            f"2026-01-0{number}T00:00:00+00:00",
            run,
            (Input.of_ref(raw, paths),),
            (Output(out, changed=changed),),
            omitted_inputs=omitted,
        )

    (merged,) = merge_runs([event(1, True, ["a"], 5), event(2, False, ["a", "b"])])
    assert merged.event_id == "e2"
    assert merged.outputs[0].changed
    assert merged.inputs[0].paths == ("a", "b")
    assert merged.omitted_inputs == 5
    (merged,) = merge_runs([event(1, False, ["a"]), event(2, True, [])])
    assert merged.outputs[0].changed
    assert merged.inputs[0].paths == ()


def test_ids_are_those_of_the_markers(tmp_path: Path) -> None:
    raw, out = revision(tmp_path, "w/raw"), revision(tmp_path, "w/out")
    done = note([raw], [out])
    store = open_store(str(tmp_path), Settings())
    item = Input.of_ref(raw)
    marker = next(iter(store.list(".t4/v1/lineage/inputs/"))).key
    store.write(marker.rpartition("/")[0] + "/stray", b"")

    assert event_ids_for(store, "inputs", item.dataset, item.version) == [done.event_id]
    assert event_ids_for(store, "outputs", item.dataset, item.version) == []


@pytest.mark.parametrize("number", [10**400, -1, True, 2**63, 1.5, "3", None])
def test_odd_numbers_are_passed_over(number: Any) -> None:
    item = {
        "namespace": "s3://bucket",
        "name": "w/p",
        "facets": {"version": {"datasetVersion": "a" * 64}},
        "outputFacets": {"outputStatistics": {"fileCount": number, "size": number}},
    }
    facets = {"t4_run": {"attempt": number, "omittedInputs": number}}

    event = parsed(outputs=[item], run={**BARE["run"], "facets": facets})

    assert (event.outputs[0].files, event.outputs[0].size_bytes) == (None, None)
    assert (event.run.attempt, event.omitted_inputs) == (1, 0)


@pytest.mark.parametrize(
    "facets",
    [
        {"nominalTime": {"nominalStartTime": "2026-01-01T00:00:00"}},
        {"nominalTime": {"nominalStartTime": "noon"}},
        {"parent": {"run": {"runId": "no uuid"}, "job": {"namespace": "n", "name": "j"}}},
        {"parent": {"run": {"runId": BARE["run"]["runId"]}}},
        {"parent": {"root": {"run": BARE["run"], "job": BARE["job"]}}},
        {"t4_run": {"attempt": 0}},
    ],
)
def test_odd_facts_of_a_run_are_passed_over(facets: dict[str, Any]) -> None:
    run = parsed(run={**BARE["run"], "facets": facets}).run

    assert (run.nominal_time, run.parent, run.root, run.attempt) == (None, None, None, 1)


def test_an_odd_root_does_not_hide_the_parent() -> None:
    parent = {"run": BARE["run"], "job": BARE["job"], "root": {"run": 3}}

    run = parsed(run={**BARE["run"], "facets": {"parent": parent}}).run

    assert run.parent is not None
    assert (run.parent.job_name, run.root) == ("job", None)
