"""What the tasks add to a process that has Prefect."""

import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median

# Prefect is imported once, which takes seconds; each fork then imports the tasks anew.
MEASURE = """
import json, os, sys, time
start = time.process_time()
from prefect import flow, task
import prefect.context
print((time.process_time() - start) * 1000)
sys.stdout.flush()
for number in range(16):
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        before = set(sys.modules)
        start = time.process_time()
        import t4_ops.prefect.tasks
        ms = (time.process_time() - start) * 1000
        told = {"modules": sorted(set(sys.modules) - before), "ms": ms}
        os.write(writer, json.dumps(told).encode())
        os._exit(0)
    os.close(writer)
    with open(reader) as pipe:
        print(pipe.read(), flush=True)
    os.waitpid(child, 0)
"""
# Beside the face itself: the vocabulary, and the settings. What a step does is loaded by the step.
ROOMS = {
    *("t4_ops", "t4_ops.errors", "t4_ops.keys", "t4_ops.operations", "t4_ops.prefect"),
    "t4_ops.settings",
}
# Less than 50 ms is promised, and measured at rest. Where much else runs CPU time swells; the rooms
# above are what keeps it small. The library as a whole took 260 ms.
MAX_MS = 250.0


OUTSIDE = """
import sys
from t4_ops.prefect import artifacts, events, tasks
from t4_ops.prefect.package_task import package_task

folder, registry = sys.argv[1:]
built = tasks.build_package.fn("team/raw", folder, registry=registry)
pushed = tasks.push_package.fn(built, registry=registry)
installed = tasks.install_package.fn(pushed, dest=folder + "-copy")
tasks.verify_package.fn(installed)
tasks.promote_package.fn(pushed, name="team/other")
copied = package_task("team/copy", registry=registry, install="raw")(lambda raw: raw)
artifacts.show_lineage(copied.fn(pushed))
events.announce(events.told(events.PUSHED, pushed.to_dict()))
events.package_trigger("team/raw", registry)
tasks.delete_revision.fn(pushed)
# Whatever starts a server imports it first.
assert "prefect.server.api.server" not in sys.modules
print("none")
"""


def test_outside_of_a_run_no_server_is_started(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "a.txt").write_text("1")
    done = subprocess.run(
        [sys.executable, "-c", OUTSIDE, str(tmp_path / "files"), str(tmp_path / "registry")],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.stdout == "none\n", done.stderr


def test_the_tasks_load_names_only_and_fast() -> None:
    environ = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(
        [sys.executable, "-W", "error:::t4_ops", "-c", MEASURE],
        env=environ,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    # The first of the forks writes the bytecode.
    prefect_ms, _, *found = [json.loads(line) for line in done.stdout.splitlines()]
    modules, ms = found[0]["modules"], median(one["ms"] for one in found)
    print(f"\n{ms:.0f} ms and {len(modules)} modules, beside Prefect's own {prefect_ms:.0f} ms")
    assert "t4_ops.prefect.tasks" in modules
    assert {".".join(name.split(".")[:2]) for name in modules} <= ROOMS
    assert min(one["ms"] for one in found) < MAX_MS
