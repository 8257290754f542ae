"""An ETL of two functions with `@package_task`, and no task that only moves packages about.

What it shows:

* A function takes packages (`install`: a folder with the files; `browse`: a `Package`), pinned when
  the task begins, and what it returns is published: here data frames.
* The result of the task is the revision, so the next task reads exactly that one.
* It maps as every task does: one report for each currency here, its name made of the arguments.
* In the transaction the day's sales and their reports come together or not at all: whoever follows
  the sales is told when the reports are there.
* Lineage needs no word: `python -m t4_ops.lineage URI`, with a URI that is printed, leads from the
  report to the sales.

How to run it: `python flows/t4_functions.py [REGISTRY [DAY]]`. It needs no server and no
credentials; the registry is a folder in your data directory, `T4_REGISTRY`, or the argument.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pandas as pd
from prefect import flow, unmapped
from prefect.settings import PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS, temporary_settings
from prefect.transactions import transaction

from t4_ops.prefect.package_task import package_task
from t4_ops.prefect.revisions import Revision

RATES = {"EUR": 1.0, "USD": 1.1}


@flow(name="t4_functions")
def t4_functions(registry: str | None = None, day: str = "2026-01-01") -> list[str]:
    """Make `shop/sales` and a report of it in each currency.

    Args:
        registry: `s3://bucket` or a folder; None: the default registry.
        day: Which day's sales.

    Returns:
        The package URI of each report.
    """

    @package_task("shop/sales", registry=registry, key="sales.csv", message="sales of the day")
    def sales(day: str) -> pd.DataFrame:
        """Return what a shop sold on a day, the same whenever it is asked."""
        chance = random.Random(day)
        amounts = [round(chance.uniform(1, 99), 2) for _ in range(chance.randint(5, 20))]
        return pd.DataFrame({"day": day, "amount": amounts})

    @package_task(
        lambda call: f"shop/report-{call['currency'].lower()}", registry=registry, install="sold"
    )
    def report(sold: Path, currency: str) -> dict[str, pd.DataFrame]:
        """Return the day's figures in a currency, and how they came about."""
        table = pd.read_csv(sold / "sales.csv")
        table["converted"] = (table["amount"] * RATES[currency]).round(2)
        summary = table.groupby("day", as_index=False)["converted"].agg(["count", "sum"])
        return {"detail/sales.parquet": table, "summary.csv": summary}

    with transaction():
        sold = sales(day)
        reports: list[Revision] = report.map(unmapped(sold), list(RATES)).result()
    return [made.uri for made in reports]


if __name__ == "__main__":
    # A server's first start makes its database, which may take longer than the 20 s it is given.
    with temporary_settings({PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS: 120}):
        print(*t4_functions(*sys.argv[1:]), sep="\n")  # noqa: T201
