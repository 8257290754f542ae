"""`python -m t4_ops.lineage`: its commands, formats, files, errors and exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from t4_ops import lineage
from t4_ops.keys import PackageRef
from t4_ops.ledger import Input, Output, RunInfo, record
from t4_ops.lineage.__main__ import main
from t4_ops.settings import Settings
from t4_ops.storage import open_store
from tests.ledger_support import note, revision
from tests.lineage_support import publish
from tests.test_lineage_origin import OBSERVATIONS, SOURCE, made

ROOT = Path(__file__).parents[1]


@pytest.fixture
def pipeline(tmp_path: Path) -> tuple[PackageRef, PackageRef]:
    """A revision that was made from another one, both with files."""
    registry = tmp_path / "r"
    raw = made(tmp_path, registry, "w/raw", {"in.csv": OBSERVATIONS}, SOURCE)
    return raw, made(tmp_path, registry, "w/out", {"day.csv": OBSERVATIONS, "b": b"b"}, raw)


Capture = pytest.CaptureFixture[str]


def test_each_format_prints_the_same_lineage(
    pipeline: tuple[PackageRef, PackageRef], capsys: Capture
) -> None:
    _, out = pipeline
    found = lineage.graph(out)

    def printed(*arguments: str) -> str:
        assert main([*arguments]) == 0
        return capsys.readouterr().out

    text = lineage.tree(out) + "\n"
    assert printed(out.uri) == printed("tree", out.uri) == printed("--format", "tree", out.uri)
    assert printed(out.uri) == text
    assert printed("--format", "mermaid", out.uri) == lineage.mermaid(found)
    assert json.loads(printed(out.uri, "--format", "json")) == found.to_dict()
    assert printed(out.uri, "--format=html") == lineage.html_page(found)
    assert json.loads(printed("--depth=0", "--format=json", out.uri))["runs"] == []


def test_a_file_is_written_instead(
    pipeline: tuple[PackageRef, PackageRef], tmp_path: Path, capsys: Capture
) -> None:
    _, out = pipeline
    file = tmp_path / "lineage.html"

    assert main(["tree", out.uri, "--format", "html", "--output", str(file)]) == 0

    assert file.read_text(encoding="utf-8") == lineage.html_page(lineage.graph(out))
    assert capsys.readouterr() == ("", "")
    assert main([out.uri, "--output", str(tmp_path / "no" / "folder.txt")]) == 1
    assert "can't be written: No such file or directory" in capsys.readouterr().err


def test_stale_inputs_are_printed(tmp_path: Path, capsys: Capture) -> None:
    raw = publish(tmp_path, "w/raw", "1", [])
    out = publish(tmp_path, "w/out", "1", [raw])
    assert main(["stale", "--check", out.uri]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"file://{tmp_path}/w/out@{out.top_hash[:8]}: 0 stale inputs of 1 checked"
    ]

    newer = publish(tmp_path, "w/raw", "2", [])

    assert main(["stale", out.uri]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"file://{tmp_path}/w/out@{out.top_hash[:8]}: 1 stale input of 1 checked",
        f"  file://{tmp_path}/w/raw@{raw.top_hash[:8]} (1 run) newer:"
        f" latest is {newer.top_hash[:8]}",
    ]
    assert main(["stale", out.uri, "--check", "--format=json"]) == 3
    assert json.loads(capsys.readouterr().out) == lineage.stale(out).to_dict()


def test_impact_is_printed(tmp_path: Path, capsys: Capture) -> None:
    raw = publish(tmp_path, "w/raw", "1", [])
    _, out = (publish(tmp_path, "w/out", content, [raw]) for content in "12")
    note([raw], [])
    there = publish(tmp_path / "other", "w/there", "1", [raw])

    assert main(["impact", raw.uri]) == 0
    first, second, read = capsys.readouterr().out.splitlines()
    assert first.endswith(": 1 revision depends on it")
    assert second == f"  file://{tmp_path}/w/out@{out.top_hash[:8]} (1 run) latest"
    assert read.startswith("  read by python: script (run ")
    assert main(["impact", raw.uri, "--all", "--check", "--registry", there.registry]) == 3
    assert capsys.readouterr().out.count("(1 run)") == 3
    assert main(["impact", out.uri, "--check", "--format=json"]) == 0
    assert json.loads(capsys.readouterr().out)["revisions"] == []


def test_an_origin_is_printed(
    pipeline: tuple[PackageRef, PackageRef], tmp_path: Path, capsys: Capture
) -> None:
    raw, out = pipeline
    held = tmp_path / "held.csv"
    held.write_bytes(OBSERVATIONS)

    assert main(["origin", out.uri, "day.csv"]) == 0

    text = capsys.readouterr().out
    registry = f"file://{tmp_path}/r"
    start, before, appeared, run, source, *_ = text.splitlines()
    assert start == f"{registry}/w/out@{out.top_hash[:8]}: day.csv (24 bytes)"
    assert before == f"  <- 1 run {registry}/w/raw@{raw.top_hash[:8]}: in.csv"
    assert appeared == f"appeared in {registry}/w/raw@{raw.top_hash[:8]}: in.csv"
    assert run.startswith("  by python: ")
    assert source == "     from https://feed.example/daily.csv"
    for words in ([f"{out.uri}&path=day.csv"], [out.uri, "--file", str(held)]):
        assert main(["origin", *words]) == 0
        assert capsys.readouterr().out == text
    assert main(["origin", out.uri, "b", "--format=json"]) == 0
    assert json.loads(capsys.readouterr().out) == lineage.origin(out, "b").to_dict()


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["stale", "t4+file:///nowhere#package=w/p"], 1, "no package 'w/p'"),
        (["stale", "w/p"], 1, "URI"),
        (["impact", "https://feed.example/x"], 1, "--source NAMESPACE NAME [VERSION]"),
        (["URI", "--output", "/nowhere\x1b[2J/x"], 1, "/nowhere?[2J/x can't be written"),
        (["origin", "URI"], 1, "logical key"),
        (["origin", "URI", "missing"], 1, "no entry 'missing'"),
        (["origin", "URI", "day.csv", "--file", "x"], 1, "not both"),
        (["origin", "URI", "--file", "/nowhere/x"], 1, "/nowhere/x is not there"),
        (["tree", "URI", "--depth", "-1"], 1, "0 or more"),
        (["URI", "--registry", "https://x"], 1, "https"),
    ],
)
def test_what_is_wrong_is_said(
    pipeline: tuple[PackageRef, PackageRef],
    capsys: Capture,
    words: list[str],
    code: int,
    told: str,
) -> None:
    _, out = pipeline

    assert main([out.uri if word == "URI" else word for word in words]) == code

    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("error: ")
    assert told in said.err
    assert said.err.replace("\n", "").isprintable()


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["stale"],
        ["stale", "x", "--format", "html"],
        ["x", "--depth", "many"],
        ["impact", "--source", "file"],
        ["impact", "--source", "file", "/x", "1", "more"],
        ["impact", "x", "--source", "file", "/x"],
        ["origin", "--source", "file", "/x"],
    ],
)
def test_wrong_usage_exits_with_2(words: list[str], capsys: Capture) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(words)
    assert stopped.value.code == 2
    assert "usage: python -m t4_ops.lineage" in capsys.readouterr().err


def test_a_source_that_is_no_package_is_asked_about(
    pipeline: tuple[PackageRef, PackageRef], capsys: Capture
) -> None:
    raw, out = pipeline
    source = ["--source", SOURCE["namespace"], SOURCE["name"]]

    assert main(["impact", "--registry", raw.registry, *source]) == 0
    said = capsys.readouterr().out
    assert "2 revisions depend on it" in said
    assert out.top_hash[:8] in said
    assert main(["--registry", raw.registry, "--source", "file", "/x", "7"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "file:///x@7"


def test_a_check_that_could_not_compare_is_no_success(tmp_path: Path, capsys: Capture) -> None:
    far, raw = revision("/no/such/machine", "w/far"), publish(tmp_path, "w/raw", "1", [])
    out = publish(tmp_path, "w/out", "1", [far, raw])

    assert main(["stale", out.uri]) == 0
    assert main(["stale", out.uri, "--check"]) == 4
    publish(tmp_path, "w/raw", "2", [])
    assert main(["stale", out.uri, "--check"]) == 3

    alone = publish(tmp_path, "w/alone", "1", [])
    assert main(["impact", alone.uri, "--check"]) == 0
    done = note([alone], [])
    event = f".t4/v1/lineage/events/{done.event_id}.json"
    open_store(alone.registry, Settings()).write(event, b"{")
    assert main(["impact", alone.uri, "--check"]) == 4
    capsys.readouterr()


def test_a_check_of_inputs_that_an_event_left_out_is_no_success(
    tmp_path: Path, capsys: Capture
) -> None:
    raw, out = publish(tmp_path, "w/raw", "1"), revision(tmp_path, "w/out")
    record(
        RunInfo.here("large"),
        [Input.of_ref(raw)],
        [Output(out)],
        omitted_inputs=7,
        settings=Settings(),
        open_store=open_store,
    )

    assert main(["stale", out.uri, "--check"]) == 4
    assert capsys.readouterr().out.splitlines()[1:] == [
        "  not checked: 7 inputs that events had no room to name"
    ]
    publish(tmp_path, "w/raw", "2")
    assert main(["stale", out.uri, "--check"]) == 3


def test_names_that_the_terminal_cannot_show_are_escaped(tmp_path: Path) -> None:
    ref = publish(tmp_path, "w/p", "1", [Input("https://x", "\u6c17\u8c61")])
    done = subprocess.run(
        [sys.executable, "-m", "t4_ops.lineage", "tree", "--format", "mermaid", ref.uri],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONPATH": str(ROOT)},
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "\\u6c17" in done.stdout


def test_the_commands_run_as_a_program(pipeline: tuple[PackageRef, PackageRef]) -> None:
    _, out = pipeline
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "t4_ops.lineage", "stale", out.uri, "--check"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{out.registry}/w/out@")
