"""What is too much: events that would grow too large, runs that remember too much."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest

from t4_ops.ledger import (
    Column,
    Gathered,
    Input,
    Output,
    RecordedEvent,
    RunInfo,
    current,
    gathering,
    merge_runs,
    record,
)
from t4_ops.ledger import events as event_module
from t4_ops.settings import Settings
from t4_ops.storage import open_store
from tests.ledger_support import check_event, events_for, revision, stored_events, top_hash

RUN = RunInfo(run_id="0192aaaa-bbbb-7ccc-8ddd-eeeeffff0000", job_namespace="test", job_name="job")
COLUMNS = tuple(Column(f"column_{number}", "int64") for number in range(600))
PATHS = [f"{number:03}" + "k" * 60 for number in range(100)]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> int:
    """The largest event, made small."""
    monkeypatch.setattr(event_module, "EVENT_MAX_BYTES", 12_000)
    return 12_000


def record_in(
    registry: Path, inputs: list[Input], outputs: list[Output], lineage: Any = "required"
) -> RecordedEvent:
    settings = Settings(lineage=lineage)
    return record(RUN, inputs, outputs, settings=settings, open_store=open_store)


def checked(registry: Path, max_bytes: int) -> list[Any]:
    """Return the events of a registry, each valid and small."""
    found = list(stored_events(registry).values())
    for event in found:
        check_event(event)
    sizes = [path.stat().st_size for path in (registry / ".t4/v1/lineage/events").iterdir()]
    assert max(sizes) <= max_bytes
    return found


def test_columns_are_left_out_first(tmp_path: Path, small: int) -> None:
    source = Input.of_ref(revision(tmp_path, "in/a"), ["x.json"])
    record_in(tmp_path, [source], [Output(revision(tmp_path, "out/a"), columns=COLUMNS)])

    (event,) = checked(tmp_path, small)
    assert "schema" not in event["outputs"][0]["facets"]
    assert "subset" in event["inputs"][0]["inputFacets"]


def test_then_paths(tmp_path: Path, small: int) -> None:
    sources = [Input.of_ref(revision(tmp_path, f"in/p{n}"), PATHS) for n in range(3)]
    record_in(tmp_path, sources, [Output(revision(tmp_path, "out/a"))])

    (event,) = checked(tmp_path, small)
    assert len(event["inputs"]) == 3
    assert all("subset" not in item.get("inputFacets", {}) for item in event["inputs"])


def test_then_outputs_are_told_by_several_events(tmp_path: Path, small: int) -> None:
    outputs = [Output(revision(tmp_path, f"out/p{number}")) for number in range(30)]
    source = Input.of_ref(revision(tmp_path, "in/a"))

    done = record_in(tmp_path, [source], outputs)
    record_in(tmp_path, [source], outputs)

    found = checked(tmp_path, small)
    assert len(found) == 1 + len(done.more_event_ids) > 1
    store = open_store(str(tmp_path), Settings())
    (run,) = merge_runs(events_for(store, "inputs", source.dataset, source.version))
    assert {output.ref.name for output in run.outputs} == {o.ref.name for o in outputs}


@pytest.mark.parametrize("lineage", ["required", "best-effort"])
def test_then_inputs_are_counted_only(tmp_path: Path, small: int, lineage: str) -> None:
    sources = [Input("s3://bucket", f"{number:05}" + "x" * 500) for number in range(100)]
    outputs = [Output(revision(tmp_path, f"out/p{number}")) for number in range(3)]
    record_in(tmp_path, sources, outputs, lineage)

    for event in checked(tmp_path, small):
        assert event["inputs"]
        assert len(event["inputs"]) + event["run"]["facets"]["t4_run"]["omittedInputs"] == 100
    assert sum(len(event["outputs"]) for event in checked(tmp_path, small)) == 3


def test_what_can_not_be_built_is_a_warning_at_best_effort(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_module, "EVENT_MAX_BYTES", 10)

    record_in(tmp_path, [], [Output(revision(tmp_path, "out/a"))], "best-effort")

    assert "is not recorded" in caplog.text
    assert stored_events(tmp_path) == {}


def test_inputs_named_by_hand_are_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathering, "MAX_INPUTS", 10)
    run, settings = Gathered(RUN, has_end=True), Settings()
    for number in range(8):
        run.read(Input("n", f"read {number}"))
    output = Output(revision("/r", "out/a"))
    assert run.publish(output, [Input("n", f"given {number}") for number in range(15)], settings)

    assert len(run.all_inputs()) == 10
    ended = run.end()
    assert (len(ended.inputs), ended.omitted_inputs) == (10, 13)
    assert not run.publish(output, [], settings)


def test_paths_of_a_run_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathering, "MAX_RUN_PATHS", 5)
    run = Gathered(RUN, has_end=True)
    for number in range(8):
        run.read_ref(revision("/r", f"in/p{number}"), Settings(), ["k"], is_whole=True)

    assert [item.paths for item in run.inputs()] == [("k",)] * 5 + [()] * 3


def test_a_process_forgets_the_runs_used_longest_ago(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    module = __import__("t4_ops.ledger.current", fromlist=["_Found"])
    monkeypatch.setattr(module, "MAX_KNOWN_INPUTS", 50)
    monkeypatch.setattr(module, "_found", module._Found())
    runs = [RunInfo.here("task") for _ in range(10)]
    for run in runs:
        for number in range(10):
            gathered = current(run, mode="required")
            assert gathered is not None
            gathered.read(Input("n", str(number)))
            # In use all the time, so that it is not forgotten.
            first = current(runs[0], mode="required")
            assert first is not None

    known = [current(run, mode="off") for run in (runs[0], runs[-1], runs[1])]
    assert [len(gathered.inputs()) for gathered in known if gathered] == [10, 10, 0]
    assert "forgets" in caplog.text


def test_the_settings_of_a_writer_win() -> None:
    reader, writer, ref = Settings(workers=1), Settings(workers=2), revision("/r", "a/b")
    run = Gathered(RUN, has_end=True)
    run.read_ref(ref, reader, is_whole=True)
    run.publish(Output(ref), [], writer)
    run.read_ref(ref, reader, is_whole=True)

    assert run.settings_of(ref.registry, reader) is writer


def test_a_child_forked_while_a_thread_holds_the_lock_goes_on() -> None:
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with gathering.LOCK:
            held.set()
            assert done.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(30)
    pid = os.fork()
    if pid == 0:
        child = Gathered(RUN, has_end=True)
        reader = threading.Thread(target=child.read, args=(Input("n", top_hash("x")),), daemon=True)
        reader.start()
        reader.join(10)
        os._exit(0 if child.read_count else 1)
    _, status = os.waitpid(pid, 0)
    done.set()
    thread.join()

    assert os.waitstatus_to_exitcode(status) == 0
