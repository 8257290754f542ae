"""The code in docs/prefect.md runs as it stands."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import t4_ops as t4

pytestmark = pytest.mark.usefixtures("prefect_server")

PAGE = (Path(__file__).parents[2] / "docs" / "prefect.md").read_text("utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def run_block(number: int, folder: Path) -> dict[str, Any]:
    path = folder / f"block_{number}.py"
    path.write_text(BLOCKS[number])
    names: dict[str, Any] = {"__name__": "__main__", "__file__": str(path)}
    exec(compile(BLOCKS[number], path, "exec"), names)  # noqa: S102 (our own page)
    return names


def test_the_first_flow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    run_block(0, tmp_path)
    run_block(0, tmp_path)
    first, second = re.findall(r"^t4\+file:\S+$", capsys.readouterr().out, re.MULTILINE)
    assert first == second
    ref = t4.resolve(first)
    assert t4.Package.browse(ref.name, ref.registry)["total.txt"].get_as_string() == "6.0\n"

    told = subprocess.run(
        [sys.executable, "-m", "t4_ops.lineage", first],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout
    assert "/demo/raw@" in told
    assert "first-flow.build_package" in told


def test_several(tmp_path: Path) -> None:
    folders = []
    for number in range(3):
        folders.append(str(tmp_path / f"folder-{number}"))
        Path(folders[-1]).mkdir()
        Path(folders[-1], "file.txt").write_text(str(number))
    result = run_block(1, tmp_path)["several"](folders)
    keys = [f"demo/part-{number}/file.txt" for number in range(3)]
    assert [key for key, _ in t4.Package.browse("demo/all").walk()] == keys
    named = [item["name"] for item in result["inputs"] if "top_hash" in item]
    assert named == [f"demo/part-{number}" for number in range(3)]
    assert len(BLOCKS) == 2
