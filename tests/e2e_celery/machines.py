"""Machines for workers: each with a name, a disk and processes of its own, all alike in layout."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Final

from tests.e2e.stack import Stack, until
from tests.e2e_celery.servers import namespaces

NAMES: Final = ("one", "two")
COMMON_QUEUE: Final = "default"
_DAGS: Final = Path(__file__).parent / "dags"
_ENTER: Final = Path(__file__).parent / "enter.py"
_READY_WITHIN_S: Final = 180.0


class Machines:
    """Workers of Celery below a folder, each with a queue of its own name beside the common one.

    Network and servers are the same for all; each sees its own disk only, at the same path.
    """

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._disks = stack.folder / "machines"
        self.here = stack.folder / "machine"
        """Where every machine sees its own disk."""
        self.here.mkdir()

    def disk(self, name: str) -> Path:
        """Return where we see a machine's disk."""
        return self._disks / name

    def start(self, name: str) -> None:
        """Start a machine, with the code of the DAGs on its disk, and a worker on it."""
        disk, here = self.disk(name), self.here
        for folder in ("home", "tmp", "airflow"):
            (disk / folder).mkdir(parents=True, exist_ok=True)
        shutil.copytree(_DAGS, disk / "dags", dirs_exist_ok=True)
        enter = [sys.executable, str(_ENTER), name, str(disk), str(here), str(self._disks)]
        worker = [sys.executable, "-m", "airflow", "celery", "worker", "--skip-serve-logs"]
        worker += ["--celery-hostname", name, "--concurrency", "1"]
        worker += ["--queues", f"{name},{COMMON_QUEUE}"]
        own = {
            "HOME": here / "home",
            "TMPDIR": here / "tmp",
            "XDG_CACHE_HOME": here / "home" / ".cache",
            "XDG_CONFIG_HOME": here / "home" / ".config",
            "XDG_DATA_HOME": here / "home" / ".local" / "share",
            "T4_CONFIG_FILE": here / "home" / "t4.toml",
            "AIRFLOW_HOME": here / "airflow",
            "AIRFLOW__CORE__DAGS_FOLDER": here / "dags",
        }
        environ = {key: str(value) for key, value in own.items()}
        self._stack.start(name, [*namespaces(), *enter, *worker], **environ)

    def wait(self, name: str) -> None:
        """Wait until a machine's worker takes tasks."""

        def is_ready() -> bool:
            return self._stack.is_healthy() and " ready." in self._stack.log_of(name).read_text()

        until(is_ready, _READY_WITHIN_S, f"a worker on the machine {name}")

    def lose(self, name: str) -> None:
        """Take a machine away in the middle of its work, with all that runs on it."""
        self._stack.kill(name)

    def log(self, name: str, dag_id: str, task_id: str) -> str:
        """Return what a machine's disk holds of a task's logs."""
        logs = self.disk(name) / "airflow" / "logs"
        found = logs.glob(f"dag_id={dag_id}/run_id=*/task_id={task_id}/*.log")
        return "\n".join(path.read_text() for path in found)
