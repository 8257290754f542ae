"""The watcher, as a flow to deploy: it tells Prefect of packages that somebody else published.

What it shows: the flow comes ready-made, in `t4_ops.prefect.watching`; what it takes is a schedule
and a concurrency limit of 1, as in `prefect.yaml`. What it tells starts `t4_on_push.py`.

How to run it: `python flows/t4_watch.py [PREFIX]` looks once. The server that `PREFECT_API_URL`
names keeps where the look stopped; the first look only notes what is there.
"""

from __future__ import annotations

import sys

from prefect.settings import PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS, temporary_settings

from t4_ops.prefect.watching import watch_packages

if __name__ == "__main__":
    # A server's first start makes its database, which may take longer than the 20 s it is given.
    with temporary_settings({PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS: 120}):
        print(watch_packages(prefix="".join(sys.argv[1:2])))  # noqa: T201
