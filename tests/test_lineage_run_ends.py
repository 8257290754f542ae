"""Runs in runs, where a run is recorded, and what happens when that fails."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

import t4_ops as t4
from demo.seaweedfs import SeaweedFS
from t4_ops import lineage, operations
from t4_ops.errors import InvalidInputError, StorageError
from t4_ops.ledger import RunInfo
from tests.ledger_support import check_event, stored_events, use_run
from tests.lineage_run_support import events, inputs_of, make, names, raw_packages, the_event


@pytest.fixture
def registry(own_home: Path) -> str:
    """The default registry, with the packages `raw/a` and `raw/b` in it."""
    return raw_packages()


@pytest.fixture
def raw(registry: str) -> t4.Package:
    """The package `raw/a`, browsed outside any run."""
    return t4.Package.browse("raw/a")


def test_a_run_in_a_run_is_its_child(registry: str) -> None:
    with lineage.run(job="outer", namespace="team") as outer:
        t4.Package.browse("raw/a")
        with lineage.run(job="middle") as middle, lineage.run(job="inner"):
            t4.Package.browse("raw/b")
            make("made/inner")
        make("made/outer")

    inner, last = (event for event in events(registry) if event["outputs"])
    assert (names(inner["inputs"]), names(inner["outputs"])) == (["raw/b"], ["made/inner"])
    assert (names(last["inputs"]), names(last["outputs"])) == (["raw/a"], ["made/outer"])
    parent = inner["run"]["facets"]["parent"]
    assert parent["run"]["runId"] == middle.info.run_id
    assert (parent["job"]["namespace"], parent["job"]["name"]) == ("team", "middle")
    assert parent["root"]["run"]["runId"] == outer.info.run_id
    assert "parent" not in last["run"]["facets"]


def test_without_a_job_it_joins_the_run_around(registry: str) -> None:
    def library_function() -> None:
        with lineage.run():
            t4.Package.browse("raw/b")

    with lineage.run(job="outer"):
        library_function()
        make()

    assert inputs_of(registry) == {"raw/b": []}


def test_a_run_block_is_entered_once(registry: str) -> None:
    block = lineage.run(job="etl")
    with block, pytest.raises(InvalidInputError), block:
        pass
    with pytest.raises(InvalidInputError), block:
        pass


def test_without_an_end_each_publication_is_recorded_at_once(registry: str) -> None:
    with use_run(RunInfo.here("task")) as info:
        t4.Package.browse("raw/a")
        make("made/c")
        first = the_event(registry)
        t4.Package.browse("raw/b")
        make("made/d")

    second = events(registry)[1]
    assert first["run"]["runId"] == second["run"]["runId"] == info.run_id
    assert (names(first["inputs"]), names(first["outputs"])) == (["raw/a"], ["made/c"])
    assert (names(second["inputs"]), names(second["outputs"])) == (["raw/a", "raw/b"], ["made/d"])


def test_a_run_takes_over_the_end_of_the_one_around(registry: str) -> None:
    with use_run(RunInfo.here("task")) as info:
        with lineage.run():
            t4.Package.browse("raw/a")
            make("made/c")
        make("made/d")

    first, second = events(registry)
    assert first["run"]["runId"] == second["run"]["runId"] == info.run_id
    assert (names(first["inputs"]), names(first["outputs"])) == (["raw/a"], ["made/c"])
    # What was read in the block was read in the run.
    assert (names(second["inputs"]), names(second["outputs"])) == (["raw/a"], ["made/d"])


def test_steps_are_gathered_too(registry: str, tmp_path: Path) -> None:
    table = {"namespace": "postgres://host:5432", "name": "db.schema.table"}
    with lineage.run(job="etl"):
        operations.install("raw/a", dest=tmp_path / "out", path="deep")
        operations.browse("raw/b")
        built = operations.build("made/c", tmp_path / "out", inputs=[table])
        pushed = operations.push(built, registry=str(tmp_path / "r"))

    event = the_event(registry)
    assert {(d["namespace"], d["name"].split("/")[-1]) for d in event["inputs"]} == {
        ("file", "a"),
        ("file", "b"),
        ("file", "out"),
        ("file", "c"),
        ("postgres://host:5432", "db.schema.table"),
    }
    assert len(event["outputs"]) == 2
    assert stored_events(tmp_path / "r") == stored_events(registry.removeprefix("file://"))
    for result in (built, pushed):
        assert {item["name"] for item in result["inputs"]} >= {"raw/a", "raw/b", table["name"]}


def test_a_step_tells_what_its_run_has_read(registry: str, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x")
    with use_run(RunInfo.here("task")):
        t4.Package.browse("raw/a")
        operations.install("raw/b", dest=tmp_path / "out")
        built = operations.build("made/c", tmp_path / "f")

    assert [item["name"] for item in built["inputs"]] == [str(tmp_path / "f"), "raw/a", "raw/b"]
    (published,) = (event for event in events(registry) if event["outputs"])
    assert names(published["inputs"])[1:] == ["raw/a", "raw/b"]


def test_inputs_named_for_one_publication_are_not_those_of_another(
    registry: str, tmp_path: Path
) -> None:
    (tmp_path / "f").write_text("x")
    with use_run(RunInfo.here("task")):
        operations.build("made/c", tmp_path / "f", inputs=[t4.Package.browse("raw/a").ref or ""])
        second = operations.build(
            "made/d", tmp_path / "f", inputs=[{"namespace": "n", "name": "x"}]
        )

    assert [item["name"] for item in second["inputs"]] == ["x", str(tmp_path / "f"), "raw/a"]


def test_other_inputs_may_be_named(registry: str) -> None:
    with lineage.run(job="etl", inputs={"namespace": "n", "name": "first"}) as run:
        run.read([{"namespace": "n", "name": "second", "version": "7"}])
        make()

    assert [d["name"] for d in the_event(registry)["inputs"]] == ["first", "second"]
    with pytest.raises(InvalidInputError):
        lineage.run(inputs=[17])  # type: ignore[list-item]


def test_a_run_without_outputs_is_recorded_where_it_read(registry: str) -> None:
    with lineage.run(job="report"):
        t4.Package.browse("raw/a")

    assert names(the_event(registry)["inputs"]) == ["raw/a"]


def test_a_run_that_did_nothing_leaves_nothing(registry: str) -> None:
    with lineage.run(job="idle"):
        pass

    assert stored_events(registry.removeprefix("file://")) == {}


def test_off_means_off(registry: str) -> None:
    with lineage.run(job="etl", settings=t4.load_settings(lineage="off")):
        t4.Package.browse("raw/a")
        make()

    assert stored_events(registry.removeprefix("file://")) == {}


def unwritable(registry: str) -> Path:
    """Put a file where the ledger's folder has to be."""
    ledger = Path(registry.removeprefix("file://"), ".t4/v1/lineage")
    ledger.parent.mkdir(parents=True, exist_ok=True)
    ledger.write_text("in the way")
    return ledger


def test_required_lineage_that_cannot_be_recorded_fails_the_run(registry: str) -> None:
    unwritable(registry)
    with pytest.raises(StorageError, match="could not be recorded"), lineage.run(job="etl"):
        make()


def test_what_failed_a_run_is_more_important(
    registry: str, caplog: pytest.LogCaptureFixture
) -> None:
    unwritable(registry)

    def work() -> None:
        with lineage.run(job="etl"):
            make()
            raise KeyError("the reason")

    with pytest.raises(KeyError, match="the reason"):
        work()

    (warning,) = (r for r in caplog.records if r.name == "t4_ops.lineage")
    assert warning.levelno == logging.WARNING
    assert "not recorded" in warning.getMessage()


def test_best_effort_warns(registry: str, caplog: pytest.LogCaptureFixture) -> None:
    unwritable(registry)
    with lineage.run(job="etl", settings=t4.load_settings(lineage="best-effort")):
        make()

    assert any("not recorded" in record.getMessage() for record in caplog.records)


def test_registries_are_reached_as_the_run_reached_them(
    s3_server: SeaweedFS, unversioned_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bucket that only a package's own settings lead to."""
    env = s3_server.environ()
    s3 = t4.S3Settings(
        endpoint_url=env["AWS_ENDPOINT_URL"],
        region=env["AWS_DEFAULT_REGION"],
        access_key_id=env["AWS_ACCESS_KEY_ID"],
        secret_access_key=env["AWS_SECRET_ACCESS_KEY"],
    )
    registry = f"s3://{unversioned_bucket}"
    settings = t4.load_settings(s3=s3, progress=False)
    with lineage.run(job="etl"):
        t4.Package(settings=settings).set("x.bin", b"x").build("made/c", registry)

    for name, value in env.items():
        monkeypatch.setenv(name, value)
    (event,) = stored_events(registry).values()
    check_event(event)
    assert (event["outputs"][0]["namespace"], event["outputs"][0]["name"]) == (registry, "made/c")


def test_deleting_a_package_keeps_its_lineage(registry: str) -> None:
    with lineage.run(job="etl"):
        top_hash = t4.Package.browse("raw/a").set("more.bin", b"").build("made/c")
    before = stored_events(registry.removeprefix("file://"))

    t4.delete_package("made/c")
    t4.delete_package("raw/a")

    assert stored_events(registry.removeprefix("file://")) == before
    (event,) = lineage.runs_of(f"t4+{registry}#package=made/c@{top_hash}")
    assert [item.package for item in event.inputs] == ["raw/a"]
    node = lineage.downstream(event.inputs[0])
    assert [output.ref.name for output in node.steps[0].event.outputs] == ["made/c"]
