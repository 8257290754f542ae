"""Recording: where events go, that repeats and rivals change nothing, and what a fault does."""

from __future__ import annotations

import json
import logging
import multiprocessing
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from demo.seaweedfs import SeaweedFS
from t4_ops.errors import StorageError
from t4_ops.ledger import Input, Output, RecordedEvent, RunInfo, record
from t4_ops.settings import LineageMode, Settings
from t4_ops.storage import Store, open_store
from tests.ledger_support import (
    CountingStore,
    FaultyStore,
    check_event,
    check_schema,
    events_for,
    no_server,
    note,
    record_one,
    revision,
    stored_events,
)

RUN_ID = "0192aaaa-bbbb-7ccc-8ddd-eeeeffff0000"
RUN = RunInfo(run_id=RUN_ID, job_namespace="test", job_name="job")


def objects(folder: str | Path) -> dict[str, bytes]:
    store = open_store(str(folder), Settings())
    return {info.key: store.read(info.key).data for info in store.list()}


def test_an_event_and_its_markers_are_all_there_is(tmp_path: Path) -> None:
    source, target = revision(tmp_path, "in/p"), revision(tmp_path, "out/p")

    done = note([source, Input("file", "/data/x.csv")], [target], run=RUN)

    stored = objects(tmp_path)
    event = stored.pop(f".t4/v1/lineage/events/{done.event_id}.json")
    check_event(json.loads(event))
    assert done.registries == (target.registry,)
    assert set(stored.values()) == {b""}
    roles = sorted(key.split("/")[3] for key in stored)
    versions = sorted(key.split("/")[5] for key in stored)
    assert roles == ["inputs", "inputs", "outputs"]
    assert versions == sorted([source.top_hash, target.top_hash, "unversioned"])
    assert {key.split("/")[6] for key in stored} == {done.event_id}


def test_a_repeat_changes_nothing(tmp_path: Path) -> None:
    inputs = [revision(tmp_path, "in/p"), revision(tmp_path, "in/q")]
    output = Output(revision(tmp_path, "out/p"), message="first")
    settings = Settings()

    def again(items: list[Any], said: Output) -> RecordedEvent:
        read = [Input.of_ref(item) for item in items]
        return record(RUN, read, [said], settings=settings, open_store=open_store)

    first = again(inputs, output)
    before = objects(tmp_path)

    found_done = replace(output, changed=False, message="second")
    assert again(inputs[::-1], found_done) == first
    assert objects(tmp_path) == before


@pytest.mark.parametrize("what", ["run", "attempt", "state", "inputs", "outputs"])
def test_another_statement_is_another_event(tmp_path: Path, what: str) -> None:
    call: dict[str, Any] = {
        "run": RUN,
        "inputs": [Input("file", "/x")],
        "outputs": [Output(revision(tmp_path, "out/p"))],
        "state": "COMPLETE",
    }
    changed: dict[str, Any] = {
        "run": RunInfo.here("job"),
        "attempt": replace(RUN, attempt=2),
        "state": "FAIL",
        "inputs": [Input("file", "/y")],
        "outputs": [Output(revision(tmp_path, "out/p", "other"))],
    }
    other = {**call, ("run" if what == "attempt" else what): changed[what]}

    for each in (call, other):
        record(**each, settings=Settings(), open_store=open_store)

    assert len(stored_events(tmp_path)) == 2


def test_two_processes_record_the_same_event_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        calls = [pool.submit(record_one, str(tmp_path), RUN_ID) for _ in range(4)]
        done = [call.result(timeout=100) for call in calls]

    assert len(set(done)) == 1
    (event,) = stored_events(tmp_path).values()
    assert len(event["inputs"]) == 20
    assert len(objects(tmp_path)) == 1 + 21


def test_the_event_goes_to_the_registry_of_each_output(tmp_path: Path) -> None:
    source = revision(tmp_path / "a", "in/p")
    targets = [revision(tmp_path / name, "out/p") for name in ("b", "c", "b")]

    done = note([source], targets, lineage_registry=str(tmp_path / "d"))

    assert done.registries == (targets[0].registry, targets[1].registry)
    assert stored_events(tmp_path / "b") == stored_events(tmp_path / "c") != {}
    assert not (tmp_path / "a").exists()
    assert not (tmp_path / "d").exists()


def test_a_run_without_outputs_is_recorded_in_the_lineage_registry(tmp_path: Path) -> None:
    source = revision(tmp_path / "a", "in/p")

    done = note([source], [], run=RUN, lineage_registry=str(tmp_path / "d"))
    again = note([source], [], run=RUN, lineage_registry=str(tmp_path / "d"))

    assert done == again
    assert list(stored_events(tmp_path / "d")) == [done.event_id]
    assert not (tmp_path / "a").exists()


def test_without_one_it_is_recorded_where_it_read(tmp_path: Path) -> None:
    done = note([revision(tmp_path / "a", "in/p"), Input("file", "/x")], [])

    assert list(stored_events(tmp_path / "a")) == [done.event_id]


def test_a_run_that_touched_no_registry_is_recorded_nowhere() -> None:
    assert note([Input("file", "/x")], []).registries == ()


def faulty(
    registry: Path, faults: int | None, *, retryable: bool, call: dict[str, Any] | None = None
) -> tuple[FaultyStore, RecordedEvent]:
    """Record one run whose store fails."""
    store = FaultyStore(open_store(str(registry), Settings()), faults, retryable=retryable)

    def opener(_registry: str, _settings: Settings) -> Store:
        return store

    whole: dict[str, Any] = {
        "inputs": [Input.of_ref(revision(registry, "in/p"))],
        "outputs": [Output(revision(registry, "out/p"))],
        "settings": Settings(),
        **(call or {}),
    }
    return store, record(RUN, open_store=opener, **whole)


def test_a_short_outage_is_bridged(tmp_path: Path) -> None:
    store, done = faulty(tmp_path, 3, retryable=True)

    assert store.failed == 3
    assert list(stored_events(tmp_path)) == [done.event_id]


@pytest.mark.parametrize("retryable", [True, False])
def test_required_lineage_that_cannot_be_recorded_fails_the_step(
    tmp_path: Path, retryable: bool
) -> None:
    with pytest.raises(StorageError, match="run the step again") as caught:
        faulty(tmp_path, None, retryable=retryable)

    assert caught.value.retryable is retryable
    assert caught.value.key == f"file://{tmp_path}"
    assert objects(tmp_path) == {}


def test_what_cannot_be_repeated_is_tried_once(tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        faulty(tmp_path, 1, retryable=False)


def test_the_other_registries_still_get_the_event(tmp_path: Path) -> None:
    bad, good = revision(tmp_path / "bad", "out/p"), revision(tmp_path / "good", "out/p")
    (tmp_path / "bad").write_text("a file where a folder must be")

    with pytest.raises(StorageError, match=str(tmp_path / "bad")):
        note([], [bad, good])

    assert len(stored_events(tmp_path / "good")) == 1


@pytest.mark.parametrize("mode", ["best-effort", "off"])
def test_other_modes_do_not_fail_the_step(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, mode: LineageMode
) -> None:
    store, done = faulty(tmp_path, None, retryable=False, call={"settings": Settings(lineage=mode)})

    assert done.registries == ()
    warnings = [r.getMessage() for r in caplog.records if r.name == "t4_ops.lineage"]
    if mode == "off":
        assert store.failed == 0
        assert warnings == []
    else:
        (warning,) = warnings
        assert done.event_id in warning
        assert str(tmp_path) in warning


def test_off_loads_no_openlineage_and_writes_nothing(tmp_path: Path) -> None:
    code = f"""
import sys
from tests.ledger_support import note, revision
note([], [revision({str(tmp_path)!r}, 'out/p')], lineage='off', registry={str(tmp_path)!r})
print('openlineage' in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[1],
        timeout=60,
    )

    assert done.stdout.strip() == "False"
    assert objects(tmp_path) == {}


def test_reading_where_nothing_may_be_written_fails_no_step(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _, done = faulty(tmp_path, None, retryable=False, call={"outputs": []})

    assert done.registries == ()
    assert [r.levelno for r in caplog.records if r.name == "t4_ops.lineage"] == [logging.WARNING]


def test_a_lineage_registry_that_was_asked_for_must_take_the_event(tmp_path: Path) -> None:
    settings = Settings(lineage_registry=str(tmp_path / "d"))
    with pytest.raises(StorageError):
        faulty(tmp_path, None, retryable=False, call={"outputs": [], "settings": settings})


def test_an_interrupted_record_is_completed_by_its_repeat(tmp_path: Path) -> None:
    # One head and three markers, then the store fails for good: markers without their event.
    sources = [Input.of_ref(revision(tmp_path, f"in/p{number}")) for number in range(2)]
    store = open_store(str(tmp_path), Settings())
    outputs = [Output(revision(tmp_path, "out/p"))]
    record(RUN, sources, outputs, settings=Settings(), open_store=open_store)
    (event_key,) = (key for key in objects(tmp_path) if "/events/" in key)
    whole = objects(tmp_path)
    store.delete(event_key)

    for source in sources:
        assert events_for(store, "inputs", source.dataset, source.version) == []
    record(RUN, sources, outputs, settings=Settings(), open_store=open_store)

    assert objects(tmp_path).keys() == whole.keys()
    assert len(events_for(store, "inputs", sources[0].dataset, sources[0].version)) == 1


def test_stray_objects_among_the_markers_are_passed_over(tmp_path: Path) -> None:
    target = revision(tmp_path, "out/p")
    note([], [target])
    (marker,) = (key for key in objects(tmp_path) if "/outputs/" in key)
    store = open_store(str(tmp_path), Settings())
    store.write(marker.rpartition("/")[0] + "/README", b"hello")

    item = Input.of_ref(target)
    assert len(events_for(store, "outputs", item.dataset, item.version)) == 1


def test_ten_thousand_inputs_make_a_valid_event(tmp_path: Path) -> None:
    inputs = [Input.of_ref(revision("s3://bucket", f"in/p{number}")) for number in range(10_000)]
    target = revision(tmp_path, "out/p")

    done = note(list(inputs), [target])

    event = stored_events(tmp_path)[done.event_id]
    check_schema(event, event["schemaURL"])
    # The facets of all inputs are made alike, so those of a few are enough.
    assert check_event({**event, "inputs": event["inputs"][::1000]}) > 10
    store = open_store(str(tmp_path), Settings())
    (found,) = events_for(store, "inputs", inputs[-1].dataset, inputs[-1].version)
    assert found.inputs == tuple(inputs)


def test_a_question_costs_its_answer_whatever_else_is_recorded(tmp_path: Path) -> None:
    target = revision(tmp_path, "out/p")
    note([revision(tmp_path, "in/p")], [target])
    item = Input.of_ref(target)

    def cost() -> dict[str, int]:
        store = CountingStore(open_store(str(tmp_path), Settings()))
        assert len(events_for(store, "outputs", item.dataset, item.version)) == 1
        return dict(store.calls)

    before = cost()
    for number in range(50):
        note([revision(tmp_path, "in/p")], [revision(tmp_path, "out/p", f"other {number}")])
        note([target], [revision(tmp_path, "out/q", f"other {number}")])

    assert cost() == before == {"list": 1, "read": 1}


def test_a_bucket_holds_the_same(s3_env: SeaweedFS, unversioned_bucket: str) -> None:
    registry = f"s3://{unversioned_bucket}"
    target, source = revision(registry, "out/p"), Input("file", "/data/x.csv")

    done = note([source], [target], run=RUN)
    assert note([source], [target], run=RUN) == done

    (event,) = stored_events(registry).values()
    check_event(event)
    assert (event["outputs"][0]["namespace"], event["outputs"][0]["name"]) == (registry, "out/p")
    store = open_store(registry, Settings())
    assert len(events_for(store, "inputs", source.dataset, None)) == 1
    assert len(list(store.list(".t4/"))) == 3


def test_a_server_that_does_not_answer_is_worth_another_try() -> None:
    with no_server() as s3, pytest.raises(StorageError, match="s3://bucket") as caught:
        note([], [revision("s3://bucket", "out/p")], s3=s3)

    assert caught.value.retryable
