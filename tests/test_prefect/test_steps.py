"""The tasks' functions on a folder registry, without a server."""

import json
import logging
import pickle
from pathlib import Path
from typing import Any

import pytest
from prefect import Task
from prefect.cache_policies import INPUTS, NO_CACHE

import t4_ops as t4
from t4_ops.lineage import runs_of
from t4_ops.prefect.blocks import T4Registry
from t4_ops.prefect.caching import BY_CONTENT
from t4_ops.prefect.revisions import Revision
from t4_ops.prefect.tasks import (
    browse_package,
    build_package,
    delete_revision,
    diff_packages,
    install_package,
    promote_package,
    push_package,
    rollback_package,
    verify_package,
    wait_for_revision,
)
from tests.test_prefect.support import KEYS, files_of

MOVING = [
    build_package,
    delete_revision,
    install_package,
    promote_package,
    push_package,
    rollback_package,
]
TASKS = [*MOVING, browse_package, diff_packages, verify_package, wait_for_revision]


def test_each_step_returns_the_same_revision(source: Path, registry: str, tmp_path: Path) -> None:
    built = build_package.fn("team/raw", source, registry=registry, message="first")
    pushed = push_package.fn(built, registry=registry)
    browsed = browse_package.fn(pushed)
    installed = install_package.fn(browsed, dest=tmp_path / "out")

    results: list[Any] = [built, pushed, browsed, installed]
    assert [set(result.to_dict()) for result in results] == [
        KEYS,
        KEYS,
        KEYS,
        KEYS | {"dest", "dest_stat"},
    ]
    assert len({(r.uri, r.files, r.size_bytes) for r in results}) == 1
    assert [Revision.of(json.loads(json.dumps(r.to_dict()))) for r in results] == results
    assert [r.changed for r in results] == [True, True, False, True]
    assert files_of(installed.dest) == files_of(source)
    expected = t4.Package().set_dir("", source)
    assert built.top_hash == expected.build("team/raw", str(tmp_path / "other"), "first")


def test_a_repeat_finds_its_work_done(source: Path, registry: str, tmp_path: Path) -> None:
    def run() -> list[Any]:
        built = build_package.fn("team/raw", {"in/": source}, registry=registry, meta={"a": 1})
        pushed = push_package.fn(built, registry=registry)
        return [built, pushed, install_package.fn(pushed, dest=tmp_path / "out")]

    first, second = run(), run()
    assert [r.top_hash for r in second] == [r.top_hash for r in first]
    assert [r.changed for r in first] == [True, True, True]
    assert [r.changed for r in second] == [False, False, False]


def test_a_package_may_be_named_in_every_way(source: Path, registry: str, tmp_path: Path) -> None:
    built = build_package.fn("team/raw", source, registry=registry)
    ref = t4.PackageRef(built.registry, built.name, built.top_hash)
    name, top_hash = ref.name, ref.top_hash
    for package in (built, ref, built.to_dict(), ref.to_dict(), built.uri):
        assert browse_package.fn(package).uri == built.uri
        assert install_package.fn(package, dest=tmp_path / "out").uri == built.uri
        assert push_package.fn(package, registry=str(tmp_path / "other")).top_hash == top_hash
    for text in (name, f"{name}@{top_hash}", f"{name}@{top_hash[:10]}"):
        assert browse_package.fn(text, registry=registry).uri == built.uri
        found = install_package.fn(text, registry=registry, dest=tmp_path / "out")
        assert found.uri == built.uri


def test_push_by_name_takes_the_default_registry(
    source: Path, registry: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("T4_REGISTRY", registry)
    built = build_package.fn("team/raw", source)
    assert built.registry == Path(registry).as_uri()
    pushed = push_package.fn("team/raw", name="team/copy", message="another")
    assert pushed.name == "team/copy"
    assert pushed.top_hash != built.top_hash
    assert t4.Package.browse("team/copy").get("a.txt") is not None


def test_install_takes_a_part(source: Path, registry: str, tmp_path: Path) -> None:
    built = build_package.fn("team/raw", source, registry=registry)
    installed = install_package.fn(built, dest=tmp_path / "out", path="deep/")
    assert files_of(installed.dest) == {"b.bin": (source / "deep" / "b.bin").read_bytes()}


def test_inputs_are_handed_on(source: Path, registry: str, tmp_path: Path) -> None:
    raw = build_package.fn("team/raw", source, registry=registry)
    installed = install_package.fn(raw, dest=tmp_path / "out")
    clean = build_package.fn("team/clean", installed.dest, registry=registry, inputs=[installed])
    pushed = push_package.fn(clean, registry=registry)
    ref = t4.PackageRef(raw.registry, raw.name, raw.top_hash)
    assert ref.to_dict() in clean.inputs
    assert ref.to_dict() in pushed.inputs
    (event, *_) = runs_of(pushed)
    assert ref in [item.ref for item in event.inputs]
    # No orchestrator runs a `.fn`, so the core says who does.
    assert event.run.engine == "python"


@pytest.mark.parametrize("is_expected", [True, False])
def test_a_caller_may_say_what_latest_must_hold(
    source: Path, registry: str, *, is_expected: bool
) -> None:
    first = build_package.fn("team/raw", source, registry=registry)
    (source / "a.txt").write_text("second")
    if is_expected:
        second = build_package.fn("team/raw", source, registry=registry, expected=first.top_hash)
        assert second.changed is True
    else:
        with pytest.raises(t4.ConflictError):
            build_package.fn("team/raw", source, registry=registry, expected=None)


def test_a_step_writes_one_line(
    source: Path, registry: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.INFO, "t4_ops.prefect"):
        built = build_package.fn("team/raw", source, registry=registry)
        again = build_package.fn("team/raw", source, registry=registry)
    assert built.uri == again.uri
    ours = [record for record in caplog.records if record.name.startswith("t4_ops.prefect")]
    assert [record.getMessage() for record in ours] == [
        f"built {built.uri}: 2 files, 1285 bytes",
        f"built {built.uri}: 2 files, 1285 bytes, all there already",
    ]
    assert capfd.readouterr() == ("", "")


def test_errors_are_the_cores(source: Path, registry: str, tmp_path: Path) -> None:
    with pytest.raises(t4.NotFoundError):
        browse_package.fn("team/none", registry=registry)
    with pytest.raises(t4.InvalidInputError):
        build_package.fn("no name", source, registry=registry)
    with pytest.raises(t4.InvalidInputError):
        push_package.fn(17, registry=registry)  # type: ignore[arg-type]
    assert not (tmp_path / "registry").exists()


@pytest.mark.parametrize("step", TASKS, ids=lambda step: step.name)
def test_steps_are_tasks_that_keep_nothing(step: Any) -> None:
    assert isinstance(step, Task)
    assert not step.isasync
    assert step.persist_result is False
    assert step.description
    for variant in (step, step.with_options(name="other", retries=5, persist_result=True)):
        assert variant.cache_policy in (None, NO_CACHE)
        assert variant.retry_condition_fn is step.retry_condition_fn


@pytest.mark.parametrize("step", MOVING, ids=lambda step: step.name)
def test_what_moves_something_can_not_be_told_to_cache(step: Any) -> None:
    for options in (
        {"cache_policy": INPUTS},
        {"cache_policy": BY_CONTENT},
        {"cache_key_fn": lambda *_: "key"},
        {"result_storage_key": "key"},
    ):
        with pytest.raises(t4.InvalidInputError, match="cached run"):
            step.with_options(**options)
        with pytest.raises(t4.InvalidInputError, match="cached run"):
            step.with_options(name="other").with_options(**options)


@pytest.mark.parametrize("step", TASKS, ids=lambda step: step.name)
def test_options_keep_everything_else(step: Any) -> None:
    changed = step.with_options(name="other", retries=7).with_options(tags=["a"])
    assert type(changed) is type(step)
    assert (changed.name, changed.retries, changed.tags) == ("other", 7, {"a"})
    for name in ("on_commit_hooks", "on_rollback_hooks", "task_run_name", "retry_condition_fn"):
        assert getattr(changed, name) == getattr(step, name) != []
    changed.on_rollback(print)
    assert print not in step.on_rollback_hooks


def test_the_other_steps(source: Path, registry: str, tmp_path: Path) -> None:
    first = build_package.fn("team/raw", source, registry=registry)
    first = push_package.fn(first, registry=registry)
    (source / "a.txt").write_text("changed")
    second = push_package.fn(
        build_package.fn("team/raw", source, registry=registry), registry=registry
    )

    diff = diff_packages.fn(first, second)
    assert (diff["added"], diff["modified"], diff["modified_keys"]) == (0, 1, ["a.txt"])
    verified = verify_package.fn(second)
    assert verified == second
    assert verified.details["ok"] is True
    promoted = promote_package.fn(verified, registry=str(tmp_path / "production"))
    assert promoted.top_hash == second.top_hash
    assert promoted.registry == (tmp_path / "production").as_uri()
    back = rollback_package.fn("team/raw", first, registry=registry, expected=second.top_hash)
    assert (back, back.details["previous"]) == (first, second.top_hash)
    assert wait_for_revision.fn("team/raw", registry=registry, timeout_s=0) == first
    gone = delete_revision.fn(second)
    assert (gone["changed"], gone["latest"]) == (True, first.top_hash)
    with pytest.raises(TimeoutError):
        wait_for_revision.fn("team/none", registry=registry, timeout_s=0.1, poll_s=0.05)


def test_a_revision_is_a_reference_with_what_its_step_says(source: Path, registry: str) -> None:
    built = build_package.fn("team/raw", source, registry=registry)
    ref = t4.PackageRef(built.registry, built.name, built.top_hash)
    assert built == ref
    assert ref == built
    assert len({built, ref}) == 1
    assert pickle.loads(pickle.dumps(built)).to_dict() == built.to_dict()  # noqa: S301
    assert built != t4.PackageRef(built.registry, "team/other", built.top_hash)
    again = Revision.of(built.to_dict())
    assert again.to_dict() == built.to_dict()
    assert again.name is not built.name


def test_a_registry_may_be_a_block(source: Path, registry: str) -> None:
    block = T4Registry(url=registry)
    built = build_package.fn("team/raw", source, registry=block)
    assert built.registry == Path(registry).as_uri()
    assert browse_package.fn("team/raw", registry=block) == built
