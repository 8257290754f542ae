"""The steps: what they take, give and record, and that a repeat changes nothing."""

from __future__ import annotations

import json
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

import t4_ops as t4
from t4_ops import lineage
from t4_ops.keys import PackageRef, PackageUri, PhysicalKey
from t4_ops.keys import dataset_of as package_dataset
from t4_ops.ledger import RunInfo
from t4_ops.operations import StepResult, browse, build, install, push, resolve
from t4_ops.settings import load_settings
from t4_ops.storage import open_bucket
from t4_ops.transfer import Cancelled
from tests.ledger_support import stored_events, use_run
from tests.package_support import bytes_below, contents_of, objects_of, store_of, write_files

NAME = "team/raw"
FILES = {"a.csv": b"a\n1\n", "d/b": b"two"}
KEYS = ["uri", "registry", "name", "top_hash", "inputs", "files", "size_bytes", "changed"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_files(tmp_path / "files", FILES)


def dataset_of(place: str | Path) -> dict[str, str]:
    """Return how a folder, prefix or object stands among the inputs of a result."""
    key = PhysicalKey.of(place)
    if key.bucket is None:
        return {"namespace": "file", "name": key.path}
    found = {"namespace": f"s3://{key.bucket}", "name": key.path.rstrip("/") or "/"}
    return found if key.version_id is None else {**found, "version": key.version_id}


def revision_of(result: StepResult) -> dict[str, str]:
    """Return how a step's result stands among the inputs of another."""
    return {key: str(result[key]) for key in ("uri", "registry", "name", "top_hash")}  # type: ignore[literal-required]


def inputs_in_ledger(result: StepResult) -> list[tuple[str, str]]:
    """Return what the ledger says a revision was made from, as dataset and version."""
    node = lineage.upstream(result["uri"], depth=1)
    assert not node.unread
    return sorted(
        {
            (f"{n.item.namespace}/{n.item.name}", n.item.version or "")
            for step in node.steps
            for n in step.nodes
        }
    )


def test_a_pipeline_hands_on_references_and_lineage(
    registry: str, folder: Path, tmp_path: Path
) -> None:
    built = build(
        NAME, folder, meta={"n": 1}, message="first", inputs={"namespace": "db", "name": "t"}
    )
    assert list(built) == [*KEYS, "host"]
    ref = PackageRef(built["registry"], NAME, built["top_hash"])
    assert built == {
        **ref.to_dict(),
        "inputs": [{"namespace": "db", "name": "t"}, dataset_of(folder)],
        "files": 2,
        "size_bytes": 7,
        "changed": True,
        "host": socket.gethostname(),
    }
    assert json.loads(json.dumps(built)) == built
    assert t4.Package.browse(NAME).meta == {"n": 1}

    pushed = push(built, registry=registry)
    # Only what is on one machine says on which.
    assert list(pushed) == ([*KEYS, "host"] if registry.startswith("file:") else KEYS)
    assert (pushed["top_hash"], pushed["name"]) == (built["top_hash"], NAME)
    assert pushed["registry"] == store_of(registry).url
    # What the files came from arrives with the result, and the build it was pushed from is first.
    assert pushed["inputs"] == [revision_of(built), *built["inputs"]]
    assert pushed["changed"] is True

    seen = browse(pushed)
    assert seen == {**pushed, "inputs": [], "changed": False}
    installed = install(pushed, dest=tmp_path / "installed")
    assert list(installed) == [*KEYS, "host", "dest", "dest_stat"]
    assert installed == {
        **pushed,
        "inputs": [],
        "changed": True,
        "host": socket.gethostname(),
        "dest": str(tmp_path / "installed"),
        "dest_stat": installed["dest_stat"],
    }
    assert bytes_below(tmp_path / "installed") == FILES

    summary = write_files(tmp_path / "summary", {"sum": b"3"})
    made = build("team/summary", summary, registry=registry, inputs=[installed, seen])
    assert made["inputs"] == [revision_of(pushed), dataset_of(summary)]
    assert inputs_in_ledger(made) == sorted(
        [
            (f"file/{PhysicalKey.of(summary).path}", ""),
            ("/".join(package_dataset(pushed["registry"], NAME)), pushed["top_hash"]),
        ]
    )
    # From the summary back to the source, across both registries.
    tree = lineage.upstream(made["uri"])
    names = {node.item.name for node in tree.walk()}
    assert PhysicalKey.of(folder).path in names
    assert "t" in names


def test_repeats_change_nothing_and_say_so(registry: str, folder: Path, tmp_path: Path) -> None:
    # As in an orchestrator, every step is a run of its own, and its repeat the same run.
    runs = [RunInfo.here(job) for job in ("build", "push", "install")]

    def pipeline() -> list[StepResult]:
        built = build(NAME, folder, registry=tmp_path.as_uri(), message="m", run=runs[0])
        pushed = push(built, registry=registry, run=runs[1])
        installed = install(pushed, dest=tmp_path / "dest", run=runs[2])
        return [built, pushed, installed]

    first = pipeline()
    before = objects_of(registry)
    versions = t4.list_package_versions(NAME, registry)
    events = stored_events(registry).keys()
    second = pipeline()
    assert [result["changed"] for result in first] == [True, True, True]
    assert [result["changed"] for result in second] == [False, False, False]
    assert [{**result, "changed": True} for result in second] == first
    assert objects_of(registry) == before
    assert t4.list_package_versions(NAME, registry) == versions
    assert stored_events(registry).keys() == events
    with use_run(RunInfo.here("another job")):
        push(first[0], registry=registry)
    new = [e for key, e in stored_events(registry).items() if key not in events]
    assert [event["job"]["name"] for event in new] == ["another job"]


def test_build_takes_every_kind_of_source(
    bucket_registry: str, folder: Path, tmp_path: Path
) -> None:
    store = open_bucket(bucket_registry, load_settings())
    for key, data in {"in/x": b"x", "in/d/y": b"y"}.items():
        store.write(key, data)
    version = store.write("single", b"s").version_id

    def made(source: Any) -> tuple[dict[str, bytes], list[dict[str, str]]]:
        result = build("team/kinds", source, registry=str(tmp_path / "registry"))
        package = t4.Package.browse(result["name"], result["registry"], result["top_hash"])
        return contents_of(package), result["inputs"]

    def pinned_inputs(urls: list[str]) -> list[dict[str, str]]:
        return [dataset_of(url) for url in urls]

    prefix = f"{bucket_registry}/in"
    single = f"{bucket_registry}/single"
    pin = f"{single}?versionId={version}" if store.is_versioned else single
    assert made(folder) == (FILES, [dataset_of(folder)])
    assert made(folder.as_uri()) == (FILES, [dataset_of(folder)])
    assert made(folder / "a.csv") == ({"a.csv": b"a\n1\n"}, [dataset_of(folder / "a.csv")])
    for spelling in (prefix, f"{prefix}/"):
        assert made(spelling) == ({"x": b"x", "d/y": b"y"}, pinned_inputs([prefix]))
    assert made(single) == ({"single": b"s"}, pinned_inputs([pin]))
    assert made(bucket_registry)[0] == {"in/x": b"x", "in/d/y": b"y", "single": b"s"}
    assert made(bucket_registry)[1] == pinned_inputs([bucket_registry])
    contents, inputs = made(
        {"": folder, "raw/": single, "renamed.csv": folder / "a.csv", "sub": f"{prefix}/"}
    )
    assert contents == {
        **FILES,
        "raw/single": b"s",
        "renamed.csv": FILES["a.csv"],
        "sub/x": b"x",
        "sub/d/y": b"y",
    }
    assert inputs == pinned_inputs([str(folder), pin, str(folder / "a.csv"), prefix])
    many = write_files(tmp_path / "many", {f"{i:02}": b"" for i in range(25)})
    contents, inputs = made({f"{i:02}": many / f"{i:02}" for i in range(25)})
    assert (len(contents), len(inputs)) == (25, 20)

    for source, error in (
        ("", t4.InvalidInputError),
        ({}, t4.InvalidInputError),
        (tmp_path / "nothing", t4.NotFoundError),
        (f"{bucket_registry}/nothing", t4.NotFoundError),
        (f"{bucket_registry}/nothing/", t4.NotFoundError),
        ({"../x": folder / "a.csv"}, t4.InvalidInputError),
    ):
        with pytest.raises(error):
            build("team/bad", source, registry=str(tmp_path / "registry"))
    assert t4.list_packages(str(tmp_path / "registry")) == ["team/kinds"]


def test_whatever_names_a_revision_is_pinned(registry: str, folder: Path, tmp_path: Path) -> None:
    first = build(NAME, folder, registry=registry, message="first")
    latest = build(NAME, folder, registry=registry, message="latest")
    ref = PackageRef(first["registry"], NAME, first["top_hash"])
    uri = PackageUri.parse(ref.uri)
    head = str(PackageUri(ref.registry, NAME))
    short = ref.top_hash[:10]
    named: list[tuple[Any, str]] = [
        (ref, first["top_hash"]),
        (first, first["top_hash"]),
        (dict(first), first["top_hash"]),
        (ref.to_dict(), first["top_hash"]),
        (str(first), first["top_hash"]),
        (f"  {first!r}\n", first["top_hash"]),
        (json.dumps(first), first["top_hash"]),
        (json.dumps(first, indent=1), first["top_hash"]),
        (ref.uri, first["top_hash"]),
        (uri, first["top_hash"]),
        (f"{head}@{short}", first["top_hash"]),
        (head, latest["top_hash"]),
        (f"{head}:latest", latest["top_hash"]),
        (f"{NAME}@{short}", first["top_hash"]),
        (f"{NAME}@{ref.top_hash}", first["top_hash"]),
        (f" {NAME} ", latest["top_hash"]),
    ]
    for given, top_hash in named:
        found = resolve(given, registry)
        assert found == PackageRef(ref.registry, NAME, top_hash), given
        assert browse(given, registry=registry)["top_hash"] == top_hash
    mine = load_settings(registry=registry)
    assert resolve(NAME, settings=mine).top_hash == latest["top_hash"]
    assert install(f"{NAME}@{short}", dest=tmp_path / "d", registry=registry)["files"] == 2
    for bad, error in (
        ("", t4.InvalidInputError),
        ("team", t4.InvalidInputError),
        (f"{NAME}@", t4.InvalidInputError),
        (f"{NAME}@xyz", t4.InvalidInputError),
        (f"{head}:stable", t4.InvalidInputError),
        ("{not a result", t4.InvalidInputError),
        ("{1, 2}", t4.InvalidInputError),
        ("{}", t4.InvalidInputError),
        ({"name": NAME}, t4.InvalidInputError),
        (None, t4.InvalidInputError),
        (7, t4.InvalidInputError),
        ("team/nothing", t4.NotFoundError),
        (f"{NAME}@{'0' * 12}", t4.NotFoundError),
    ):
        with pytest.raises(error):
            resolve(bad, registry)  # type: ignore[arg-type]
    # A revision that is named in full is taken as it is; reading it says that it is not there.
    with pytest.raises(t4.NotFoundError):
        browse({**ref.to_dict(), "top_hash": "0" * 64})


def test_inputs_come_as_values_or_as_rendered_text(folder: Path) -> None:
    one = build("team/one", folder)
    two = build("team/two", folder)
    both = [revision_of(one), revision_of(two)]
    table = {"namespace": "postgres://host:5432", "name": "db.t", "version": "7"}
    for given, expected in (
        (None, []),
        ([], []),
        (one, both[:1]),
        (str(one), both[:1]),
        (json.dumps(one), both[:1]),
        (one["uri"], both[:1]),
        (PackageRef.from_dict(one), both[:1]),
        ([one, two, one], both),
        ([str(one), two["uri"]], both),
        (str([one, two]), both),
        (json.dumps([one, two]), both),
        ([str([one]), [two]], both),
        (iter((one, two)), both),
        (table, [table]),
        ([str(table), one], [table, both[0]]),
    ):
        result = build("team/made", folder, inputs=given)  # type: ignore[arg-type]
        assert result["inputs"] == [*expected, dataset_of(folder)], given
    for bad in ("text", "[1]", "{", 7, [None], "", "None", {"name": "x"}, head_of(one)):
        with pytest.raises(t4.InvalidInputError):
            build("team/bad", folder, inputs=bad)  # type: ignore[arg-type]
    assert "team/bad" not in t4.list_packages()


def head_of(result: StepResult) -> str:
    """Return a URI that names no revision, only a package."""
    return str(PackageUri(result["registry"], result["name"]))


def test_push_keeps_or_changes_name_message_and_place(
    registry: str, folder: Path, tmp_path: Path
) -> None:
    built = build(NAME, folder, message="built", inputs={"namespace": "db", "name": "t"})
    # As an Airflow template hands it on: the text of the result still carries its inputs.
    pushed = push(str(built), registry=registry)
    assert pushed["inputs"] == [revision_of(built), *built["inputs"]]
    assert push(pushed, registry=registry)["inputs"] == pushed["inputs"]
    named = push(built, registry=registry, name="team/other", message="changed", inputs=[pushed])
    assert named["name"] == "team/other"
    assert named["top_hash"] != built["top_hash"]
    assert named["inputs"] == [revision_of(built), revision_of(pushed), *built["inputs"]]
    placed = push(
        built,
        registry=registry,
        name="team/placed",
        message="placed",
        dest=f"{store_of(registry).url}/area",
    )
    assert {"area/a.csv", "area/d/b"} <= objects_of(registry).keys()
    assert placed["files"] == 2
    # Beside its build: the revision is completed, and not made from itself.
    completed = push(built)
    assert completed["top_hash"] == built["top_hash"]
    assert completed["inputs"] == built["inputs"]
    assert t4.Package.browse(NAME).get("a.csv").startswith(built["registry"])


def test_expected_and_force(registry: str, folder: Path, tmp_path: Path) -> None:
    first = build(NAME, folder, registry=registry, expected=None)
    with pytest.raises(t4.ConflictError):
        build(NAME, folder, registry=registry, message="x", expected=None)
    second = build(NAME, folder, registry=registry, message="2", expected=first["top_hash"])
    local = build(NAME, folder, registry=str(tmp_path / "local"), message="local")
    for stale in (None, first["top_hash"]):
        with pytest.raises(t4.ConflictError) as caught:
            push(local, registry=registry, expected=stale)
        assert (caught.value.expected, caught.value.actual) == (stale, second["top_hash"])
    assert t4.Package.browse(NAME, registry).top_hash == second["top_hash"]
    push(local, registry=registry, expected=second["top_hash"])
    push(first, registry=registry, expected=None, force=True)
    assert push(second, registry=registry)["changed"] is True
    versions = [top_hash for _, top_hash in t4.list_package_versions(NAME, registry)]
    assert versions[-1] == second["top_hash"]
    assert versions[:3] == [first["top_hash"], second["top_hash"], local["top_hash"]]


def test_install_takes_a_path_also_from_the_uri(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = build(NAME, folder)
    install(f"{built['uri']}&path=d%2F", dest=tmp_path / "by-uri")
    install(built, dest=tmp_path / "by-argument", path="a.csv")
    assert bytes_below(tmp_path / "by-uri") == {"b": b"two"}
    assert bytes_below(tmp_path / "by-argument") == {"a.csv": b"a\n1\n"}
    monkeypatch.setenv("T4_INSTALL_DIR", str(tmp_path / "installs"))
    assert install(NAME)["dest"] == str(tmp_path / "installs" / NAME)
    with pytest.raises(t4.NotFoundError):
        install(built, dest=tmp_path / "x", path="nothing")
    with pytest.raises(t4.InvalidInputError):
        install(built, dest="s3://bucket/x")


def test_a_stopped_step_publishes_and_records_nothing(
    registry: str, folder: Path, tmp_path: Path
) -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(Cancelled):
        build(NAME, folder, registry=registry, stop=stop)
    built = build(NAME, folder)
    with pytest.raises(Cancelled):
        push(built, registry=registry, stop=stop)
    with pytest.raises(Cancelled):
        install(built, dest=tmp_path / "dest", stop=stop)
    assert t4.list_packages(registry) == []
    assert stored_events(registry) == {}
    assert push(built, registry=registry, stop=threading.Event())["changed"] is True
