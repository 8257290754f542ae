"""A daily ETL of four operators: build, push, browse, install.

What it shows:

* `extract` writes the orders of the day; `BuildPackageOperator` makes them a revision of
  `shop/orders`, and `PushPackageOperator` brings it into the registry with all its files.
* `BrowsePackageOperator` proves the manifest and fails if a file is missing (`expectations`),
  before anybody reads; `InstallPackageOperator` brings that revision, every byte verified.
* What travels from task to task is a small dict with the top hash, never data.
* The push tells the asset of `shop/orders`: see `t4_on_push.py`, which it starts.
* A day that is run again arrives at the same top hash, and `changed` is false.

How to run it: `pip install '.[airflow]'`, this file into the DAGs folder, `airflow db migrate`, and
`airflow dags test t4_etl`. No credentials are needed: the registry is a folder in the user's data
directory, or what `T4_REGISTRY` names. On several workers name a bucket.
"""

from __future__ import annotations

import csv
import random
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, Param, task
from platformdirs import user_cache_dir

import t4_ops as t4
from t4_ops.airflow.operators import (
    BrowsePackageOperator,
    BuildPackageOperator,
    InstallPackageOperator,
    PushPackageOperator,
)

# Literal, so that the asset is known when the DAG is parsed: other DAGs can be scheduled on it.
REGISTRY = t4.load_settings().registry
# Runs that an event or the API starts have no logical date.
DAY = "{{ (dag_run.logical_date or dag_run.run_after).strftime('%Y-%m-%d') }}"
FOLDER = "{{ params.work_dir }}/{{ run_id }}"


@task
def extract(day: str, folder: str) -> str:
    """Write what a shop sold on a day, the same whenever it is asked; return the folder."""
    chance = random.Random(day)
    Path(folder).mkdir(parents=True, exist_ok=True)
    with Path(folder, "orders.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["day", "order", "amount"])
        for number in range(chance.randint(5, 20)):
            writer.writerow([day, number, round(chance.uniform(1, 99), 2)])
    return folder


@task
def total(folder: str) -> float:
    """Return what the orders of an installed revision come to."""
    with Path(folder, "orders.csv").open(newline="") as file:
        return round(sum(float(row["amount"]) for row in csv.DictReader(file)), 2)


with DAG(
    dag_id="t4_etl",
    schedule="@daily",
    start_date=datetime(2026, 1, 1),  # noqa: DTZ001 (Airflow reads it as UTC)
    catchup=False,
    doc_md=__doc__,
    tags=["t4"],
    default_args={"retries": 2, "retry_delay": timedelta(seconds=10)},
    params={"work_dir": Param(user_cache_dir("t4_etl"), type="string")},
):
    built = BuildPackageOperator(
        task_id="build",
        name="shop/orders",
        source=extract(DAY, FOLDER),
        registry=REGISTRY,
        meta={"shop": "example"},
        message="orders of the day",
    )
    pushed = PushPackageOperator(
        task_id="push", package=built.output, name="shop/orders", registry=REGISTRY
    )
    browsed = BrowsePackageOperator(
        task_id="browse",
        package=pushed.output,
        expectations={"has": ["orders.csv"], "min_files": 1, "min_bytes": 20},
    )
    installed: Any = InstallPackageOperator(
        task_id="install",
        package=browsed.output,
        dest="{{ params.work_dir }}/installed/{{ ti.xcom_pull('browse', key='top_hash') }}",
    )
    total(installed.output["dest"])
