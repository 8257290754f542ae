"""Daily weather to monthly snapshots to a summary: four tasks around two data packages.

What it shows:

* `build_package` makes the package `weather/observations` of monthly Parquet files, and
  `push_package` brings it into the registry: the producer's side.
* `browse_package` and `install_package` fetch exactly that revision, by the top hash that came
  through the task's result: the consumer's side.
* `inputs=[installed]` records that `weather/summary` was made from it. Afterwards
  `python -m t4_ops.lineage URI`, with the `uri` that the last task returned, goes back to the CSV.
* `.with_options(name=...)` names a task, and with it its job in the lineage: a flow that builds two
  packages has two jobs.
* Nothing in the packages depends on the run: another one over the same data arrives at the same top
  hashes, and its results say `changed: false`.

How to run it: `pip install '.[prefect,demo]'`, then `python flows/t4_weather.py`. It needs no
server, which Prefect starts for the run unless `PREFECT_API_URL` names one, and no credentials: the
registry is a folder in your data directory, `T4_REGISTRY`, or the parameter `registry` (a folder or
`s3://bucket`). Parameters may follow on the command line: source, registry, work_dir.
"""

from __future__ import annotations

import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.settings import (
    PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS,
    temporary_settings,
)

from t4_ops.examples import weather
from t4_ops.prefect.tasks import browse_package, build_package, install_package, push_package


@task
def snapshots(source: Path, folder: Path) -> str:
    """Write one Parquet file a month; return their folder."""
    return weather.write_snapshots(source, folder)


@task
def summary(observations: str, folder: Path) -> str:
    """Write the table and the picture; return their folder."""
    return weather.write_summary(observations, folder)


@flow(name="t4_weather")
def t4_weather(
    source: str | None = None, registry: str | None = None, work_dir: str | None = None
) -> dict[str, dict[str, Any]]:
    """Make `weather/observations` and, from it, `weather/summary`.

    Args:
        source: CSV file of daily weather; None: Seattle, 2012 to 2015.
        registry: `s3://bucket` or a folder; None: the default registry.
        work_dir: Folder for the files between the tasks; None: one that is removed afterwards.

    Returns:
        The pushed revision of each package, by the package's name.
    """
    csv = Path(source or weather.default_source()).absolute()
    with nullcontext(work_dir) if work_dir else tempfile.TemporaryDirectory() as folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        run_folder = Path(tempfile.mkdtemp(prefix="run-", dir=folder))

        # The producer's side.
        built = build_package.with_options(name="build_observations")(
            "weather/observations",
            snapshots(csv, run_folder / "snapshots"),
            registry=registry,
            meta={"source": csv.name},
            message="monthly snapshots",
            inputs=[{"namespace": "file", "name": str(csv)}],
        )
        pushed = push_package.with_options(name="push_observations")(built, registry=registry)

        # The consumer's side.
        browsed = browse_package.with_options(name="browse_observations")(pushed)
        installed = install_package.with_options(name="install_observations")(
            # Named by the revision: what an earlier run installed there is kept, and never mixed.
            browsed,
            dest=Path(folder, "installed", browsed.top_hash),
        )
        summary_built = build_package.with_options(name="build_summary")(
            "weather/summary",
            summary(installed.dest, run_folder / "summary"),
            registry=registry,
            message="summary by month",
            inputs=[installed],
        )
        summary_pushed = push_package.with_options(name="push_summary")(
            summary_built, registry=registry
        )
    packages = {"weather/observations": pushed, "weather/summary": summary_pushed}
    return {name: revision.to_dict() for name, revision in packages.items()}


if __name__ == "__main__":
    # A server's first start makes its database, which may take longer than the 20 s it is given.
    with temporary_settings({PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS: 120}):
        t4_weather(*sys.argv[1:])
