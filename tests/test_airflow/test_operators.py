"""The operators one by one: arguments, results, errors, the run they tell of."""

from __future__ import annotations

import inspect
import json
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

import t4_ops as t4
from t4_ops import errors, lineage
from t4_ops.airflow import operators
from t4_ops.airflow._run import airflow_errors, run_info
from t4_ops.airflow.operators import (
    BrowsePackageOperator,
    BuildPackageOperator,
    InstallPackageOperator,
    PushPackageOperator,
)

if TYPE_CHECKING:
    from airflow.sdk import Context

OPERATORS = [getattr(operators, n) for n in operators.__all__ if n.endswith("Operator")]
KEYS = ["uri", "registry", "name", "top_hash", "inputs", "files", "size_bytes", "changed"]

MakeContext = Callable[..., "Context"]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.txt").write_bytes(b"first")
    (folder / "sub" / "b.txt").write_bytes(b"second")
    return folder


@pytest.fixture
def built(source: Path, context: MakeContext) -> dict[str, Any]:
    """A revision in the default registry."""
    operator = BuildPackageOperator(
        task_id="build", name="team/raw", source=str(source), message="first"
    )
    result: dict[str, Any] = operator.execute(context(task_id="build"))
    return result


# Any: their arguments are told apart by name, at run time.
Operator = Any


# What is decided when the DAG is parsed.
AT_PARSING = {"emit_event", "multiple_outputs"}


def arguments(operator: Operator) -> list[str]:
    """Return the names of the arguments that our classes add to those of every operator."""
    ours = [cls for cls in operator.__mro__ if cls.__module__.startswith("t4_ops.")]
    found: set[str] = set()
    for cls in ours:
        for name, parameter in inspect.signature(cls.__init__).parameters.items():
            if parameter.kind is inspect.Parameter.KEYWORD_ONLY:
                found.add(name)
    return sorted(found - AT_PARSING)


@pytest.mark.parametrize("operator", OPERATORS)
def test_every_argument_is_a_template_field_and_kept_as_given(
    operator: Operator,
) -> None:
    names = arguments(operator)
    given = {name: ["{{ ds }}", name] for name in names}
    made = operator(task_id="t", **given)
    assert sorted(names) == sorted(operator.template_fields)
    for name in names:
        assert getattr(made, name) is given[name]


@pytest.mark.parametrize("operator", OPERATORS)
def test_every_item_is_pushed_under_its_own_key_unless_told_otherwise(
    operator: Operator,
) -> None:
    given = dict.fromkeys(arguments(operator), "team/x")
    # A plan is a list, to be mapped over.
    is_dict = operator is not operators.PlanShardsOperator
    assert operator(task_id="t", **given).multiple_outputs is is_dict
    assert operator(task_id="u", multiple_outputs=False, **given).multiple_outputs is False


def test_build_makes_a_revision(built: dict[str, Any], source: Path) -> None:
    assert type(built) is dict
    assert list(built) == [*KEYS, "host"]
    assert json.loads(json.dumps(built)) == built
    assert (built["name"], built["files"], built["size_bytes"]) == ("team/raw", 2, 11)
    assert built["changed"] is True
    assert built["inputs"] == [{"namespace": "file", "name": str(source)}]
    assert t4.Package.browse("team/raw").top_hash == built["top_hash"]


def test_build_again_finds_its_work_done(
    built: dict[str, Any], source: Path, context: MakeContext
) -> None:
    again = BuildPackageOperator(
        task_id="build", name="team/raw", source=str(source), message="first", registry=""
    ).execute(context(task_id="build", try_number=2))
    assert again == {**built, "changed": False}


def test_build_takes_files_metadata_and_inputs(source: Path, context: MakeContext) -> None:
    table = {"namespace": "postgres://db:5432", "name": "shop.public.orders"}
    BuildPackageOperator(
        task_id="build",
        name="team/raw",
        source={"data/": str(source), "readme.md": str(source / "a.txt")},
        meta={"owner": "team"},
        inputs=table,
    ).execute(context())
    package = t4.Package.browse("team/raw")
    assert [key for key, _ in package.walk()] == ["data/a.txt", "data/sub/b.txt", "readme.md"]
    assert package.meta == {"owner": "team"}
    read = [node.item.to_dict() for node in lineage.upstream(package_uri(package)).walk()]
    assert table in read


def package_uri(package: t4.Package) -> str:
    return t4.resolve(f"team/raw@{package.top_hash}").uri


def test_push_brings_every_object_into_another_registry(
    built: dict[str, Any], tmp_path: Path, source: Path, context: MakeContext
) -> None:
    target = tmp_path / "shared"
    pushed = PushPackageOperator(
        task_id="push", package=built, registry=str(target), name="team/clean"
    ).execute(context())
    assert list(pushed) == [*KEYS, "host"]
    assert (pushed["registry"], pushed["name"]) == (f"file://{target}", "team/clean")
    assert pushed["top_hash"] == built["top_hash"]
    assert built["uri"] in [item.get("uri") for item in pushed["inputs"]]
    assert {"namespace": "file", "name": str(source)} in pushed["inputs"]
    (source / "a.txt").unlink()
    assert t4.Package.browse("team/clean", registry=str(target))["a.txt"].get_bytes() == b"first"


def test_push_takes_a_message_a_place_and_the_text_of_a_flag(
    built: dict[str, Any], tmp_path: Path, context: MakeContext
) -> None:
    target = tmp_path / "shared"
    pushed = PushPackageOperator(
        task_id="push",
        package=built["uri"],
        registry=str(target),
        message="second",
        dest=str(target / "files"),
        force="True",
    ).execute(context())
    assert pushed["top_hash"] != built["top_hash"]
    assert (target / "files" / "sub" / "b.txt").read_bytes() == b"second"


@pytest.mark.parametrize("force", ["", "{{ params.force }}", 1])
def test_push_refuses_a_flag_that_is_none(
    force: Any, built: dict[str, Any], tmp_path: Path, context: MakeContext
) -> None:
    target = tmp_path / "shared"
    operator = PushPackageOperator(task_id="push", package=built, registry=str(target), force=force)
    with pytest.raises(AirflowFailException, match="force"):
        operator.execute(context())
    assert not target.exists()


def test_install_brings_the_files(
    built: dict[str, Any], tmp_path: Path, context: MakeContext
) -> None:
    dest = tmp_path / "copy"
    operator = InstallPackageOperator(task_id="install", package=built, dest=str(dest))
    installed = operator.execute(context())
    assert list(installed) == [*KEYS, "host", "dest", "dest_stat"]
    assert (installed["dest"], installed["changed"]) == (str(dest), True)
    assert (dest / "sub" / "b.txt").read_bytes() == b"second"
    assert operator.execute(context())["changed"] is False


def test_install_of_a_part(built: dict[str, Any], tmp_path: Path, context: MakeContext) -> None:
    dest = tmp_path / "copy"
    InstallPackageOperator(task_id="install", package=built, dest=str(dest), path="sub").execute(
        context()
    )
    assert [path.name for path in dest.rglob("*")] == ["b.txt"]


def test_install_where_the_settings_say(
    built: dict[str, Any],
    tmp_path: Path,
    context: MakeContext,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("T4_INSTALL_DIR", str(tmp_path / "installed"))
    installed = InstallPackageOperator(
        task_id="install", package="team/raw", registry=built["registry"], dest="", path=""
    ).execute(context())
    assert installed["dest"] == str(tmp_path / "installed" / "team" / "raw")
    assert (tmp_path / "installed" / "team" / "raw" / "a.txt").read_bytes() == b"first"


FORMS: dict[str, Callable[[Mapping[str, Any]], object]] = {
    "result": dict,
    "rendered": str,
    "json": json.dumps,
    "uri": lambda built: built["uri"],
    "name": lambda built: built["name"],
    "name and hash": lambda built: f"{built['name']}@{built['top_hash']}",
    "name and prefix": lambda built: f"{built['name']}@{built['top_hash'][:8]}",
}


@pytest.mark.parametrize("form", FORMS)
def test_a_package_can_be_named_in_many_ways(
    form: str, built: dict[str, Any], context: MakeContext
) -> None:
    package: Any = FORMS[form](built)
    browsed = BrowsePackageOperator(task_id="browse", package=package).execute(context())
    assert browsed == {**built, "inputs": [], "changed": False}


def test_the_run_is_recorded(built: dict[str, Any], context: MakeContext) -> None:
    (event,) = lineage.runs_of(built)
    assert event.run == run_info(context(task_id="build"))
    assert event.run.job_name == "weather.build"


# Made with Airflow's OpenLineage provider 2.20.3 (build_task_instance_ol_run_id,
# build_dag_run_ol_run_id) for the facts in `context`: namespace, second try, mapped, DAG run.
PROVIDER_IDS = {
    "default": (
        "019b7ca9-8f2e-75cf-932a-ebf3faba3ac9",
        "019b7ca9-8f2e-76d3-ba8a-04d486eb3212",
        "019b7ca9-8f2e-77ae-9dc5-922c528c1e29",
    ),
    "prod": (
        "019b7ca9-8f2e-75f5-b1cb-56484dc28472",
        "019b7ca9-8f2e-7aeb-a5f7-0ce56fb66d6f",
        "019b7ca9-8f2e-7dca-8c0c-676528e32798",
    ),
    "from-env": (
        "019b7ca9-8f2e-7b56-9585-667b905d9f8e",
        "019b7ca9-8f2e-7156-8036-f7c1edc1d3a3",
        "019b7ca9-8f2e-79ee-8549-27978ffc7361",
    ),
}
VARIABLES = {"prod": "AIRFLOW__OPENLINEAGE__NAMESPACE", "from-env": "OPENLINEAGE_NAMESPACE"}


@pytest.mark.parametrize("namespace", PROVIDER_IDS)
def test_run_ids_are_those_of_airflows_openlineage_provider(
    namespace: str, context: MakeContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    if namespace in VARIABLES:
        monkeypatch.setenv(VARIABLES[namespace], namespace)
    second_try = run_info(context(try_number=2))
    mapped = run_info(context(map_index=7))
    assert second_try.parent is not None
    ids = (second_try.run_id, mapped.run_id, second_try.parent.run_id)
    assert ids == PROVIDER_IDS[namespace]
    assert second_try.job_namespace == second_try.parent.job_namespace == namespace


def test_a_run_tells_what_airflow_knows(context: MakeContext) -> None:
    from airflow import __version__

    run = run_info(context(try_number=2))
    assert (run.job_name, run.attempt) == ("weather.group.push", 2)
    assert run.nominal_time == "2026-01-02T03:04:05.678901+00:00"
    assert (run.engine, run.engine_version) == ("airflow", __version__)
    assert run.parent == run.root
    assert run.parent is not None
    assert run.parent.job_name == "weather"


def test_a_run_without_a_logical_date_is_known_by_when_it_was_due(context: MakeContext) -> None:
    due = context()["dag_run"].run_after
    run = run_info(context(logical_date=None))
    assert run.nominal_time == due.isoformat()
    assert run == run_info(context())


@pytest.mark.parametrize(
    "error",
    [
        errors.InvalidInputError("fix it"),
        errors.NotFoundError("fix it"),
        errors.ConflictError("fix it"),
        errors.IntegrityError("fix it"),
        errors.FormatError("fix it"),
        errors.StorageError("fix it"),
        errors.T4Error("fix it"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_a_retry_cannot_mend_fails_at_once(error: errors.T4Error) -> None:
    with pytest.raises(AirflowFailException, match=r"^fix it$") as caught, airflow_errors():
        raise error
    assert caught.value.__cause__ is error


def test_what_a_retry_may_mend_is_left_to_airflow() -> None:
    error = errors.StorageError("busy", retryable=True)
    with pytest.raises(errors.StorageError) as caught, airflow_errors():
        raise error
    assert caught.value is error


def test_damaged_bytes_fail_at_once(
    built: dict[str, Any], source: Path, tmp_path: Path, context: MakeContext
) -> None:
    (source / "a.txt").write_bytes(b"FIRST")
    operator = InstallPackageOperator(task_id="install", package=built, dest=str(tmp_path / "copy"))
    with pytest.raises(AirflowFailException) as caught:
        operator.execute(context())
    assert isinstance(caught.value.__cause__, t4.IntegrityError)
    assert str(caught.value) == str(caught.value.__cause__)


def test_a_wrong_setting_fails_at_once(
    context: MakeContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("T4_WORKERS", "many")
    operator = BrowsePackageOperator(task_id="browse", package="team/raw")
    with pytest.raises(AirflowFailException, match="T4_WORKERS"):
        operator.execute(context())


def test_a_killed_step_gives_up_and_publishes_nothing(
    tmp_path: Path, context: MakeContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("T4_WORKERS", "1")
    source = tmp_path / "large"
    source.mkdir()
    for number in range(400):
        # Holes: they take no space, and hashing 6 GB takes far longer than a kill.
        with (source / f"{number}.bin").open("wb") as file:
            file.truncate(16 * 1024 * 1024)
    operator = BuildPackageOperator(task_id="build", name="team/raw", source=str(source))
    raised: list[BaseException] = []

    def work() -> None:
        try:
            operator.execute(context())
        except Exception as exc:  # noqa: BLE001 (whatever it is, the test looks at it)
            raised.append(exc)

    step = threading.Thread(target=work)
    step.start()
    time.sleep(1)
    assert step.is_alive()
    killed_s = time.monotonic()
    while step.is_alive() and time.monotonic() < killed_s + 30:
        operator.on_kill()  # a kill before the step began reaches nobody
        step.join(timeout=0.05)
    # After five seconds Airflow kills the process for good.
    assert time.monotonic() - killed_s < 5
    # Not a failure for good: who was killed may be tried again.
    assert [isinstance(error, AirflowFailException) for error in raised] == [False]
    assert list(t4.list_packages()) == []


def test_a_kill_before_a_task_runs_does_not_stop_its_next_try(
    built: dict[str, Any], context: MakeContext
) -> None:
    operator = BrowsePackageOperator(task_id="browse", package="team/raw")
    operator.on_kill()
    assert operator.execute(context())["top_hash"] == built["top_hash"]
