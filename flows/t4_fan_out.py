"""One huge package, hashed by many task runs on Dask, or on threads where Dask is missing.

What it shows:

* `build_in_shards` cuts the files into chunks of about equal work, has them hashed by the runner of
  the flow, and publishes in the flow's own process. What passes between them is small.
* The top hash is the one that a single `build_package` arrives at.
* A flow run that is tried again goes on with what was hashed.
* Every worker must reach source and registry by the same name: a bucket, or folders they share.

How to run it: `python flows/t4_fan_out.py [SOURCE [REGISTRY]]`. Without a source it makes some
files; it needs no server and no credentials. For Dask: `pip install prefect-dask`. For a cluster
that runs already, `DaskTaskRunner(address="tcp://...")`; Ray is `RayTaskRunner` of prefect-ray.
"""

from __future__ import annotations

import importlib.util
import sys
import tempfile
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.settings import PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS, temporary_settings
from prefect.task_runners import ThreadPoolTaskRunner

from t4_ops.prefect.fanout import build_in_shards
from t4_ops.prefect.tasks import push_package


def task_runner() -> Any:
    """Return a runner on Dask in this process, or on threads."""
    if importlib.util.find_spec("prefect_dask") is None:
        return ThreadPoolTaskRunner(max_workers=4)
    from prefect_dask.task_runners import DaskTaskRunner

    return DaskTaskRunner(cluster_kwargs={"processes": False, "dashboard_address": None})


@flow(name="t4_fan_out", task_runner=task_runner())
def t4_fan_out(
    source: str | None = None,
    registry: str | None = None,
    max_shards: int = 8,
    min_shard_bytes: int = 64 * 1024 * 1024,
) -> str:
    """Make the package `big/files` of a folder or an S3 prefix.

    Args:
        source: Folder or prefix; None: a few small files.
        registry: `s3://bucket` or a folder; None: the default registry.
        max_shards: Most chunks.
        min_shard_bytes: Least work of a chunk.

    Returns:
        The package URI.
    """
    with tempfile.TemporaryDirectory() as folder:
        if source is None:
            source, min_shard_bytes = _some_files(Path(folder)), 1
        built = build_in_shards(
            "big/files",
            source,
            registry=registry,
            max_shards=max_shards,
            min_shard_bytes=min_shard_bytes,
            message="hashed in chunks",
        )
        return push_package(built, registry=registry).uri


def _some_files(folder: Path) -> str:
    for number in range(40):
        path = folder / f"part-{number % 4}" / f"{number:03}.bin"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(number.to_bytes(2, "big") * 5_000)
    return str(folder)


if __name__ == "__main__":
    # A server's first start makes its database, which may take longer than the 20 s it is given.
    with temporary_settings({PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS: 120}):
        source, registry = [*sys.argv[1:3], None, None][:2]
        print(t4_fan_out(source, registry))  # noqa: T201
