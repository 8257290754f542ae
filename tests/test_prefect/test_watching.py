"""The watcher and the trigger: what others publish reaches Prefect, once each."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.events import DeploymentEventTrigger
from prefect.events.worker import EventsWorker

import t4_ops as t4
from demo.seaweedfs import SeaweedFS
from t4_ops.operations import poll, rollback
from t4_ops.prefect import events
from t4_ops.prefect.blocks import T4Registry
from t4_ops.prefect.events import package_trigger
from t4_ops.prefect.revisions import Revision
from t4_ops.prefect.tasks import build_package, push_package
from t4_ops.prefect.watching import send_moves, watch_packages
from tests.s3_support import run_relay
from tests.test_prefect.support import until

server = pytest.mark.usefixtures("prefect_server")
NAME = "team/raw"


def publish(registry: str, text: str) -> str:
    """Publish as somebody without Prefect."""
    return t4.Package().set("a.json", {"text": text}).push(NAME, registry, force=True).top_hash


def known(registry: str) -> list[str]:
    """Return the top hashes that the server was told, oldest first."""
    asked = {
        "filter": {
            "event": {"name": [events.PUSHED]},
            "resource": {"id": [f"{Path(registry).as_uri()}/{NAME}"]},
        }
    }
    with get_client(sync_client=True) as client:
        found = client.request("POST", "/events/filter", json=asked).json()["events"]
    return [event["payload"]["top_hash"] for event in reversed(found)]


def told(registry: str, count: int) -> list[str]:
    """Return them once there are so many: the server writes events down after a moment."""

    def read() -> list[str] | None:
        found = known(registry)
        return found if len(found) >= count else None

    return until(read)


@server
def test_no_revision_is_skipped_and_none_told_twice(registry: str) -> None:
    publish(registry, "before")
    assert watch_packages(registry, [NAME]) == 0
    assert watch_packages(registry, [NAME]) == 0
    made = [publish(registry, text) for text in ("one", "two", "three")]
    assert watch_packages(registry, [NAME]) == 3
    assert told(registry, 3) == made
    assert watch_packages(registry, [NAME]) == 0


@server
def test_a_move_back_is_told_too(registry: str) -> None:
    first, _ = publish(registry, "one"), publish(registry, "two")
    watch_packages(registry, prefix="team/")
    rollback(NAME, first, registry=registry)
    assert watch_packages(registry, prefix="team/") == 1
    assert told(registry, 1) == [first]


@server
def test_what_a_crash_repeats_is_recognised(registry: str) -> None:
    made = publish(registry, "one")
    moves = poll(registry, NAME, since=0).moves
    assert send_moves(moves) == 1
    assert told(registry, 1) == [made]
    # As after a crash between the events and the watermark.
    assert send_moves(moves) == 0


@server
def test_our_own_push_is_not_told_again(source: Path, registry: str) -> None:
    @flow
    def publishing() -> Revision:
        return push_package(build_package(NAME, source, registry=registry), registry=registry)

    watch_packages(registry, [NAME])
    made = publishing()
    EventsWorker.instance().wait_until_empty()
    assert told(registry, 1) == [made.top_hash]
    assert watch_packages(registry, [NAME]) == 0
    assert known(registry) == [made.top_hash]


@server
def test_a_look_without_end_is_refused(registry: str) -> None:
    with pytest.raises(t4.InvalidInputError, match="poll_s"):
        watch_packages(registry, [NAME], for_s=1, poll_s=0)


@server
def test_a_block_says_where(registry: str) -> None:
    T4Registry(url=registry).save("watched", overwrite=True)
    watch_packages(names=[NAME], registry_block="watched")
    made = publish(registry, "one")
    assert watch_packages(names=[NAME], registry_block="watched", for_s=0.2, poll_s=0.1) == 1
    assert told(registry, 1) == [made]


@server
def test_two_servers_with_one_bucket_name_are_two_places(
    s3_env: SeaweedFS, unversioned_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = f"s3://{unversioned_bucket}"
    here = T4Registry(url=registry, endpoint_url=s3_env.endpoint_url)
    here.save("here", overwrite=True)
    assert watch_packages(names=[NAME], registry_block="here") == 0
    publish(registry, "one")
    with run_relay(s3_env.endpoint_url) as relay:
        # The same bucket by another way: a server of its own for all that Prefect knows.
        T4Registry(url=registry, endpoint_url=relay.url).save("there", overwrite=True)
        assert watch_packages(names=[NAME], registry_block="there") == 0
    assert watch_packages(names=[NAME], registry_block="here") == 1


def test_a_step_and_a_watcher_give_a_move_one_id(registry: str) -> None:
    first = publish(registry, "one")
    publish(registry, "two")
    mark = poll(registry, NAME, since=0)
    assert str(UUID(mark.moves[-1]["id"]).hex) == mark.moves[-1]["id"]
    from t4_ops.operations import move_of, resolve

    settings = T4Registry(url=registry).settings()
    now = move_of(resolve(NAME, registry))
    assert now is not None
    assert now["id"] == mark.moves[-1]["id"]
    assert move_of(t4.PackageRef(registry, NAME, first), settings=settings) is None
    rollback(NAME, first, registry=registry)
    (back,) = poll(registry, NAME, watermark=mark.watermark).moves
    again = move_of(resolve(NAME, registry))
    assert again is not None
    assert again["id"] == back["id"]


def matched(trigger: DeploymentEventTrigger) -> Any:
    return trigger.model_dump()["match"]


def test_a_trigger_matches_one_package_or_many() -> None:
    one = package_trigger(NAME, "s3://bucket")
    assert isinstance(one, DeploymentEventTrigger)
    assert one.expect == {"t4.package.pushed"}
    assert matched(one) == {"prefect.resource.id": "s3://bucket/team/raw"}
    many = package_trigger(prefix="team/", registry="s3://bucket", parameters={"n": 1})
    assert matched(many) == {"prefect.resource.id": "s3://bucket/team/*"}
    assert many.parameters is not None
    assert set(many.parameters) == {"package", "n"}
    every = package_trigger(prefix="", registry="s3://bucket", parameter="ref", enabled=False)
    assert matched(every) == {"prefect.resource.id": "s3://bucket/*"}
    assert every.enabled is False
    for arguments in ({}, {"name": NAME, "prefix": ""}):
        with pytest.raises(t4.InvalidInputError):
            package_trigger(registry="s3://bucket", **arguments)  # type: ignore[arg-type]
