"""Mermaid: a chart that says the same as the graph, whatever names hold."""

from __future__ import annotations

import re
from pathlib import Path

from t4_ops import lineage
from t4_ops.ledger import Input, RunInfo, record
from t4_ops.settings import Settings
from t4_ops.storage import open_store
from tests.ledger_support import note, revision

HOSTILE = (
    '"]; click d0 "javascript:alert(1)" --> %%{init}%% <b onclick=x> `#quot;` &lt; end\n|a|$$x$$'
)


def decoded(text: str) -> str:
    """Return text as Mermaid shows it."""
    return re.sub(r"#(\d+);", lambda match: chr(int(match[1])), text)


def test_a_chart_holds_every_node_and_edge(tmp_path: Path) -> None:
    raw, out = revision(tmp_path, "w/raw"), revision(tmp_path, "w/out")
    note([Input("file", "/data/in.csv")], [raw], run=RunInfo.here("build"))
    note([raw], [out], run=RunInfo.here("clean"))

    lines = lineage.mermaid(lineage.graph(raw)).splitlines()

    assert lines[0] == "flowchart LR"
    shown = [decoded(line.strip()) for line in lines]
    assert f'd0["file://{tmp_path}/w/raw@{raw.top_hash[:8]}"]:::dataset' in shown
    assert 'd1["file:///data/in.csv"]:::source' in shown
    assert any(line.startswith('r0(["python: build<br/>') for line in shown)
    edges = [line for line in shown if re.fullmatch(r"[dr]\d+ --> [dr]\d+", line)]
    assert edges == ["d1 --> r0", "r0 --> d0", "d0 --> r1", "r1 --> d2"]
    assert "class d0 root" in shown


def test_failed_runs_are_marked(tmp_path: Path) -> None:
    ref = revision(tmp_path, "w/raw")
    record(
        RunInfo.here("report"),
        [Input.of_ref(ref)],
        [],
        state="FAIL",
        error="x",
        settings=Settings(),
        open_store=open_store,
    )

    assert ":::failed" in lineage.mermaid(lineage.graph(ref))


def test_names_of_others_stay_inside_their_labels(tmp_path: Path) -> None:
    ref = revision(tmp_path, "w/p")
    note([Input("x", HOSTILE)], [ref], run=RunInfo.here(HOSTILE))

    lines = lineage.mermaid(lineage.graph(ref)).splitlines()

    assert len(lines) == 1 + 3 + 2 + 5 + 1
    (source,) = [line for line in lines if line.strip().startswith("d1[")]
    inside = re.fullmatch(r'\s*d1\["(.*)"\]:::source', source)
    assert inside is not None
    assert re.fullmatch(r"[\w ./:=!?,;#-]*", inside[1])
    assert decoded(inside[1]) == f"x/{HOSTILE}".replace("\n", "?")
