"""`make e2e-celery`: two workers of Celery that share nothing but buckets.

Redis, PostgreSQL and an S3 server are started, and two machines: namespaces of Linux, so that each
has a host name, a disk and processes of its own. Who ran what, Airflow's database says.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from demo.seaweedfs import SeaweedFS, seaweedfs
from tests.e2e.client import RUN_WITHIN_S, Client
from tests.e2e.stack import Stack, airflow, bounded, free_port, until
from tests.e2e.steps import parser_of, run_steps, say
from tests.e2e_celery import servers, source
from tests.e2e_celery.machines import COMMON_QUEUE, NAMES, Machines

STEPS: Final = ("apart", "elsewhere", "shards", "power_cut")
BUCKETS: Final = ("raw", "built", "shared")
KNOWN_DAGS: Final = 4
WITHIN_S: Final = 1500.0
LARGE_FILES: Final = 48
LARGE_FILE_BYTES: Final = 8 * 1024 * 1024
DAGS: Final = Path(__file__).parent / "dags"


class Scenario(Client):
    """The steps, each of which raises if it is not so."""

    def __init__(self, stack: Stack, machines: Machines, server: SeaweedFS) -> None:
        super().__init__(stack)
        self.machines, self.server = machines, server
        self.own = stack.folder / "own"

    def run(self, dag_id: str, state: str = "success") -> str:
        """Run a DAG to its end, and return the run's id."""
        self.unpause(dag_id)
        run_id = self.trigger(dag_id)
        self.ended(dag_id, run_id, state)
        return run_id

    def one_process(self, folder: str, message: str) -> str:
        """Return the top hash that a build of a folder in this one process has."""
        from t4_ops.operations import build

        registry = str(self.own / "registry")
        return str(build("own/build", folder, registry=registry, message=message)["top_hash"])

    # The steps.

    def apart(self) -> None:
        """Build, push, install and browse on two machines: the top hash of one process."""
        run_id = self.run("e2e_apart")
        ran = {ti["task_id"]: ti for ti in self.instances("e2e_apart", run_id)}
        expected = dict.fromkeys(("write", "build", "install", "count", "read"), "one")
        expected |= dict.fromkeys(("push", "browse", "names"), "two")
        assert {name: ti["hostname"] for name, ti in ran.items()} == expected
        assert {name: ti["queue"] for name, ti in ran.items()} == expected
        top_hash = self.one_process(source.write(self.own / "source"), "apart")
        for task_id in ("build", "push", "install", "browse"):
            told = self.xcom("e2e_apart", run_id, task_id)
            assert told["top_hash"] == top_hash, (task_id, told, top_hash)
        assert self.xcom("e2e_apart", run_id, "count") == source.FILES
        written = self.own / "source"
        names = sorted(str(path.relative_to(written)) for path in written.rglob("*.bin"))
        assert self.xcom("e2e_apart", run_id, "read") == names
        assert (self.machines.disk("one") / "home" / "installed").is_dir()
        assert not (self.machines.disk("two") / "home" / "installed").exists()

    def elsewhere(self) -> None:
        """A step that is handed the other machine's folder fails at once, and says what to do."""
        run_id = self.run("e2e_elsewhere", "failed")
        ran = self.tasks("e2e_elsewhere", run_id)
        said = {
            "build_there": ["This machine is 'two'", "another worker wrote to its own disk"],
            "push_there": ["on the machine 'one', this is 'two'", "Push to a bucket"],
            "verify_there": ["on the machine 'one', this is 'two'", "Push to a bucket"],
            "rebuild_there": ["on the machine 'one', this is 'two'", "Push to a bucket"],
        }
        for task_id, words in said.items():
            ti = ran[task_id]
            told = (ti["state"], ti["hostname"], ti["try_number"])
            assert told == ("failed", "two", 1), (task_id, told)
            log = self.machines.log("two", "e2e_elsewhere", task_id)
            assert all(word in log for word in words), (task_id, log)
        assert {ran[name]["state"] for name in ran.keys() - said} == {"success"}
        assert self.names_in("built") >= {"e2e/elsewhere"}
        assert not self.names_in("built") & {"e2e/there", "e2e/rebuilt"}

    def names_in(self, bucket: str) -> set[str]:
        import t4_ops as t4

        return set(t4.list_packages(f"s3://{bucket}"))

    def shards(self) -> None:
        """A build in shards runs on both machines: the top hash of one process."""
        from tests.s3_support import client_of

        folder, client = Path(source.write(self.own / "many")), client_of(self.server)
        for path in folder.rglob("*.bin"):
            client.upload_file(str(path), "raw", f"many/{path.relative_to(folder)}")
        run_id = self.run("e2e_shards")
        ran = self.instances("e2e_shards", run_id)
        hashed = [ti["hostname"] for ti in ran if ti["task_id"] == "build.hash"]
        assert set(hashed) == set(NAMES), hashed
        assert {ti["queue"] for ti in ran} == {COMMON_QUEUE}
        told = self.xcom("e2e_shards", run_id, "build.merge")
        assert told["top_hash"] == self.one_process("s3://raw/many/", "shards"), told

    def power_cut(self) -> None:
        """A machine is lost in the middle of a build, and the retry on the other one finishes."""
        for name in NAMES:
            _write_large(self.machines.disk(name) / "home" / "large")
        self.unpause("e2e_power_cut")
        before = self.objects()
        run_id = self.trigger("e2e_power_cut")
        until(lambda: self.objects() > before + 2, RUN_WITHIN_S, "an upload", look_s=0.05)
        lost = str(self.tasks("e2e_power_cut", run_id)["build"]["hostname"])
        self.machines.lose(lost)
        assert "e2e/large" not in self.names_in("built")
        self.ended("e2e_power_cut", run_id)
        path = f"/dags/e2e_power_cut/dagRuns/{run_id}/taskInstances/build/tries"
        tries = self.stack.api("GET", path)["task_instances"]
        (other,) = set(NAMES) - {lost}
        # A busy machine may have lost a try before.
        told = [(ti["hostname"], ti["state"]) for ti in tries][-2:]
        assert told == [(lost, "failed"), (other, "success")], tries
        built = self.xcom("e2e_power_cut", run_id, "build")
        large = _write_large(self.own / "large")
        assert built["top_hash"] == self.one_process(large, "large"), built
        self.machines.start(lost)
        self.machines.wait(lost)

    def objects(self) -> int:
        """Return how many objects a push to the bucket `built` has brought there so far."""
        from tests.s3_support import client_of

        return int(client_of(self.server).list_objects_v2(Bucket="built")["KeyCount"])


def _write_large(folder: Path) -> str:
    folder.mkdir()
    for number in range(LARGE_FILES):
        with (folder / f"{number}.bin").open("wb") as file:
            file.write(f"file {number}".encode())  # each another content: each an object
            file.truncate(LARGE_FILE_BYTES)
    return str(folder)


@contextmanager
def everything(folder: Path) -> Iterator[Scenario]:
    """Start servers, Airflow and machines, and stop them at the end."""
    with ExitStack() as running:
        server = running.enter_context(seaweedfs(folder / "s3"))
        for bucket in BUCKETS:
            server.create_bucket(bucket, versioned=bucket == "shared")
        broker = running.enter_context(servers.redis(folder / "redis", free_port()))
        database = running.enter_context(servers.postgres(free_port()))
        for name in [name for name in os.environ if name.startswith(("AWS_", "T4_", "AIRFLOW"))]:
            del os.environ[name]
        os.environ |= server.environ()
        os.environ["T4_CONFIG_FILE"] = str(folder / "t4.toml")
        (folder / "own").mkdir()
        stack = running.enter_context(airflow(folder, DAGS, **settings(broker, database)))
        machines = Machines(stack)
        for name in NAMES:
            machines.start(name)
        for name in NAMES:
            machines.wait(name)
        yield Scenario(stack, machines, server)


def settings(broker: str, database: str) -> dict[str, str]:
    """Return what makes an Airflow of many machines of the one that `make e2e-airflow` has."""
    return {
        "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
        "AIRFLOW__CORE__PARALLELISM": "8",
        "AIRFLOW__CORE__HOSTNAME_CALLABLE": "socket.gethostname",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"postgresql+psycopg2://{database}",
        "AIRFLOW__CELERY__BROKER_URL": broker,
        "AIRFLOW__CELERY__RESULT_BACKEND": f"db+postgresql://{database}",
        "AIRFLOW__CELERY_BROKER_TRANSPORT_OPTIONS__VISIBILITY_TIMEOUT": "86400",
        # Of two cores, workers and servers may take all for longer than the usual five seconds.
        "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "60",
        # How soon a lost machine is noticed; five minutes unless told otherwise.
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "30",
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "5",
        "T4_REGISTRY": "s3://shared",
    }


def main() -> None:
    """Run every step; the first that fails ends it, with the logs kept."""
    asked = parser_of(__doc__, STEPS).parse_args()
    servers.check()
    folder = Path(tempfile.mkdtemp(prefix="t4-e2e-celery-"))
    start_s = time.monotonic()
    print(f"Airflow in {folder}", flush=True)
    with bounded(WITHIN_S), everything(folder) as scenario:
        known = lambda: scenario.stack.api("GET", "/dags")["total_entries"] >= KNOWN_DAGS  # noqa: E731
        until(known, RUN_WITHIN_S, "the DAGs")
        say("Two workers wait for tasks.", start_s)
        run_steps(scenario, asked.steps or STEPS, start_s)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
