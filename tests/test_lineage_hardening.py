"""`lineage.run` and the found runs where things go wrong: forks, late threads, broken faces."""

from __future__ import annotations

import asyncio
import contextvars
import importlib
import os
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pytest_mock import MockerFixture

import t4_ops as t4
from t4_ops import lineage, operations
from t4_ops.errors import StorageError
from t4_ops.ledger import Gathered, RunInfo, finding, publishing
from t4_ops.settings import S3Settings, Settings
from tests.ledger_support import use_run
from tests.lineage_run_support import events, raw_packages, read_by, told

FACE = """
from t4_ops.ledger import RunInfo

class Skip(Exception):
    pass

class Runs:
    info = RunInfo(run_id="{run_id}", job_namespace="n", job_name="task")
    lookup_error = sender_error = None

    def current_run(self):
        if self.lookup_error:
            raise self.lookup_error
        return self.info

    def sender(self):
        if self.sender_error:
            raise self.sender_error

    def outcome(self, error):
        return "COMPLETE" if isinstance(error, Skip) else None

RUNS = Runs()
"""


@pytest.fixture
def registry(own_home: Path) -> str:
    """The default registry, with the packages `raw/a` and `raw/b` in it."""
    return raw_packages()


@pytest.fixture
def face(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """An installed orchestrator's face whose run is this code."""
    name = f"face_{uuid.uuid4().hex}"
    (tmp_path / f"{name}.py").write_text(FACE.format(run_id=uuid.uuid4()))
    info = tmp_path / f"{name}-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[t4_ops.runs]\n{name} = {name}:RUNS\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(finding.ORCHESTRATORS, name, "json")  # type: ignore[arg-type]
    return importlib.import_module(name)


def published(event: Any) -> list[str]:
    return told(event)[1]


def make(name: str = "made/c", **settings: Any) -> None:
    package = t4.Package(settings=t4.load_settings(**settings)) if settings else t4.Package()
    package.set("z.bin", name.encode()).build(name)


def fail(error: BaseException, settings: Settings | None = None) -> None:
    """Read something in a run that an error ends."""
    with lineage.run(job="etl"):
        t4.Package.browse("raw/a", settings=settings)
        raise error


def test_a_forked_child_records_what_it_publishes(registry: str) -> None:
    with lineage.run(job="etl") as run:
        t4.Package.browse("raw/a")["x.json"]()
        pid = os.fork()
        if pid == 0:
            t4.Package.browse("raw/b")
            make("made/child")
            run.read({"namespace": "postgres://db", "name": "rates"})
            make("made/later")
            os._exit(0)
        os.waitpid(pid, 0)
        make("made/parent")

    by_child, later, by_parent = events(registry)
    assert published(by_child) == ["made/child"]
    assert read_by(by_child) == {"raw/a": ["x.json"], "raw/b": []}
    assert (published(later), list(read_by(later))) == (["made/later"], ["raw/a", "raw/b", "rates"])
    assert published(by_parent) == ["made/parent"]
    assert read_by(by_parent) == {"raw/a": ["x.json"]}
    assert {event["run"]["runId"] for event in (by_child, by_parent)} == {run.info.run_id}


def test_a_child_that_leaves_the_block_does_not_end_the_run(registry: str) -> None:
    context = lineage.run(job="etl")
    context.__enter__()
    t4.Package.browse("raw/a")
    pid = os.fork()
    if pid == 0:
        context.__exit__(None, None, None)
        os._exit(0)
    os.waitpid(pid, 0)
    assert events(registry) == []
    context.__exit__(None, None, None)

    assert len(events(registry)) == 1


def test_a_part_that_nobody_knows_counts_as_all(registry: str, tmp_path: Path) -> None:
    raw = t4.Package.browse("raw/a")
    with lineage.run(job="adopted"):
        mine = t4.Package().set("z.json", raw["x.json"])
        mine["z.json"]()
        raw["deep/y.bin"].get_bytes()
    with lineage.run(job="filtered"):
        raw.filter(lambda key, _: key == "x.json").fetch(tmp_path / "out")
        raw["deep/y.bin"].get_bytes()
    with lineage.run(job="browsed"):
        t4.Package.browse("raw/a")["x.json"]()

    told = {event["job"]["name"]: read_by(event)["raw/a"] for event in events(registry)}
    assert told["browsed"] == ["x.json"]
    # The names of entries in another package say nothing about those in this one, so that either
    # all is named or exactly what was read.
    for job in ("adopted", "filtered"):
        assert told[job] in ([], ["deep/y.bin", "x.json"])


def test_a_whole_revision_given_as_input_stays_whole(registry: str, tmp_path: Path) -> None:
    raw = t4.Package.browse("raw/a")
    (tmp_path / "f").write_text("x")
    with lineage.run(job="etl"):
        raw["x.json"]()
        operations.build("made/c", tmp_path / "f", inputs=[raw.ref or ""])
    with use_run(RunInfo.here("task")):
        raw["x.json"]()
        operations.build("made/d", tmp_path / "f", inputs=[raw.ref or ""])

    assert [read_by(event)["raw/a"] for event in events(registry)] == [[], []]


def test_a_directory_is_named_as_one(registry: str, tmp_path: Path) -> None:
    with lineage.run(job="etl"):
        t4.Package.install("raw/a", dest=tmp_path / "1", path="deep")
        operations.install("raw/b", dest=tmp_path / "2", path="deep")

    (event,) = events(registry)
    assert read_by(event) == {"raw/a": ["deep/"], "raw/b": ["deep/"]}


def test_off_is_off(registry: str, tmp_path: Path, face: Any) -> None:
    face.RUNS.lookup_error = KeyError("dag_run")
    off = t4.load_settings(lineage="off")
    (tmp_path / "f").write_text("x")

    with lineage.run(job="etl", settings=off):
        t4.Package.browse("raw/a", settings=off)["x.json"]()
        operations.build("made/c", tmp_path / "f", settings=off)
        operations.install("raw/a", dest=tmp_path / "out", settings=off)
    make("made/d", lineage="off")

    assert events(registry) == []


def test_off_inside_a_run_notes_nothing(registry: str, tmp_path: Path) -> None:
    off = t4.load_settings(lineage="off")
    (tmp_path / "f").write_text("x")
    with lineage.run(job="etl"):
        t4.Package.browse("raw/a", settings=off)
        t4.Package.browse("raw/b")
        operations.build("made/c", tmp_path / "f", settings=off)

    (event,) = events(registry)
    assert (list(read_by(event)), published(event)) == (["raw/b"], [])


def test_an_orchestrator_that_can_not_tell_its_run(
    registry: str, face: Any, caplog: pytest.LogCaptureFixture
) -> None:
    face.RUNS.lookup_error = KeyError("dag_run")

    with pytest.raises(StorageError, match="KeyError: 'dag_run'"):
        make("made/required")
    assert "made/required" not in list(t4.list_packages())
    for _ in range(2):
        make("made/effort", lineage="best-effort")
    assert "made/effort" in list(t4.list_packages())
    assert len([r for r in caplog.records if "dag_run" in r.getMessage()]) == 1


def test_a_sender_that_can_not_be_found_is_a_warning(
    registry: str, face: Any, caplog: pytest.LogCaptureFixture
) -> None:
    face.RUNS.sender_error = AttributeError("no is_openlineage_active")
    # The sender of the run's own engine is asked: the face is that of this test's.
    name = face.__name__
    face.RUNS.info = RunInfo(run_id=str(uuid.uuid4()), job_namespace="n", job_name="j", engine=name)

    make()

    assert len(events(registry)) == 1
    assert "no is_openlineage_active" in caplog.text


def test_reads_before_a_block_count_for_what_it_publishes(registry: str, face: Any) -> None:
    t4.Package.browse("raw/a")["x.json"]()
    with lineage.run():
        make("made/c")
    with lineage.run():
        t4.Package.browse("raw/b")
        make("made/d")
    make("made/e")

    told = {published(event)[0]: read_by(event) for event in events(registry)}
    assert told["made/c"] == {"raw/a": ["x.json"]}
    assert told["made/d"] == told["made/e"] == {"raw/a": ["x.json"], "raw/b": []}


def test_what_an_orchestrator_calls_no_failure_is_none(registry: str, face: Any) -> None:
    for error in (face.Skip("nothing to do"), ValueError("broken"), asyncio.CancelledError()):
        with pytest.raises(type(error)):
            fail(error)

    found = events(registry)
    assert [event["eventType"] for event in found] == ["COMPLETE", "FAIL", "ABORT"]
    assert ["errorMessage" in event["run"]["facets"] for event in found] == [False, True, True]


def test_recording_never_hides_what_ended_a_run(registry: str, mocker: MockerFixture) -> None:
    mocker.patch("os.fsync", autospec=True, side_effect=ZeroDivisionError("a fault of the disk"))
    with pytest.raises(ValueError, match="the reason"):
        fail(ValueError("the reason"))


def test_a_block_may_end_in_another_context(registry: str) -> None:
    def steps() -> Iterator[None]:
        with lineage.run(job="generator"):
            t4.Package.browse("raw/a")
            make()
            yield

    generator = steps()
    contextvars.copy_context().run(next, generator)
    assert next(generator, "ended") == "ended"

    (event,) = events(registry)
    assert published(event) == ["made/c"]


def test_a_publication_beside_the_end_is_recorded(registry: str, mocker: MockerFixture) -> None:
    """The end comes after the thread saw that the run has one, before it noted its output."""
    began, ended = threading.Event(), threading.Event()
    real = Gathered.publish

    def slow(self: Gathered, *args: Any) -> bool:
        began.set()
        assert ended.wait(30)
        return real(self, *args)

    with lineage.run(job="race") as run:
        thread = threading.Thread(target=contextvars.copy_context().run, args=(make,))
        mocker.patch.object(Gathered, "publish", autospec=True, side_effect=slow)
        thread.start()
        assert began.wait(30)
        t4.Package.browse("raw/a")
    ended.set()
    thread.join()

    assert [published(event) for event in events(registry)] == [[], ["made/c"]]
    assert {event["run"]["runId"] for event in events(registry)} == {run.info.run_id}


def test_credentials_of_any_settings_in_use_are_hidden(registry: str) -> None:
    own = t4.load_settings(s3=S3Settings(access_key_id="id-of-mine", secret_access_key="hunter22"))
    with pytest.raises(RuntimeError):
        fail(RuntimeError("can't sign with hunter22"), own)

    assert "hunter22" not in str(events(registry))


def test_column_lineage_without_its_output_is_a_warning(
    registry: str, caplog: pytest.LogCaptureFixture
) -> None:
    columns = {"a": [("quilt+s3://bucket#package=raw/a", "x")]}
    with lineage.run(job="etl", column_lineage={"made/typo": columns, "made/late": columns}):
        make("made/c")
        context = contextvars.copy_context()
    context.run(make, "made/late")

    assert "'made/typo'" in caplog.text
    late = events(registry)[-1]["outputs"][0]
    assert late["facets"]["columnLineage"]["fields"].keys() == {"a"}


def test_many_markers_are_a_warning_once(
    registry: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing, "MANY_MARKERS", 3)
    with use_run(RunInfo.here("task")):
        t4.Package.browse("raw/a")
        for number in range(4):
            make(f"made/n{number}")

    assert len([r for r in caplog.records if "lineage markers" in r.getMessage()]) == 1


def test_the_text_of_a_result_names_a_dataset_of_column_lineage(
    registry: str, tmp_path: Path
) -> None:
    (tmp_path / "f").write_text("x")
    source = operations.browse("raw/a")
    built = operations.build(
        "made/c", tmp_path / "f", column_lineage={"total": [(str(source), "amount")]}
    )

    (event,) = (e for e in events(registry) if published(e) == [built["name"]])
    fields = event["outputs"][0]["facets"]["columnLineage"]["fields"]
    assert fields["total"]["inputFields"][0]["name"].endswith("raw/a")


def test_a_result_of_a_run_with_many_inputs_can_be_handed_on(registry: str, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x")
    with use_run(RunInfo.here("task")):
        inputs = [{"namespace": "n", "name": str(number)} for number in range(3000)]
        built = operations.build(
            "made/c", tmp_path / "f", inputs=inputs, settings=t4.load_settings(lineage="off")
        )
    pushed = operations.push(
        built, registry=tmp_path / "r", settings=t4.load_settings(lineage="off")
    )

    assert len(built["inputs"]) == len(pushed["inputs"]) == 1000


def test_more_carried_inputs_than_a_run_can_have_are_counted(
    registry: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("writing", "publishing"):
        monkeypatch.setattr(f"t4_ops.ledger.{module}.MAX_INPUTS", 5)
    monkeypatch.setattr("t4_ops.ledger.datasets.MAX_INPUTS", 5)
    carried = [{"namespace": "n", "name": str(number)} for number in range(20)]
    given = {**operations.browse("raw/a"), "inputs": carried}

    operations.push(given, registry=tmp_path / "r")

    (event,) = events(str(tmp_path / "r"))
    assert len(event["inputs"]) == 5
    assert event["run"]["facets"]["t4_run"]["omittedInputs"] == 16
