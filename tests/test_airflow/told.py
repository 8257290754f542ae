"""A DAG whose tasks publish in every way there is: `python -m tests.test_airflow.told FOLDER`.

A process of its own, because Airflow reads its configuration once; what that says of OpenLineage
comes from the environment.
"""

from __future__ import annotations

import sys
from pathlib import Path

from airflow.sdk import DAG, task

import t4_ops as t4
from t4_ops import lineage
from t4_ops.airflow.operators import BuildPackageOperator, PushPackageOperator
from t4_ops.airflow.sensors import PackageSensor


def told_dag(folder: Path) -> DAG:
    """Return the DAG; it reads the package `raw/a` of the registry below `folder`."""
    registry, other = str(folder / "registry"), str(folder / "other")

    @task
    def derive() -> None:
        text = t4.Package.browse("raw/a", registry)["x.json"].get_as_string()
        t4.Package().set_text("one.txt", text).build("made/one", registry)
        t4.Package().set_text("two.txt", text).push("made/two", registry)

    @task
    def nested() -> None:
        with lineage.run(job="inner"):
            t4.Package.browse("raw/a", registry)
            t4.Package().set_text("n.txt", "n").build("made/nested", registry)

    @task
    def block() -> None:
        with lineage.run():
            t4.Package.browse("raw/a", registry)
            t4.Package().set_text("b.txt", "b").build("made/block", registry)
            raise ValueError("the end of block")

    @task
    def idle() -> None:
        print("nothing of ours")

    with DAG("told", schedule=None) as dag:
        build = BuildPackageOperator(
            task_id="build", name="made/c", source=str(folder / "f.csv"), registry=registry
        )
        PushPackageOperator(task_id="push", package=build.output, registry=other)
        PackageSensor(task_id="wait", name="raw/a", registry=registry)
        derive()
        nested()
        block()
        idle()
    return dag


def main(folder: Path) -> None:
    """Make Airflow's database and run the DAG in it."""
    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db
    from airflow.utils.db import initdb

    initdb()
    DagBundlesManager().sync_bundles_to_db()
    dag = told_dag(folder)
    bag = DagBag(dag_folder="", collect_dags=False)
    bag.bag_dag(dag)
    sync_bag_to_db(bag, "dags-folder", None)
    dag.test()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
