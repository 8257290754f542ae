"""The README's code, run as it stands."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def blocks() -> list[str]:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return re.findall(r"^```python\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)


def test_the_walkthrough_runs_verbatim(tmp_path: Path) -> None:
    walkthrough = blocks()[0]
    assert "t4.Package.install" in walkthrough
    # It goes on where the walkthrough ends.
    (goes_on,) = [block for block in blocks() if "lineage.run" in block]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", walkthrough + goes_on],
        cwd=tmp_path,
        env={**os.environ, "T4_REGISTRY": str(tmp_path / "default")},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "rain.parquet" in done.stdout
    assert "shared-registry/weather/raw@" in done.stdout
    assert (tmp_path / "copy" / "README.md").read_text() == "# Observations\n"


@pytest.mark.parametrize("engine", ["airflow", "prefect"])
def test_the_examples_of_the_faces_can_be_imported(engine: str, tmp_path: Path) -> None:
    (example,) = [block for block in blocks() if f"t4_ops.{engine}" in block]
    done = subprocess.run(
        [sys.executable, "-c", example],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_links_lead_to_files() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    targets = re.findall(r"\]\(([^)#:]+)\)", text)
    assert targets
    assert [target for target in targets if not (ROOT / target).exists()] == []
