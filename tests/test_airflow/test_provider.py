"""What Airflow learns of the package when it starts, and what importing the operators costs."""

import compileall
import dataclasses
import importlib
import json
import subprocess
import sys
import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema

import t4_ops as t4
from t4_ops.airflow.provider import get_provider_info

ROOT = Path(__file__).resolve().parents[2]
# Less than 30 ms is promised, and measured at rest. CPU time swells on a busy machine; the whole
# library took 200 ms.
MOST_MS = 150
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


def test_the_modules_it_names_hold_what_it_says() -> None:
    from airflow.dag_processing.bundles.base import BaseDagBundle
    from airflow.sdk import BaseHook, BaseOperator, BaseSensorOperator
    from airflow.triggers.base import BaseTrigger

    kinds: dict[str, type] = {
        "operators": BaseOperator,
        "sensors": BaseSensorOperator,
        "triggers": BaseTrigger,
        "hooks": BaseHook,
        "bundles": BaseDagBundle,
    }
    for key, base in kinds.items():
        (entry,) = get_provider_info()[key]
        for name in entry["python-modules"]:
            members = vars(importlib.import_module(name)).values()
            ours = [value for value in members if getattr(value, "__module__", "") >= "t4_ops"]
            assert any(isinstance(value, type) and issubclass(value, base) for value in ours)


def load(path: str) -> Any:
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def test_connection_form_links_and_decorator_are_where_it_says() -> None:
    info = get_provider_info()
    (connection,) = info["connection-types"]
    hook = load(connection["hook-class-name"])
    assert hook.conn_type == connection["connection-type"]
    assert hook.hook_name == connection["hook-name"]
    # Every field of the form is one that the hook understands, and secrets are hidden.
    known = {field.name for field in dataclasses.fields(t4.S3Settings)}
    assert set(connection["conn-fields"]) <= known | {"aws_conn_id", "read_only"}
    token = connection["conn-fields"]["session_token"]["schema"]
    assert token["format"] == "password"
    for path in info["extra-links"]:
        assert load(path)().name
    (decorator,) = info["task-decorators"]
    assert callable(load(decorator["class-name"]))


def test_the_entry_point_leads_to_it() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (target,) = project["entry-points"]["apache_airflow_provider"].values()
    assert load(target.replace(":", ".")) is get_provider_info
    (plugin,) = project["entry-points"]["airflow.plugins"].values()
    assert load(plugin.replace(":", ".")).name == "t4_ops"


def test_importing_the_operators_loads_nothing_heavy() -> None:
    # As it is installed: compiled.
    compileall.compile_dir(ROOT / "t4_ops", quiet=1)
    found: Any = {"ms": MOST_MS}
    tries_left = 3
    # CPU time: what others do to the processor's caches at the same time makes it more.
    while found["ms"] >= MOST_MS and tries_left:
        tries_left -= 1
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
        assert "t4_ops.airflow.operators" in found["new"]
        assert {name.partition(".")[0] for name in found["all"]} & HEAVY == set()
    assert found["ms"] < MOST_MS, f"it takes {found['ms']:.0f} ms: {found['new']}"
