"""What the clock of `benchmarks.transfer_work` sees: our work, not the loading of libraries."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.contenders import Bench, Limits
from benchmarks.small_files import make_files
from benchmarks.transfer_work import LIBRARIES, WORK
from demo.seaweedfs import SeaweedFS
from tests.package_support import ROOT

# Loads what comes before the clock, works, and prints what else was loaded meanwhile.
LOADED = """
import json, sys
from importlib import import_module
from benchmarks.transfer_work import LIBRARIES, WORK
case, arguments = sys.argv[1], json.loads(sys.argv[2])
for library in LIBRARIES[case]:
    import_module(library)
work = WORK[case](**arguments)
before = {name.partition(".")[0] for name in sys.modules}
work()
after = {name.partition(".")[0] for name in sys.modules}
print(json.dumps(sorted(after - before - sys.stdlib_module_names)))
"""


def test_libraries_are_those_of_our_cases_and_of_others() -> None:
    assert set(LIBRARIES) == {name for name in WORK if name.startswith("t4_")}
    assert not [name for names in LIBRARIES.values() for name in names if name.startswith("t4_")]


@pytest.mark.parametrize("case", ["t4_build", "t4_push", "t4_list", "t4_install"])
def test_no_library_is_loaded_while_the_clock_runs(
    case: str, tmp_path: Path, s3_server: SeaweedFS, versioned_bucket: str
) -> None:
    folder = make_files(tmp_path / "files", 3, 100)
    bench = Bench(s3_server, tmp_path, None, Limits(1))
    registry = f"s3://{versioned_bucket}"
    pushed = {"folder": folder, "name": "a/b", "registry": registry}
    if case == "t4_install":
        bench.python("t4_push", **pushed)
    arguments = {
        "t4_build": {**pushed, "registry": (tmp_path / "registry").as_uri()},
        "t4_push": pushed,
        "t4_list": {"registry": registry, "prefix": "a"},
        "t4_install": {"name": "a/b", "registry": registry, "dest": str(tmp_path / "dest")},
    }[case]
    done = subprocess.run(
        [sys.executable, "-c", LOADED, case, json.dumps(arguments)],
        cwd=ROOT,
        env=bench.environ("home"),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == []
