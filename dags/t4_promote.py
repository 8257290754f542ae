"""From staging to production: the same top hash, behind verification and a human approval.

What it shows:

* `VerifyPackageOperator` reads and hashes every object of the revision in staging.
* `DiffPackagesOperator` compares it with what production holds.
* `ApprovalOperator` of Airflow waits for somebody to say yes, with what would change in the text.
* `PromotePackageOperator` brings exactly the revision that was verified, whatever was pushed to
  staging meanwhile, and refuses if production holds something else by then than was compared
  (`expected`): what somebody approved is what happens.

How to run it: `airflow dags trigger t4_promote --conf '{"package": "shop/orders"}'`, then answer
under *Required Actions* in the UI. Both registries are folders unless `T4_REGISTRY` and
`T4_PRODUCTION_REGISTRY` name buckets; with keys of their own, give `source_conn_id` and
`t4_conn_id`.
"""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import DAG, Param, task
from platformdirs import user_data_dir

import t4_ops as t4
from t4_ops import operations
from t4_ops.airflow.operators import (
    DiffPackagesOperator,
    PromotePackageOperator,
    VerifyPackageOperator,
)

STAGING = t4.load_settings().registry
PRODUCTION = os.environ.get("T4_PRODUCTION_REGISTRY", user_data_dir("t4_ops_production"))


@task
def in_production(name: str) -> dict[str, str]:
    """Return the revision that would be replaced; empty texts if there is none yet."""
    held = operations.latest(name, registry=PRODUCTION)
    return {"uri": "", "top_hash": ""} if held is None else held.to_dict()


with DAG(
    dag_id="t4_promote",
    schedule=None,
    doc_md=__doc__,
    tags=["t4"],
    default_args={"retries": 2, "retry_delay": timedelta(seconds=10)},
    params={"package": Param("shop/orders", type="string", description="ns/name, or with @hash")},
    max_active_runs=1,
):
    verified: Any = VerifyPackageOperator(
        task_id="verify", package="{{ params.package }}", registry=STAGING
    )
    held: Any = in_production(verified.output["name"])
    changes = DiffPackagesOperator(task_id="changes", package=verified.output, other=held["uri"])
    approve = ApprovalOperator(
        task_id="approve",
        subject="Promote {{ params.package }} to production?",
        body=(
            "{{ ti.xcom_pull('verify', key='uri') }}: all"
            " {{ ti.xcom_pull('verify', key='files') }} files are as promised."
            " Compared with"
            " {{ ti.xcom_pull('in_production', key='uri') or 'the revision before' }}:"
            " {{ ti.xcom_pull('changes', key='added') }} added,"
            " {{ ti.xcom_pull('changes', key='modified') }} modified,"
            " {{ ti.xcom_pull('changes', key='deleted') }} deleted."
        ),
        response_timeout=timedelta(days=3),
    )
    promote = PromotePackageOperator(
        task_id="promote",
        package=verified.output,
        registry=PRODUCTION,
        expected=held["top_hash"],
    )
    changes >> approve >> promote
