"""The same ETL with `@task.package`: a function each, and no operator.

What it shows:

* A function takes packages (`install`: a folder with the files; `browse`: a `Package`), pinned when
  the task begins, and what it returns is published: here data frames.
* The result of the task names the revision, so the next task reads exactly that one.
* Lineage needs no word: `python -m t4_ops.lineage URI`, with the URI that `report` returned, leads
  from the report to the orders.
* It maps and nests as every task does: one report for each currency here.

How to run it: as `t4_etl.py`, with `airflow dags test t4_task_package`.
"""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
from airflow.sdk import DAG, task

import t4_ops as t4

REGISTRY = t4.load_settings().registry
DAY = "{{ (dag_run.logical_date or dag_run.run_after).strftime('%Y-%m-%d') }}"


@task.package(name="shop/sales", registry=REGISTRY, key="sales.csv", message="sales of the day")
def sales(day: str) -> pd.DataFrame:
    """Return what a shop sold on a day, the same whenever it is asked."""
    chance = random.Random(day)
    amounts = [round(chance.uniform(1, 99), 2) for _ in range(chance.randint(5, 20))]
    return pd.DataFrame({"day": day, "amount": amounts})


@task.package(
    name="shop/report-{{ task.op_kwargs.currency | lower }}",
    registry=REGISTRY,
    install="sold",
    meta={"currency": "{{ task.op_kwargs.currency }}"},
)
def report(sold: Path, currency: str, rates: dict[str, float]) -> dict[str, pd.DataFrame]:
    """Return the day's figures in a currency, and how they came about."""
    table = pd.read_csv(sold / "sales.csv")
    table["converted"] = (table["amount"] * rates[currency]).round(2)
    summary = table.groupby("day", as_index=False)["converted"].agg(["count", "sum"])
    return {"detail/sales.parquet": table, "summary.csv": summary}


with DAG(
    dag_id="t4_task_package",
    schedule="@daily",
    start_date=datetime(2026, 1, 1),  # noqa: DTZ001 (Airflow reads it as UTC)
    catchup=False,
    doc_md=__doc__,
    tags=["t4"],
    default_args={"retries": 2, "retry_delay": timedelta(seconds=10)},
):
    sold: Any = sales(DAY)
    report.partial(sold=sold, rates={"EUR": 1.0, "USD": 1.1}).expand(currency=["EUR", "USD"])
