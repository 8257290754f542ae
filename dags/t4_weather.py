"""Daily weather to monthly snapshots to a summary: four operators around two data packages.

What it shows:

* `BuildPackageOperator` makes the package `weather/observations` of monthly Parquet files, and
  `PushPackageOperator` brings it into the registry: the producer's side.
* `BrowsePackageOperator` and `InstallPackageOperator` fetch exactly that revision, by the top hash
  that came through XCom: the consumer's side.
* `inputs=[installed.output]` records that `weather/summary` was made from it. Afterwards
  `python -m t4_ops.lineage URI`, with the `uri` that the last task returned, leads back to the CSV.
* Nothing in the packages depends on the run: another run over the same data arrives at the same top
  hashes, and its results say `changed: false`.

How to run it: `pip install '.[airflow,demo]'`, put this file into Airflow's DAGs folder, run
`airflow db migrate` once, and then `airflow dags test t4_weather`, or trigger it in the UI. It
needs no credentials: the registry is a folder in the user's data directory, or what `T4_REGISTRY`
or the parameter `registry` names. The tasks hand files on below `work_dir`: workers on several
machines need one that they share.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, Param, task
from platformdirs import user_cache_dir

from t4_ops.airflow.operators import (
    BrowsePackageOperator,
    BuildPackageOperator,
    InstallPackageOperator,
    PushPackageOperator,
)
from t4_ops.examples import weather

# Empty text is the default registry; None itself would be rendered as the text "None".
REGISTRY = "{{ params.registry or '' }}"
# What one run makes is apart from what others make at the same time, or made of other data.
RUN_DIR = "{{ params.work_dir }}/{{ run_id }}"
# Named by the revision: what an earlier run installed is kept.
INSTALL_DIR = (
    "{{ params.work_dir }}/installed/{{ ti.xcom_pull('browse_observations', key='top_hash') }}"
)


@task
def snapshots(source: str, folder: str) -> dict[str, str]:
    """Write one Parquet file a month; return their folder, and the source's path and name."""
    path = Path(source or weather.default_source()).absolute()
    weather.write_snapshots(path, folder)
    return {"folder": folder, "source": str(path), "source_name": path.name}


@task
def summary(observations: str, folder: str) -> str:
    """Write the table and the picture; return their folder."""
    return weather.write_summary(observations, folder)


with DAG(
    dag_id="t4_weather",
    schedule=None,
    doc_md=__doc__,
    tags=["t4"],
    default_args={"retries": 2, "retry_delay": timedelta(seconds=10)},
    params={
        "source": Param(
            None,
            type=["null", "string"],
            description="CSV file of daily weather; empty: Seattle, 2012 to 2015",
        ),
        "registry": Param(
            None,
            type=["null", "string"],
            description="s3://bucket or a folder; empty: the default registry",
        ),
        "work_dir": Param(
            user_cache_dir("t4_weather"),
            type="string",
            description="Folder for the files that tasks hand on",
        ),
    },
):
    # The producer's side. (Any: type checkers take an XComArg for itself, not for what it brings.)
    made: Any = snapshots("{{ params.source or '' }}", f"{RUN_DIR}/snapshots")
    built = BuildPackageOperator(
        task_id="build_observations",
        name="weather/observations",
        source=made["folder"],
        registry=REGISTRY,
        meta={"source": made["source_name"]},
        message="monthly snapshots",
        inputs=[{"namespace": "file", "name": made["source"]}],
    )
    pushed = PushPackageOperator(
        task_id="push_observations", package=built.output, registry=REGISTRY
    )

    # The consumer's side.
    browsed = BrowsePackageOperator(task_id="browse_observations", package=pushed.output)
    installed: Any = InstallPackageOperator(
        task_id="install_observations", package=browsed.output, dest=INSTALL_DIR
    )
    summary_built = BuildPackageOperator(
        task_id="build_summary",
        name="weather/summary",
        source=summary(installed.output["dest"], f"{RUN_DIR}/summary"),
        registry=REGISTRY,
        message="summary by month",
        inputs=[installed.output],
    )
    PushPackageOperator(task_id="push_summary", package=summary_built.output, registry=REGISTRY)
