"""A DAG that starts when somebody else moves `latest` of a package.

What it shows:

* `package_watcher` asks the registry once a minute, in the triggerer: it does not matter who
  pushed, another Airflow, Prefect or quilt3. Watchers of one registry share one poll loop.
* Every revision makes an event, also those that came between two looks; a restart of the triggerer
  repeats none. Airflow may start one run for several events: `packages_of` gives them all.
* The event carries the revision, and the run verifies exactly that one, every object of it.

How to run it: unpause it, with a triggerer running, and push from anywhere:

    python -c "import t4_ops as t4; t4.Package().set_text('p.txt', 'a,1').push('shop/prices')"

By hand, `airflow dags test t4_watch` verifies the newest revision.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, task

import t4_ops as t4
from t4_ops.airflow.assets import package_asset
from t4_ops.airflow.operators import VerifyPackageOperator
from t4_ops.airflow.triggers import package_watcher

REGISTRY = t4.load_settings().registry
PRICES = package_asset(
    "shop/prices", REGISTRY, watchers=[package_watcher("shop/prices", REGISTRY, poll_s=60)]
)
PINNED = (
    "{{ macros.t4_ops.package_of(triggering_asset_events)"
    " if triggering_asset_events else 'shop/prices' }}"
)


@task
def accept(top_hash: str, files: int) -> str:
    """Say what was found good."""
    return f"{files} files of {top_hash} are as promised"


with DAG(
    dag_id="t4_watch",
    schedule=[PRICES],
    doc_md=__doc__,
    tags=["t4"],
    default_args={"retries": 2, "retry_delay": timedelta(seconds=10)},
):
    verified: Any = VerifyPackageOperator(task_id="verify", package=PINNED, registry=REGISTRY)
    accept(verified.output["top_hash"], verified.output["files"])
