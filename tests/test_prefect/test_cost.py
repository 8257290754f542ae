"""What the tasks add to a process that has Prefect."""

import json
import subprocess
import sys

MEASURE = """
import json, sys, time
from prefect import flow, task
import prefect.context
before = set(sys.modules)
start = time.perf_counter()
import t4_ops.prefect.tasks
ms = (time.perf_counter() - start) * 1000
print(json.dumps({"modules": sorted(set(sys.modules) - before), "ms": ms}))
"""
HEAVY = {
    *("airflow", "awscrt", "boto3", "botocore", "numpy", "obstore"),
    *("openlineage", "pandas", "pyarrow"),
}


def test_the_tasks_load_nothing_heavy() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error:::t4_ops", "-c", MEASURE],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    print(f"\nimport t4_ops.prefect.tasks beside Prefect: {found['ms']:.0f} ms")
    assert "t4_ops.prefect.tasks" in found["modules"]
    assert {name.partition(".")[0] for name in found["modules"]} & HEAVY == set()
