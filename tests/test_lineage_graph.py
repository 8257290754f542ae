"""Questions: upstream and downstream, over runs, registries and circles."""

from __future__ import annotations

import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from demo.seaweedfs import SeaweedFS
from t4_ops import lineage
from t4_ops.errors import InvalidInputError, NotFoundError, StorageError
from t4_ops.keys import PackageRef
from t4_ops.ledger import Input, RunInfo
from t4_ops.lineage import Node, Step
from t4_ops.lineage.asking import MAX_REGISTRIES
from t4_ops.settings import Settings
from t4_ops.storage import open_store
from tests.ledger_support import EVENTS, no_server, note, revision, stored_events

SOURCE = Input("file", "/data/weather.csv")


def found(node: Node) -> list[str]:
    """Return the names of an answer's datasets, level by level."""
    return [item.item.package or item.item.name for item in node.walk()]


def chain(folder: Path, *names: str) -> list[PackageRef]:
    """Record a chain of runs, each from one revision to the next."""
    refs = [revision(folder, name) for name in names]
    for before, after in pairwise(refs):
        note([before], [after])
    return refs


def test_both_directions_of_a_chain(tmp_path: Path) -> None:
    raw, clean, summary = chain(tmp_path, "w/raw", "w/clean", "w/summary")
    note([SOURCE], [raw])

    assert found(lineage.upstream(summary)) == ["w/summary", "w/clean", "w/raw", SOURCE.name]
    assert found(lineage.downstream(raw)) == ["w/raw", "w/clean", "w/summary"]
    assert found(lineage.upstream(raw)) == ["w/raw", SOURCE.name]
    below = lineage.downstream(SOURCE, registries=[raw.registry])
    assert found(below) == [SOURCE.name, "w/raw", "w/clean", "w/summary"]
    assert lineage.upstream(clean).steps[0].event.run.job_name == "script"


def test_another_revision_of_the_package_is_another_question(tmp_path: Path) -> None:
    old, new = revision(tmp_path, "w/raw", "old"), revision(tmp_path, "w/raw", "new")
    note([old], [revision(tmp_path, "w/a")])
    note([new], [revision(tmp_path, "w/b")])

    assert found(lineage.downstream(old)) == ["w/raw", "w/a"]


@pytest.mark.parametrize(("depth", "size"), [(0, 1), (1, 2), (2, 3), (9, 4)])
def test_depth_counts_runs(tmp_path: Path, depth: int, size: int) -> None:
    refs = chain(tmp_path, "w/a", "w/b", "w/c", "w/d")

    assert len(found(lineage.upstream(refs[-1], depth=depth))) == size
    assert len(found(lineage.downstream(refs[0], depth=depth))) == size


def test_what_two_runs_share_is_expanded_once_and_nearest(tmp_path: Path) -> None:
    root, far, near = chain(tmp_path, "w/root", "w/far", "w/near")
    top = revision(tmp_path, "w/top")
    note([near, root, far], [top])

    answer = lineage.upstream(top)

    assert found(answer) == ["w/top", "w/near", "w/root", "w/far"]
    near_node = answer.steps[0].nodes[0]
    assert [child.is_repeat for step in near_node.steps for child in step.nodes] == [True]
    assert lineage.upstream(top, depth=1).steps[0].nodes[2].steps == []


def test_promotion_and_back_is_finite(tmp_path: Path) -> None:
    here, there = revision(tmp_path / "dev", "w/p"), revision(tmp_path / "prod", "w/p")
    note([here], [there])
    note([there], [here])
    note([here], [here])

    for ask in (lineage.upstream, lineage.downstream):
        answer = ask(here, registries=[there.registry])
        assert [node.item.registry for node in answer.walk()] == [here.registry, there.registry]


def test_equal_content_under_two_names_stays_two_datasets(tmp_path: Path) -> None:
    one, two = revision(tmp_path, "w/one", "same"), revision(tmp_path, "w/two", "same")
    note([one], [two])

    assert found(lineage.upstream(two)) == ["w/two", "w/one"]
    assert found(lineage.upstream(one)) == ["w/one"]


def test_the_runs_of_a_revision_are_those_that_came_to_it(tmp_path: Path) -> None:
    target, source = revision(tmp_path, "w/out"), revision(tmp_path, "w/in")
    first, second = RunInfo.here("airflow"), RunInfo.here("prefect")
    note([source], [target], run=first)
    note([source], [target], run=second)
    note([SOURCE], [target], run=replace(first, attempt=2))
    note([target], [])

    runs = lineage.runs_of(target)

    assert [event.run.run_id for event in runs] == [second.run_id, first.run_id]
    assert runs[1].run.attempt == 2
    assert runs[1].inputs == (Input.of_ref(source), SOURCE)


def test_a_run_that_only_read_ends_the_answer(tmp_path: Path) -> None:
    (ref,) = chain(tmp_path, "w/raw")
    note([ref], [])

    (step,) = lineage.downstream(ref).steps
    assert step.nodes == ()
    assert step.event.inputs == (Input.of_ref(ref),)


def test_upstream_crosses_registries_by_itself(tmp_path: Path) -> None:
    refs = [revision(tmp_path / name, f"w/{name}") for name in ("a", "b", "c")]
    note([refs[0]], [refs[1]])
    note([refs[1]], [refs[2]])

    assert found(lineage.upstream(refs[2])) == ["w/c", "w/b", "w/a"]


def test_downstream_asks_settings_arguments_and_what_events_name(tmp_path: Path) -> None:
    a, b, c = (revision(tmp_path / name, f"w/{name}") for name in ("a", "b", "c"))
    beside = revision(tmp_path / "c", "w/beside")
    note([a], [b])
    note([b], [c])
    note([a], [beside])

    assert found(lineage.downstream(a)) == ["w/a"]
    # c is met on the way, and knows of a run on a, which was asked about before.
    everything = ["w/a", "w/b", "w/beside", "w/c"]
    assert found(lineage.downstream(a, registries=[str(tmp_path / "b")]))[:2] == ["w/a", "w/b"]
    assert found(lineage.downstream(a, registries=[b.registry, c.registry])) == everything
    settings = Settings(registry=b.registry, lineage_registry=c.registry)
    assert found(lineage.downstream(a, settings=settings)) == everything


def test_a_registry_met_on_the_way_is_asked_about_all_before(tmp_path: Path) -> None:
    a, b = revision(tmp_path / "a", "w/a"), revision(tmp_path / "b", "w/b")
    beside = revision(tmp_path / "b", "w/beside")
    note([a], [revision(tmp_path / "a", "w/first"), b])
    note([a], [beside])

    assert found(lineage.downstream(a)) == ["w/a", "w/first", "w/b", "w/beside"]


def test_a_registry_that_cannot_be_asked_is_named(tmp_path: Path) -> None:
    gone, target = revision("s3://gone", "w/gone"), revision(tmp_path, "w/out")
    note([gone, SOURCE], [target])

    with no_server() as s3:
        settings = Settings(s3=s3)
        answer = lineage.upstream(target, settings=settings)
        with pytest.raises(StorageError):
            lineage.upstream(gone, settings=settings)
        with pytest.raises(StorageError):
            lineage.upstream(target, settings=settings, registries=["s3://gone"])

    assert found(answer) == ["w/out", "w/gone", SOURCE.name]
    assert list(answer.unread) == ["s3://gone"]
    assert "refused" in answer.unread["s3://gone"]


def test_a_folder_of_another_machine_is_named(tmp_path: Path) -> None:
    far, out = revision("/no/such/machine", "w/far"), revision(tmp_path, "w/out")
    note([far], [out])

    answer = lineage.upstream(out)

    assert found(answer) == ["w/out", "w/far"]
    assert list(answer.unread) == ["file:///no/such/machine"]
    # What the user has chosen may not be there yet.
    settings = Settings(registry="/no/such/machine")
    assert lineage.upstream(far, settings=settings).unread == {}


def test_only_its_own_registry_is_asked_who_published_a_revision(tmp_path: Path) -> None:
    refs = [revision(tmp_path / str(number), "w/p") for number in range(3)]
    for before, after in pairwise(refs):
        note([before], [after])
    (tmp_path / "0").mkdir()

    with no_server() as s3:
        settings = Settings(s3=s3, registry="s3://gone")
        above = lineage.upstream(refs[-1], settings=settings)
        below = lineage.downstream(refs[-1], settings=settings)

    assert [node.ref for node in above.walk()] == refs[::-1]
    assert above.unread == {}
    assert list(below.unread) == ["s3://gone"]


def test_so_many_registries_are_asked_who_read_something(tmp_path: Path) -> None:
    raw = revision(tmp_path, "w/raw")
    outs = [revision(tmp_path / str(number), "w/out") for number in range(MAX_REGISTRIES + 2)]
    note([raw], [revision(tmp_path, "w/first"), *outs])

    answer = lineage.downstream(raw)

    assert len(found(answer)) == 2 + len(outs)
    assert list(answer.unread) == [out.registry for out in outs[MAX_REGISTRIES:]]
    registries = [out.registry for out in outs]
    assert lineage.downstream(raw, registries=registries).unread == {}


def test_a_damaged_event_is_named(tmp_path: Path) -> None:
    target = revision(tmp_path, "w/out")
    done = note([SOURCE], [target])
    key = f"{EVENTS}{done.event_id}.json"
    open_store(str(tmp_path), Settings()).write(key, b"{")

    note([revision(tmp_path, "w/raw")], [target])

    answer = lineage.upstream(target)

    # What the others say still counts.
    assert found(answer) == ["w/out", "w/raw"]
    (unread,) = answer.unread
    assert unread == f"{target.registry}/{key}"
    assert done.event_id in lineage.render(answer)


def test_a_damaged_event_is_read_from_another_registry_that_has_it(tmp_path: Path) -> None:
    here, there = revision(tmp_path / "a", "w/p"), revision(tmp_path / "b", "w/p")
    done = note([SOURCE], [here, there])
    key = f"{EVENTS}{done.event_id}.json"
    open_store(here.registry, Settings()).write(key, b"{")

    answer = lineage.upstream(here, registries=[there.registry])

    assert found(answer) == ["w/p", SOURCE.name]
    assert answer.unread == {}


def test_a_marker_without_its_event_is_ignored(tmp_path: Path) -> None:
    raw, out = chain(tmp_path, "w/raw", "w/out")
    (event_id,) = stored_events(tmp_path)
    open_store(str(tmp_path), Settings()).delete(f"{EVENTS}{event_id}.json")

    assert found(lineage.upstream(out)) == ["w/out"]
    assert found(lineage.downstream(raw)) == ["w/raw"]


def test_a_chain_longer_than_the_stack_is_no_trouble(tmp_path: Path) -> None:
    refs = chain(tmp_path, *(f"w/p{number}" for number in range(20)))
    answer = lineage.upstream(refs[-1])
    assert found(answer) == [ref.name for ref in refs[::-1]]

    # Recording thousands of runs would take a minute, so the same answer is put end to end.
    for _ in range(sys.getrecursionlimit()):
        top = Node(answer.item, "upstream")
        top.steps.append(Step(answer.steps[0].event, (answer,)))
        answer = top

    size = sys.getrecursionlimit() + 20
    assert len(found(answer)) == size
    assert len(lineage.render(answer).splitlines()) == 2 * size - 1
    assert len(repr(answer)) < 1000


@pytest.mark.parametrize(
    "about",
    [
        "weather/raw",
        "s3://bucket",
        3,
        None,
        [],
        {"namespace": "file"},
        "quilt+s3://b#package=a/b:x",
    ],
)
def test_what_no_question_can_be_about_is_refused(about: object) -> None:
    with pytest.raises(InvalidInputError):
        lineage.upstream(about)  # type: ignore[arg-type]


def test_a_question_names_a_revision_in_many_ways(tmp_path: Path) -> None:
    _, out = chain(tmp_path, "w/raw", "w/out")

    by_hand = Input("file", f"{tmp_path}/w/out", out.top_hash)
    for about in (out, out.uri, out.to_dict(), Input.of_ref(out), by_hand):
        assert found(lineage.upstream(about)) == ["w/out", "w/raw"]
    with pytest.raises(InvalidInputError):
        lineage.upstream(out, depth=-1)
    with pytest.raises(NotFoundError):
        lineage.upstream(f"t4+file://{tmp_path}#package=w/out")


def test_lineage_in_buckets(s3_env: SeaweedFS, unversioned_bucket: str, tmp_path: Path) -> None:
    raw = revision(tmp_path, "w/raw")
    clean, out = (revision(f"s3://{unversioned_bucket}", name) for name in ("w/clean", "w/out"))
    note([raw], [clean])
    note([clean], [out])

    assert found(lineage.upstream(out)) == ["w/out", "w/clean", "w/raw"]
    assert found(lineage.downstream(raw, registries=[out.registry])) == [
        "w/raw",
        "w/clean",
        "w/out",
    ]
