"""A real Prefect: a server, a worker of processes, and the deployments of `prefect.yaml`."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from tests.e2e.stack import until

ROOT: Final = Path(__file__).resolve().parents[2]
POOL: Final = "t4-process"
RUN_WITHIN_S: Final = 240.0
_STOP_S: Final = 30.0
# A command of Prefect's takes some seconds, on a machine that does six other things half a minute.
_COMMAND_S: Final = 120.0
_COMMAND_TRIES: Final = 3
_LOG_CHARS: Final = 4_000
_TRIES: Final = 10
_FOREIGN: Final = ("PREFECT_", "T4_", "AWS_", "OPENLINEAGE_")


class Stack:
    """A running Prefect below a folder, its REST API, and a registry of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.registry = folder, folder / "registry"
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        kept = {k: v for k, v in os.environ.items() if not k.startswith(_FOREIGN)}
        self.environ = kept | {
            "HOME": str(folder),
            "PREFECT_HOME": str(folder / "prefect"),
            # Prefect below 3.8.6 does not move these two with PREFECT_HOME.
            "PREFECT_LOCAL_STORAGE_PATH": str(folder / "prefect" / "storage"),
            "PREFECT_MEMO_STORE_PATH": str(folder / "prefect" / "memo.toml"),
            "PREFECT_API_URL": f"{self.url}/api",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
            # Ten and fifteen seconds else, of which a test waits for half each time.
            "PREFECT_WORKER_QUERY_SECONDS": "2",
            "DO_NOT_TRACK": "1",
            "NO_PROXY": "127.0.0.1,localhost",
            "no_proxy": "127.0.0.1,localhost",
            "T4_REGISTRY": self.registry.as_uri(),
            "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        }

    def command(self, *words: str) -> str:
        """Run Prefect's command line to its end and return what it said.

        Only for commands that may be given twice. A server that has just begun may not answer for
        longer than its client waits (a connection of its worker's was seen to time out after 10 s):
        a command that failed is told, and given again.

        Raises:
            RuntimeError: It failed each time.
        """
        for attempt in range(1, _COMMAND_TRIES):
            try:
                return self.python("-m", "prefect", *words, timeout_s=_COMMAND_S)
            except RuntimeError as exc:
                print(f"   (try {attempt} of {_COMMAND_TRIES}: {exc})", flush=True)
        return self.python("-m", "prefect", *words, timeout_s=_COMMAND_S)

    def python(self, *words: str, timeout_s: float = RUN_WITHIN_S) -> str:
        """Run Python to its end and return what it said.

        Raises:
            RuntimeError: It failed or took too long; the message is what it said.
        """
        try:
            done = subprocess.run(
                [sys.executable, *words],
                cwd=ROOT,
                env=self.environ,
                capture_output=True,
                text=True,
                timeout=timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired as exc:
            said = b"\n".join(filter(None, (exc.stdout, exc.stderr))).decode(errors="replace")
            raise RuntimeError(f"{words} took more than {timeout_s:g} s:\n{said}") from exc
        if done.returncode:
            raise RuntimeError(f"{words} failed:\n{done.stdout}\n{done.stderr}")
        return done.stdout

    @contextmanager
    def background(self, name: str, *words: str) -> Iterator[None]:
        """Run a part of Prefect beside, until the end of the block; if that fails, show its log."""
        path = self.folder / f"{name}.log"
        with path.open("w") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "prefect", *words],
                cwd=ROOT,
                env=self.environ,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
            try:
                yield
            except BaseException:
                print(f"-- {name}:\n{path.read_text(errors='replace')[-_LOG_CHARS:]}")
                raise
            finally:
                process.terminate()
                try:
                    process.wait(_STOP_S)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()

    def ask(self, path: str, body: dict[str, Any] | None = None, tries: int = _TRIES) -> Any:
        """Return what the server answers: to GET, or to POST if there is a body.

        While SQLite is busy the server says 503: that is tried again, and so is a question that it
        was too busy to answer in time.

        Raises:
            RuntimeError: It refuses.
            TimeoutError: It does not answer in time.
            OSError: It is not there.
        """
        data = None if body is None else json.dumps(body).encode()
        is_question = data is None or path.endswith("/filter")
        for attempt in range(tries):
            request = urllib.request.Request(  # noqa: S310 (our own server)
                f"{self.url}/api{path}", data, {"Content-Type": "application/json"}
            )
            try:
                with urllib.request.urlopen(request, timeout=60) as reply:  # noqa: S310
                    text = reply.read()
                    return json.loads(text) if text else None
            except urllib.error.HTTPError as exc:
                if exc.code != 503 or attempt == tries - 1:
                    raise RuntimeError(f"{path}: {exc.code} {exc.read()!r}") from exc
            except TimeoutError:
                if not is_question or attempt > 0 or tries == 1:
                    raise
            time.sleep(1)
        return None

    def is_up(self) -> bool:
        """Return whether the server answers."""
        try:
            return bool(self.ask("/health", tries=1))
        except (OSError, RuntimeError):
            return False

    def start_run(self, deployment: str, parameters: dict[str, Any]) -> str:
        """Start a deployment, `flow/name`, as its button does; return the flow run's id."""
        found = self.ask(f"/deployments/name/{deployment}")
        body = {
            "parameters": parameters,
            "state": {"type": "SCHEDULED"},
            "idempotency_key": str(uuid4()),  # for a second try
        }
        return str(self.ask(f"/deployments/{found['id']}/create_flow_run", body)["id"])

    def runs(self, flow: str) -> list[dict[str, Any]]:
        """Return the runs of a flow, oldest first."""
        body = {"flows": {"name": {"any_": [flow]}}, "sort": "EXPECTED_START_TIME_ASC"}
        found: list[dict[str, Any]] = self.ask("/flow_runs/filter", body)
        return found

    def reached(self, flow: str, state: str) -> dict[str, Any]:
        """Wait until a run of a flow has come to a state, and return that run."""

        def look() -> dict[str, Any] | None:
            runs = self.runs(flow)
            bad = [run for run in runs if run["state_type"] in ("FAILED", "CRASHED")]
            assert not bad, (flow, bad[0]["state"])
            return next((run for run in runs if run["state_type"] == state), None)

        found = until(look, RUN_WITHIN_S, f"a run of {flow} that is {state}")
        assert found is not None
        return found

    def task_runs(self, flow_run_id: str) -> list[dict[str, Any]]:
        """Return the task runs of a flow run."""
        body = {"flow_runs": {"id": {"any_": [flow_run_id]}}}
        found: list[dict[str, Any]] = self.ask("/task_runs/filter", body)
        return found

    def artifacts(self, flow_run_id: str) -> list[dict[str, Any]]:
        """Return what a flow run shows."""
        body = {"artifacts": {"flow_run_id": {"any_": [flow_run_id]}}}
        found: list[dict[str, Any]] = self.ask("/artifacts/filter", body)
        return found

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return the events of a name."""
        told = self.ask("/events/filter", {"filter": {"event": {"name": [name]}}})
        return list(told["events"])


@contextmanager
def prefect(folder: Path) -> Iterator[Stack]:
    """Start a server, deploy, start a worker; what is started is stopped at the end."""
    stack = Stack(folder)
    with ExitStack() as beside:
        server = ("server", "start", "--host", "127.0.0.1", "--port", str(stack.port))
        beside.enter_context(stack.background("server", *server))
        until(stack.is_up, RUN_WITHIN_S, "a server")
        stack.command("work-pool", "create", POOL, "--type", "process", "--overwrite")
        stack.command("block", "register", "-m", "t4_ops.prefect.blocks")
        stack.command("--no-prompt", "deploy", "--all")
        beside.enter_context(stack.background("worker", "worker", "start", "--pool", POOL))
        yield stack


def _free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return int(bound.getsockname()[1])
