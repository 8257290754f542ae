"""A real Airflow: api-server, scheduler, dag-processor, triggerer, and what else is started."""

from __future__ import annotations

import base64
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, TypeVar

COMPONENTS: Final = ("api-server", "scheduler", "dag-processor", "triggerer")
HEALTHY_WITHIN_S: Final = 240.0
_STOP_S: Final = 10.0
_T = TypeVar("_T")


class Stack:
    """A running Airflow below a folder, and its REST API."""

    def __init__(self, folder: Path, dags: Path, **environ: str) -> None:
        self.folder = folder
        self.port = free_port()
        self.environ = {**os.environ, **_settings(folder, dags, self.port), **environ}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def command(self, *words: str) -> str:
        """Run Airflow's command line to its end."""
        done = subprocess.run(
            [sys.executable, "-m", "airflow", *words],
            env=self.environ,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"airflow {' '.join(words)}: {done.stdout}{done.stderr}")
        return done.stdout

    def start(self, name: str, command: Sequence[str] = (), **environ: str) -> None:
        """Start a component of Airflow, or another command under a name, in a group of its own."""
        with self.log_of(name).open("ab") as log:
            self._processes[name] = subprocess.Popen(
                command or [sys.executable, "-m", "airflow", name],
                env={**self.environ, **environ},
                cwd=self.folder,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def stop(self, name: str) -> None:
        """End one component and what it started, in good order if it can be."""
        process = self._processes.pop(name)
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(process.pid, number)
                process.wait(_STOP_S)
            except ProcessLookupError:
                break
            except subprocess.TimeoutExpired:
                continue
        # Some of its children outlive it.
        _kill_group(process)

    def kill(self, name: str) -> None:
        """Kill one component and what it started, as a power cut does."""
        process = self._processes.pop(name)
        _kill_group(process)
        process.wait(_STOP_S)

    def stop_all(self) -> None:
        """End whatever still runs, last started first."""
        for name in reversed(list(self._processes)):
            self.stop(name)

    def log_of(self, name: str) -> Path:
        """Return the file with what a component says."""
        return self.folder / f"{name}.log"

    def api(self, method: str, path: str, body: Any = None, version: str = "/api/v2") -> Any:
        """Call the REST API; SQLite may be busy, so that a server's error is tried again."""
        data = None if body is None else json.dumps(body).encode()
        for attempt in range(5):
            request = urllib.request.Request(
                f"http://127.0.0.1:{self.port}{version}{path}",
                data,
                {"Content-Type": "application/json"},
                method=method,
            )
            try:
                with urllib.request.urlopen(request, timeout=90) as reply:  # noqa: S310 (http)
                    text = reply.read()
                    return json.loads(text) if text else None
            except urllib.error.HTTPError as exc:
                if exc.code < 500 or attempt == 4:
                    raise RuntimeError(f"{method} {path}: {exc.code} {exc.read()!r}") from exc
            time.sleep(2)
        return None

    def is_healthy(self) -> bool:
        """Return whether all components say that they live."""
        for name, process in self._processes.items():
            if process.poll() is not None:
                log = self.log_of(name).read_text(errors="replace")
                raise RuntimeError(f"{name} ended: {log[-2000:]}")
        try:
            health = self.api("GET", "/monitor/health")
        except OSError:
            return False
        return all(part.get("status") == "healthy" for part in health.values())


@contextmanager
def airflow(folder: Path, dags: Path, **environ: str) -> Iterator[Stack]:
    """Make a database, start every component, and stop what was started at the end."""
    stack = Stack(folder, dags, **environ)
    stack.command("db", "migrate")
    try:
        for component in COMPONENTS:
            stack.start(component)
        until(stack.is_healthy, HEALTHY_WITHIN_S, "a healthy Airflow")
        yield stack
    finally:
        stack.stop_all()


def until(look: Callable[[], _T], within_s: float, what: str, look_s: float = 1.0) -> _T:
    """Return what a look finds as soon as it finds something."""
    end_s = time.monotonic() + within_s
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > end_s:
            raise TimeoutError(f"{what}: not within {within_s:g} s")
        time.sleep(look_s)


@contextmanager
def bounded(within_s: float) -> Iterator[None]:
    """End what is inside in good order when it takes too long, and on SIGTERM too.

    Raises:
        TimeoutError: It took too long.
    """

    def too_long(number: int, frame: object) -> None:
        raise TimeoutError(f"not done within {within_s:g} s")

    def asked(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGALRM, too_long), signal.signal(signal.SIGTERM, asked)
    signal.setitimer(signal.ITIMER_REAL, within_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before[0])
        signal.signal(signal.SIGTERM, before[1])


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def free_port() -> int:
    """Return a port of this machine's loopback address that nobody listens on."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return int(bound.getsockname()[1])


def _settings(folder: Path, dags: Path, port: int) -> dict[str, str]:
    key = secrets.token_hex(32)
    return {
        "AIRFLOW_HOME": str(folder),
        "HOME": str(folder),
        "T4_REGISTRY": str(folder / "registry"),
        "T4_CONFIG_FILE": str(folder / "t4.toml"),
        "T4_PRODUCTION_REGISTRY": str(folder / "production"),
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__PARALLELISM": "2",
        "AIRFLOW__CORE__FERNET_KEY": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        "AIRFLOW__CORE__TEST_CONNECTION": "Enabled",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{folder / 'airflow.db'}",
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__API__SECRET_KEY": key,
        "AIRFLOW__API_AUTH__JWT_SECRET": key,
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "10",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
    }
