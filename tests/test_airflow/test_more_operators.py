"""Verify, diff, promote, roll back, delete: in one DAG, and what they say when it is not so."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowFailException

import t4_ops as t4
from t4_ops.airflow.links import revision_links
from t4_ops.airflow.operators import (
    BrowsePackageOperator,
    BuildPackageOperator,
    DeleteRevisionOperator,
    DiffPackagesOperator,
    HashShardOperator,
    InstallPackageOperator,
    MergeShardsOperator,
    PlanShardsOperator,
    PromotePackageOperator,
    PushPackageOperator,
    RollbackPackageOperator,
    VerifyPackageOperator,
    build_in_shards,
)

if TYPE_CHECKING:
    from airflow.sdk import Context
    from pytest_mock import MockerFixture

    from tests.test_airflow.conftest import Run

RunDag = Callable[..., "Run"]
MakeContext = Callable[..., "Context"]


@pytest.fixture
def registry(tmp_path: Path) -> str:
    return str(tmp_path / "registry")


def push(registry: str, **texts: str) -> str:
    package = t4.Package()
    for name, text in texts.items():
        package.set_text(f"{name}.txt", text)
    return package.push("team/raw", registry, force=True).top_hash


def test_a_revision_is_compared_verified_promoted_and_taken_back(
    run_dag: RunDag, registry: str, tmp_path: Path
) -> None:
    old = push(registry, a="1", b="1")
    new = push(registry, a="2", c="1")
    with DAG("five", schedule=None, params={"registry": registry, "old": old}) as dag:
        diff = DiffPackagesOperator(
            task_id="diff", package="team/raw", registry="{{ params.registry }}", max_keys=1
        )
        against = DiffPackagesOperator(
            task_id="against",
            package="team/raw@{{ params.old }}",
            other="team/raw",
            registry=registry,
        )
        verify = VerifyPackageOperator(task_id="verify", package="team/raw", registry=registry)
        promote = PromotePackageOperator(
            task_id="promote", package=verify.output, registry=str(tmp_path / "production")
        )
        rollback = RollbackPackageOperator(
            task_id="rollback",
            name="team/raw",
            to="{{ params.old }}",
            registry=registry,
            expected="{{ ti.xcom_pull('verify').top_hash }}",
        )
        delete = DeleteRevisionOperator(task_id="delete", package=promote.output)
        [diff, against, promote] >> rollback >> delete
    run = run_dag(dag)
    assert run.state == "success"
    changed = run.result("diff")
    assert (changed["added_keys"], changed["modified"], changed["deleted"]) == (["c.txt"], 1, 1)
    back = run.result("against")
    assert (back["added_keys"], back["deleted_keys"]) == (["b.txt"], ["c.txt"])
    assert run.result("verify")["ok"] is True
    assert run.result("promote")["top_hash"] == new
    moved = run.result("rollback")
    assert (moved["top_hash"], moved["previous"], moved["changed"]) == (old, new, True)
    assert t4.resolve("team/raw", registry).top_hash == old
    assert run.result("delete")["latest"] is None
    assert t4.list_packages(str(tmp_path / "production")) == []


def test_the_first_revision_is_all_news(registry: str, context: MakeContext) -> None:
    push(registry, a="1", b="1")
    operator = DiffPackagesOperator(task_id="diff", package="team/raw", registry=registry)
    result = operator.execute(context())
    assert (result["added"], result["old"], result["changed"]) == (2, "", True)


def damage(registry: str, key: str) -> None:
    entry = t4.Package.browse("team/raw", registry)[key]
    path = Path(t4.PhysicalKey.parse(str(entry.physical_key)).path)
    path.chmod(0o644)
    path.write_text("damaged")


def test_damage_fails_at_once_or_is_told(registry: str, context: MakeContext) -> None:
    push(registry, a="1", b="2")
    damage(registry, "a.txt")
    given: dict[str, Any] = {"package": "team/raw", "registry": registry}
    with pytest.raises(AirflowFailException, match=r"a\.txt"):
        VerifyPackageOperator(task_id="verify", **given).execute(context())
    told = VerifyPackageOperator(task_id="told", fail="False", **given).execute(context())
    assert (told["ok"], told["bad"], told["bad_keys"][0]["key"]) == (False, 1, "a.txt")


@pytest.mark.parametrize("operator", [BrowsePackageOperator, InstallPackageOperator])
def test_what_is_expected_and_is_not_so_fails_at_once(
    operator: Any, registry: str, context: MakeContext, tmp_path: Path
) -> None:
    push(registry, a="1")
    more = {"dest": str(tmp_path / "copy")} if operator is InstallPackageOperator else {}
    wrong = operator(
        task_id="t",
        package="team/raw",
        registry=registry,
        expectations={"has": ["a.txt", "z.txt"], "min_files": "2"},
        **more,
    )
    with pytest.raises(AirflowFailException, match=r"z\.txt"):
        wrong.execute(context())
    assert not (tmp_path / "copy").exists()


def test_a_part_of_a_package(registry: str, context: MakeContext) -> None:
    push(registry, a="1", b="1", c="1")
    operator = BrowsePackageOperator(
        task_id="t", package="team/raw", registry=registry, selector=["[ab].txt"], max_keys="5"
    )
    result = operator.execute(context())
    assert (result["files"], result["keys"]) == (2, ["a.txt", "b.txt"])


def test_rivals_changes_are_brought_together_if_asked(
    registry: str, context: MakeContext, tmp_path: Path
) -> None:
    top_hash = push(registry, a="1")
    (tmp_path / "b.txt").write_text("1")
    built = BuildPackageOperator(
        task_id="build", name="team/b", source=str(tmp_path / "b.txt"), registry=registry
    ).execute(context())
    stale = PushPackageOperator(
        task_id="push", package=built, name="team/raw", registry=registry, expected="0" * 64
    )
    with pytest.raises(AirflowFailException, match=top_hash):
        stale.execute(context())
    with pytest.raises(AirflowFailException, match="retry_conflicts"):
        PushPackageOperator(
            task_id="push", package=built, registry=registry, retry_conflicts="often"
        ).execute(context())


def test_templates_may_have_rendered_mappings_and_lists_as_text(
    context: MakeContext, registry: str, tmp_path: Path
) -> None:
    for name in ("a.csv", "b.txt"):
        (tmp_path / "files").mkdir(exist_ok=True)
        (tmp_path / "files" / name).write_text(name)
    given: dict[str, Any] = {"registry": registry, "source": str(tmp_path / "files")}
    plain = BuildPackageOperator(task_id="t", name="team/raw", **given).execute(context())
    empty: dict[str, Any] = dict.fromkeys(
        ("meta", "message", "inputs", "column_lineage", "partitions"), ""
    )
    again = BuildPackageOperator(task_id="t", name="team/raw", **given, **empty).execute(context())
    assert again == {**plain, "changed": False}
    pushed = PushPackageOperator(
        task_id="t", package=plain, registry=str(tmp_path / "other"), message=""
    ).execute(context())
    assert pushed["top_hash"] == plain["top_hash"]
    BuildPackageOperator(task_id="t", name="team/m", meta="{'by': 'me'}", **given).execute(
        context()
    )
    assert t4.Package.browse("team/m", registry).meta == {"by": "me"}
    for selector, keys in (
        ("['*.csv']", ["a.csv"]),
        ('["*.csv", "b.*"]', ["a.csv", "b.txt"]),
        ("[b].txt", ["b.txt"]),
        ("", ["a.csv", "b.txt"]),
    ):
        found = BrowsePackageOperator(
            task_id="t",
            package=plain,
            selector=selector,
            expectations="{'min_files': 1}",
            max_keys=5,
        ).execute(context())
        assert found["keys"] == keys
    wrong = BrowsePackageOperator(task_id="t", package=plain, expectations="{'has': ['c.csv']}")
    with pytest.raises(AirflowFailException, match=r"c\.csv"):
        wrong.execute(context())


def test_a_connection_that_is_not_there_fails_at_once(context: MakeContext) -> None:
    operator = BrowsePackageOperator(task_id="t", package="team/raw", t4_conn_id="nowhere")
    with pytest.raises(AirflowFailException, match="nowhere"):
        operator.execute(context())


def test_the_parts_of_a_build_go_where_the_dags_connection_says(
    run_dag: RunDag, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "a.txt").write_text("a")
    monkeypatch.setenv("AIRFLOW_CONN_TEAM", f"t4://{tmp_path}/team")
    with DAG("parts", schedule=None, default_args={"t4_conn_id": "team"}) as dag:
        build_in_shards(name="team/parts", source=str(tmp_path / "files"))
    run = run_dag(dag)
    assert run.state == "success"
    assert run.result("build.merge")["registry"] == f"file://{tmp_path}/team"
    assert t4.list_packages() == []


def test_mapped_plans_of_the_same_files_do_not_meet(
    context: MakeContext, registry: str, tmp_path: Path
) -> None:
    (tmp_path / "a.txt").write_text("a")
    plan = PlanShardsOperator(task_id="t", source=str(tmp_path / "a.txt"), registry=registry)
    first, retried = (plan.execute(context(map_index=0, try_number=n)) for n in (1, 2))
    assert first == retried
    other = plan.execute(context(map_index=1))
    merged = []
    for number, shards in enumerate((first, other)):
        hashed = [HashShardOperator(task_id="h", shard=s).execute(context()) for s in shards]
        merged.append(
            MergeShardsOperator(
                task_id="m", results=hashed, name=f"team/p{number}", registry=registry
            ).execute(context())
        )
    assert merged[0]["top_hash"] == merged[1]["top_hash"]


def test_a_merge_that_names_another_registry_than_its_plan_is_refused(
    context: MakeContext, registry: str, tmp_path: Path
) -> None:
    (tmp_path / "a.txt").write_text("a")
    shards = PlanShardsOperator(
        task_id="p", source=str(tmp_path / "a.txt"), registry=registry
    ).execute(context())
    hashed = [HashShardOperator(task_id="h", shard=s).execute(context()) for s in shards]
    merge = MergeShardsOperator(
        task_id="m", results=hashed, name="team/p", registry=str(tmp_path / "other")
    )
    with pytest.raises(AirflowFailException, match="other"):
        merge.execute(context())
    assert t4.list_packages(registry) == []


def test_a_folder_of_another_worker_is_named(context: MakeContext, tmp_path: Path) -> None:
    elsewhere = {
        "registry": f"file://{tmp_path}/nowhere",
        "name": "team/raw",
        "top_hash": "a" * 64,
        "host": "worker-17",
    }
    operator = InstallPackageOperator(task_id="t", package=elsewhere, dest=str(tmp_path / "copy"))
    with pytest.raises(AirflowFailException, match=r"worker-17.*bucket"):
        operator.execute(context())


def test_the_button_leads_to_the_revision(
    registry: str, context: MakeContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    push(registry, a="1")
    operator = BrowsePackageOperator(task_id="t", package="team/raw", registry=registry)
    assert operator.operator_extra_links == revision_links() == ()
    result = operator.execute(context())
    template = "https://catalog.example/{name}/{top_hash}?r={registry}"
    monkeypatch.setenv("AIRFLOW__T4_OPS__REVISION_URL", template)
    (link,) = revision_links()
    key: Any = None
    not_run = BrowsePackageOperator(task_id="u", package="team/raw")
    assert link.get_link(not_run, ti_key=key) == ""
    url = link.get_link(operator, ti_key=key)
    assert url.startswith(f"https://catalog.example/team/raw/{result['top_hash']}?r=file%3A%2F%2F")


def test_a_connection_says_where(
    context: MakeContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = push(str(tmp_path / "staging"), a="1")
    push(str(tmp_path / "staging"), a="2")
    monkeypatch.setenv("AIRFLOW_CONN_STAGING", f"t4://{tmp_path}/staging/?read_only=true")
    monkeypatch.setenv("AIRFLOW_CONN_PRODUCTION", f"t4://{tmp_path}/production")
    promoted = PromotePackageOperator(
        task_id="promote",
        package="team/raw",
        source_conn_id="staging",
        t4_conn_id="production",
    ).execute(context())
    assert promoted["registry"] == f"file://{tmp_path}/production"
    with pytest.raises(AirflowFailException, match="read-only"):
        RollbackPackageOperator(
            task_id="back", name="team/raw", to=first, t4_conn_id="staging"
        ).execute(context())


def line_of(operator: Any, context: Context, mocker: MockerFixture) -> str:
    """Run an operator and return the last line it logs, outside the log group.

    Airflow sends its logs where each process was told to: here they are looked at before.
    """
    told = mocker.patch.object(type(operator), "log", create=True, autospec=False)
    operator.execute(context)
    text, *values = told.info.call_args.args
    return str(text % tuple(values))


def test_a_step_leaves_one_line_that_says_it_all(
    registry: str, context: MakeContext, mocker: MockerFixture
) -> None:
    push(registry, a="1", b="22")
    uri = re.escape(t4.resolve("team/raw", registry).uri)
    browsed, verified, compared = (
        line_of(operator(task_id="t", package="team/raw", registry=registry), context(), mocker)
        for operator in (BrowsePackageOperator, VerifyPackageOperator, DiffPackagesOperator)
    )
    assert re.fullmatch(rf"unchanged, 2 files, 3 bytes, \d+\.\d s: {uri}", browsed)
    assert re.fullmatch(rf"all as promised, 2 files, 3 bytes, \d+\.\d s: {uri}", verified)
    assert re.fullmatch(
        rf"2 added, 0 modified, 0 deleted, \d+\.\d s: {uri} after nothing", compared
    )


def test_the_line_says_how_many_files_were_written_and_kept(
    registry: str, context: MakeContext, mocker: MockerFixture, tmp_path: Path
) -> None:
    push(registry, a="1", b="22", c="333")
    given = {"package": t4.resolve("team/raw", registry).uri, "registry": str(tmp_path / "other")}
    dest = tmp_path / "installed"
    dest.mkdir()
    (dest / "a.txt").write_text("1")

    def facts(operator: type[Any], **options: Any) -> str:
        line = line_of(operator(task_id="t", **options), context(), mocker)
        return re.sub(r", \d+\.\d s: .*", "", line)

    amount = "3 files, 6 bytes"
    assert facts(PushPackageOperator, **given) == f"changed, {amount}, 3 written, 0 kept"
    assert facts(PushPackageOperator, **given) == f"unchanged, {amount}, 0 written, 3 kept"
    promoted = facts(PromotePackageOperator, **given, name="team/copy")
    assert promoted == f"changed, {amount}, 0 written, 3 kept"
    installed = facts(InstallPackageOperator, package=given["package"], dest=str(dest))
    assert installed == f"changed, {amount}, 2 written, 1 kept"
    part = facts(InstallPackageOperator, package=given["package"], dest=f"{dest}-c", path="c.txt")
    assert part == f"changed, {amount}, 1 written, 0 kept"
    built = facts(BuildPackageOperator, name="team/new", source=str(dest), registry=registry)
    assert built == f"changed, {amount}, 0 written, 3 kept"
