"""Four steps on two machines: each finds what the others did in the bucket."""

import os
from pathlib import Path
from typing import Any

import pandas as pd
from airflow.sdk import DAG, task

import t4_ops as t4
from t4_ops.airflow.operators import (
    BrowsePackageOperator,
    BuildPackageOperator,
    InstallPackageOperator,
    PushPackageOperator,
)
from tests.e2e_celery import source

WORK = os.environ["HOME"]


@task
def write(folder: str) -> str:
    return source.write(folder)


@task
def count(folder: str) -> int:
    return sum(path.is_file() for path in Path(folder).rglob("*"))


@task.package(name="e2e/names", registry="s3://shared", install="apart", key="names.csv")
def names(apart: Path) -> pd.DataFrame:
    """Install inside the task that reads: no matter where it runs."""
    found = sorted(str(path.relative_to(apart)) for path in apart.rglob("*") if path.is_file())
    return pd.DataFrame({"name": found})


@task
def read(package: dict) -> list[str]:
    """Read a pinned revision, as any task may."""
    found = t4.Package.browse(package["name"], package["registry"], package["top_hash"])
    return list(found["names.csv"]()["name"])


with DAG("e2e_apart", schedule=None):
    built = BuildPackageOperator(
        task_id="build",
        name="e2e/apart",
        source=write.override(queue="one")(WORK + "/source"),
        registry="s3://built",
        message="apart",
        queue="one",
    )
    pushed = PushPackageOperator(
        task_id="push", package=built.output, registry="s3://shared", queue="two"
    )
    installed: Any = InstallPackageOperator(
        task_id="install", package=pushed.output, dest=WORK + "/installed", queue="one"
    )
    browsed: Any = BrowsePackageOperator(
        task_id="browse", package=installed.output, expectations={"min_files": 2}, queue="two"
    )
    count.override(queue="one")(installed.output["dest"])
    found: Any = names.override(queue="two")(browsed.output)
    read.override(queue="one")(found)
