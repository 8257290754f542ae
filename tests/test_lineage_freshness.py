"""Stale inputs and impact: what `latest` has left, and what still depends on a revision."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from t4_ops import lineage
from t4_ops.errors import StorageError
from t4_ops.keys import PackageRef
from t4_ops.ledger import Input, Output, RunInfo, record
from t4_ops.lineage import Found
from t4_ops.operations import build, push
from t4_ops.settings import Settings
from t4_ops.storage import open_store
from tests.ledger_support import no_server, note, revision
from tests.lineage_support import point, publish, registry_of

SOURCE = Input("https://feed.example", "daily.csv")


def told(found: tuple[Found, ...]) -> list[tuple[str, int, str]]:
    return [(one.ref.name, one.depth, one.standing.state) for one in found]


def test_a_revision_of_todays_inputs_is_fresh(registry: str) -> None:
    raw = publish(registry, "w/raw", "1", [SOURCE])
    out = publish(registry, "w/out", "1", [raw])

    answer = lineage.stale(out)

    assert (answer.inputs, answer.checked, answer.is_stale) == ((), 1, False)
    assert answer.unchecked == (SOURCE,)


def test_newer_inputs_are_told_with_their_depth(registry: str) -> None:
    raw, names = publish(registry, "w/raw", "1"), publish(registry, "w/names", "1")
    clean = publish(registry, "w/clean", "1", [raw])
    out = publish(registry, "w/out", "1", [clean, names])
    newer = publish(registry, "w/raw", "2")
    publish(registry, "w/names", "2")

    answer = lineage.stale(out)

    assert told(answer.inputs) == [("w/names", 1, "newer"), ("w/raw", 2, "newer")]
    assert answer.inputs[1].standing.latest == newer.top_hash
    assert answer.checked == 3
    assert told(lineage.stale(out, depth=1).inputs) == [("w/names", 1, "newer")]
    assert lineage.stale(newer).checked == 0


def test_a_rollback_is_told_from_a_new_revision(tmp_path: Path) -> None:
    old = publish(tmp_path, "w/raw", "1")
    bad = publish(tmp_path, "w/raw", "2")
    out = publish(tmp_path, "w/out", "1", [bad])
    pointers = registry_of(tmp_path).pointers
    pointers.rollback("w/raw", old.top_hash, expected=bad.top_hash)

    (found,) = lineage.stale(out).inputs
    assert (found.standing.state, found.standing.latest) == ("rolled back", old.top_hash)

    # Published once more, the old content is newer than the bad one.
    pointers.rollback("w/raw", bad.top_hash, expected=old.top_hash)
    publish(tmp_path, "w/raw", "1")
    assert told(lineage.stale(out).inputs) == [("w/raw", 1, "newer")]

    # Where a damaged pointer may be the one that tells, the ledger does.
    newest = max((tmp_path / ".quilt/named_packages/w/raw").glob("[0-9]*"))
    newest.write_text("no hash")
    assert told(lineage.stale(out).inputs) == [("w/raw", 1, "newer")]


def test_a_repeat_that_changed_nothing_is_no_new_publication(tmp_path: Path) -> None:
    old = publish(tmp_path, "w/raw", "1")
    bad = publish(tmp_path, "w/raw", "2")
    out = publish(tmp_path, "w/out", "1", [bad])
    registry_of(tmp_path).pointers.rollback("w/raw", old.top_hash, expected=bad.top_hash)
    publish(tmp_path, "w/raw", "1")

    assert told(lineage.stale(out).inputs) == [("w/raw", 1, "rolled back")]


@pytest.mark.parametrize(("order", "state"), [("12", "newer"), ("21", "rolled back")])
def test_pointers_tell_the_order_where_the_ledger_is_silent(
    tmp_path: Path, order: str, state: str
) -> None:
    refs = {content: revision(tmp_path, "w/raw", content) for content in "12"}
    for content in order:
        point(refs[content])
    note([refs["1"]], [revision(tmp_path, "w/out")])
    if order == "21":
        registry_of(tmp_path).pointers.rollback(
            "w/raw", refs["2"].top_hash, expected=refs["1"].top_hash
        )

    assert told(lineage.stale(revision(tmp_path, "w/out")).inputs) == [("w/raw", 1, state)]


def test_an_order_that_nobody_knows_is_not_guessed(tmp_path: Path) -> None:
    pinned, latest = revision(tmp_path, "w/raw", "1"), revision(tmp_path, "w/raw", "2")
    store = registry_of(tmp_path)
    point(latest)
    (pointer,) = store.pointers.revisions("w/raw")
    (tmp_path / ".quilt/named_packages/w/raw" / pointer.name).unlink()
    out = revision(tmp_path, "w/out")
    note([pinned], [out])

    assert told(lineage.stale(out).inputs) == [("w/raw", 1, "other")]


def test_a_deleted_input_is_gone(tmp_path: Path) -> None:
    raw = publish(tmp_path, "w/raw", "1")
    out = publish(tmp_path, "w/out", "1", [raw])
    registry_of(tmp_path).pointers.delete("w/raw")

    (found,) = lineage.stale(out).inputs
    assert (found.standing.state, found.standing.latest) == ("gone", None)


def test_what_a_package_was_carried_on_from_is_not_stale(tmp_path: Path) -> None:
    day = publish(tmp_path, "w/log", "1", [SOURCE])
    for content in "23":
        day = publish(tmp_path, "w/log", content, [day])
    assert lineage.stale(day).inputs == ()

    report = publish(tmp_path, "w/report", "1", [day])
    assert lineage.stale(report).inputs == ()
    publish(tmp_path, "w/log", "4", [day])
    assert told(lineage.stale(report).inputs) == [("w/log", 1, "newer")]

    first = revision(tmp_path, "w/log", "1")
    both = publish(tmp_path, "w/both", "1", [report, first])
    assert [one.ref for one in lineage.stale(both).inputs] == [first, day]


def test_sources_of_earlier_days_do_not_make_a_package_stale(tmp_path: Path) -> None:
    source = publish(tmp_path, "w/src", "1")
    log = publish(tmp_path, "w/log", "1", [source])
    for day in "23":
        source = publish(tmp_path, "w/src", day)
        log = publish(tmp_path, "w/log", day, [source, log])

    assert lineage.stale(log).inputs == ()
    publish(tmp_path, "w/src", "4")
    assert [one.ref for one in lineage.stale(log).inputs] == [source]


def test_the_same_bytes_made_again_from_todays_inputs_are_fresh(tmp_path: Path) -> None:
    old = publish(tmp_path, "w/raw", "1")
    out = publish(tmp_path, "w/out", "same", [old])
    new = publish(tmp_path, "w/raw", "2")
    assert lineage.stale(out).is_stale

    note([new], [out])
    assert lineage.stale(out).inputs == ()

    # A failure that read what is newest made nothing.
    publish(tmp_path, "w/raw", "3")
    record(
        RunInfo.here("job"),
        [Input.of_ref(revision(tmp_path, "w/raw", "3"))],
        [Output(out)],
        state="FAIL",
        error="x",
        settings=Settings(),
        open_store=open_store,
    )
    assert [one.ref for one in lineage.stale(out).inputs] == [new]


def test_a_promotion_back_does_not_hide_a_stale_input(tmp_path: Path) -> None:
    raw = publish(tmp_path / "dev", "w/raw", "1")
    here = publish(tmp_path / "dev", "w/p", "1", [raw])
    there = publish(tmp_path / "prod", "w/p", "1", [here])
    publish(tmp_path / "dev", "w/p", "1", [there])
    publish(tmp_path / "dev", "w/raw", "2")

    for ref, depth in ((here, 1), (there, 2)):
        assert told(lineage.stale(ref).inputs) == [("w/raw", depth, "newer")]


def test_publishing_again_in_place_does_not_hide_a_stale_input(tmp_path: Path) -> None:
    raw = publish(tmp_path, "w/raw", "1")
    out = publish(tmp_path, "w/out", "1", [raw])
    publish(tmp_path, "w/raw", "2")
    publish(tmp_path, "w/out", "1", [])

    answer = lineage.stale(out)

    assert (told(answer.inputs), answer.checked) == ([("w/raw", 1, "newer")], 1)


def test_a_push_in_place_does_not_make_a_stale_revision_fresh(tmp_path: Path) -> None:
    registry = str(tmp_path / "r")
    before, after = tmp_path / "before", tmp_path / "after"
    for file in (before, after):
        file.write_text(file.name)
    raw = build("w/raw", before, registry=registry)
    out = build("w/out", before, registry=registry, inputs=raw)
    build("w/raw", after, registry=registry)

    assert push(out["uri"], force=True, registry=registry)["uri"] == out["uri"]

    assert told(lineage.stale(out["uri"]).inputs) == [("w/raw", 1, "newer")]


@pytest.mark.parametrize("between", [1, 3])
def test_a_circle_longer_than_the_depth_hides_nothing(tmp_path: Path, between: int) -> None:
    raw = publish(tmp_path, "w/raw", "1")
    here = at = publish(tmp_path, "w/p", "1", [raw])
    for number in range(between):
        at = publish(tmp_path, f"w/copy{number}", "1", [at])
    publish(tmp_path, "w/p", "1", [at])
    publish(tmp_path, "w/raw", "2")

    for depth in (1, 2, None):
        assert told(lineage.stale(here, depth=depth).inputs) == [("w/raw", 1, "newer")]
    assert lineage.stale(here, depth=1).checked == 2
    assert lineage.stale(here, depth=0).checked == 0


def test_inputs_that_an_event_left_out_are_counted_once_a_run(tmp_path: Path) -> None:
    raw, run = publish(tmp_path, "w/raw", "1"), RunInfo.here("large")
    common: dict[str, Any] = {"settings": Settings(), "open_store": open_store}
    parts = [revision(tmp_path, f"w/part{number}") for number in range(2)]
    for ref in parts:
        point(ref)
        record(run, [Input.of_ref(raw)], [Output(ref)], omitted_inputs=7, **common)
    out = publish(tmp_path, "w/out", "1", parts)

    assert lineage.stale(out).omitted_inputs == 7
    assert lineage.stale(out).to_dict()["omitted_inputs"] == 7
    assert lineage.stale(out, depth=1).omitted_inputs == 0


def test_a_revision_published_inside_a_long_run_is_ordered_by_its_publication(
    tmp_path: Path,
) -> None:
    old, new = revision(tmp_path, "w/raw", "1"), revision(tmp_path, "w/raw", "2")
    common: dict[str, Any] = {"settings": Settings(), "open_store": open_store}
    for ref in (old, new):
        point(ref)
    now = datetime.now(UTC)
    record(RunInfo.here("other"), [], [Output(new)], event_time=now, **common)
    # It had published the old one before, and ends after the other.
    late = now + timedelta(minutes=10)
    record(RunInfo.here("long"), [], [Output(old)], event_time=late, **common)
    out = publish(tmp_path, "w/out", "1", [old])

    assert told(lineage.stale(out).inputs) == [("w/raw", 1, "newer")]


def test_a_folder_of_another_machine_is_not_gone(tmp_path: Path) -> None:
    far = revision("/no/such/machine", "w/far")
    out = publish(tmp_path, "w/out", "1", [far])

    answer = lineage.stale(out)

    assert (answer.inputs, answer.checked) == ((), 0)
    assert answer.unchecked == (Input.of_ref(far),)
    assert list(answer.unread) == ["file:///no/such/machine"]


def test_inputs_in_other_registries_are_compared_there(tmp_path: Path) -> None:
    raw = publish(tmp_path / "a", "w/raw", "1")
    out = publish(tmp_path / "b", "w/out", "1", [raw])
    publish(tmp_path / "a", "w/raw", "2")
    publish(tmp_path / "b", "w/raw", "3")

    (found,) = lineage.stale(out).inputs
    assert found.standing.latest == revision(tmp_path / "a", "w/raw", "2").top_hash


def test_an_input_that_cannot_be_compared_is_named(tmp_path: Path) -> None:
    gone = revision("s3://gone", "w/gone")
    out = publish(tmp_path, "w/out", "1", [gone, SOURCE])

    with no_server() as s3:
        settings = Settings(s3=s3)
        answer = lineage.stale(out, settings=settings)
        with pytest.raises(StorageError):
            lineage.stale(out, settings=settings, registries=["s3://gone"])

    assert (answer.inputs, answer.checked) == ((), 0)
    assert answer.unchecked == (Input.of_ref(gone), SOURCE)
    assert list(answer.unread) == ["s3://gone"]
    assert answer.to_dict()["unchecked"][0]["name"] == "w/gone"


def chain(folder: Path) -> list[PackageRef]:
    """Publish raw -> clean -> report, then raw -> clean again; the report is the old one."""
    raw = publish(folder, "w/raw", "1")
    clean = publish(folder, "w/clean", "1", [raw])
    report = publish(folder, "w/report", "1", [clean])
    again = publish(folder, "w/raw", "2")
    publish(folder, "w/clean", "2", [again])
    return [raw, clean, report]


def test_impact_is_what_is_still_in_use(tmp_path: Path) -> None:
    raw, clean, report = chain(tmp_path)

    assert told(lineage.impact(raw).revisions) == [("w/report", 2, "latest")]
    everything = lineage.impact(raw, everything=True).revisions
    assert told(everything) == [("w/clean", 1, "newer"), ("w/report", 2, "latest")]
    assert told(lineage.impact(clean).revisions) == [("w/report", 1, "latest")]
    assert lineage.impact(report).revisions == ()
    assert lineage.impact(raw, depth=1).revisions == ()


def test_impact_of_a_source_that_is_no_package(registry: str) -> None:
    publish(registry, "w/raw", "1", [SOURCE])

    answer = lineage.impact(SOURCE, registries=[registry])

    assert told(answer.revisions) == [("w/raw", 1, "latest")]
    assert answer.to_dict()["about"] == {"namespace": SOURCE.namespace, "name": SOURCE.name}


def test_impact_finds_uses_in_every_registry_given(tmp_path: Path) -> None:
    raw = publish(tmp_path / "a", "w/raw", "1")
    there = publish(tmp_path / "b", "w/there", "1", [raw])
    publish(tmp_path / "c", "w/beyond", "1", [there])

    assert lineage.impact(raw).revisions == ()
    found = lineage.impact(raw, registries=[tmp_path.as_uri() + "/b", tmp_path.as_uri() + "/c"])
    assert told(found.revisions) == [("w/there", 1, "latest"), ("w/beyond", 2, "latest")]


def test_impact_names_runs_that_only_read(tmp_path: Path) -> None:
    raw, clean, _ = chain(tmp_path)
    note([clean], [])

    readers = lineage.impact(raw).readers
    assert [event.inputs for event in readers] == [(Input.of_ref(clean),)]
    assert lineage.impact(raw).to_dict()["readers"][0]["job_name"] == "script"


def test_a_promotion_and_back_has_an_impact_that_ends(tmp_path: Path) -> None:
    here, there = revision(tmp_path / "dev", "w/p"), revision(tmp_path / "prod", "w/p")
    for ref in (here, there):
        point(ref)
    note([here], [there])
    note([there], [here])

    found = lineage.impact(here, registries=[there.registry]).revisions
    assert [(one.ref, one.depth) for one in found] == [(there, 1)]


def test_what_cannot_be_checked_may_depend_still(tmp_path: Path) -> None:
    raw, lost = revision(tmp_path, "w/raw"), revision("s3://gone", "w/copy")
    point(raw)
    # A registry that was given records a use whose output lies where nobody answers.
    with no_server() as s3:
        note([raw], [revision(tmp_path, "w/other"), lost], s3=s3, lineage="best-effort")
        answer = lineage.impact(raw, settings=Settings(s3=s3))

    assert told(answer.revisions) == [("w/copy", 1, "unknown")]
    assert list(answer.unread) == ["s3://gone"]
