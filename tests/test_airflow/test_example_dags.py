"""The DAGs of `dags/`: each runs as it stands, on folder registries, without credentials."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import t4_ops as t4
from t4_ops import lineage, operations

if TYPE_CHECKING:
    from airflow.sdk import DAG

    from tests.test_airflow.conftest import Run

ROOT = Path(__file__).resolve().parents[2]
NAMES = ["t4_etl", "t4_fan_out", "t4_on_push", "t4_promote", "t4_task_package", "t4_watch"]
RunDag = Callable[..., "Run"]


@pytest.fixture
def dags(
    airflow_db: None, own_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, DAG]:
    """All DAGs, parsed with registries of this test's own."""
    from airflow.dag_processing.dagbag import DagBag

    monkeypatch.setenv("T4_PRODUCTION_REGISTRY", str(tmp_path / "production"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("T4_INSTALL_DIR", str(tmp_path / "installed"))
    bag = DagBag(dag_folder=ROOT / "dags", safe_mode=False)
    assert bag.import_errors == {}
    return bag.dags


def scheduled_on(dag: Any) -> list[Any]:
    return list(dag.timetable.asset_condition.objects)


def test_all_are_there_and_say_what_they_are(dags: dict[str, DAG]) -> None:
    assert {*NAMES, "t4_weather"} == set(dags)
    for dag in dags.values():
        assert dag.doc_md
        assert "How to run it" in dag.doc_md


def test_the_etl_arrives_at_the_same_hash_again(dags: dict[str, DAG], run_dag: RunDag) -> None:
    first, second = (run_dag(dags["t4_etl"]) for _ in range(2))
    assert first.state == second.state == "success"
    assert set(first.tries.values()) == {1}
    for step in ("build", "push", "browse", "install"):
        assert first.result(step)["top_hash"] == second.result(step)["top_hash"]
        assert second.result(step)["changed"] is False
    assert first.result("total") == second.result("total") > 0


def test_functions_publish_with_their_lineage(dags: dict[str, DAG], run_dag: RunDag) -> None:
    run = run_dag(dags["t4_task_package"])
    assert run.state == "success"
    sold, reports = run.result("sales"), [run.result("report", index) for index in (0, 1)]
    assert [made["name"] for made in reports] == ["shop/report-eur", "shop/report-usd"]
    for made in reports:
        (_, *found) = lineage.upstream(made, depth=1).walk()
        assert [node.ref.top_hash for node in found if node.ref] == [sold["top_hash"]]
    package = t4.Package.browse("shop/report-usd")
    assert [key for key, _ in package.walk()] == ["detail/sales.parquet", "summary.csv"]


def test_the_consumer_is_scheduled_on_what_is_pushed(dags: dict[str, DAG], run_dag: RunDag) -> None:
    etl = dags["t4_etl"]
    asset = etl.get_task("push").outlets[0]
    assert asset in scheduled_on(dags["t4_on_push"])
    pushed = run_dag(etl).result("push")
    run = run_dag(dags["t4_on_push"])
    assert run.state == "success"
    assert run.result("pin")["top_hash"] == pushed["top_hash"]
    (_, *found) = lineage.upstream(run.result("big_orders"), depth=1).walk()
    assert [node.ref.name for node in found if node.ref] == ["shop/orders"]
    assert run.result("changes")["added"] == 1


def test_what_others_push_is_verified(dags: dict[str, DAG], run_dag: RunDag) -> None:
    (asset,) = scheduled_on(dags["t4_watch"])
    (watcher,) = asset.watchers
    assert watcher.trigger.serialize()[1]["name"] == "shop/prices"
    top_hash = t4.Package().set_text("p.txt", "a,1").push("shop/prices").top_hash
    run = run_dag(dags["t4_watch"])
    assert run.state == "success"
    assert run.result("accept") == f"1 files of {top_hash} are as promised"


def test_shards_make_the_hash_of_one_build(
    dags: dict[str, DAG], run_dag: RunDag, tmp_path: Path
) -> None:
    run = run_dag(dags["t4_fan_out"], {"work_dir": str(tmp_path / "work"), "shards": 3})
    assert run.state == "success"
    merged = run.result("build.merge")
    assert merged["files"] == 300
    assert sum(run.result("build.hash", index)["files"] for index in range(3)) == 300
    whole = operations.build(
        "lab/whole",
        tmp_path / "work" / "files",
        registry=tmp_path / "other",
        message="built in shards",
    )
    assert merged["top_hash"] == whole["top_hash"]


def test_what_was_verified_is_promoted(
    dags: dict[str, DAG], run_dag: RunDag, tmp_path: Path
) -> None:
    top_hash = t4.Package().set_text("o.txt", "1").push("shop/orders").top_hash
    # Nobody is here to approve.
    run = run_dag(dags["t4_promote"], mark_success_pattern="approve")
    assert run.state == "success"
    promoted: dict[str, Any] = run.result("promote")
    assert promoted["top_hash"] == top_hash
    assert t4.Package.browse("shop/orders", str(tmp_path / "production")).top_hash == top_hash


def test_what_is_approved_is_the_change_of_what_production_holds(
    dags: dict[str, DAG], run_dag: RunDag, tmp_path: Path
) -> None:
    production = str(tmp_path / "production")
    t4.Package().set_text("o.txt", "1").push("shop/orders", production)
    held = t4.resolve("shop/orders", production)
    t4.Package().set_text("o.txt", "2").push("shop/orders")
    run = run_dag(dags["t4_promote"], mark_success_pattern="approve")
    assert run.state == "success"
    assert run.result("changes")["old"] == held.uri
    assert run.result("changes")["modified"] == 1
    # Had production moved on meanwhile, the promotion would have been refused.
    promote: Any = dags["t4_promote"].get_task("promote")
    assert (promote.expected.operator.task_id, promote.expected.key) == (
        "in_production",
        "top_hash",
    )
    assert run.result("in_production")["top_hash"] == held.top_hash
    assert run.result("promote")["changed"] is True


def test_what_is_damaged_is_not_promoted(
    dags: dict[str, DAG], run_dag: RunDag, tmp_path: Path
) -> None:
    package = t4.Package().set_text("o.txt", "1").push("shop/orders")
    path = Path(t4.PhysicalKey.parse(str(package["o.txt"].physical_key)).path)
    path.chmod(0o644)
    path.write_text("2")
    run = run_dag(dags["t4_promote"], mark_success_pattern="approve")
    assert run.states["verify"] == "failed"
    assert run.tries["verify"] == 1
    assert run.states["promote"] != "success"
    assert not (tmp_path / "production").exists()
