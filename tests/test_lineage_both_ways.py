"""The graph of both directions: one finite value, and what costs it."""

from __future__ import annotations

import itertools
import json
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from demo.seaweedfs import SeaweedFS
from t4_ops import lineage
from t4_ops.errors import InvalidInputError
from t4_ops.keys import PackageRef
from t4_ops.ledger import Input, RunInfo
from t4_ops.lineage import Graph
from t4_ops.settings import Settings
from tests.ledger_support import no_server, note, revision
from tests.lineage_support import point, publish
from tests.s3_support import Request, run_relay, settings_for

SOURCE = Input("file", "/data/weather.csv")


def names(found: Graph) -> list[str]:
    return [dataset.item.package or dataset.item.name for dataset in found.datasets]


def shown_edges(found: Graph) -> set[tuple[str, str]]:
    """Return the edges as pairs of what datasets and jobs are called."""
    called = {dataset.id: dataset.item.package or dataset.item.name for dataset in found.datasets}
    called.update((run.id, run.event.run.job_name) for run in found.runs)
    return {(called[source], called[target]) for source, target in found.edges}


def pipeline(folder: Path) -> PackageRef:
    """Record source -> raw -> clean -> report, and return clean."""
    raw = publish(folder, "w/raw", inputs=[SOURCE], job="build")
    clean = publish(folder, "w/clean", inputs=[raw], job="clean")
    publish(folder, "w/report", inputs=[clean, SOURCE], job="report")
    return clean


def test_a_graph_holds_both_directions_once(tmp_path: Path) -> None:
    found = lineage.graph(pipeline(tmp_path))

    assert names(found) == ["w/clean", "w/raw", SOURCE.name, "w/report"]
    assert [(one.upstream, one.downstream) for one in found.datasets] == [
        (0, 0),
        (1, None),
        (2, None),
        (None, 1),
    ]
    assert [run.event.run.job_name for run in found.runs] == ["clean", "build", "report"]
    assert shown_edges(found) == {
        (SOURCE.name, "build"),
        ("build", "w/raw"),
        ("w/raw", "clean"),
        ("clean", "w/clean"),
        ("w/clean", "report"),
        (SOURCE.name, "report"),
        ("report", "w/report"),
    }
    assert len(found.edges) == 7


def test_a_graph_is_plain_json(tmp_path: Path) -> None:
    clean = pipeline(tmp_path)

    value = json.loads(json.dumps(lineage.graph(clean).to_dict()))

    assert (value["version"], value["root"], value["unread"]) == (1, "d0", {})
    root = value["datasets"][0]
    assert (root["uri"], root["package"], root["version"]) == (
        clean.uri,
        "w/clean",
        clean.top_hash,
    )
    assert (root["files"], root["size_bytes"], root["message"]) == (2, 1_500_000, "w/clean ")
    assert value["datasets"][2]["uri"] is None
    run = value["runs"][0]
    assert (run["job_name"], run["engine"], run["state"]) == ("clean", "python", "COMPLETE")
    assert (run["inputs"], run["outputs"]) == (1, 1)
    ids = {one["id"] for one in value["datasets"] + value["runs"]}
    assert {end for edge in value["edges"] for end in (edge["from"], edge["to"])} == ids


def test_circles_and_equal_content_stay_finite(tmp_path: Path) -> None:
    here = revision(tmp_path / "dev", "w/p", "same")
    there = revision(tmp_path / "prod", "w/p", "same")
    note([here], [there])
    note([there], [here])
    note([here], [here])

    found = lineage.graph(here, registries=[there.registry])

    assert [one.item.registry for one in found.datasets] == [here.registry, there.registry]
    assert [(one.upstream, one.downstream) for one in found.datasets] == [(0, 0), (1, 1)]
    assert len(found.runs) == 3
    called = {one.id: one.item.registry for one in found.datasets}
    ends: dict[str, set[str | None]] = {run.id: set() for run in found.runs}
    for source, target in found.edges:
        ends[source if source in ends else target].add(called.get(source) or called.get(target))
    assert len(found.edges) == 6
    assert sorted(map(len, ends.values())) == [1, 2, 2]


def test_what_else_a_run_read_or_published_is_counted_but_not_shown(tmp_path: Path) -> None:
    raw, beside = revision(tmp_path, "w/raw"), revision(tmp_path, "w/beside")
    out, other = revision(tmp_path, "w/out"), revision(tmp_path, "w/other")
    note([raw, beside], [out, other])

    above, below = lineage.graph(out), lineage.graph(raw)

    assert names(above) == ["w/out", "w/raw", "w/beside"]
    assert names(below) == ["w/raw", "w/out", "w/other"]
    assert below.runs[0].to_dict()["inputs"] == 2


def test_tries_of_one_run_are_one_node(tmp_path: Path) -> None:
    raw, out = (revision(tmp_path, name) for name in ("w/raw", "w/out"))
    run = RunInfo.here("job")
    note([raw], [out], run=run)
    note([raw, SOURCE], [out], run=replace(run, attempt=2))
    note([raw], [], run=run)

    found = lineage.graph(raw)

    assert names(found) == ["w/raw", "w/out"]
    (node,) = found.runs
    assert node.event.inputs == (Input.of_ref(raw), SOURCE)


def test_what_a_run_read_later_is_not_above_what_it_published_before(tmp_path: Path) -> None:
    early, late = Input("https://x", "early"), Input("https://x", "late")
    first, second, out = (revision(tmp_path, name) for name in ("w/first", "w/second", "w/out"))
    run = RunInfo.here("flow")
    note([early], [first], run=run)
    note([early, late], [second], run=run)
    note([first, second], [out])

    found = lineage.graph(out)

    called = {one.id: one.item.package or one.item.name for one in found.datasets}
    edges = set(found.edges)
    made = {
        (called[source], called[target])
        for source, run_id in edges
        for other, target in edges
        if run_id == other and source in called
    }
    assert made == {
        ("early", "w/first"),
        ("early", "w/second"),
        ("late", "w/second"),
        ("w/first", "w/out"),
        ("w/second", "w/out"),
    }
    assert [one.event.run.run_id for one in found.runs].count(run.run_id) == 2


def test_depth_and_wrong_questions(tmp_path: Path) -> None:
    clean = pipeline(tmp_path)

    assert names(lineage.graph(clean, depth=1)) == ["w/clean", "w/raw", "w/report"]
    assert names(lineage.graph(clean, depth=0)) == ["w/clean"]
    with pytest.raises(InvalidInputError):
        lineage.graph(clean, depth=-1)


def test_registries_met_upstream_are_asked_downstream_too(tmp_path: Path) -> None:
    far = publish(tmp_path / "far", "w/far")
    here = publish(tmp_path / "here", "w/here", inputs=[far])
    publish(tmp_path / "far", "w/back", inputs=[here])

    assert names(lineage.graph(here)) == ["w/here", "w/far", "w/back"]


def test_a_registry_that_could_not_be_asked_is_in_the_graph(tmp_path: Path) -> None:
    ref = publish(tmp_path, "w/p", inputs=[revision("s3://gone", "w/gone")])

    with no_server() as s3:
        found = lineage.graph(ref, settings=Settings(s3=s3))

    assert list(found.unread) == ["s3://gone"]
    assert list(found.to_dict()["unread"]) == ["s3://gone"]


def test_a_question_costs_what_its_answer_costs(
    s3_env: SeaweedFS, unversioned_bucket: str, tmp_path: Path
) -> None:
    registry = f"s3://{unversioned_bucket}"
    raw = publish(registry, "w/raw", "1", [SOURCE])
    out = publish(registry, "w/out", "1", [raw])

    def cost() -> list[str]:
        with run_relay(s3_env.endpoint_url) as relay:
            s3 = settings_for(s3_env, endpoint_url=relay.url)
            settings = Settings(s3=s3, registry=registry)
            assert names(lineage.graph(out, settings=settings)) == ["w/out", "w/raw", SOURCE.name]
            assert lineage.stale(out, settings=settings).checked == 1
            return sorted(request.method for request in relay.requests)

    before = cost()
    # Other runs of the same jobs, on other revisions of the same packages.
    for number in range(2, 8):
        again = publish(registry, "w/raw", str(number))
        publish(registry, "w/out", str(number), [again])
    point(raw)

    assert cost() == before
    # A listing for each dataset in each direction, each event and pointer once.
    assert before == ["GET"] * len(before)
    assert len(before) <= 14


def test_many_events_are_read_at_once(
    s3_env: SeaweedFS, unversioned_bucket: str, tmp_path: Path
) -> None:
    registry = f"s3://{unversioned_bucket}"
    raw = revision(registry, "w/raw")
    for number in range(8):
        note([raw], [revision(registry, f"w/out-{number}")])
    together, numbers = threading.Barrier(4, timeout=20), itertools.count()

    def rule(request: Request) -> None:
        # The first four answers wait until all four questions have arrived.
        if "/events/" in request.target and next(numbers) < 4:
            together.wait()

    with run_relay(s3_env.endpoint_url) as relay:
        relay.rule = rule
        settings = Settings(
            s3=settings_for(s3_env, endpoint_url=relay.url), registry=registry, workers=4
        )
        found = lineage.downstream(raw, settings=settings)

    assert len(found.steps) == 8
    assert not together.broken
    assert next(numbers) == 8
