"""What `import t4_ops` costs: an orchestrator pays it for every file it parses."""

import json
import subprocess
import sys

import pytest

import t4_ops

HEAVY = {
    "airflow",
    "anycrc",
    "boto3",
    "botocore",
    "fastapi",
    "numpy",
    "obstore",
    "openlineage",
    "pandas",
    "prefect",
    "pyarrow",
    "rich",
}

MEASURE = """
import json, sys, time
before = set(sys.modules)
start = time.perf_counter()
__import__(sys.argv[1])
exec(sys.argv[2])
seconds = time.perf_counter() - start
print(json.dumps({"modules": sorted(set(sys.modules) - before), "ms": seconds * 1000}))
"""


def import_alone(module: str, use: str = "") -> tuple[set[str], float]:
    """Import a module in a fresh interpreter; return the modules it loaded and milliseconds.

    Args:
        module: The module.
        use: A statement to run afterwards.
    """
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", MEASURE, module, use],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    return set(found["modules"]), found["ms"]


def test_import_loads_nothing_but_names() -> None:
    loaded, ms = import_alone("t4_ops")
    print(f"\nimport t4_ops: {ms:.0f} ms, {len(loaded)} modules")
    assert {name for name in loaded if name.startswith("t4_ops")} == {"t4_ops"}
    assert not {"typing", "dataclasses", "msgspec"} & loaded


def test_each_public_name_is_there_when_it_is_asked_for() -> None:
    names = t4_ops.__all__
    assert set(names) <= set(dir(t4_ops))
    for name in names:
        assert getattr(t4_ops, name).__name__ == name
    assert t4_ops.operations.resolve is t4_ops.resolve
    with pytest.raises(AttributeError, match="has no attribute 'Pakcage'"):
        _ = t4_ops.Pakcage
    loaded, _ = import_alone("t4_ops", "from t4_ops import *; Package, resolve")
    assert {"t4_ops.package", "t4_ops.operations"} <= loaded


def test_the_steps_are_loaded_when_one_is_asked_for() -> None:
    loaded, _ = import_alone("t4_ops.operations")
    assert {name for name in loaded if name.startswith("t4_ops")} == {"t4_ops", "t4_ops.operations"}
    from t4_ops import operations

    assert set(operations.__all__) <= set(dir(operations))
    for name in operations.__all__:
        # No module of the same name is taken for it.
        assert type(getattr(operations, name)) is not type(operations)
    with pytest.raises(AttributeError, match="has no attribute 'biuld'"):
        _ = operations.biuld


def test_the_library_itself_loads_nothing_heavy() -> None:
    loaded, ms = import_alone("t4_ops.operations", "from t4_ops.operations import *")
    boto_loaded, boto_ms = import_alone("boto3")
    assert "t4_ops.package.publishing" in loaded
    print(
        f"\nimport t4_ops.operations: {ms:.0f} ms, {len(loaded)} modules;"
        f" import boto3: {boto_ms:.0f} ms, {len(boto_loaded)} modules"
    )
    assert "t4_ops.errors" in loaded
    assert {name.partition(".")[0] for name in loaded} & HEAVY == set()


def test_the_measure_sees_a_heavy_library() -> None:
    loaded, _ = import_alone("boto3")
    assert {"boto3", "botocore"} <= loaded & HEAVY


@pytest.mark.parametrize("module", ["t4_ops.airflow.provider"])
def test_what_airflow_asks_every_process_to_load_is_light(module: str) -> None:
    loaded, _ = import_alone(module)
    assert {name.partition(".")[0] for name in loaded} & HEAVY == set()
