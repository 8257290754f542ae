"""What an event says, and that OpenLineage's own schemas agree."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from jsonschema import ValidationError

from t4_ops.errors import FormatError, InvalidInputError
from t4_ops.keys import PackageRef
from t4_ops.ledger import Event, Input, JobRun, Output, RunInfo, record
from t4_ops.settings import S3Settings, Settings
from t4_ops.storage import open_store
from tests.ledger_support import check_event, check_schema, revision, stored_events, top_hash

RUN = RunInfo(
    run_id="0192aaaa-bbbb-7ccc-8ddd-eeeeffff0000",
    job_namespace="airflow",
    job_name="weather.push",
    parent=JobRun(
        run_id="0192aaaa-bbbb-7ccc-8ddd-eeeeffff0001", job_namespace="airflow", job_name="weather"
    ),
    root=JobRun(
        run_id="0192aaaa-bbbb-7ccc-8ddd-eeeeffff0002", job_namespace="airflow", job_name="nightly"
    ),
    nominal_time="2026-01-02T00:00:00+00:00",
    attempt=2,
    engine="airflow",
    engine_version="3.3.2",
)
SOURCE = Input("postgres://host:5432", "db.schema.table")
OBJECT = Input("s3://bucket", "raw/a.csv", "3HL4kqtJvjVBH40Nrjfkd")


def record_in(folder: Path, settings: Settings | None = None, **changes: Any) -> Any:
    """Record one run that publishes to a folder registry; return the event as stored."""
    call: dict[str, Any] = {
        "run": RUN,
        "inputs": [Input.of_ref(revision(folder, "in/p")), SOURCE, OBJECT],
        "outputs": [
            Output(
                revision(folder, "out/p"),
                files=3,
                size_bytes=1234,
                message="monthly",
                parent=top_hash("before"),
            )
        ],
        "event_time": datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone(timedelta(hours=2))),
    }
    call.update(changes)
    done = record(**call, settings=settings or Settings(), open_store=open_store)
    return stored_events(folder)[done.event_id]


def test_an_event_is_what_openlineage_publishes_as_valid(tmp_path: Path) -> None:
    event = record_in(tmp_path)

    assert check_event(event) == 11
    assert event["eventType"] == "COMPLETE"
    assert event["eventTime"] == "2026-01-02T01:04:05+00:00"
    assert event["run"]["runId"] == RUN.run_id
    assert (event["job"]["namespace"], event["job"]["name"]) == ("airflow", "weather.push")
    assert event["producer"].startswith("urn:t4-ops:")


def test_an_event_names_versions_and_counts(tmp_path: Path) -> None:
    event = record_in(tmp_path)
    (output,) = event["outputs"]
    package, source, s3_object = event["inputs"]

    assert (package["namespace"], package["name"]) == ("file", f"{tmp_path}/in/p")
    assert package["facets"]["version"]["datasetVersion"] == top_hash("in/p")
    assert source["name"] == "db.schema.table"
    assert "version" not in source["facets"]
    assert s3_object["facets"]["version"]["datasetVersion"] == OBJECT.version
    assert (output["namespace"], output["name"]) == ("file", f"{tmp_path}/out/p")
    assert output["facets"]["version"]["datasetVersion"] == top_hash("out/p")
    assert output["facets"]["lifecycleStateChange"]["lifecycleStateChange"] == "OVERWRITE"
    own = output["facets"]["t4_package"]
    assert own["uri"] == f"t4+file://{tmp_path}#package=out/p@{top_hash('out/p')}"
    assert (own["changed"], own["message"]) == (True, "monthly")
    assert own["parentTopHash"] == top_hash("before")
    statistics = output["outputFacets"]["outputStatistics"]
    assert (statistics["fileCount"], statistics["size"]) == (3, 1234)


def test_an_event_names_the_runs_above_and_the_engine(tmp_path: Path) -> None:
    facets = record_in(tmp_path)["run"]["facets"]

    assert facets["parent"]["run"]["runId"].endswith("1")
    assert facets["parent"]["job"]["name"] == "weather"
    assert facets["parent"]["root"]["job"]["name"] == "nightly"
    assert facets["nominalTime"]["nominalStartTime"] == RUN.nominal_time
    engine = facets["processing_engine"]
    assert (engine["name"], engine["version"]) == ("airflow", "3.3.2")
    assert facets["t4_run"]["attempt"] == 2


def test_the_smallest_event_is_valid_too(tmp_path: Path) -> None:
    run = RunInfo(run_id=RUN.run_id, job_namespace="n", job_name="j")
    output = Output(revision(tmp_path, "out/p"), changed=False)
    before = datetime.now(UTC)

    event = record_in(tmp_path, run=run, inputs=[], outputs=[output], event_time=None)

    assert check_event(event) == 5
    assert before <= datetime.fromisoformat(event["eventTime"]) <= datetime.now(UTC)
    assert "lifecycleStateChange" not in event["outputs"][0]["facets"]
    assert event["outputs"][0]["facets"]["t4_package"]["changed"] is False


def test_a_first_revision_is_a_creation(tmp_path: Path) -> None:
    event = record_in(tmp_path, outputs=[Output(revision(tmp_path, "out/p"))])

    change = event["outputs"][0]["facets"]["lifecycleStateChange"]
    assert change["lifecycleStateChange"] == "CREATE"


def test_a_bucket_is_its_own_namespace(tmp_path: Path) -> None:
    ref = PackageRef("s3://bucket", "in/p", top_hash("in"))

    event = record_in(tmp_path, inputs=[Input.of_ref(ref)])

    assert (event["inputs"][0]["namespace"], event["inputs"][0]["name"]) == ("s3://bucket", "in/p")


def test_credentials_of_the_environment_are_hidden(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secrets = {
        "A_TOKEN": "abcdefgh",
        "B_TOKEN": "abcdefgh-REST",
        "AIRFLOW__CORE__FERNET_KEY": "fernetfernet",
        "AIRFLOW_CONN_DB": "host/db/user",
        "MYSQL_PWD": "mysqlmysql",
        "SSH_PASSPHRASE": "passphrase",
        "GITHUB_PAT": "patpatpat",
    }
    for name, value in {**secrets, "PWD": "/home/somebody", "COMPAT": "compatible"}.items():
        monkeypatch.setenv(name, value)
    text = f"{' '.join(secrets.values())} /home/somebody compatible\nAuthorization: Token sometoken"

    event = record_in(tmp_path, Settings(), state="FAIL", error=text)

    message = event["run"]["facets"]["errorMessage"]["message"]
    assert (
        message
        == f"{' '.join('***' for _ in secrets)} /home/somebody compatible\nAuthorization: ***"
    )


def test_a_failed_run_says_why_without_credentials(tmp_path: Path) -> None:
    settings = Settings(
        s3=S3Settings(access_key_id="my-key-id", secret_access_key="my//secret+key"),
        registries=(("s3://other", S3Settings(session_token="my-session")),),
    )
    error = ValueError(
        "my//secret+key my-session my-key-id https://user:hunter2@host/x?X-Amz-Signature=hunter2&a=b"
        ' password=\'hunter2\' {"api_key": "hunter2"} Authorization: Bearer hunter2\n'
        " AKIAABCDEFGHIJKLMNOP https://hunter2@github.com s3://bucket/key stays"
    )

    event = record_in(tmp_path, settings, state="FAIL", error=error)

    check_event(event)
    assert event["eventType"] == "FAIL"
    facet = event["run"]["facets"]["errorMessage"]
    assert facet["programmingLanguage"] == "PYTHON"
    assert facet["message"].startswith("ValueError: ***")
    for secret in ("hunter2", "my//secret+key", "my-session", "my-key-id", "AKIAABCDEFGHIJ"):
        assert secret not in json.dumps(event)
    for harmless in ("host/x?", "&a=b", "@github.com", "s3://bucket/key stays"):
        assert harmless in facet["message"]
    assert "stackTrace" not in facet


def test_sizes_are_bounded(tmp_path: Path) -> None:
    output = Output(revision(tmp_path, "out/p"), message="m\ud800" * 100_000)

    event = record_in(tmp_path, outputs=[output], state="FAIL", error="://:@password=x " * 50_000)

    check_event(event)
    assert len(event["outputs"][0]["facets"]["t4_package"]["message"]) == 1000
    assert len(event["run"]["facets"]["errorMessage"]["message"]) == 4000


@pytest.mark.parametrize(
    "change",
    [{"state": "DONE"}, {"event_time": datetime(2026, 1, 2)}],  # noqa: DTZ001
)
def test_what_no_event_can_say_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError):
        record_in(tmp_path, **change)

    assert stored_events(tmp_path) == {}


def test_an_event_is_read_back_as_it_was_recorded(tmp_path: Path) -> None:
    output = Output(
        revision(tmp_path, "out/p"), 3, 1234, changed=False, message="m", parent=top_hash("before")
    )
    inputs = (Input.of_ref(revision(tmp_path, "in/p")), SOURCE, OBJECT)
    document = record_in(tmp_path, inputs=inputs, outputs=[output], state="FAIL", error="boom")

    event = Event.parse(json.dumps(document).encode(), "events/some-id.json")

    assert event == Event(
        "some-id", "FAIL", "2026-01-02T01:04:05+00:00", RUN, inputs, (output,), "boom"
    )


def test_an_event_of_another_writer_is_read_as_far_as_it_goes() -> None:
    document = {
        "eventTime": "2026-01-02T01:04:05Z",
        "run": {
            "runId": RUN.run_id,
            "facets": {"processing_engine": 3, "t4_run": {"attempt": "x"}},
        },
        "job": {"namespace": "n", "name": "j"},
        "inputs": [{"namespace": "file", "name": "/x"}],
        "outputs": [
            {"namespace": "file", "name": "/no/package"},
            {
                "namespace": "s3://bucket",
                "name": "out/p",
                "facets": {"version": {"datasetVersion": top_hash("x")}, "t4_package": {}},
                "outputFacets": {"outputStatistics": {"size": "many"}},
            },
        ],
        "unknown": [1],
    }

    event = Event.parse(json.dumps(document).encode(), "events/id.json")

    assert event.state == "OTHER"
    assert event.run == RunInfo(run_id=RUN.run_id, job_namespace="n", job_name="j")
    assert event.inputs == (Input("file", "/x"),)
    assert event.outputs == (Output(PackageRef("s3://bucket", "out/p", top_hash("x"))),)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"3",
        b"\xff",
        b"[" * 200_000,
        b'{"eventTime": "2026-01-02T01:04:05Z", "run": {"runId": "x"}, "job": {}}',
        b'{"run": [], "job": []}',
        json.dumps(
            {
                "eventTime": "2026-01-02T01:04:05Z",
                "run": {"runId": RUN.run_id},
                "job": {"namespace": "n", "name": "j"},
                "inputs": [{"namespace": "", "name": []}],
            }
        ).encode(),
    ],
)
def test_a_damaged_event_is_a_format_error_that_names_its_key(data: bytes) -> None:
    with pytest.raises(FormatError, match=r"events/id\.json") as caught:
        Event.parse(data, "events/id.json")

    assert caught.value.key == "events/id.json"


def test_the_validation_can_fail(tmp_path: Path) -> None:
    event = record_in(tmp_path)
    own = event["outputs"][0]["facets"]["t4_package"]
    check_schema(own, own["_schemaURL"])
    for broken in ({**own, "changed": "yes"}, {**own, "uri": "s3://bucket"}, {"_producer": "x"}):
        with pytest.raises(ValidationError):
            check_schema(broken, own["_schemaURL"])
    with pytest.raises(ValidationError):
        check_event({**event, "run": {"facets": {}}})
