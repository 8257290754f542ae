"""The code in docs/prefect.md runs as it stands."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import t4_ops as t4
from t4_ops.operations import produce

pytestmark = pytest.mark.usefixtures("prefect_server")

PAGE = (Path(__file__).parents[2] / "docs" / "prefect.md").read_text("utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def run_block(marker: str, folder: Path) -> dict[str, Any]:
    """Run the one block that has a text in it, as a module of its own file."""
    (code,) = (block for block in BLOCKS if marker in block)
    path = folder / f"{marker.split('(', maxsplit=1)[0].rsplit(maxsplit=1)[-1]}.py"
    path.write_text(code)
    names: dict[str, Any] = {"__name__": "__main__", "__file__": str(path)}
    exec(compile(code, path, "exec"), names)  # noqa: S102 (our own page)
    return names


def test_the_first_flow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    run_block("def first_flow(", tmp_path)
    run_block("def first_flow(", tmp_path)
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
    result = run_block("def several(", tmp_path)["several"](folders)
    keys = [f"demo/part-{number}/file.txt" for number in range(3)]
    assert [key for key, _ in t4.Package.browse("demo/all").walk()] == keys
    named = [item["name"] for item in result.inputs if "top_hash" in item]
    assert named == [f"demo/part-{number}" for number in range(3)]


def test_the_decorator(tmp_path: Path) -> None:
    tea, cup = run_block("def by_item(", tmp_path)["by_item"]()
    assert (tea.name, cup.name) == ("demo/tea", "demo/cup")
    table = t4.Package.browse(tea.name, tea.registry, tea.top_hash)["table.parquet"].deserialize()
    assert list(table["price"]) == [3.0, 4.0]


def test_the_transaction(tmp_path: Path) -> None:
    careful = run_block("def careful(", tmp_path)["careful"]
    folder = tmp_path / "source"
    folder.mkdir()
    with pytest.raises(ValueError, match="nothing in it"):
        careful(str(folder))
    assert "demo/checked" not in t4.list_packages()
    (folder / "a.txt").write_text("1")
    assert careful(str(folder)).files == 1


def test_caching(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("1\n2\n")
    ref = t4.resolve(produce(tmp_path / "a.txt", "demo/lines"))
    counted = run_block("def counted(", tmp_path)["counted"]
    assert [counted(ref), counted(ref.to_dict())] == [2, 2]


def test_consumer_fan_out_and_block(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("1\n")
    ref = t4.resolve(produce(tmp_path / "a.txt", "demo/lines"))
    installed = run_block("def consumer(", tmp_path)["consumer"](ref)
    assert Path(installed.dest, "a.txt").read_text() == "1\n"
    assert run_block("def huge(", tmp_path)["huge"](str(tmp_path / "a.txt")).name == "demo/huge"
    assert run_block("def keep(", tmp_path)["keep"]("docs", "s3://bucket").url == "s3://bucket"
    assert len(BLOCKS) == 8
