"""A DAG that starts when somebody outside Airflow pushes."""

from airflow.sdk import DAG

import t4_ops as t4
from t4_ops.airflow.assets import package_asset
from t4_ops.airflow.operators import BrowsePackageOperator
from t4_ops.airflow.triggers import package_watcher

REGISTRY = t4.load_settings().registry
ASSET = package_asset(
    "e2e/watched",
    REGISTRY,
    watchers=[package_watcher("e2e/watched", REGISTRY, t4_conn_id="by_uri", poll_s=3)],
)

with DAG("e2e_watch", schedule=[ASSET]):
    BrowsePackageOperator(
        task_id="pin", package="{{ macros.t4_ops.package_of(triggering_asset_events) }}"
    )
