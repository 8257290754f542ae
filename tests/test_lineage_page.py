"""The HTML page, without a browser: what is in it, and what other people's names can't do to it."""

from __future__ import annotations

import hashlib
import json
import re
from base64 import b64encode
from html.parser import HTMLParser
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from t4_ops import lineage
from t4_ops.errors import InvalidInputError
from t4_ops.keys import PackageRef
from t4_ops.ledger import (
    CodeLocation,
    Column,
    ColumnSource,
    Event,
    Input,
    JobRun,
    Output,
    RunInfo,
    record,
)
from t4_ops.lineage import Graph, GraphDataset, GraphRun
from t4_ops.lineage.pages import MAX_PAGE_NODES
from t4_ops.settings import Settings
from t4_ops.storage import open_store
from tests.ledger_support import no_server, note, revision, top_hash

HOSTILE = "</script><script>alert(1)</script><!--<img src=x onerror=alert(2)>\"'&amp;@@DATA@@"


class Document(HTMLParser):
    """A page as a browser reads it: elements with their attributes, and the text in each."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: dict[str, list[str]] = {}
        self._open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "input"):
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open:
            self.text.setdefault(self._open[-1], []).append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def data(self) -> dict[str, Any]:
        (first, _) = self.text["script"]
        value: dict[str, Any] = json.loads(first)
        return value


def page_of(ref: PackageRef | Input, **settings: Any) -> Document:
    found = lineage.graph(ref, settings=Settings(**settings))
    return Document(lineage.html_page(found))


def by_title(data: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {node["title"]: {**node, "facts": dict(node["facts"])} for node in data["nodes"]}


def small(folder: Path) -> PackageRef:
    """Record a run that knows everything about itself, and one that failed."""
    out = revision(folder, "weather/observations")
    task = JobRun(run_id=str(RunInfo.here().run_id), job_namespace="airflow", job_name="weather")
    run = RunInfo(
        run_id="0192aaaa-bbbb-7ccc-8ddd-000000000001",
        job_namespace="airflow",
        job_name="weather.build",
        engine="airflow",
        engine_version="3.3.2",
        attempt=2,
        nominal_time="2026-01-01T00:00:00+00:00",
        parent=task,
        root=task,
        code=CodeLocation("dags/weather.py", "build", "f" * 64, "https://git.example/w", "a" * 40),
    )
    output = Output(
        out,
        files=1200,
        size_bytes=42_208_875,
        message="two\nlines",
        parent=top_hash("before"),
        columns=(Column("day", "date32"), Column("rain", "double")),
        column_lineage=(("rain", (ColumnSource("https://feed.example", "daily.csv", "mm"),)),),
    )
    source = Input("https://feed.example", "daily.csv")
    common: dict[str, Any] = {"settings": Settings(), "open_store": open_store}
    record(run, [source], [output], **common)
    failed = RunInfo.here("export.py")
    item = Input.of_ref(out, ["day.csv", "log/"])
    record(failed, [item], [], state="FAIL", error="disk full", **common)
    return out


def test_the_page_needs_nothing_but_itself(tmp_path: Path) -> None:
    page = page_of(small(tmp_path))

    for tag, attributes in page.elements:
        assert tag not in ("link", "img", "iframe", "object", "embed", "base", "form")
        assert not {"src", "href", "srcset", "style", "action"} & set(attributes)
        assert not [name for name in attributes if name.startswith("on")]
    (style,), (_, script) = page.text["style"], page.text["script"]
    for code in (style, script):
        assert "url(http" not in code
        assert "import " not in code
        assert "//" not in code.replace("http://www.w3.org/2000/svg", "").replace("  // ", "")
    for door in (
        "innerHTML",
        "outerHTML",
        "insertAdjacent",
        "eval(",
        "fetch(",
        "XMLHttp",
        "write(",
    ):
        assert door not in script


def test_the_policy_lets_only_the_pages_own_code_run(tmp_path: Path) -> None:
    page = page_of(small(tmp_path))

    (policy,) = [
        meta["content"] or ""
        for meta in page.all("meta")
        if meta.get("http-equiv") == "Content-Security-Policy"
    ]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))

    def source(text: str) -> str:
        return f"'sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

    assert rules == {
        "default-src": "'none'",
        "style-src": source("".join(page.text["style"])),
        "script-src": source(page.text["script"][1]),
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    # The data are no script: a browser runs no element of this type.
    assert page.all("script")[0]["type"] == "application/json"


def test_the_page_tells_the_facts(tmp_path: Path) -> None:
    ref = small(tmp_path)

    page = page_of(ref)

    title = f"Lineage of {ref.registry}/weather/observations@{ref.top_hash[:8]}"
    assert page.text["title"] == page.text["h1"] == [title]
    nodes = by_title(page.data)
    revision_node = nodes["weather/observations"]
    assert revision_node["kind"] == "dataset"
    assert revision_node["brief"] == "observations"
    assert revision_node["facts"] == {
        "Package": "weather/observations",
        "Registry": ref.registry,
        "Top hash": ref.top_hash,
        "URI": ref.uri,
        "Files": "1,200",
        "Size": "42.2 MB (42,208,875 bytes)",
        "Message": "two\nlines",
        "Before it": top_hash("before"),
        "Columns": "day (date32), rain (double)",
        "Column lineage": "rain <- daily.csv.mm",
    }
    run = nodes["weather.build"]
    assert (run["kind"], run["brief"]) == ("run", "build")
    assert run["facts"]["Engine"] == "airflow 3.3.2"
    assert run["facts"]["Run id"] == "0192aaaa-bbbb-7ccc-8ddd-000000000001"
    assert run["facts"]["Part of"].startswith("weather (")
    assert "Root" not in run["facts"]
    assert run["facts"]["Code"] == (
        f"dags/weather.py: build, https://git.example/w, {'a' * 40}, SHA-256 {'f' * 64}"
    )
    assert run["facts"]["Published"] == "1 revision"
    assert run["facts"]["Read"] == "1 dataset"
    failed = nodes["export.py"]
    assert (failed["kind"], failed["facts"]["Error"]) == ("failed", "disk full")
    assert failed["facts"]["Only parts of"].endswith("weather/observations: day.csv, log/")
    assert nodes["daily.csv"]["kind"] == "source"
    assert nodes["daily.csv"]["facts"]["Distance"] == "1 run upstream"


def test_nodes_and_edges_have_places(tmp_path: Path) -> None:
    data = page_of(small(tmp_path)).data

    assert data["root"] == "d0"
    for one, other in combinations(data["nodes"], 2):
        is_beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        is_above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert is_beside or is_above
    for node in data["nodes"]:
        assert 0 <= node["x"] <= node["x"] + node["w"] <= data["width"]
        assert 0 <= node["y"] <= node["y"] + node["h"] <= data["height"]
    boxes = {node["id"]: node for node in data["nodes"]}
    assert len(data["edges"]) == 3
    for edge in data["edges"]:
        start, end = edge["points"][0], edge["points"][-1]
        assert start[0] == boxes[edge["from"]]["x"] + boxes[edge["from"]]["w"]
        assert end[0] == boxes[edge["to"]]["x"]


def test_names_of_others_stay_text(tmp_path: Path) -> None:
    ref = revision(tmp_path, "w/p")
    source = Input(HOSTILE, HOSTILE, HOSTILE)
    run = RunInfo(
        run_id=RunInfo.here().run_id, job_namespace=HOSTILE, job_name=HOSTILE, engine=HOSTILE
    )
    note([source, revision("s3://gone", "w/gone")], [ref], run=run)

    with no_server() as s3:
        found = lineage.graph(source, settings=Settings(s3=s3), registries=[ref.registry])
        page = Document(lineage.html_page(found))

    assert [tag for tag, _ in page.elements].count("script") == 2
    assert not page.all("img")
    assert page.text["title"] == [f"Lineage of {HOSTILE}/{HOSTILE}@{HOSTILE[:8]}"]
    root = page.data["nodes"][0]
    assert (root["title"], dict(root["facts"])["Version"]) == (HOSTILE, HOSTILE)
    assert HOSTILE in by_title({"nodes": page.data["nodes"][1:]})


def test_names_cannot_turn_the_text_around(tmp_path: Path) -> None:
    ref = revision(tmp_path, "w/p")
    note([Input("x", "cod\u202egnp.exe\x1b\u2028")], [ref], run=RunInfo.here("j\u2067b"))

    page = page_of(ref)

    assert {"cod?gnp.exe??", "j?b"} <= set(by_title(page.data))


def test_a_registry_that_could_not_be_asked_is_told(tmp_path: Path) -> None:
    ref = revision(tmp_path, "w/p")
    note([revision("s3://gone", "w/gone")], [ref])

    with no_server() as s3:
        (line,) = page_of(ref, s3=s3).data["unread"]

    assert line.startswith("s3://gone: ")


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0 bytes"),
        (1, "1 byte"),
        (999, "999 bytes"),
        (1000, "1 KB (1,000 bytes)"),
        (10**18, "1e+03 PB (1,000,000,000,000,000,000 bytes)"),
    ],
)
def test_sizes_are_told_both_ways(tmp_path: Path, size_bytes: int, text: str) -> None:
    ref = revision(tmp_path, "w/p")
    output = Output(ref, size_bytes=size_bytes)
    record(RunInfo.here("job"), [], [output], settings=Settings(), open_store=open_store)

    assert dict(page_of(ref).data["nodes"][0]["facts"])["Size"] == text


def test_facts_are_cut(tmp_path: Path) -> None:
    inputs = [revision(tmp_path, "w/in", str(number)) for number in range(40)]
    paths = [f"data/part-{number:05}.parquet" for number in range(100)]
    ref = revision(tmp_path, "w/p")
    output = Output(
        ref,
        columns=tuple(Column(f"column_{number}") for number in range(1000)),
        column_lineage=tuple(
            (f"c{number}", (ColumnSource("x", "daily.csv", "mm"),)) for number in range(1000)
        ),
    )
    run = RunInfo.here("x" * 2048)
    record(
        run,
        [Input.of_ref(one, paths) for one in inputs],
        [output],
        settings=Settings(),
        open_store=open_store,
    )

    nodes = page_of(ref).data["nodes"]

    facts = {name: text for node in nodes for name, text in node["facts"]}
    assert max(map(len, facts.values())) < 4500
    for name in ("Columns", "Column lineage", "Only parts of"):
        assert re.search(r" and [\d,]+ more", facts[name])
    assert facts["Job"].endswith(" ... and 48 more characters")
    assert facts["Read"] == "40 datasets"


def test_a_page_of_too_many_nodes_is_refused(tmp_path: Path) -> None:
    ref = revision(tmp_path, "w/p")
    event = Event("e", "COMPLETE", "2026-01-01T00:00:00+00:00", RunInfo.here("job"), (), ())
    runs = tuple(GraphRun(f"r{number}", event) for number in range(MAX_PAGE_NODES))
    found = Graph((GraphDataset("d0", Input.of_ref(ref), 0, 0),), runs, ())

    with pytest.raises(InvalidInputError, match="depth"):
        lineage.html_page(found)
