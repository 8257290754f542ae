"""Packages as assets: one identity, the revision in the event, in whatever shape it comes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk import DAG, Asset, AssetAlias, Metadata, task

import t4_ops as t4
from t4_ops.airflow.assets import GROUP, package_asset, package_of, packages_of
from t4_ops.airflow.operators import BuildPackageOperator, PushPackageOperator

if TYPE_CHECKING:
    from tests.test_airflow.conftest import Run

RunDag = Callable[..., "Run"]
HASHES = ["a" * 64, "b" * 64]


@pytest.mark.parametrize(
    ("registry", "uri"),
    [
        ("s3://bucket-a", "s3://bucket-a/team/raw"),
        ("/data/my registry#1", "file:///data/my%20registry%231/team/raw"),
        ("file:///data/registry/", "file:///data/registry/team/raw"),
    ],
)
def test_name_and_uri_are_the_one_identity(registry: str, uri: str) -> None:
    asset = package_asset("team/raw", registry)
    # Airflow compares both, and tidies URIs: ours are as it leaves them.
    assert (asset.name, asset.uri, asset.group) == (uri, uri, GROUP)
    assert asset == package_asset(
        "team/raw", t4.PackageRef(registry, "team/raw", HASHES[0]).registry
    )


def test_a_wrong_name_is_refused_when_the_dag_is_parsed() -> None:
    with pytest.raises(t4.InvalidInputError, match="team"):
        package_asset("team", "s3://bucket-a")


def ref(name: str = "team/raw", top_hash: str = HASHES[0]) -> dict[str, str]:
    return t4.PackageRef("s3://bucket-a", name, top_hash).to_dict()


def event(extra: dict[str, Any], minute: int = 0, uri: str = "s3://bucket-a/team/raw") -> Any:
    """Return an event with the attributes of Airflow's."""
    return SimpleNamespace(
        extra=extra,
        asset=SimpleNamespace(name=uri, uri=uri),
        timestamp=datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=minute),
    )


@pytest.mark.parametrize(
    "given",
    [
        ref(),
        event({**ref(), "changed": True}),
        event({"from_trigger": True, "payload": {**ref(), "previous": None}}),
        event({**ref(), "from_rest_api": True}),
        event({"top_hash": HASHES[0], "from_rest_api": True}),
        {"uri": "s3://bucket-a/team/raw", "extra": {"top_hash": HASHES[0]}, "timestamp": "2026"},
        [event(ref())],
        {Asset("s3://bucket-a/team/raw"): [event(ref())]},
        {AssetAlias("some"): [event({})], Asset("s3://bucket-a/team/raw"): [event(ref())]},
    ],
)
def test_every_shape_of_an_event_gives_the_same_revision(given: Any) -> None:
    assert package_of(given) == ref()


def test_of_several_events_the_newest_counts_and_none_is_lost() -> None:
    events = [event(ref(top_hash=HASHES[1]), 5), event(ref(), 1), event({}, 9, "s3://other/x")]
    assert package_of(events)["top_hash"] == HASHES[1]
    assert [found["top_hash"] for found in packages_of(events)] == HASHES


def test_events_of_the_rest_api_are_put_in_order_too() -> None:
    listed = [
        {
            "uri": "s3://bucket-a/team/raw",
            "extra": {"top_hash": HASHES[1]},
            "timestamp": "2026-01-02T00:00:00Z",
        },
        {
            "uri": "s3://bucket-a/team/raw",
            "extra": {"top_hash": HASHES[0]},
            "timestamp": "2026-01-01T23:59:59.5Z",
        },
    ]
    for events in (listed, listed[::-1]):
        assert [found["top_hash"] for found in packages_of(events)] == HASHES


def test_of_several_packages_one_has_to_be_named() -> None:
    events = [event(ref()), event(ref("team/other"))]
    with pytest.raises(t4.InvalidInputError, match=r"team/other.*team/raw"):
        package_of(events)
    assert package_of(events, "team/other") == ref("team/other")
    with pytest.raises(t4.InvalidInputError, match="no event names a revision of 'team/none'"):
        package_of(events, "team/none")


def test_a_name_in_two_registries_is_told_apart_by_its_asset() -> None:
    other = t4.PackageRef("s3://bucket-b", "team/raw", HASHES[1]).to_dict()
    events = [event(ref()), event(other, uri="s3://bucket-b/team/raw")]
    with pytest.raises(t4.InvalidInputError, match=r"bucket-a.*bucket-b"):
        package_of(events, "team/raw")
    assert package_of(events, "s3://bucket-b/team/raw") == other
    assert package_of(events, package_asset("team/raw", "s3://bucket-a")) == ref()


def test_an_event_without_a_revision_is_no_pin() -> None:
    with pytest.raises(t4.InvalidInputError, match="no event names a revision"):
        package_of([event({"from_rest_api": True})])


@pytest.fixture
def source(tmp_path: Path) -> str:
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "a.txt").write_bytes(b"first")
    return str(folder)


def asset_events(dag_id: str) -> list[Any]:
    """Return the events that a DAG's tasks made, as Airflow's database holds them."""
    from airflow.models.asset import AssetEvent
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        rows = session.scalars(
            select(AssetEvent).where(AssetEvent.source_dag_id == dag_id).order_by(AssetEvent.id)
        )
        return [
            SimpleNamespace(
                uri=row.asset.uri, extra=row.extra, task=row.source_task_id, key=row.partition_key
            )
            for row in rows
        ]


def test_a_push_of_a_literal_name_tells_its_asset(
    run_dag: RunDag, source: str, tmp_path: Path
) -> None:
    registry = str(tmp_path / "registry")
    with DAG("literal", schedule=None) as dag:
        build = BuildPackageOperator(
            task_id="build", name="team/raw", source=source, registry=registry
        )
        push = PushPackageOperator(
            task_id="push", package=build.output, name="team/raw", registry=registry
        )
    asset = package_asset("team/raw", registry)
    assert build.outlets == []
    assert push.outlets == [asset]
    run = run_dag(dag)
    (told,) = asset_events("literal")
    pushed = run.result("push")
    assert (told.task, told.uri) == ("push", asset.uri)
    assert told.extra["top_hash"] == pushed["top_hash"]
    assert package_of(told.extra) == t4.PackageRef.from_dict(pushed).to_dict()


def test_a_templated_name_and_mapped_tasks_tell_by_an_alias(
    run_dag: RunDag, source: str, tmp_path: Path
) -> None:
    registry = str(tmp_path / "registry")
    with DAG("aliased", schedule=None, params={"owner": "team"}) as dag:
        build = BuildPackageOperator(
            task_id="build", name="team/raw", source=source, registry=registry
        )
        templated = PushPackageOperator(
            task_id="templated",
            package=build.output,
            name="{{ params.owner }}/one",
            registry=registry,
        )
        PushPackageOperator.partial(
            task_id="mapped", package=build.output, registry=registry
        ).expand(name=["team/two", "team/three"])
        BuildPackageOperator(
            task_id="asked", name="team/four", source=source, registry=registry, emit_event=True
        )
        PushPackageOperator(
            task_id="silent",
            package=build.output,
            name="team/five",
            registry=registry,
            emit_event=False,
        )
    assert templated.outlets == [AssetAlias("t4:aliased.templated", group=GROUP)]
    assert run_dag(dag).state == "success"
    told = {event.uri: event for event in asset_events("aliased")}
    names = ["one", "two", "three", "four"]
    assert sorted(told) == sorted(package_asset(f"team/{name}", registry).uri for name in names)
    for event in told.values():
        assert package_of(event.extra)["uri"].startswith("t4+file:")


def test_partitions_are_told_one_by_one(run_dag: RunDag, source: str, tmp_path: Path) -> None:
    registry = str(tmp_path / "registry")
    with DAG("partitioned", schedule=None) as dag:
        BuildPackageOperator(
            task_id="build",
            name="team/raw",
            source=source,
            registry=registry,
            emit_event=True,
            partitions=["{{ '2026-01' }}", "2026-02"],
        )
    run = run_dag(dag)
    told = asset_events("partitioned")
    assert sorted(event.key for event in told) == ["2026-01", "2026-02"]
    assert {event.extra["top_hash"] for event in told} == {run.result("build")["top_hash"]}


@pytest.mark.parametrize(
    ("partitions", "keys"),
    [
        ("['2026-01', '2026-02']", ["2026-01", "2026-02"]),
        ("2026-01", ["2026-01"]),
        ("", [None]),
    ],
)
def test_partitions_may_be_rendered_as_text(
    run_dag: RunDag, source: str, tmp_path: Path, partitions: str, keys: list[str]
) -> None:
    registry, dag_id = str(tmp_path / "registry"), f"partitions_{len(partitions)}"
    with DAG(dag_id, schedule=None) as dag:
        BuildPackageOperator(
            task_id="build",
            name="team/raw",
            source=source,
            registry=registry,
            emit_event=True,
            partitions=partitions,
        )
    assert run_dag(dag).state == "success"
    assert sorted(event.key for event in asset_events(dag_id)) == keys


def test_partitions_that_nobody_could_be_told_of_are_refused_before_anything_is_written(
    run_dag: RunDag, source: str, tmp_path: Path
) -> None:
    registry = str(tmp_path / "registry")
    shared: dict[str, Any] = {"source": source, "registry": registry, "emit_event": True}
    with DAG("unpartitioned", schedule=None, params={"owner": "team"}) as dag:
        BuildPackageOperator(
            task_id="templated", name="{{ params.owner }}/raw", partitions=["2026"], **shared
        )
        BuildPackageOperator.partial(task_id="mapped", name="team/raw", **shared).expand(
            partitions=[["2026"]]
        )
        BuildPackageOperator(task_id="empty", name="team/raw", partitions=["2026", " "], **shared)
    assert set(run_dag(dag).states.values()) == {"failed"}
    assert t4.list_packages(registry) == []


def test_an_outlet_of_the_users_own_has_partitions_in_a_mapped_task(
    run_dag: RunDag, source: str, tmp_path: Path
) -> None:
    registry = str(tmp_path / "registry")
    with DAG("own_outlet", schedule=None) as dag:
        BuildPackageOperator.partial(
            task_id="build",
            name="team/raw",
            registry=registry,
            emit_event=True,
            outlets=[package_asset("team/raw", registry)],
            source=source,
        ).expand(partitions=[["2026-01"], ["2026-02"]])
    assert run_dag(dag).state == "success"
    assert sorted(event.key for event in asset_events("own_outlet")) == ["2026-01", "2026-02"]


def test_a_consumer_reads_the_pinned_revision(run_dag: RunDag, source: str, tmp_path: Path) -> None:
    """By the macro, from an event that a plain task told."""
    registry = str(tmp_path / "registry")
    asset = package_asset("team/raw", registry)

    @task(outlets=[asset])
    def publish() -> Any:
        top_hash = t4.Package().set_text("a.txt", "a").push("team/raw", registry).top_hash
        yield Metadata(asset, {"top_hash": top_hash, "registry": registry, "name": "team/raw"})

    with DAG("plain_producer", schedule=None) as producer:
        publish()
    assert run_dag(producer).state == "success"
    first = t4.resolve("team/raw", registry)
    t4.Package().set_text("b.txt", "b").build("team/other", registry)
    t4.Package.browse("team/raw", registry).set_text("c.txt", "c").push("team/raw", registry)

    @task(inlets=[asset])
    def read(pinned: str, inlet_events: Any = None) -> Any:
        return [pinned, package_of(inlet_events[asset])["top_hash"]]

    with DAG("consumer", schedule=None) as consumer:
        read("{{ macros.t4_ops.package_of(inlet_events[task.inlets[0]]).top_hash }}")
    run = run_dag(consumer)
    assert run.result("read") == [first.top_hash, first.top_hash]
