"""Events on their way to OpenLineage transports: the same as in the ledger, never in the way."""

from __future__ import annotations

import json
import logging
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import t4_ops as t4
from t4_ops import lineage, operations
from tests.ledger_support import check_event, note, revision, stored_events
from tests.openlineage_receiver import Receiver, receiver

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def no_configuration(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Leave no trace: the client writes some of its variables itself."""
    monkeypatch.chdir(tmp_path)
    before = dict(os.environ)
    yield
    for name in set(os.environ) - set(before):
        del os.environ[name]


@pytest.fixture
def http() -> Iterator[Receiver]:
    with receiver() as told:
        yield told


def publish(folder: Path, **settings: Any) -> list[Any]:
    """Record one run that publishes to a folder registry; return what its ledger holds."""
    note([revision(folder, "in/p")], [revision(folder, "out/p")], **settings)
    return list(stored_events(folder).values())


def test_a_receiver_gets_what_the_ledger_holds(
    tmp_path: Path, http: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENLINEAGE_URL", http.url)
    monkeypatch.setenv("OPENLINEAGE_API_KEY", "key-of-the-receiver")
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "a.bin").write_bytes(b"a")

    built = operations.build("team/raw", tmp_path / "source")
    installed = operations.install(built, dest=tmp_path / "out")
    pushed = operations.push(built, registry=str(tmp_path / "shared"), inputs=[installed])
    with lineage.run(job="etl"):
        t4.Package.browse("team/raw").set("b.bin", b"b").build("team/more")

    default = t4.load_settings().registry.removeprefix("file://")
    held = [*stored_events(default).values(), *stored_events(tmp_path / "shared").values()]
    assert len(held) == 4
    for event in http.events:
        check_event(event)
    by_time = sorted(held, key=lambda event: event["eventTime"])
    assert http.events == by_time
    assert set(http.paths) == {"/api/v1/lineage"}
    assert set(http.authorization) == {"Bearer key-of-the-receiver"}
    assert "key-of-the-receiver" not in json.dumps(held)
    assert built["top_hash"] == pushed["top_hash"]


def test_a_repeat_is_not_sent_again(
    tmp_path: Path, http: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENLINEAGE_URL", http.url)
    run = t4_run()
    for _ in range(2):
        note([], [revision(tmp_path / "r", "out/p")], run=run)

    assert len(http.events) == 1


def t4_run() -> Any:
    from t4_ops.ledger import RunInfo

    return RunInfo.here("job")


def test_an_event_that_no_registry_holds_is_sent_all_the_same(
    http: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENLINEAGE_URL", http.url)
    with lineage.run(job="reader", inputs={"namespace": "postgres://host:5432", "name": "a.b"}):
        pass

    (event,) = http.events
    check_event(event)
    assert event["inputs"][0]["name"] == "a.b"


@pytest.mark.parametrize("place", ["named", "working directory", "home"])
def test_a_configuration_file_is_read(
    tmp_path: Path, http: Receiver, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    path = {
        "named": tmp_path / "any.yml",
        "working directory": tmp_path / "openlineage.yml",
        "home": Path.home() / ".openlineage" / "openlineage.yml",
    }[place]
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"transport:\n  type: http\n  url: {http.url}\n")
    if place == "named":
        monkeypatch.setenv("OPENLINEAGE_CONFIG", str(path))

    assert publish(tmp_path / "r") == http.events


def test_transports_may_be_several(
    tmp_path: Path,
    http: Receiver,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    transport = {
        "type": "composite",
        "continue_on_failure": True,
        "transports": {
            "a": {"type": "http", "url": http.url},
            "b": {"type": "file", "log_file_path": str(tmp_path / "ol.jsonl"), "append": True},
            "c": {"type": "console"},
        },
    }
    monkeypatch.setenv("OPENLINEAGE__TRANSPORT", json.dumps(transport))

    with caplog.at_level(logging.INFO, "openlineage"):
        (held,) = publish(tmp_path / "r")

    assert http.events == [held]
    assert json.loads((tmp_path / "ol.jsonl").read_text()) == held
    printed = [r.getMessage() for r in caplog.records if "console" in r.name]
    assert [json.loads(text) for text in printed] == [held]


def test_single_variables_configure_a_transport(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ol.jsonl"
    monkeypatch.setenv("OPENLINEAGE__TRANSPORT__TYPE", "file")
    monkeypatch.setenv("OPENLINEAGE__TRANSPORT__LOG_FILE_PATH", str(path))
    monkeypatch.setenv("OPENLINEAGE__TRANSPORT__APPEND", "true")

    assert publish(tmp_path / "r") == [json.loads(path.read_text())]


def test_nothing_is_added_to_an_event(
    tmp_path: Path, http: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the client would add: variables it is asked for, tags, a repository with a password."""
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "config").write_text('[remote "origin"]\nurl = https://u:pw@host/repo\n')
    (tmp_path / ".git" / "HEAD").write_text("ref: refs/heads/main\n")
    monkeypatch.setenv("A_SECRET_VARIABLE", "hunter2")
    monkeypatch.setenv("OPENLINEAGE__FACETS__ENVIRONMENT_VARIABLES", '["A_SECRET_VARIABLE"]')
    monkeypatch.setenv("OPENLINEAGE_URL", http.url)

    (held,) = publish(tmp_path / "r")

    assert http.events == [held]
    assert "hunter2" not in json.dumps(held)
    assert "u:pw" not in json.dumps(held)


def test_a_filter_of_the_client_counts(
    tmp_path: Path, http: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENLINEAGE_URL", http.url)
    monkeypatch.setenv("OPENLINEAGE__FILTERS", '[{"type": "exact", "match": "script"}]')

    assert len(publish(tmp_path / "r")) == 1
    assert http.events == []


@pytest.mark.parametrize("how", ["nothing", "disabled", "file without a transport"])
def test_without_a_transport_nothing_is_sent(
    tmp_path: Path,
    http: Receiver,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    how: str,
) -> None:
    if how == "disabled":
        monkeypatch.setenv("OPENLINEAGE_URL", http.url)
        monkeypatch.setenv("OPENLINEAGE_DISABLED", "true")
    if how == "file without a transport":
        (tmp_path / "openlineage.yml").write_text("tags:\n  job:\n    a: b\n")

    with caplog.at_level(logging.DEBUG):
        assert len(publish(tmp_path / "r")) == 1

    assert http.events == []
    loggers = {record.name for record in caplog.records}
    if how != "file without a transport":
        # The client says what it does: it was not even made.
        assert not any(name.startswith("openlineage") for name in loggers)
    assert "openlineage.client.transport.console" not in loggers


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.name == "t4_ops.lineage"]


def test_a_receiver_that_refuses_is_a_warning(
    tmp_path: Path,
    http: Receiver,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    http.status = 400
    monkeypatch.setenv("OPENLINEAGE_URL", http.url.replace("http://", "http://user:hunter2@"))

    assert len(publish(tmp_path / "r")) == 1

    (warning,) = warnings_of(caplog)
    assert "400" in warning
    assert "was not sent, but is in the ledger" in warning
    assert "hunter2" not in warning


def test_a_receiver_that_is_not_there_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("OPENLINEAGE_URL", f"http://127.0.0.1:{taken.getsockname()[1]}")
        assert len(publish(tmp_path / "r", lineage_timeout_s=30)) == 1

    (warning,) = warnings_of(caplog)
    assert "was not sent" in warning


def test_a_transport_that_does_not_exist_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OPENLINEAGE__TRANSPORT__TYPE", "no.such.Transport")

    assert len(publish(tmp_path / "r")) == 1

    (warning,) = warnings_of(caplog)
    assert "no.such.Transport" in warning


def test_a_receiver_that_hangs_costs_the_time_out(
    tmp_path: Path,
    http: Receiver,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    http.may_answer.clear()
    monkeypatch.setenv("OPENLINEAGE_URL", http.url)
    publish(tmp_path / "warm", lineage="off")

    start_s = time.monotonic()
    assert len(publish(tmp_path / "r", lineage_timeout_s=0.3)) == 1

    assert time.monotonic() - start_s < 10
    (warning,) = warnings_of(caplog)
    assert "no answer in 0.3 s" in warning


def test_a_process_may_end_while_a_receiver_hangs(tmp_path: Path, http: Receiver) -> None:
    http.may_answer.clear()
    code = f"""
from tests.ledger_support import note, revision
note([], [revision({str(tmp_path / "r")!r}, 'out/p')], lineage_timeout_s=0.2)
print('done')
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env={**os.environ, "OPENLINEAGE_URL": http.url},
        timeout=25,
    )

    assert done.stdout.strip() == "done"
    assert len(stored_events(tmp_path / "r")) == 1


def test_what_is_not_recorded_is_not_sent(
    tmp_path: Path, http: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENLINEAGE_URL", http.url)
    (tmp_path / "r").write_text("a file where a folder must be")
    with pytest.raises(t4.StorageError):
        note([], [revision(tmp_path / "r", "out/p")])
    assert http.events == []

    note([], [revision(tmp_path / "r", "out/p")], lineage="best-effort")
    assert len(http.events) == 1
    note([], [revision(tmp_path / "r2", "out/p")], lineage="off")
    assert len(http.events) == 1


@pytest.mark.parametrize("timeout_s", [0, -1, float("nan"), float("inf")])
def test_a_time_out_is_a_time(timeout_s: float) -> None:
    with pytest.raises(t4.InvalidInputError, match="lineage_timeout_s"):
        t4.Settings(lineage_timeout_s=timeout_s)
