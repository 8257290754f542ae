"""Assets: what is materialised, and from what."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from prefect import flow, task
from prefect.events import Event

from t4_ops.operations import build
from t4_ops.prefect.assets import MAX_UPSTREAM, package_asset
from t4_ops.prefect.events import package_trigger
from t4_ops.prefect.revisions import Revision
from t4_ops.prefect.tasks import build_package, install_package, push_package

MADE = "prefect.asset.materialization.succeeded"


def made(sent: list[Event]) -> dict[str, set[str]]:
    """Return what was materialised, and what each was made from."""
    return {
        event.resource.id: {item.id for item in event.related if item.role == "asset"}
        for event in sent
        if event.event == MADE
    }


def test_a_push_materialises_with_facts_and_edges(
    source: Path, registry: str, tmp_path: Path, sent: Callable[[], list[Event]]
) -> None:
    @task
    def work(folder: str) -> str:
        # The same object that it was given: by identity alone it would be the source of all.
        return folder

    @flow
    def pipeline() -> list[Revision]:
        raw = push_package(build_package("team/raw", source, registry=registry), registry=registry)
        installed = install_package(raw, dest=tmp_path / "out")
        clean = build_package("team/clean", work(installed.dest), registry=registry)
        other = build_package("team/other", source, registry=registry, inputs=[raw, clean])
        return [push_package(made, registry=registry) for made in (other, clean)]

    other, _ = pipeline()
    base = Path(registry).as_uri()
    found = made(sent())
    files = source.as_uri()
    assert found[f"{base}/team/raw"] == {files}
    assert f"{base}/team/raw" in found[f"{base}/team/clean"]
    assert found[f"{base}/team/other"] == {f"{base}/team/raw", f"{base}/team/clean", files}
    event = next(item for item in sent() if item.resource.id == f"{base}/team/other")
    assert event.payload == {
        "uri": other.uri,
        "top_hash": other.top_hash,
        "files": 2,
        "size_bytes": 1285,
    }
    tools = [item.id for item in event.related if item.role == "asset-materialized-by"]
    assert tools == ["t4_ops"]


def test_more_sources_than_prefect_can_take_are_capped(
    source: Path, registry: str, sent: Callable[[], list[Event]], caplog: pytest.LogCaptureFixture
) -> None:
    inputs = [{"namespace": "postgres://db:5432", "name": f"sales.t{n}"} for n in range(120)]

    @flow
    def wide() -> Revision:
        built = build_package("team/wide", source, registry=registry, inputs=inputs)
        return push_package(built, registry=registry)

    wide()
    (upstream,) = made(sent()).values()
    assert len(upstream) == MAX_UPSTREAM
    assert "121 assets" in caplog.text
    assert "postgres://db:5432/sales.t0" in upstream


@pytest.mark.parametrize(
    ("registry", "key"),
    [
        ("s3://bucket", "s3://bucket/team/raw"),
        ("/data/registry", "file:///data/registry/team/raw"),
        ("/data/with space", "file:///data/with=20space/team/raw"),
        ("/data/100%", "file:///data/100=25/team/raw"),
    ],
)
def test_the_key_is_the_packages_identity(registry: str, key: str) -> None:
    assert package_asset("team/raw", registry).key == key


def test_a_folder_with_a_blank_keeps_its_edge(
    tmp_path: Path, sent: Callable[[], list[Event]]
) -> None:
    registry = str(tmp_path / "with blank")
    (tmp_path / "some files").mkdir()
    (tmp_path / "some files" / "a.txt").write_text("1")
    raw = build("team/raw", tmp_path / "some files", registry=registry)

    @flow
    def blank() -> Revision:
        return push_package(raw, registry=registry)

    blank()
    ((key, upstream),) = made(sent()).items()
    assert key == package_asset("team/raw", registry).key
    assert [item.rpartition("/")[2] for item in upstream] == ["some=20files"]


def test_a_name_that_is_too_long_costs_the_asset_and_nothing_else(
    source: Path, tmp_path: Path, sent: Callable[[], list[Event]], caplog: pytest.LogCaptureFixture
) -> None:
    # Each of these takes nine characters where Prefect counts.
    registry = str(tmp_path / ("数据" * 40))

    @flow
    def pipeline() -> Revision:
        raw = push_package(build_package("team/raw", source, registry=registry), registry=registry)
        return install_package(raw, dest=tmp_path / "out")

    installed = pipeline()
    assert made(sent()) == {}
    assert "too long for the key of an asset" in caplog.text
    told = [event for event in sent() if event.event.startswith("t4.")]
    assert [event.event for event in told] == ["t4.package.pushed", "t4.package.installed"]
    trigger = package_trigger("team/raw", registry)
    assert told[0].resource.id == trigger.model_dump()["match"]["prefect.resource.id"]
    assert installed.changed is True
