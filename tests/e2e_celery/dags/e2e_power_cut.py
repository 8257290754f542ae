"""A build that takes long enough for its machine to be lost, and goes on on another one."""

import os
from datetime import timedelta

from airflow.sdk import DAG

from t4_ops.airflow.operators import BuildPackageOperator

with DAG("e2e_power_cut", schedule=None):
    BuildPackageOperator(
        task_id="build",
        name="e2e/large",
        source=os.environ["HOME"] + "/large",
        registry="s3://built",
        message="large",
        retries=3,
        retry_delay=timedelta(seconds=1),
    )
