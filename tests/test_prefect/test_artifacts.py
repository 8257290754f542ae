"""Artifacts: what people see of a revision on a run's page."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from prefect import flow
from prefect.artifacts import Artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import Artifact as Stored

from t4_ops.operations import build, diff, produce
from t4_ops.prefect import artifacts
from t4_ops.prefect.artifacts import MAX_ROWS, artifact_key, show_diff, show_lineage, show_revision
from t4_ops.prefect.revisions import Revision
from t4_ops.prefect.tasks import build_package, diff_packages, push_package

server = pytest.mark.usefixtures("prefect_server")


def table(kind: str, registry: str, name: str) -> list[dict[str, str]]:
    found: Any = Artifact.get(artifact_key(kind, Path(registry).as_uri(), name))
    rows: list[dict[str, str]] = json.loads(found.data)
    return rows


def value(rows: list[dict[str, str]], what: str) -> list[str]:
    return [row["value"] for row in rows if row["what"] == what]


@server
def test_a_push_shows_the_revision_and_what_changed(source: Path, registry: str) -> None:
    @flow
    def publish() -> Revision:
        return push_package(build_package("team/raw", source, registry=registry), registry=registry)

    first = publish()
    rows = table("revision", registry, "team/raw")
    assert [row["value"] for row in rows] == [first.uri, "2", "1,285"]

    (source / "a.txt").write_text("second")
    (source / "new.txt").write_text("new")

    @flow
    def compare(second: Any) -> None:
        diff_packages(first, second)

    second = publish()
    compare(second)
    rows = table("diff", registry, "team/raw")
    assert value(rows, "from") + value(rows, "to") == [first.uri, second.uri]
    assert value(rows, "added") == ["1", "new.txt"]
    assert value(rows, "modified") == ["1", "a.txt"]
    assert value(rows, "deleted") == ["0"]


@server
def test_many_changes_are_capped(tmp_path: Path, registry: str) -> None:
    for number in range(MAX_ROWS + 30):
        path = tmp_path / "many" / f"{number:04}.txt"
        path.parent.mkdir(exist_ok=True)
        path.write_text("x")
    one = produce({"a.json": [1]}, "team/raw", registry=registry)
    other = build("team/raw", tmp_path / "many", registry=registry)

    @flow
    def show() -> None:
        show_diff(diff(one, other, max_keys=MAX_ROWS))
        show_revision(other, one["top_hash"])

    show()
    for kind in ("diff", "revision"):
        rows = table(kind, registry, "team/raw")
        assert value(rows, "added")[:2] == ["530", "0000.txt"]
        assert len(value(rows, "added")) == MAX_ROWS + 1
        assert value(rows, "more") == ["31 further keys"]


@server
def test_the_lineage_is_a_chart(source: Path, registry: str) -> None:
    @flow
    def chart() -> Revision:
        raw = push_package(build_package("team/raw", source, registry=registry), registry=registry)
        clean = build_package("team/clean", source, registry=registry, inputs=[raw])
        show_lineage(clean)
        return clean

    clean = chart()
    found: Any = Artifact.get(artifact_key("lineage", Path(registry).as_uri(), "team/clean"))
    assert "```mermaid\nflowchart LR" in found.data
    assert "team/raw" in found.data
    assert found.description == clean.uri


@server
def test_a_long_transfer_shows_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def stored() -> list[Stored]:
        with get_client(sync_client=True) as client:
            found = client.read_artifacts(limit=200)
        return [item for item in found if "loading slowly" in (item.description or "")]

    @flow
    def transfer() -> None:
        bar = artifacts._Bar()
        bar.tell("loading slowly", 10, 10)
        assert stored() == []
        bar.tell("loading slowly", 1, 4)
        (first,) = stored()
        assert first.data == 25.0
        bar.tell("loading slowly", 4, 4)

    transfer()
    (last,) = stored()
    assert last.data == 100.0
    assert last.description == "loading slowly: 4 of 4 bytes"


@server
def test_a_step_tells_how_far_it_is(
    tmp_path: Path, registry: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # At once, not after five seconds: what is proved is that the step's bytes get there.
    monkeypatch.setattr(artifacts, "_PROGRESS_EVERY_S", 0.0)
    big = tmp_path / "big.bin"
    with big.open("wb") as file:
        file.truncate(64 << 20)

    @flow
    def hashing() -> Revision:
        return build_package("team/slowly", big, registry=registry)

    hashing()
    with get_client(sync_client=True) as client:
        found = client.read_artifacts(limit=200)
    done = [item for item in found if "67,108,864 of 67,108,864 bytes" in (item.description or "")]
    assert [(item.data, item.type) for item in done] == [(100.0, "progress")]


def test_keys_are_legal_and_differ() -> None:
    names = ["a-b/c", "a/b-c", "A-b/c", "a_b/c", "a/b_c", "long/" + "n" * 300]
    keys = [artifact_key("x", registry, name) for name in names for registry in ("s3://one", "/d")]
    assert len(set(keys)) == len(keys)
    for key in keys:
        assert set(key) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
        assert len(key) < 80


def test_outside_of_a_run_nothing_is_made_or_started(registry: str) -> None:
    made = produce({"a.json": [1]}, "team/raw", registry=registry)
    start_s = time.monotonic()
    assert show_revision(made) is None
    assert show_lineage(made) is None
    assert show_diff(diff(made, made)) is None
    with artifacts.progress_shown():
        pass
    assert time.monotonic() - start_s < 5
