"""What `import t4_ops` costs: an orchestrator pays it for every file it parses."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from typing import Final

from benchmarks.contenders import ROOT, Bench, clean_environ
from benchmarks.figures import OURS, Figure

BARE: Final = "bare"
IN_AIRFLOW: Final = "import-in-airflow 1"
ALONE: Final = "import 1"
# The import names what the library has; the first name that is used loads it.
FIRST_USE: Final = "first-use 1"
_TIMEOUT_S: Final = 120
_ROUNDS: Final = 15

# Prints the import's own seconds in a process that holds Airflow's SDK, which DAG files import.
# Airflow itself may load the providers it finds, us among them: a stand-in for our provider keeps
# the library and what only it needs out until the clock runs.
_INSIDE: Final = """
import json, sys, time, types
names = ("t4_ops", "t4_ops.airflow", "t4_ops.airflow.provider")
for name in names:
    sys.modules[name] = types.ModuleType(name)
sys.modules[names[-1]].get_provider_info = lambda: {
    "package-name": "t4-ops", "name": "t4_ops", "description": "a stand-in"
}
import airflow.sdk
for name in names:
    del sys.modules[name]
assert not [name for name in sys.modules if name.startswith("t4_ops")]
start_s, cpu_s = time.perf_counter(), time.process_time()
import t4_ops
took = [time.perf_counter() - start_s, time.process_time() - cpu_s]
assert t4_ops.Package
print(json.dumps(took))
"""


def measure(bench: Bench) -> None:
    """Start interpreters in turn: bare, with `import t4_ops`, its first use, and after Airflow's.

    Processes are compared whole. The first of each kind compiles, and isn't counted.
    """
    rounds = max(_ROUNDS, bench.limits.rounds) if bench.limits.rounds > 1 else 1
    for number in range(-1, rounds):
        bare, ours = _whole("pass", number), _whole("import t4_ops", number)
        used = _whole("import t4_ops; t4_ops.Package", number)
        inside = _inside(bench, number)
        if number >= 0:
            bench.note(ALONE, BARE, bare)
            bench.note(ALONE, OURS, ours)
            bench.note(FIRST_USE, BARE, bare)
            bench.note(FIRST_USE, OURS, used)
            bench.note(IN_AIRFLOW, OURS, inside)


def _whole(code: str, number: int) -> Figure:
    before, start_s = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=clean_environ(), check=True, timeout=_TIMEOUT_S
    )
    wall_s = time.perf_counter() - start_s
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Figure(wall_s, cpu_s, round=number)


def _inside(bench: Bench, number: int) -> Figure:
    environ = {**bench.environ("home"), "AIRFLOW_HOME": str(bench.folder / "airflow")}
    done = subprocess.run(
        [sys.executable, "-c", _INSIDE],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=_TIMEOUT_S,
    )
    if done.returncode:
        raise SystemExit(f"the import beside Airflow failed:\n{done.stderr[-3000:]}")
    wall_s, cpu_s = json.loads(done.stdout.splitlines()[-1])
    return Figure(wall_s, cpu_s, round=number)
