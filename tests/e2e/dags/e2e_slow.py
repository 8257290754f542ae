"""A build that takes long enough to be killed, and a retry that finishes."""

import os
from datetime import timedelta

from airflow.sdk import DAG

from t4_ops.airflow.operators import BuildPackageOperator

with DAG("e2e_slow", schedule=None):
    BuildPackageOperator(
        task_id="build",
        name="e2e/slow",
        source=os.environ.get("E2E_LARGE", "/nowhere"),
        t4_conn_id="by_uri",
        retries=1,
        retry_delay=timedelta(seconds=1),
    )
