"""Answers as text, and the command that prints them."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from t4_ops import lineage
from t4_ops.keys import PackageRef
from t4_ops.ledger import Input, Output, RunInfo, record
from t4_ops.settings import Settings
from t4_ops.storage import open_store
from tests.ledger_support import no_server, note, revision

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


def task(
    engine: str, name: str, number: int, inputs: list[Input], outputs: list[PackageRef], **more: str
) -> None:
    run = RunInfo(
        run_id=f"0192aaaa-bbbb-7ccc-8ddd-{number:012d}",
        job_namespace="test",
        job_name=name,
        engine=engine,
        attempt=number,
    )
    record(
        run,
        inputs,
        [Output(ref) for ref in outputs],
        settings=Settings(),
        open_store=open_store,
        event_time=NOON.replace(minute=number),
        state="FAIL" if more else "COMPLETE",
        error=more.get("error"),
    )


def weather(folder: Path) -> tuple[PackageRef, PackageRef]:
    raw, out = revision(folder, "weather/raw"), revision(folder, "weather/out")
    source = Input("file", "/data/seattle weather.csv")
    table = Input("postgres://db:5432", "w.public.t", "7")
    task("airflow", "weather.build", 1, [source, table], [raw])
    task("prefect", "flow/build", 2, [source], [raw])
    task("airflow", "weather.push", 3, [Input.of_ref(raw)], [out])
    task("python", "report.py", 4, [Input.of_ref(raw)], [], error="boom")
    return raw, out


def test_the_tree_shows_above_and_below(tmp_path: Path) -> None:
    raw, out = weather(tmp_path)

    run = "run 0192aaaa-bbbb-7ccc-8ddd-00000000000"
    assert lineage.tree(raw).splitlines() == [
        f"file://{tmp_path}/weather/raw@{raw.top_hash[:8]}",
        f"  <- airflow: weather.build ({run}1, 2026-01-02T12:01:00+00:00)",
        "     <- file:///data/seattle%20weather.csv",
        "     <- postgres://db:5432/w.public.t@7",
        f"  <- prefect: flow/build ({run}2, 2026-01-02T12:02:00+00:00, attempt 2)",
        "     <- file:///data/seattle%20weather.csv (shown elsewhere)",
        f"  -> airflow: weather.push ({run}3, 2026-01-02T12:03:00+00:00, attempt 3)",
        f"     -> file://{tmp_path}/weather/out@{out.top_hash[:8]}",
        f"  -> python: report.py ({run}4, 2026-01-02T12:04:00+00:00, attempt 4, fail)",
    ]


def test_each_run_goes_one_step_to_the_right(tmp_path: Path) -> None:
    _, out = weather(tmp_path)

    lines = lineage.render(lineage.upstream(out)).splitlines()

    assert [len(line) - len(line.lstrip()) for line in lines] == [0, 2, 5, 8, 11, 11, 8, 11]
    assert lineage.render(lineage.upstream(out, depth=1)).splitlines() == lines[:3]


def test_a_revision_without_lineage_says_so(tmp_path: Path) -> None:
    ref = revision(tmp_path, "w/p")

    assert lineage.tree(ref).splitlines() == [
        f"file://{tmp_path}/w/p@{ref.top_hash[:8]}",
        "  (no lineage recorded)",
    ]


def test_names_of_others_cannot_steer_the_terminal(tmp_path: Path) -> None:
    ref = revision(tmp_path, "w/p")
    task("air\x1b[2Jflow", "job\nname", 1, [Input("file", "/x\x1b[31m"), Input("x\r", "y")], [ref])

    text = lineage.tree(ref)

    assert text.replace("\n", "").isprintable()
    assert len(text.splitlines()) == 4


def test_a_registry_that_could_not_be_asked_is_noted(tmp_path: Path) -> None:
    ref = revision(tmp_path, "w/p")
    note([revision("s3://gone", "w/gone")], [ref])

    with no_server() as s3:
        *_, last = lineage.tree(ref, settings=Settings(s3=s3)).splitlines()

    assert last.startswith("note: s3://gone can't be read: ")


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "t4_ops.lineage", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    )


def test_the_command_prints_the_tree(tmp_path: Path) -> None:
    raw, out = weather(tmp_path)

    done = command(out.uri)

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == lineage.tree(out) + "\n"
    assert command(out.uri, "--depth", "1").stdout == lineage.tree(out, depth=1) + "\n"
    elsewhere = revision(tmp_path / "other", "w/elsewhere")
    note([raw], [elsewhere])
    assert "w/elsewhere" not in command(raw.uri).stdout
    assert "w/elsewhere" in command(raw.uri, "--registry", elsewhere.registry).stdout


def test_the_command_follows_latest(tmp_path: Path) -> None:
    raw, _ = weather(tmp_path)
    pointer = ".quilt/named_packages/weather/raw/latest"
    open_store(str(tmp_path), Settings()).write(pointer, raw.top_hash.encode())

    done = command(f"t4+file://{tmp_path}#package=weather/raw")

    assert done.stdout == lineage.tree(raw) + "\n"


def test_the_command_says_what_is_wrong(tmp_path: Path) -> None:
    missing = command(f"t4+file://{tmp_path}#package=w/p")
    no_uri = command("w/p")
    usage = command()

    assert (missing.returncode, no_uri.returncode, usage.returncode) == (1, 1, 2)
    assert missing.stderr.startswith("error: ")
    assert "w/p" in missing.stderr
    for done in (missing, no_uri, usage):
        assert done.stdout == ""
        assert "Traceback" not in done.stderr
