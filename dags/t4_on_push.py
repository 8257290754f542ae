"""A consumer that starts when `shop/orders` is pushed, and reads the revision that was.

What it shows:

* `schedule=[package_asset(...)]`: the push of `t4_etl.py` starts it, and so does any other task of
  this Airflow whose outlet the asset is.
* `macros.t4_ops.package_of` gives the revision out of the event: whatever is pushed meanwhile, this
  run reads what it was started for, and clearing it reads the same again.
* `DiffPackagesOperator` tells what changed from the revision before; where nothing did, the
  short-circuit skips the rest.

How to run it: unpause it and trigger `t4_etl`; or by hand, `airflow dags test t4_on_push`, which
reads the newest revision, as there is no event.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
from airflow.sdk import DAG, task

import t4_ops as t4
from t4_ops.airflow.assets import package_asset
from t4_ops.airflow.operators import BrowsePackageOperator, DiffPackagesOperator

REGISTRY = t4.load_settings().registry
ORDERS = package_asset("shop/orders", REGISTRY)
PINNED = (
    "{{ macros.t4_ops.package_of(triggering_asset_events)"
    " if triggering_asset_events else 'shop/orders' }}"
)


@task.short_circuit
def is_news(*, changed: bool) -> bool:
    """Skip what follows where the revision brought nothing new."""
    return changed


@task.package(name="shop/big-orders", registry=REGISTRY, install="orders", key="big.csv")
def big_orders(orders: Path) -> pd.DataFrame:
    """Return the orders of 50 and more."""
    table = pd.read_csv(orders / "orders.csv")
    return table[table["amount"] >= 50]


with DAG(
    dag_id="t4_on_push",
    schedule=[ORDERS],
    doc_md=__doc__,
    tags=["t4"],
    default_args={"retries": 2, "retry_delay": timedelta(seconds=10)},
):
    pinned: Any = BrowsePackageOperator(task_id="pin", package=PINNED, registry=REGISTRY)
    changes: Any = DiffPackagesOperator(task_id="changes", package=pinned.output)
    is_news(changed=changes.output["changed"]) >> big_orders(pinned.output)
