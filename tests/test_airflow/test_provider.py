"""What Airflow learns of the package when it starts, and what importing the operators costs."""

import importlib
import json
import subprocess
import sys
import tomllib
from importlib.resources import files
from pathlib import Path

import jsonschema

from t4_ops.airflow.provider import get_provider_info

ROOT = Path(__file__).resolve().parents[2]
HEAVY = {"boto3", "botocore", "fastapi", "obstore", "openlineage", "pandas", "pyarrow"}

# In a process that has what every DAG file imports anyway.
MEASURE = """
import json, sys, time
from airflow.sdk import DAG, BaseOperator, Param, XComArg, conf, task
from airflow.sdk.exceptions import AirflowFailException
before = set(sys.modules)
start = time.process_time()
import t4_ops.airflow.operators
ms = (time.process_time() - start) * 1000
print(json.dumps({"new": sorted(set(sys.modules) - before), "all": sorted(sys.modules), "ms": ms}))
"""


def test_the_info_fits_airflows_schema() -> None:
    schema = json.loads(files("airflow").joinpath("provider_info.schema.json").read_text())
    info = get_provider_info()
    jsonschema.validate(info, schema)
    assert info["package-name"] == "t4-ops"
    # The schema tolerates unknown keys, and Airflow passes over them silently.
    assert set(info) <= set(schema["properties"])


def test_the_modules_it_names_hold_operators() -> None:
    from airflow.sdk import BaseOperator

    (entry,) = get_provider_info()["operators"]
    for name in entry["python-modules"]:
        members = vars(importlib.import_module(name)).values()
        classes = {value for value in members if isinstance(value, type)} - {BaseOperator}
        assert any(issubclass(value, BaseOperator) for value in classes)


def test_the_entry_point_leads_to_it() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (target,) = project["entry-points"]["apache_airflow_provider"].values()
    module, _, function = target.partition(":")
    assert getattr(importlib.import_module(module), function) is get_provider_info


def test_importing_the_operators_loads_nothing_heavy() -> None:
    done = subprocess.run(
        [sys.executable, "-c", MEASURE],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    print(f"\nimport t4_ops.airflow.operators: {found['ms']:.0f} ms, {len(found['new'])} modules")
    assert "t4_ops.airflow.operators" in found["new"]
    assert {name.partition(".")[0] for name in found["all"]} & HEAVY == set()
