"""DAG code that is shipped as a package: which version of it runs, it says itself."""

import os
import time
from pathlib import Path

from airflow.sdk import DAG, task

VERSION = 0


@task
def wait() -> None:
    """Give somebody the time to ship another version."""
    end_s = time.monotonic() + 300
    while not Path(os.environ["E2E_GO"]).exists() and time.monotonic() < end_s:
        time.sleep(0.5)


@task
def tell() -> int:
    return VERSION


with DAG("e2e_shipped", schedule=None):
    wait() >> tell()
