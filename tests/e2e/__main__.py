"""`make e2e-airflow`: what only a real Airflow can show, in one go, without an account."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import t4_ops as t4
from t4_ops import lineage
from tests.e2e.client import RUN_WITHIN_S, Client
from tests.e2e.stack import Stack, airflow, until
from tests.e2e.steps import parser_of, run_steps

ROOT: Final = Path(__file__).resolve().parents[2]
SHIPPED: Final = ROOT / "tests" / "e2e" / "shipped.py"
KNOWN_DAGS: Final = 6
PAGE_S: Final = 8.0
STEPS: Final = [
    "connections",
    "pipeline",
    "backfill",
    "sensor",
    "kill",
    "mark_failed",
    "bundle",
    "watcher",
]
STOPS_WITHIN_S: Final = 6.0  # Airflow ends a task for good after five; it is looked at each second
# A build is killed in its middle, so it must last longer than Airflow takes to notice. With SHA-NI
# a processor hashes 1.8 GB/s, without it a fifth or less. With reading, 10 s to 25 s.
WORK_S: Final = 7.5
LARGE_FILE_BYTES: Final = 16 * 1024 * 1024


class Scenario(Client):
    """The steps, each of which raises if it is not so."""

    def __init__(self, stack: Stack) -> None:
        super().__init__(stack)
        self.registry = stack.environ["T4_REGISTRY"]

    def push(self, name: str, text: str) -> str:
        """Push as anybody outside Airflow does."""
        package = t4.Package().set_text("a.txt", text)
        return package.push(name, self.registry, force=True).top_hash

    # The steps.

    def connections(self) -> None:
        """By URI in the environment, and by form; both are tested by Airflow."""
        form = {"connection_id": "by_form", "conn_type": "t4", "host": self.registry}
        self.stack.api("POST", "/connections", form)
        test = self.stack.api("POST", "/connections/test", form)
        assert test["status"] is True, test
        wrong = {**form, "connection_id": "wrong", "extra": '{"regoin": "x"}'}
        test = self.stack.api("POST", "/connections/test", wrong)
        assert test["status"] is False, test
        assert "regoin" in test["message"], test
        out = self.stack.command("connections", "test", "by_uri")
        assert "success" in out, out

    def pipeline(self) -> None:
        """Four operators; their push starts another DAG, exactly once."""
        self.unpause("t4_on_push", "t4_etl")
        until(lambda: self.runs("t4_etl"), RUN_WITHIN_S, "the scheduled run")
        run = self.ended("t4_etl")
        pushed = self.xcom("t4_etl", run["dag_run_id"], "push")
        assert self.xcom("t4_etl", run["dag_run_id"], "push", "top_hash") == pushed["top_hash"]
        (event,) = self.events("shop/orders")
        assert event["extra"]["top_hash"] == pushed["top_hash"]
        consumer = self.ended("t4_on_push")
        assert consumer["run_type"] == "asset_triggered"
        pinned = self.xcom("t4_on_push", consumer["dag_run_id"], "pin")
        assert pinned["top_hash"] == pushed["top_hash"]
        self.openlineage(pushed)

    def openlineage(self, pushed: dict[str, Any]) -> None:
        """Airflow's own OpenLineage events name the revision as its dataset and version."""
        log = self.stack.folder / "openlineage.jsonl"
        if not log.exists():
            print(
                "   (Airflow's OpenLineage provider is not installed: its events are not looked at)"
            )
            return
        events = [json.loads(line) for line in log.read_text().splitlines()]
        versions = {
            dataset["facets"]["version"]["datasetVersion"]
            for event in events
            if event["job"]["name"] == "t4_etl.push" and event["eventType"] == "COMPLETE"
            for dataset in event["outputs"]
        }
        assert versions == {pushed["top_hash"]}, versions

    def mark_failed(self) -> None:
        """A task that a user fails stops within five seconds, and leaves nothing half-written."""
        t4.delete_package("e2e/slow", self.registry)
        run_id = self.trigger("e2e_slow")

        def is_hashing() -> bool:
            ti = self.tasks("e2e_slow", run_id)["build"]
            return bool(ti["state"] == "running" and ti["pid"])

        until(is_hashing, RUN_WITHIN_S, "a running task")
        pid = self.tasks("e2e_slow", run_id)["build"]["pid"]
        time.sleep(3)  # until it is in the middle of its work
        path = f"/dags/e2e_slow/dagRuns/{run_id}/taskInstances/build"
        self.stack.api("PATCH", f"{path}?update_mask=new_state", {"new_state": "failed"})
        until(lambda: not Path(f"/proc/{pid}").exists(), 60, "the end of the process")
        ended = datetime.now(UTC)
        log = self.stack.api("GET", f"{path}/logs/1?full_content=true")["content"]
        (killed,) = (line for line in log if line["event"].startswith("Killed: finishing"))
        took_s = (ended - datetime.fromisoformat(killed["timestamp"])).total_seconds()
        assert took_s < STOPS_WITHIN_S, took_s
        assert "e2e/slow" not in t4.list_packages(self.registry)
        leftovers = [name for name in Path(self.registry).rglob("*.tmp*") if name.is_file()]
        assert leftovers == [], leftovers

    def bundle(self) -> None:
        """A run ends with the code it began with, though a newer one was shipped meanwhile."""
        first = self.ship(1)
        until(lambda: self.stack.api("GET", "/dags")["total_entries"] > KNOWN_DAGS, 240, "its DAG")
        self.unpause("e2e_shipped")
        run_id = self.trigger("e2e_shipped")
        go = self.stack.folder / "go"

        def is_waiting() -> bool:
            return bool(self.tasks("e2e_shipped", run_id)["wait"]["state"] == "running")

        until(is_waiting, RUN_WITHIN_S, "a task in the middle of its run")
        second = self.ship(2)

        def newest() -> Any:
            path = "/dags/e2e_shipped/dagVersions?order_by=-version_number"
            versions = self.stack.api("GET", path)["dag_versions"]
            return [v for v in versions if v["bundle_version"] == second]

        until(newest, RUN_WITHIN_S, "the newer code")
        go.touch()
        self.ended("e2e_shipped", run_id)
        assert self.xcom("e2e_shipped", run_id, "tell") == 1
        again = self.trigger("e2e_shipped")
        self.ended("e2e_shipped", again)
        assert self.xcom("e2e_shipped", again, "tell") == 2
        pinned = {run["dag_run_id"]: run["bundle_version"] for run in self.runs("e2e_shipped")}
        assert pinned == {run_id: first, again: second}, pinned

    def ship(self, version: int) -> str:
        code = SHIPPED.read_text().replace("VERSION = 0", f"VERSION = {version}")
        package = t4.Package().set_text("dags/e2e_shipped.py", code)
        return package.push("e2e/dags", self.registry, force=True).top_hash

    def watcher(self) -> None:
        """A push from outside starts a DAG once; a triggerer that was away misses nothing."""
        self.unpause("e2e_watch")
        time.sleep(30)  # until the DAG processor and the triggerer know that it is to be watched
        first = self.push("e2e/watched", "first")
        run = self.ended("e2e_watch")
        assert self.xcom("e2e_watch", run["dag_run_id"], "pin")["top_hash"] == first
        time.sleep(8)  # until the watermark is kept
        self.stack.stop("triggerer")
        second = self.push("e2e/watched", "second")
        self.stack.start("triggerer")
        until(lambda: len(self.runs("e2e_watch")) > 1, RUN_WITHIN_S, "the run after a restart")
        time.sleep(10)
        told = [event["extra"]["payload"]["top_hash"] for event in self.events("e2e/watched")]
        assert sorted(told) == sorted([first, second]), told
        assert len(self.runs("e2e_watch")) == 2

    def backfill(self) -> None:
        """A backfill makes a revision for each of its days, and each can be had."""
        self.unpause("e2e_days")
        days = ["2026-01-01", "2026-01-02", "2026-01-03"]
        runs = self.backfilled("e2e_days", days[0], days[-1])
        made = {run["logical_date"][:10]: run for run in runs}
        assert sorted(made) == days, sorted(made)
        told = {event["source_run_id"]: event for event in self.events_of("e2e_days")}
        for day, run in made.items():
            assert run["state"] == "success", run
            pushed = self.xcom("e2e_days", run["dag_run_id"], "day")
            name, top_hash = f"e2e/day-{day}", pushed["top_hash"]
            versions = t4.list_package_versions(name, self.registry)
            assert {listed for _, listed in versions} == {top_hash}, versions
            dest = self.stack.folder / "days" / day
            t4.Package.install(name, self.registry, top_hash, dest=dest)
            assert {path.name: path.read_text() for path in dest.iterdir()} == {"day.bin": day}
            assert told[run["dag_run_id"]]["extra"]["top_hash"] == top_hash
            (recorded,) = lineage.runs_of(pushed)
            assert str(recorded.run.nominal_time).startswith(day), recorded.run

    def sensor(self) -> None:
        """A deferred sensor wakes."""
        self.unpause("e2e_wait")
        run_id = self.trigger("e2e_wait")

        def is_deferred() -> bool:
            return bool(self.tasks("e2e_wait", run_id)["wait"]["state"] == "deferred")

        until(is_deferred, RUN_WITHIN_S, "a deferred sensor")
        wanted = self.push("e2e/wanted", "here")
        self.ended("e2e_wait", run_id)
        assert self.xcom("e2e_wait", run_id, "wait", "top_hash") == wanted

    def kill(self) -> None:
        """A task is killed in the middle of its work, and its retry finishes."""
        self.unpause("e2e_slow")
        run_id = self.trigger("e2e_slow")

        def pid() -> int | None:
            ti = self.tasks("e2e_slow", run_id)["build"]
            return ti["pid"] if ti["state"] == "running" and ti["try_number"] == 1 else None

        found = until(pid, RUN_WITHIN_S, "a running task")
        assert found is not None
        os.kill(found, signal.SIGKILL)
        assert "e2e/slow" not in t4.list_packages(self.registry)
        self.ended("e2e_slow", run_id)
        ti = self.tasks("e2e_slow", run_id)["build"]
        assert ti["try_number"] == 2, ti["try_number"]
        built = self.xcom("e2e_slow", run_id, "build")
        assert built["files"] == len(os.listdir(self.stack.environ["E2E_LARGE"]))
        assert t4.resolve("e2e/slow", self.registry).top_hash == built["top_hash"]


def pictures(scenario: Scenario, folder: Path) -> None:
    """Take pictures of the UI, for the documentation and for whoever looks at them."""
    from benchmarks.browser import browser

    run = scenario.ended("t4_etl")["dag_run_id"]
    pages = {
        "airflow-run": f"/dags/t4_etl/runs/{run}",
        "airflow-log": f"/dags/t4_etl/runs/{run}/tasks/push",
        "airflow-xcom": f"/dags/t4_etl/runs/{run}/tasks/push/xcom",
        "airflow-assets": "/assets",
        "airflow-connections": "/connections",
    }
    with browser(1400, 900) as page:
        for name, path in pages.items():
            page.visit(f"http://127.0.0.1:{scenario.stack.port}{path}")
            time.sleep(PAGE_S)  # the UI goes on asking the API after it is drawn
            (folder / f"{name}.png").write_bytes(page.screenshot())


def fill(folder: Path) -> None:
    """Make files that take this machine some seconds to hash, and no room on its disk."""
    data, took_s = bytes(LARGE_FILE_BYTES), []
    for _ in range(3):
        start_s = time.perf_counter()
        hashlib.sha256(data)
        took_s.append(time.perf_counter() - start_s)
    folder.mkdir()
    for number in range(int(WORK_S * (os.cpu_count() or 1) / min(took_s))):
        with (folder / f"{number}.bin").open("wb") as file:
            file.truncate(LARGE_FILE_BYTES)


def main() -> None:
    """Run every step; the first that fails ends it, with the logs kept."""
    parser = parser_of(__doc__, STEPS)
    parser.add_argument("--pictures", type=Path, help="folder for pictures of the UI")
    asked = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="t4-e2e-"))
    dags, large = folder / "dags", folder / "large"
    shutil.copytree(ROOT / "tests" / "e2e" / "dags", dags)
    for name in ("t4_etl", "t4_on_push"):
        shutil.copy(ROOT / "dags" / f"{name}.py", dags)
    fill(large)
    transport = {"type": "file", "log_file_path": str(folder / "openlineage.jsonl"), "append": True}
    shipped = {"package": "e2e/dags", "t4_conn_id": "by_uri", "subdir": "dags"}
    bundles = [
        {
            "name": "dags-folder",
            "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle",
            "kwargs": {},
        },
        {
            "name": "shipped",
            "classpath": "t4_ops.airflow.bundle.T4DagBundle",
            "kwargs": {**shipped, "refresh_interval": 10},
        },
    ]
    environ = {
        "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": json.dumps(bundles),
        "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_STORAGE_PATH": str(folder / "bundles"),
        "E2E_GO": str(folder / "go"),
        "AIRFLOW_CONN_BY_URI": f"t4://{folder}/registry",
        "AIRFLOW__OPENLINEAGE__TRANSPORT": json.dumps(transport),
        "E2E_LARGE": str(large),
    }
    start_s = time.monotonic()
    print(f"Airflow in {folder}", flush=True)
    with airflow(folder, dags, **environ) as stack:
        scenario = Scenario(stack)
        known = lambda: stack.api("GET", "/dags")["total_entries"] >= KNOWN_DAGS  # noqa: E731
        until(known, RUN_WITHIN_S, "the DAGs")
        run_steps(scenario, asked.steps or STEPS, start_s)
        if asked.pictures:
            pictures(scenario, asked.pictures)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
