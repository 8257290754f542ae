"""`lineage.run`: what it notes, what it leaves alone, and the one event at its end."""

from __future__ import annotations

import asyncio
import contextvars
import json
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import t4_ops as t4
from t4_ops import lineage
from tests.ledger_support import stored_events
from tests.lineage_run_support import events, inputs_of, make, names, raw_packages, the_event


@pytest.fixture
def registry(own_home: Path) -> str:
    """The default registry, with the packages `raw/a` and `raw/b` in it."""
    return raw_packages()


@pytest.fixture
def raw(registry: str) -> t4.Package:
    """The package `raw/a`, browsed outside any run."""
    return t4.Package.browse("raw/a")


def test_one_event_tells_of_all_that_was_read_and_published(registry: str) -> None:
    with lineage.run(job="etl", namespace="team") as run:
        first = t4.Package.browse("raw/a")
        t4.Package.browse("raw/b")
        top_hash = make()
        make("made/d")
        assert stored_events(registry.removeprefix("file://")) == {}
        assert [item.package for item in run.inputs] == ["raw/a", "raw/b"]
        assert [output.ref.name for output in run.outputs] == ["made/c", "made/d"]

    event = the_event(registry)
    assert event["eventType"] == "COMPLETE"
    assert (event["job"]["namespace"], event["job"]["name"]) == ("team", "etl")
    assert event["run"]["runId"] == run.info.run_id
    assert names(event["inputs"]) == ["raw/a", "raw/b"]
    assert event["inputs"][0]["facets"]["version"]["datasetVersion"] == first.top_hash
    assert names(event["outputs"]) == ["made/c", "made/d"]
    assert event["outputs"][0]["facets"]["version"]["datasetVersion"] == top_hash
    statistics = event["outputs"][0]["outputFacets"]["outputStatistics"]
    assert (statistics["fileCount"], statistics["size"]) == (1, 4)
    node = lineage.upstream(f"t4+{registry}#package=made/c@{top_hash}")
    assert [item.ref.name for item in node.steps[0].event.inputs if item.ref] == ["raw/a", "raw/b"]


def test_outside_a_run_nothing_is_recorded(registry: str) -> None:
    t4.Package.browse("raw/a")["x.json"].get_bytes()
    make()

    assert stored_events(registry.removeprefix("file://")) == {}


READS: dict[str, tuple[Callable[[t4.Package, Path], object], list[str]]] = {
    "browse": (lambda p, f: t4.Package.browse("raw/a"), []),
    "install": (lambda p, f: t4.Package.install("raw/a", dest=f), []),
    "install path": (lambda p, f: t4.Package.install("raw/a", dest=f, path="deep/"), ["deep/"]),
    "fetch": (lambda p, f: p.fetch(f), []),
    "fetch directory": (lambda p, f: p["deep"].fetch(f), ["deep/"]),
    "fetch entry": (lambda p, f: p["x.json"].fetch(f), ["x.json"]),
    "get_bytes": (lambda p, f: p["deep"]["y.bin"].get_bytes(), ["deep/y.bin"]),
    "get_as_string": (lambda p, f: p["x.json"].get_as_string(), ["x.json"]),
    "get_as_json": (lambda p, f: p["x.json"].get_as_json(), ["x.json"]),
    "deserialize": (lambda p, f: p["x.json"].deserialize(), ["x.json"]),
    "call": (lambda p, f: p["x.json"](), ["x.json"]),
    "two entries": (
        lambda p, f: (p["x.json"](), p["deep/y.bin"].get_bytes()),
        ["deep/y.bin", "x.json"],
    ),
    "filter": (lambda p, f: p.filter(lambda key, _: key == "x.json")["x.json"](), ["x.json"]),
    "after a change": (lambda p, f: p.set("new.bin", b"")["x.json"](), ["x.json"]),
    "described anew": (lambda p, f: p["x.json"].set_meta({"a": 1})(), ["x.json"]),
}


@pytest.mark.parametrize("how", READS)
def test_every_way_of_reading_counts(
    raw: t4.Package, registry: str, tmp_path: Path, how: str
) -> None:
    read, paths = READS[how]
    with lineage.run(job="etl"):
        read(raw, tmp_path / "out")
        make()

    assert inputs_of(registry) == {"raw/a": paths}


def test_all_of_it_is_more_than_a_part(raw: t4.Package, registry: str, tmp_path: Path) -> None:
    with lineage.run(job="etl"):
        raw["x.json"]()
        raw.fetch(tmp_path / "out")
        raw["deep/y.bin"].get_bytes()
        make()

    assert inputs_of(registry) == {"raw/a": []}


def test_very_many_paths_are_not_listed(registry: str) -> None:
    package = t4.Package()
    for number in range(101):
        package.set(f"{number:03}.bin", b"")
    package.build("raw/many")
    with lineage.run(job="etl"):
        for _, entry in t4.Package.browse("raw/many").walk():
            entry.get_bytes()
        make()

    assert inputs_of(registry) == {"raw/many": []}


def test_what_was_set_from_elsewhere_is_no_read_of_a_revision(
    raw: t4.Package, registry: str
) -> None:
    raw.set("x.json", {"new": True}).set("more.bin", b"more")
    with lineage.run(job="etl"):
        raw["x.json"]()
        raw["more.bin"].get_bytes()
        make()

    assert inputs_of(registry) == {}


def test_our_own_reads_are_no_inputs(registry: str, tmp_path: Path) -> None:
    make()
    with lineage.run(job="etl"):
        t4.list_packages()
        t4.list_package_versions("raw/a")
        t4.resolve("raw/a")
        # A second revision: the first is read to see what is there, and to move `latest`.
        t4.Package().set("z.bin", b"made").set("more.bin", b"").push("made/c", str(tmp_path / "r"))
        t4.Package().set("other.bin", b"made").build("made/c")

    assert inputs_of(registry) == {}


def test_a_publication_was_made_from_what_is_in_it(raw: t4.Package, registry: str) -> None:
    """Packages browsed before the run, whose entries go into what it publishes."""
    other = t4.Package.browse("raw/b")
    with lineage.run(job="etl"):
        t4.Package().set("x.json", other["x.json"]).build("made/c")
        raw.set("new.bin", b"new").push("made/d")

    assert inputs_of(registry) == {"raw/b": ["x.json"], "raw/a": []}


def test_sources_of_a_publication_are_inputs(registry: str, tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "a.csv").write_text("a\n1\n")
    with lineage.run(job="etl"):
        t4.Package().set_dir("data", tmp_path / "source").build("made/c")

    (source,) = the_event(registry)["inputs"]
    assert (source["namespace"], source["name"]) == ("file", str(tmp_path / "source"))


def test_a_revision_was_not_made_from_itself(registry: str) -> None:
    with lineage.run(job="etl"):
        make()
        t4.Package.browse("made/c")["z.bin"].get_bytes()

    assert inputs_of(registry) == {}


def test_a_change_of_a_package_was_made_from_its_former_revision(registry: str) -> None:
    with lineage.run(job="etl"):
        package = t4.Package.browse("raw/a")
        before = package.top_hash
        after = package.set("more.bin", b"").build("raw/a")

    event = the_event(registry)
    assert event["inputs"][0]["facets"]["version"]["datasetVersion"] == before
    assert event["outputs"][0]["facets"]["version"]["datasetVersion"] == after
    assert event["outputs"][0]["facets"]["t4_package"]["parentTopHash"] == before


def test_a_second_publication_does_not_hide_the_first(registry: str) -> None:
    with lineage.run(job="etl"):
        make()
        make()

    (output,) = the_event(registry)["outputs"]
    assert output["facets"]["t4_package"]["changed"] is True


def test_a_failure_is_recorded_and_raised(registry: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_API_KEY", "hunter2-hunter2")

    def work() -> None:
        with lineage.run(job="etl"):
            t4.Package.browse("raw/a")
            make()
            raise ValueError("bad row; key hunter2-hunter2")

    with pytest.raises(ValueError, match="bad row"):
        work()

    event = the_event(registry)
    assert event["eventType"] == "FAIL"
    assert event["run"]["facets"]["errorMessage"]["message"] == "ValueError: bad row; key ***"
    assert names(event["inputs"]) == ["raw/a"]
    assert names(event["outputs"]) == ["made/c"]


@pytest.mark.parametrize(("code", "state"), [(None, "COMPLETE"), (0, "COMPLETE"), (3, "FAIL")])
def test_an_exit_of_the_program_is_an_end(registry: str, code: int | None, state: str) -> None:
    def work() -> None:
        with lineage.run(job="etl"):
            make()
            sys.exit(code)

    with pytest.raises(SystemExit):
        work()

    assert the_event(registry)["eventType"] == state


def test_no_environment_and_no_payload_enter_an_event(
    registry: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_VARIABLE", "value-of-a-variable")
    with lineage.run(job="etl"):
        assert t4.Package.browse("raw/a")["x.json"]() == {"from": "a"}
        t4.Package().set("z.bin", b"the payload").set_meta({"user": "the meta"}).build("made/c")

    text = json.dumps(the_event(registry))
    for secret in ("value-of-a-variable", "SOME_VARIABLE", "the payload", "the meta", '"from"'):
        assert secret not in text


def in_context(work: Callable[[], object]) -> None:
    thread = threading.Thread(target=contextvars.copy_context().run, args=(work,))
    thread.start()
    thread.join()


def in_to_thread(work: Callable[[], object]) -> None:
    asyncio.run(asyncio.to_thread(work))


def in_tasks(work: Callable[[], object]) -> None:
    async def one() -> None:
        await asyncio.sleep(0)
        work()

    async def main() -> None:
        await asyncio.gather(one(), one())

    asyncio.run(main())


def in_plain_thread(work: Callable[[], object]) -> None:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


@pytest.mark.parametrize(
    ("where", "is_seen"),
    [(in_context, True), (in_to_thread, True), (in_tasks, True), (in_plain_thread, False)],
)
def test_reads_count_where_the_context_goes(
    raw: t4.Package, registry: str, where: Callable[[Callable[[], object]], None], is_seen: bool
) -> None:
    with lineage.run(job="etl"):
        where(raw["x.json"].get_bytes)
        make()

    assert inputs_of(registry) == ({"raw/a": ["x.json"]} if is_seen else {})


def test_other_threads_attach_themselves(raw: t4.Package, registry: str) -> None:
    other = t4.Package.browse("raw/b")

    def work(run: lineage.Run) -> None:
        with lineage.attach(run):
            raw["x.json"].get_bytes()
        other["deep/y.bin"].get_bytes()

    with lineage.run(job="etl") as run:
        in_plain_thread(lambda: work(run))
        with ThreadPoolExecutor(2, initializer=lineage.attach, initargs=(run,)) as pool:
            pool.submit(make).result()

    assert inputs_of(registry) == {"raw/a": ["x.json"]}
    assert names(the_event(registry)["outputs"]) == ["made/c"]


def test_what_a_thread_publishes_after_the_end_is_not_lost(raw: t4.Package, registry: str) -> None:
    with lineage.run(job="etl") as run:
        raw["x.json"].get_bytes()
        context = contextvars.copy_context()
    context.run(make)

    first, second = events(registry)
    assert first["run"]["runId"] == second["run"]["runId"] == run.info.run_id
    assert names(second["inputs"]) == ["raw/a"]
    assert names(second["outputs"]) == ["made/c"]


def test_many_threads_may_read_and_publish(registry: str) -> None:
    def work(number: int) -> None:
        t4.Package.browse("raw/a")["x.json"]()
        make(f"made/p{number}")

    with (
        lineage.run(job="etl") as run,
        ThreadPoolExecutor(8, initializer=lineage.attach, initargs=(run,)) as pool,
    ):
        list(pool.map(work, range(24)))

    assert sorted(names(the_event(registry)["outputs"])) == sorted(f"made/p{n}" for n in range(24))
