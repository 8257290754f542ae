"""`@package_task`: packages in, a package out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cloudpickle  # type: ignore[import-untyped]
import pandas as pd
import pytest
from prefect import flow
from prefect.cache_policies import INPUTS
from prefect.events import Event
from prefect.transactions import transaction

import t4_ops as t4
from t4_ops.lineage import runs_of
from t4_ops.operations import latest
from t4_ops.prefect.events import PUSHED
from t4_ops.prefect.package_task import package_task
from t4_ops.prefect.revisions import Revision
from t4_ops.prefect.tasks import push_package
from tests.test_prefect.support import task_runs

server = pytest.mark.usefixtures("prefect_server")


@pytest.fixture
def raw(registry: str) -> Any:
    @package_task("shop/orders", registry=registry, key="orders.csv")
    def orders() -> pd.DataFrame:
        return pd.DataFrame({"item": ["a", "b", "a"], "price": [1.0, 2.0, 3.0]})

    return orders.fn()


def test_files_come_in_and_a_table_goes_out(raw: Any, registry: str) -> None:
    @package_task("shop/totals", registry=registry, install="orders", message="by item")
    def totals(orders: Path, column: str = "price") -> Any:
        assert sorted(path.name for path in orders.iterdir()) == ["orders.csv"]
        table = pd.read_csv(orders / "orders.csv")
        return table.groupby("item", as_index=False)[column].sum()

    made = raw
    for given in (raw, raw.uri, "shop/orders", raw.to_dict()):
        made = totals.fn(given)
        package = t4.Package.browse(made.name, registry, made.top_hash)
        assert list(package["data.parquet"].deserialize()["price"]) == [4.0, 2.0]
        assert raw.top_hash in {item.get("top_hash") for item in made.inputs}
    assert made.changed is False


def test_it_goes_to_another_process(raw: Any, registry: str) -> None:
    @package_task("shop/sent", registry=registry, install="orders")
    def sent_there(orders: Path) -> Path:
        return orders

    there = cloudpickle.loads(cloudpickle.dumps(sent_there))
    assert there.fn(raw).name == "shop/sent"
    assert there.on_rollback_hooks == sent_there.on_rollback_hooks


def test_packages_come_in_and_files_go_out(raw: Any, registry: str, tmp_path: Path) -> None:
    (tmp_path / "more.txt").write_text("more")

    @package_task("shop/both", registry=registry, browse=["orders", "others"])
    def both(orders: t4.Package, others: list[t4.Package]) -> dict[str, Any]:
        assert [package["orders.csv"].size for package in others] == [orders["orders.csv"].size] * 2
        return {"more.txt": tmp_path / "more.txt", "count.json": {"orders": len(others)}}

    made = both.fn(raw, [raw, raw.uri])
    package = t4.Package.browse(made.name, registry, made.top_hash)
    assert sorted(key for key, _ in package.walk()) == ["count.json", "more.txt"]


def test_what_can_not_work_is_told_before_anything_runs(registry: str) -> None:
    def work(orders: Any) -> None:
        raise AssertionError

    async def later() -> None:
        raise AssertionError

    for options, told in (
        ({"install": "order"}, "no parameter order"),
        ({"cache_policy": INPUTS}, "cached run"),
    ):
        with pytest.raises(t4.InvalidInputError, match=told):
            package_task("shop/x", registry=registry, **options)(work)
    with pytest.raises(t4.InvalidInputError, match="plain function"):
        package_task("shop/x", registry=registry)(later)
    made = package_task("shop/x", registry=registry)(lambda: None)
    with pytest.raises(t4.InvalidInputError, match="returned nothing"):
        made.fn()
    assert latest("shop/x", registry=registry) is None


@server
def test_mapped_in_a_flow_each_with_its_lineage(raw: Any, registry: str) -> None:
    @package_task(
        lambda call: f"shop/item-{call['item']}",
        registry=registry,
        install=["orders"],
        tags=["shop"],
    )
    def of_item(orders: Path, item: str) -> pd.DataFrame:
        """Orders of one item."""
        table = pd.read_csv(orders / "orders.csv")
        return table[table["item"] == item].reset_index(drop=True)

    run_ids = []

    @flow
    def by_item() -> list[Any]:
        from prefect import runtime

        run_ids.append(runtime.flow_run.get_id())
        return list(of_item.map([raw, raw], ["a", "b"]).result())

    made = by_item()
    assert [revision.name for revision in made] == ["shop/item-a", "shop/item-b"]
    names = {run.name for run in task_runs(run_ids[0], 2)}
    assert names == {"of_item-shop/item-a", "of_item-shop/item-b"}
    (event,) = runs_of(made[0])
    assert event.run.job_name == "by-item.of_item"
    assert event.run.code is not None
    assert event.run.code.path.endswith("test_package_task.py")
    assert raw.top_hash in {item.ref.top_hash for item in event.inputs if item.ref}
    assert of_item.description == "Orders of one item."


@server
def test_a_transaction_takes_it_back_and_only_a_commit_is_told(
    raw: Any, registry: str, sent: Callable[[], list[Event]]
) -> None:
    @package_task("shop/copy", registry=registry, install="orders")
    def copy(orders: Path) -> Path:
        return orders

    @flow
    def copying(fail: bool) -> Revision:
        with transaction():
            made = copy.with_options(retries=1)(raw)
            if fail:
                raise RuntimeError
        return push_package(made, registry=registry)

    with pytest.raises(RuntimeError):
        copying(True)
    assert latest("shop/copy", registry=registry) is None
    assert [event for event in sent() if event.event == PUSHED] == []
    made = copying(False)
    told = [event for event in sent() if event.event == PUSHED]
    assert {event.payload["top_hash"] for event in told} == {made.top_hash}
    # The push found nothing to do; what it says under the same id is not told twice.
    assert len({event.id for event in told}) == 1


@server
def test_who_publishes_while_it_runs_is_not_overwritten(registry: str) -> None:
    others: list[str] = []

    @package_task("shop/copy", registry=registry, key="a.json")
    def copy() -> list[int]:
        other = t4.Package().set("other.json", [len(others)])
        others.append(other.push("shop/copy", registry, force=True).top_hash)
        return [1]

    @flow
    def copying() -> None:
        with transaction():
            copy()

    for _ in range(2):  # a package that is new, and one that is not
        with pytest.raises(t4.ConflictError):
            copying()
        found = latest("shop/copy", registry=registry)
        assert found is not None
        assert found.top_hash == others[-1]

    def merging() -> list[int]:
        other = t4.Package.browse("shop/copy", registry)
        other.set("more.json", [1]).push("shop/copy", registry)
        return [1]

    both = package_task("shop/copy", registry=registry, key="a.json", retry_conflicts=2)
    made = both(merging).fn()
    keys = {key for key, _ in t4.Package.browse("shop/copy", registry, made.top_hash).walk()}
    assert keys == {"a.json", "more.json"}


@server
def test_a_second_try_of_what_is_old_is_no_news(
    registry: str, sent: Callable[[], list[Event]]
) -> None:
    calls = []

    @package_task("shop/old", registry=registry, key="a.bin", retries=1, retry_delay_seconds=0)
    def old() -> bytes:
        calls.append(1)
        if len(calls) == 2:
            raise ValueError("not yet")
        return b"the same"

    @flow
    def daily() -> Revision:
        return old()

    daily()
    daily()
    assert len(calls) == 3
    assert len([event for event in sent() if event.event == PUSHED]) == 1


@server
def test_hooks_of_the_users_own_come_on_top(registry: str) -> None:
    seen: list[Any] = []

    @package_task("shop/hooked", registry=registry, key="a.bin", on_rollback=[seen.append])
    def hooked() -> bytes:
        return b"1"

    @flow
    def failing() -> None:
        with transaction():
            hooked()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        failing()
    assert len(seen) == 1
    assert latest("shop/hooked", registry=registry) is None


@server
def test_its_own_errors_are_tried_again_where_that_is_asked_for(registry: str) -> None:
    calls = []

    def flaky() -> bytes:
        calls.append(1)
        if len(calls) < 3:
            raise ValueError("not yet")
        return b"at last"

    made = package_task("shop/flaky", registry=registry, retries=4, retry_delay_seconds=0)(flaky)

    @flow
    def patient() -> Revision:
        return made()

    patient()
    assert len(calls) == 3
    calls.clear()
    once = package_task("shop/flaky", registry=registry, retry_delay_seconds=0)(flaky)

    @flow
    def impatient() -> Revision:
        return once()

    with pytest.raises(ValueError, match="not yet"):
        impatient()
    assert len(calls) == 1
