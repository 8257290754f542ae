"""Conditions: asked once, or waited for."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import t4_ops as t4
from demo.seaweedfs import SeaweedFS
from t4_ops import operations as ops
from tests.package_support import watched, write_files
from tests.s3_support import Fault, s3_fault

NAME = "team/raw"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_files(tmp_path / "files", {"a.csv": b"1", "d/b": b"2"})


def test_every_condition(registry: str, folder: Path) -> None:
    def met(**asked: Any) -> bool:
        condition = ops.Condition(name=NAME, registry=registry, **asked)
        value = json.loads(json.dumps(condition.as_dict()))
        answer = ops.check(value)
        assert ops.Condition.of(value) == condition
        assert json.loads(json.dumps(answer)) == answer
        assert answer["reason"]
        return answer["met"]

    assert not met()
    assert not met(contains="a.csv")
    first = ops.build(NAME, folder, registry=registry)
    other = "0" * 64
    assert met()
    assert met(equals=first["top_hash"])
    assert met(equals=first["top_hash"][:8], contains=["a.csv", "d/", "*.csv"])
    assert met(moved_since=other)
    assert not met(moved_since=first["top_hash"])
    assert not met(equals=other)
    assert not met(contains=["a.csv", "missing"])
    assert not met(moved_since=other, contains="missing")
    second = ops.build(NAME, write_files(folder, {"missing": b""}), registry=registry)
    assert met(moved_since=first["top_hash"], contains="missing", equals=second["top_hash"])
    answer = ops.check({"name": NAME, "registry": registry})
    assert (answer["top_hash"], answer["uri"]) == (second["top_hash"], second["uri"])
    why = ops.check({"name": NAME, "registry": registry, "contains": ["x", "a.csv"]})["reason"]
    assert "'x' is missing" in why
    assert "a.csv" not in why


def test_moved_from_now(folder: Path) -> None:
    new = ops.moved_from_now(NAME)
    assert not ops.check(new)["met"]
    ops.build(NAME, folder)
    assert ops.check(new)["met"]
    now = ops.moved_from_now(NAME)
    assert not ops.check(now)["met"]
    ops.build(NAME, folder, message="2")
    assert ops.check(now)["met"]


@pytest.mark.parametrize(
    "bad",
    [
        {},
        {"name": "nonsense"},
        {"name": NAME, "moved_since": "abc"},
        {"name": NAME, "equals": "xyz"},
        {"name": NAME, "contains": [7]},
        {"name": NAME, "registry": "s3://b/x/y"},
        {"name": NAME, "holds": "x"},
        "text",
        None,
    ],
)
def test_a_bad_condition_is_refused(bad: Any) -> None:
    with pytest.raises(t4.InvalidInputError):
        ops.check(bad)
    with pytest.raises(t4.InvalidInputError):
        ops.wait_for(bad, timeout_s=0)


def test_empty_text_is_no_condition(folder: Path) -> None:
    """As a template renders what is not set."""
    ops.build(NAME, folder)
    assert ops.check({"name": NAME, "registry": "", "moved_since": "", "equals": ""})["met"]


def test_wait_returns_the_revision_once_it_is_there(registry: str, folder: Path) -> None:
    condition = ops.Condition(name=NAME, registry=registry, contains=("a.csv",))
    later = threading.Timer(1.0, lambda: ops.build(NAME, folder, registry=registry))
    later.start()
    start_s = time.monotonic()
    found = ops.wait_for(condition, timeout_s=60, poll_s=0.1)
    later.join()
    assert time.monotonic() - start_s < 30
    assert {**found, "changed": True} == {
        **ops.browse(NAME, registry=registry),
        "changed": True,
    }
    assert ops.wait_for(condition, timeout_s=0)["top_hash"] == found["top_hash"]


def test_wait_ends_in_time_and_when_told(folder: Path) -> None:
    with pytest.raises(TimeoutError, match="no package"):
        ops.wait_for({"name": NAME}, timeout_s=0)
    ops.build(NAME, folder)
    start_s = time.monotonic()
    with pytest.raises(TimeoutError, match=r"'x' is missing|lacks a key"):
        ops.wait_for({"name": NAME, "contains": ["x"]}, timeout_s=0.3, poll_s=0.1)
    assert time.monotonic() - start_s < 20
    stop = threading.Event()
    threading.Timer(0.3, stop.set).start()
    with pytest.raises(ops.Cancelled):
        ops.wait_for({"name": NAME, "contains": ["x"]}, timeout_s=None, poll_s=600, stop=stop)
    with pytest.raises(t4.InvalidInputError):
        ops.wait_for({"name": NAME}, timeout_s=0, poll_s=0)


def test_faults_of_the_storage_are_waited_out_and_others_are_not(
    s3_env: SeaweedFS, unversioned_bucket: str, folder: Path
) -> None:
    registry = f"s3://{unversioned_bucket}"
    made = ops.build(NAME, folder, registry=registry)
    with watched(s3_env.endpoint_url) as (relay, settings):
        broken = threading.Event()
        broken.set()

        def rule(_: Any) -> Fault | None:
            return s3_fault(503, "SlowDown") if broken.is_set() else None

        relay.rule = rule
        threading.Timer(1.5, broken.clear).start()
        condition = {"name": NAME, "registry": registry}
        found = ops.wait_for(condition, timeout_s=120, poll_s=0.1, settings=settings)
        assert found["top_hash"] == made["top_hash"]
        relay.rule = lambda _: s3_fault(403, "AccessDenied")
        with pytest.raises(t4.StorageError):
            ops.wait_for(condition, timeout_s=120, poll_s=0.1, settings=settings)


def test_a_fault_after_the_revision_was_found_is_waited_out_too(
    s3_env: SeaweedFS, unversioned_bucket: str, folder: Path
) -> None:
    registry = f"s3://{unversioned_bucket}"
    made = ops.build(NAME, folder, registry=registry)
    with watched(s3_env.endpoint_url) as (relay, patient):
        settings = replace(patient, s3=replace(patient.s3, max_attempts=1))
        broken = threading.Event()
        broken.set()

        def rule(request: Any) -> Fault | None:
            is_manifest = made["top_hash"] in request.target
            return s3_fault(503, "SlowDown") if is_manifest and broken.is_set() else None

        relay.rule = rule
        with pytest.raises(TimeoutError, match="does not answer"):
            ops.wait_for({"name": NAME, "registry": registry}, timeout_s=0, settings=settings)
        threading.Timer(1.0, broken.clear).start()
        found = ops.wait_for(
            {"name": NAME, "registry": registry}, timeout_s=120, poll_s=0.1, settings=settings
        )
        assert found["top_hash"] == made["top_hash"]


def test_a_revision_that_was_not_good_is_not_looked_into_again(
    s3_env: SeaweedFS, unversioned_bucket: str, folder: Path
) -> None:
    registry = f"s3://{unversioned_bucket}"
    made = ops.build(NAME, folder, registry=registry)
    condition = {"name": NAME, "registry": registry, "contains": ["x"]}
    with watched(s3_env.endpoint_url) as (relay, settings):
        first = ops.check(condition, settings=settings)
        relay.requests.clear()
        assert not ops.check(condition, seen=first["top_hash"], settings=settings)["met"]
        assert [request.target.endswith("latest") for request in relay.requests] == [True]
    assert first["top_hash"] == made["top_hash"]
