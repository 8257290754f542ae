"""DAG code as a package: what runs, when it changes, what happens to what is broken."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from airflow.dag_processing.bundles.manager import DagBundlesManager
from airflow.dag_processing.dagbag import DagBag

import t4_ops as t4
from t4_ops.airflow.bundle import T4DagBundle
from t4_ops.lineage import runs_of

DAG = """
from airflow.sdk import DAG
with DAG("shipped", schedule=None, tags=["{tag}"]):
    pass
"""


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_STORAGE_PATH", str(tmp_path / "bundles"))
    return str(tmp_path / "registry")


def ship(registry: str, tag: str, **files: str) -> str:
    package = t4.Package().set_text("dags/shipped.py", DAG.format(tag=tag))
    for name, text in files.items():
        package.set_text(f"{name}.txt", text)
    return package.push("team/dags", registry, force=True).top_hash


def bundle(registry: str, version: str | None = None, **more: Any) -> T4DagBundle:
    made = T4DagBundle(name="team", version=version, package="team/dags", registry=registry, **more)
    made.initialize()
    return made


def tag_in(made: T4DagBundle) -> str:
    bag = DagBag(dag_folder=made.path, safe_mode=False, bundle_path=made.path)
    assert bag.import_errors == {}
    (tag,) = bag.dags["shipped"].tags
    return tag


def test_a_pinned_run_keeps_its_code_while_the_processor_goes_on(registry: str) -> None:
    first = ship(registry, "one")
    processor = bundle(registry, subdir="dags")
    assert processor.get_current_version().version == first
    assert tag_in(processor) == "one"

    second = ship(registry, "two")
    assert processor.get_current_version().version == first  # until it is refreshed
    processor.refresh()
    assert processor.get_current_version().version == second
    assert tag_in(processor) == "two"

    for version, tag in ((first, "one"), (second, "two")):
        worker = bundle(registry, version, subdir="dags")
        assert tag_in(worker) == tag
        assert worker.get_current_version().version == version
        assert worker.path.is_relative_to(worker.versions_dir / version)
        with pytest.raises(t4.InvalidInputError, match="pinned"):
            worker.refresh()


def test_the_version_tells_the_package(registry: str) -> None:
    top_hash = ship(registry, "one")
    version = bundle(registry).get_current_version()
    assert version.data == {"uri": t4.resolve("team/dags", registry).uri}
    assert top_hash in str(version.data)


def test_bringing_code_is_nobodys_run(registry: str) -> None:
    ship(registry, "one")
    before = len(runs_of(t4.resolve("team/dags", registry)))
    bundle(registry)
    assert len(runs_of(t4.resolve("team/dags", registry))) == before


def test_workers_that_start_together_find_one_whole_copy(registry: str) -> None:
    first = ship(registry, "one", **{f"f{number}": "x" * 1000 for number in range(50)})
    problems: list[BaseException] = []

    def work() -> None:
        try:
            made = bundle(registry, first)
            assert len(list(made.path.rglob("*.txt"))) == 50
        except BaseException as exc:  # noqa: BLE001 (the test looks at it)
            problems.append(exc)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    made = bundle(registry, first)
    assert [folder.name for folder in made.versions_dir.iterdir()] == [first]


def test_damaged_code_is_never_run(registry: str) -> None:
    first = ship(registry, "one")
    entry = t4.Package.browse("team/dags", registry)["dags/shipped.py"]
    path = Path(t4.PhysicalKey.parse(str(entry.physical_key)).path)
    path.chmod(0o644)
    path.write_text(path.read_text().replace("one", "two"))
    made = T4DagBundle(name="team", version=first, package="team/dags", registry=registry)
    with pytest.raises(t4.IntegrityError):
        made.initialize()
    assert not made.path.exists()


def test_what_is_not_there_is_named(registry: str) -> None:
    with pytest.raises(t4.NotFoundError, match="team/dags"):
        bundle(registry)


def test_old_copies_of_the_processor_go(registry: str) -> None:
    ship(registry, "zero")
    processor = bundle(registry)
    for tag in ("one", "two", "three"):
        ship(registry, tag)
        processor.refresh()
    kept = list((processor.base_dir / "latest").iterdir())
    assert len(kept) == 2
    assert processor.path in kept


def test_a_connection_says_where_the_code_is(
    registry: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = ship(registry, "one")
    monkeypatch.setenv("AIRFLOW_CONN_CODE", f"t4://{registry}/?read_only=true")
    for version in (None, first):
        made = T4DagBundle(
            name="team", version=version, package="team/dags", t4_conn_id="code", subdir="dags"
        )
        made.initialize()
        assert tag_in(made) == "one"
        assert made.get_current_version().data == {"uri": t4.resolve("team/dags", registry).uri}


def test_airflow_makes_it_from_its_configuration(
    registry: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import json

    first = ship(registry, "one")
    config = {
        "name": "team",
        "classpath": "t4_ops.airflow.bundle.T4DagBundle",
        "kwargs": {"package": "team/dags", "registry": registry, "refresh_interval": 30},
    }
    monkeypatch.setenv("AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST", json.dumps([config]))
    made = DagBundlesManager().get_bundle(name="team", version=first)
    made.initialize()
    assert isinstance(made, T4DagBundle)
    assert made.refresh_interval == 30
    assert (made.path / "dags" / "shipped.py").exists()
