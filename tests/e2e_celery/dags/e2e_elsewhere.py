"""Steps that are handed a folder of another machine: they fail at once, and say what to do."""

import os
from typing import Any

from airflow.sdk import DAG, task

from t4_ops.airflow.operators import (
    BuildPackageOperator,
    InstallPackageOperator,
    PushPackageOperator,
    VerifyPackageOperator,
)
from tests.e2e_celery import source

WORK = os.environ["HOME"]


@task
def write(folder: str) -> str:
    return source.write(folder)


with DAG("e2e_elsewhere", schedule=None, default_args={"retries": 2}):
    written = write.override(queue="one")(WORK + "/elsewhere")
    BuildPackageOperator(
        task_id="build_there", name="e2e/there", source=written, registry="s3://built", queue="two"
    )
    in_folder = BuildPackageOperator(
        task_id="build",
        name="e2e/elsewhere",
        source=written,
        registry=WORK + "/registry",
        queue="one",
    )
    PushPackageOperator(
        task_id="push_there", package=in_folder.output, registry="s3://shared", queue="two"
    )
    in_bucket = BuildPackageOperator(
        task_id="build_in_bucket",
        name="e2e/elsewhere",
        source=written,
        registry="s3://built",
        queue="one",
    )
    installed: Any = InstallPackageOperator(
        task_id="install", package=in_bucket.output, dest=WORK + "/theirs", queue="one"
    )
    VerifyPackageOperator(
        task_id="verify_there",
        package=installed.output,
        dest=installed.output["dest"],
        queue="two",
    )
    BuildPackageOperator(
        task_id="rebuild_there",
        name="e2e/rebuilt",
        source=installed.output,
        registry="s3://built",
        queue="two",
    )
