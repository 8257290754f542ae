"""A consumer that starts when somebody pushes `shop/sales`, and reads the revision that was pushed.

What it shows:

* `package_trigger` starts the deployment once for each revision and hands it over, pinned: whatever
  is pushed meanwhile, this run reads what it was started for.
* The flow's parameter is a `PackageRef`; Prefect makes it of the event.
* `diff_packages` tells what changed from the revision before, as an artifact of the run too.
* Who pushes does not matter where `watch_packages` of `t4_ops.prefect.watching` runs, as in
  `prefect.yaml`.

How to run it: `python flows/t4_on_push.py serve` waits for events of the server that
`PREFECT_API_URL` names; then run `flows/t4_functions.py` beside it. Without an argument it makes
something to read and reads it, with neither server nor credentials.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pandas as pd
from prefect import flow
from prefect.settings import PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS, temporary_settings

import t4_ops as t4
from t4_ops.operations import produce, revision_before
from t4_ops.prefect.artifacts import show_lineage
from t4_ops.prefect.events import package_trigger
from t4_ops.prefect.package_task import package_task
from t4_ops.prefect.tasks import browse_package, diff_packages


@flow(name="t4_on_push")
def t4_on_push(package: t4.PackageRef, least: float = 50.0) -> str:
    """Make `shop/big-sales` of a revision of `shop/sales`, in the same registry.

    Args:
        package: The revision, pinned.
        least: The smallest amount that counts.

    Returns:
        The package URI of what was made.
    """
    pinned = browse_package(package, expectations={"has": ["sales.csv"]})
    before = revision_before(pinned.to_dict())
    if before is not None:
        diff_packages(before, pinned)

    @package_task("shop/big-sales", registry=package.registry, install="sold", key="big.csv")
    def big_sales(sold: Path, least: float) -> pd.DataFrame:
        """Return the sales of so much and more."""
        table = pd.read_csv(sold / "sales.csv")
        return table[table["amount"] >= least].reset_index(drop=True)

    made = big_sales(pinned, least)
    show_lineage(made)
    return made.uri


def _example() -> t4.PackageRef:
    table = pd.DataFrame({"day": "2026-01-01", "amount": [12.5, 50.0, 99.0]})
    made: Any = produce(table, "shop/sales", key="sales.csv", message="an example")
    return t4.resolve(made)


if __name__ == "__main__":
    if sys.argv[1:] == ["serve"]:
        t4_on_push.serve(name="on-push", triggers=[package_trigger("shop/sales")])
    else:
        # A server's first start makes its database: that may take longer than its 20 s.
        with temporary_settings({PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS: 120}):
            print(t4_on_push(_example()))  # noqa: T201
