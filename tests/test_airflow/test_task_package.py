"""`@task.package`, in DAGs that run for real."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
from airflow.sdk import DAG, task, task_group

import t4_ops as t4
from t4_ops import lineage
from t4_ops.airflow.assets import package_asset, package_of

if TYPE_CHECKING:
    from tests.test_airflow.conftest import Run

RunDag = Callable[..., "Run"]


@pytest.fixture
def registry(tmp_path: Path) -> str:
    folder = str(tmp_path / "registry")
    orders = pd.DataFrame({"shop": ["a", "b", "a"], "amount": [1, 2, 3]})
    t4.Package().set("orders.csv", orders).push("shop/orders", folder)
    t4.Package().set("prices.csv", orders).push("shop/prices", folder)
    return folder


def inputs_of(result: dict[str, Any]) -> list[str]:
    (_, *found) = lineage.upstream(result, depth=1).walk()
    return sorted(node.ref.name for node in found if node.ref is not None)


def test_packages_come_in_and_a_package_goes_out(run_dag: RunDag, registry: str) -> None:
    @task.package(
        name="shop/report",
        registry=registry,
        install=["orders"],
        browse="prices",
        meta={"by": "{{ dag.dag_id }}"},
        message="report",
    )
    def report(orders: Any, prices: Any, ti: Any = None) -> Any:
        assert ti.task_id == "report"
        one, other = pd.read_csv(orders / "orders.csv"), prices["prices.csv"]()
        return pd.concat([one, other])

    @task
    def after(top_hash: str) -> str:
        return top_hash

    uri = t4.resolve("shop/orders", registry).uri
    with DAG("one_task", schedule=None) as dag:
        made: Any = report(uri, prices=t4.resolve("shop/prices", registry).to_dict())
        after(made["top_hash"])
    run = run_dag(dag)
    assert run.state == "success"
    result = run.result("report")
    package = t4.Package.browse("shop/report", registry)
    assert package.top_hash == result["top_hash"] == run.result("after")
    assert package.meta == {"by": "one_task"}
    ((key, entry),) = package.walk()
    assert (key, len(entry())) == ("data.parquet", 6)
    assert inputs_of(result) == ["shop/orders", "shop/prices"]
    (event,) = lineage.runs_of(result)
    assert event.run.job_name == "one_task.report"


def test_who_publishes_while_it_runs_is_not_overwritten(run_dag: RunDag, registry: str) -> None:
    theirs: list[str] = []

    @task.package(name="shop/report", registry=registry, key="ours.bin")
    def report() -> bytes:
        if not theirs:
            made = t4.Package().set("theirs.bin", b"1").push("shop/report", registry)
            theirs.append(made.top_hash)
        return b"2"

    with DAG("rivals", schedule=None) as dag:
        report()
    assert run_dag(dag).state == "failed"
    assert t4.resolve("shop/report", registry).top_hash == theirs[0]
    # The next run has seen it.
    assert run_dag(dag).state == "success"
    assert "ours.bin" in t4.Package.browse("shop/report", registry)


def test_the_asset_is_told_and_a_repeat_changes_nothing(run_dag: RunDag, registry: str) -> None:
    @task.package(name="shop/copy", registry=registry, install="orders", key="all.csv")
    def copy(orders: Any) -> Any:
        return pd.read_csv(orders / "orders.csv")

    with DAG("copied", schedule=None) as dag:
        made: Any = copy(t4.resolve("shop/orders", registry).uri)
    assert made.operator.outlets == [package_asset("shop/copy", registry)]
    first, second = run_dag(dag), run_dag(dag)
    assert [run.result("copy")["changed"] for run in (first, second)] == [True, False]
    from tests.test_airflow.test_assets import asset_events

    told = asset_events("copied")
    assert [package_of(event.extra)["name"] for event in told] == ["shop/copy", "shop/copy"]


def test_what_else_may_be_returned(run_dag: RunDag, registry: str, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "x.txt").write_text("x")

    @task.package(name="made/path", registry=registry)
    def path() -> Path:
        return tmp_path / "out"

    @task.package(name="made/many", registry=registry)
    def many() -> dict[str, Any]:
        return {"a/table.parquet": pd.DataFrame({"x": [1]}), "b/x.txt": tmp_path / "out" / "x.txt"}

    @task.package(name="made/package", registry=registry)
    async def package() -> t4.Package:
        return t4.Package().set_text("p.txt", "p")

    with DAG("returned", schedule=None) as dag:
        path()
        many()
        package()
    assert run_dag(dag).state == "success"
    keys = {
        name: [key for key, _ in t4.Package.browse(f"made/{name}", registry).walk()]
        for name in ("path", "many", "package")
    }
    assert keys == {"path": ["x.txt"], "many": ["a/table.parquet", "b/x.txt"], "package": ["p.txt"]}


def test_mapped_and_in_a_group(run_dag: RunDag, registry: str) -> None:
    @task.package(name="made/{{ task.op_kwargs.shop }}", registry=registry, install="orders")
    def part(orders: Any, shop: str) -> Any:
        table = pd.read_csv(orders / "orders.csv")
        return table[table["shop"] == shop]

    @task.package(name="made/all", registry=registry, browse="parts")
    def join(parts: Any) -> Any:
        return pd.concat([part["data.parquet"]() for part in parts])

    @task_group
    def work() -> None:
        parts: Any = part.partial(orders=t4.resolve("shop/orders", registry).uri).expand(
            shop=["a", "b"]
        )
        join(parts)

    with DAG("grouped", schedule=None) as dag:
        work()
    run = run_dag(dag)
    assert run.state == "success"
    assert [run.result("work.part", index)["name"] for index in (0, 1)] == ["made/a", "made/b"]
    joined = t4.Package.browse("made/all", registry)
    assert len(joined["data.parquet"]()) == 3
    assert inputs_of(run.result("work.join")) == ["made/a", "made/b"]


def test_what_the_user_must_mend_fails_once(run_dag: RunDag, registry: str) -> None:
    @task.package(name="made/none", registry=registry, retries=2)
    def nothing() -> None:
        return None

    @task.package(name="made/lost", registry=registry, install="source", retries=2)
    def lost(source: Any) -> Any:
        return source

    with DAG("wrong", schedule=None) as dag:
        nothing()
        lost(f"{t4.resolve('shop/orders', registry).uri.partition('@')[0]}-none")
    run = run_dag(dag)
    assert run.states == {"nothing": "failed", "lost": "failed"}
    assert run.tries == {"nothing": 1, "lost": 1}


def test_a_parameter_that_is_none_is_named_when_the_dag_is_parsed(registry: str) -> None:
    @task.package(name="made/typo", registry=registry, install="other")
    def typo(source: Any) -> Any:
        return source

    with DAG("typo", schedule=None), pytest.raises(t4.InvalidInputError, match="parameter other"):
        typo("shop/orders")
