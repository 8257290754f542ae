"""A build on as many workers as there are: plan, one mapped task for each part, merge.

What it shows:

* `build_in_shards` makes a task group: `plan` lists the source once and cuts the list into parts of
  about equal size, `hash` is mapped over them, `merge` publishes.
* The top hash is the one that a single build would have, in whatever order the parts end.
* What passes through XCom is small, however many files there are.

How to run it: as `t4_etl.py`, with `airflow dags test t4_fan_out`. Without `source` it makes a
folder of a few hundred small files. On several workers the source and the registry must be places
that all of them reach, such as buckets.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from airflow.sdk import DAG, Param, task
from platformdirs import user_cache_dir

import t4_ops as t4
from t4_ops.airflow.operators import build_in_shards

REGISTRY = t4.load_settings().registry


@task
def find(source: str, folder: str) -> str:
    """Return the folder to build from; make one where none is given."""
    if source:
        return source
    for number in range(300):
        path = Path(folder, f"{number % 10}", f"{number}.txt")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"file {number}\n" * number)
    return folder


with DAG(
    dag_id="t4_fan_out",
    schedule=None,
    doc_md=__doc__,
    tags=["t4"],
    default_args={"retries": 2, "retry_delay": timedelta(seconds=10)},
    params={
        "source": Param(None, type=["null", "string"], description="Folder, or s3:// prefix"),
        "work_dir": Param(user_cache_dir("t4_fan_out"), type="string"),
        "shards": Param(4, type="integer", minimum=1, maximum=1000),
    },
):
    build_in_shards(
        name="lab/many-files",
        source=find("{{ params.source or '' }}", "{{ params.work_dir }}/files"),
        registry=REGISTRY,
        max_shards="{{ params.shards }}",
        # Small, for an example: a part is worth a task from some 64 MiB on.
        min_shard_bytes=1,
        message="built in shards",
    )
