"""The DAG, run by Airflow itself without a scheduler: `python -m demo.on_airflow JOB`."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from demo.notes import result_note

DAGS = Path(__file__).resolve().parents[1] / "dags"


def configure(home: Path) -> None:
    """Give Airflow a home and a database of its own; it reads these once, when it is imported."""
    os.environ.update(
        AIRFLOW_HOME=str(home),
        AIRFLOW__CORE__DAGS_FOLDER=str(DAGS),
        AIRFLOW__CORE__LOAD_EXAMPLES="False",
        AIRFLOW__DATABASE__SQL_ALCHEMY_CONN=f"sqlite:///{home / 'airflow.db'}",
        AIRFLOW__USAGE_DATA_COLLECTION__ENABLED="False",
    )


def main(job: dict[str, Any]) -> None:
    """Run the DAG and write its steps and results."""
    home = Path(job["home"])
    configure(home)
    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db
    from airflow.utils.db import initdb

    initdb()
    # Airflow ships no annotations for its manager.
    DagBundlesManager().sync_bundles_to_db()  # type: ignore[no-untyped-call]
    bag = DagBag(dag_folder=str(DAGS), safe_mode=False, bundle_path=DAGS, bundle_name="dags-folder")
    if bag.import_errors:
        raise SystemExit(f"DAGs can't be imported: {bag.import_errors}")
    sync_bag_to_db(bag, "dags-folder", None)
    dag = bag.dags["t4_weather"]
    run = dag.test(run_conf={"source": job["source"], "work_dir": str(home / "files")})
    if str(run.state) != "success":
        raise SystemExit(f"the DAG run ended as {run.state}")
    Path(job["answer"]).write_text(json.dumps(described(run)))


def described(run: Any) -> dict[str, Any]:
    """Return a run's steps in order, and the results of those that pushed."""
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session

    steps, packages = [], {}
    instances = sorted(run.get_task_instances(), key=lambda ti: ti.start_date)
    with create_session() as session:
        for instance in instances:
            found = XComModel.get_many(
                run_id=run.run_id,
                dag_ids=run.dag_id,
                task_ids=instance.task_id,
                key="return_value",
            )
            values = [XComModel.deserialize_value(row) for row in session.scalars(found)]
            result = values[0] if values and "top_hash" in values[0] else None
            steps.append(
                {
                    "name": instance.task_id,
                    "top_hash": result and result["top_hash"],
                    "seconds": (instance.end_date - instance.start_date).total_seconds(),
                    "note": result_note(result),
                }
            )
            if result and instance.task_id.startswith("push_"):
                packages[result["name"]] = result
    return {"steps": steps, "packages": packages}


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
