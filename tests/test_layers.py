"""The floors: which room of `t4_ops` may import which, and where heavy libraries may appear.

Every import counts: at the top, inside a function, under `TYPE_CHECKING`, by `import_module`.
"""

import ast
import importlib
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]
OURS = "t4_ops"
# Their names are loaded when they are first asked for; what they are is told to type checkers.
LAZY = (OURS, "t4_ops.operations")

# From the lowest floor up. A room is a module or a package directly below t4_ops; `t4_ops` itself
# stands for t4_ops/__init__.py, the public names.
FLOORS: tuple[tuple[str, ...], ...] = (
    ("errors", "keys", "checksums"),
    ("manifest", "columns", "settings"),
    ("storage",),
    ("transfer", "registry", "formats", "ledger"),
    ("package", "bucket"),
    ("operations", "lineage"),
    (OURS,),
    ("airflow", "prefect", "cli", "catalog", "examples"),
)
FLOOR_OF = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}

# The only rooms of one floor that know each other.
NEIGHBOURS = {("keys", "errors"), ("checksums", "errors"), ("columns", "manifest")}

VOCABULARY = {"errors", "keys", "checksums"}
BELOW_LIBRARY = {room for room, floor in FLOOR_OF.items() if floor < FLOOR_OF["package"]}
BELOW_STEPS = {room for room, floor in FLOOR_OF.items() if floor < FLOOR_OF["operations"]}
BELOW_PUBLIC = {room for room, floor in FLOOR_OF.items() if floor < FLOOR_OF[OURS]}
# A face translates: public names, steps, and the words they speak.
FACE = {OURS, "operations", "lineage", "settings", "errors", "keys"}

MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "keys": {"errors"},
    "checksums": {"errors"},
    "manifest": VOCABULARY,
    "columns": VOCABULARY | {"manifest"},
    "settings": {"errors", "keys"},
    "storage": VOCABULARY | {"settings"},
    "transfer": VOCABULARY | {"settings", "manifest", "storage"},
    "registry": VOCABULARY | {"settings", "manifest", "storage"},
    "formats": {"errors", "keys", "settings"},
    "ledger": VOCABULARY | {"settings", "storage"},
    "package": BELOW_LIBRARY,
    "bucket": BELOW_LIBRARY - {"ledger", "registry"},
    "operations": BELOW_STEPS,
    "lineage": BELOW_LIBRARY - {"formats", "columns"},
    OURS: BELOW_PUBLIC,
    "airflow": FACE,
    "prefect": FACE,
    "cli": FACE,
    "catalog": FACE,
    "examples": {"errors"},  # the users' side of the example pipelines: data in, data out
}

# Heavy library -> where it may be imported at all (paths below t4_ops, by prefix).
LEAVES: dict[str, tuple[str, ...]] = {
    "airflow": ("airflow/",),
    "anycrc": ("checksums",),
    "boto3": ("storage/_s3_boto",),
    "botocore": ("storage/_s3_boto",),
    "fastapi": ("catalog",),
    "msgspec": (
        "checksums",
        "manifest",
        "storage/_s3_boto_models",
        "storage/base",
        "storage/scan",
        "storage/tree",
    ),
    "numpy": ("columns", "formats", "manifest/lines"),
    "obstore": ("storage/_s3_obstore",),
    "openlineage": ("ledger", "airflow/"),
    "pandas": ("columns", "formats", "examples"),
    "prefect": ("prefect/",),
    "pyarrow": ("columns", "formats"),
    "rich": ("transfer", "lineage", "cli"),
    "typer": ("cli",),
}

FILES = sorted((ROOT / OURS).rglob("*.py"))


class Import(NamedTuple):
    """One imported module, and the line that names it; `name` is empty where no one can tell."""

    line: int
    name: str


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path) for path in FILES}


def imports_of(tree: ast.AST) -> Iterator[Import]:
    """Yield what a file imports; `from t4_ops import keys` imports the module `t4_ops.keys`."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                for alias in names:
                    yield Import(node.lineno, alias.name)
            case ast.ImportFrom(level=0, module=str(module), names=names):
                for alias in names:
                    full = f"{module}.{alias.name}"
                    yield Import(node.lineno, full if full in MODULES else module)
            case ast.ImportFrom():
                yield Import(node.lineno, "." * node.level + (node.module or ""))
            case (
                ast.Call(func=ast.Name(id="import_module" | "__import__"))
                | ast.Call(func=ast.Attribute(attr="import_module"))
            ):
                match node.args:
                    case [ast.Constant(value=str(module)), *_]:
                        yield Import(node.lineno, module)
                    case _:
                        yield Import(node.lineno, "")


def room_of(module: str) -> str:
    return module.split(".")[1] if "." in module else OURS


def problems(module: str, source: str) -> list[str]:
    """Say what a file of `t4_ops` imports against the rules."""
    room = room_of(module)
    if room not in MAY_IMPORT:
        return [f"{room!r} is no room of the table: give it a floor, and a reason"]
    found = []
    place = "/".join(module.split(".")[1:])
    for line, name in imports_of(ast.parse(source)):
        top = name.partition(".")[0]
        if not name:
            if module not in LAZY:
                found.append(f"{line}: imports by a computed name")
        elif name.startswith("."):
            found.append(f"{line}: relative import of {name}")
        elif top == OURS:
            other = room_of(name)
            if other != room and other not in MAY_IMPORT[room]:
                found.append(f"{line}: {room} (floor {FLOOR_OF[room]}) imports {name}")
            elif other != room and any(part.startswith("_") for part in name.split(".")[2:]):
                found.append(f"{line}: {name} is private to {other}")
        elif top in LEAVES and not f"{place}/".startswith(LEAVES[top]):
            found.append(f"{line}: {top} belongs in {', '.join(LEAVES[top])}")
    return found


def test_the_table_names_every_room_once() -> None:
    assert set(MAY_IMPORT) == set(FLOOR_OF)
    assert len(FLOOR_OF) == sum(len(rooms) for rooms in FLOORS)


def test_the_table_only_looks_down() -> None:
    upward = {
        (room, other)
        for room, others in MAY_IMPORT.items()
        for other in others
        if FLOOR_OF[other] >= FLOOR_OF[room]
    }
    assert upward <= NEIGHBOURS


def test_the_table_has_no_cycle() -> None:
    order = list(TopologicalSorter(MAY_IMPORT).static_order())
    assert set(order) == set(MAY_IMPORT)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_file_imports_only_what_its_room_may(path: Path) -> None:
    assert problems(module_name(path), path.read_text("utf-8")) == []


@pytest.mark.parametrize("module", LAZY)
def test_what_is_loaded_when_it_is_asked_for_is_imported_for_type_checkers(module: str) -> None:
    (path,) = (path for path in FILES if module_name(path) == module)
    imported = {
        (alias.name, node.module)
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    homes = vars(importlib.import_module(module))["_HOMES"]
    assert set(homes.items()) <= imported
    assert set(importlib.import_module(module).__all__) <= {"__version__", *homes}


def test_files_import_each_other_without_a_cycle() -> None:
    graph = {
        module_name(path): {
            name
            for _, name in imports_of(ast.parse(path.read_text("utf-8")))
            if name in MODULES and name != module_name(path)
        }
        for path in FILES
    }
    assert set(TopologicalSorter(graph).static_order()) == MODULES


@pytest.mark.parametrize(
    ("module", "source", "told"),
    [
        ("keys.names", "import t4_ops.storage", "imports t4_ops.storage"),
        ("keys.names", "from t4_ops import errors, registry", "floor 0"),
        ("errors", "import t4_ops", "imports t4_ops"),
        ("errors", "def f():\n    from t4_ops.keys import x", "2: errors"),
        ("errors", "if TYPE_CHECKING:\n    from t4_ops.keys import x", "2: errors"),
        ("errors", "import importlib\nimportlib.import_module('t4_ops.keys')", "2: errors"),
        ("manifest", "from importlib import import_module\nimport_module(name)", "computed name"),
        ("storage.base", "from .x import y", "relative import of .x"),
        ("storage.base", "from . import y", "relative import of ."),
        ("registry", "from t4_ops.storage._files import flush", "private to storage"),
        ("registry", "from t4_ops.transfer import plan", "imports t4_ops.transfer"),
        ("storage.base", "def f():\n    import botocore.session", "botocore belongs in"),
        ("storage.base", "def f():\n    import boto3.session", "boto3 belongs in"),
        ("package.entry", "from pandas import DataFrame", "pandas belongs in"),
        ("airflow.operators", "import prefect", "prefect belongs in"),
        ("airflow.operators", "from t4_ops.transfer import run_all", "floor 7"),
        ("helpers", "", "no room of the table"),
    ],
)
def test_a_broken_rule_is_told(module: str, source: str, told: str) -> None:
    (problem,) = problems(f"{OURS}.{module}", source)
    assert told in problem


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("storage._s3_boto", "import boto3\nfrom botocore.session import Session"),
        ("storage.base", "from t4_ops.storage._files import flush"),
        ("airflow.operators", "import t4_ops\nfrom airflow.sdk import BaseOperator"),
        ("formats.tables", "def f():\n    import pyarrow.parquet"),
    ],
)
def test_what_is_allowed_passes(module: str, source: str) -> None:
    assert problems(f"{OURS}.{module}", source) == []
