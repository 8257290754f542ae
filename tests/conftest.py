"""What every test stands on: a home of its own, the orchestrators' settings, an S3 server."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

# Before anything that may import Airflow, Prefect, boto3 or matplotlib: they read these once.
_HOME = Path(tempfile.mkdtemp(prefix="t4-tests-"))
_PID = os.getpid()
_ROOT = Path(__file__).resolve().parents[1]
_FOREIGN = ("AIRFLOW_", "AWS_", "OPENLINEAGE_", "PREFECT_", "QUILT_", "T4_", "XDG_")
for _name in [name for name in os.environ if name.startswith(_FOREIGN)]:
    del os.environ[_name]
os.environ.update(
    HOME=str(_HOME),
    # The servers of the tests are on this machine, whatever way the machine goes to others.
    NO_PROXY="127.0.0.1,localhost",
    no_proxy="127.0.0.1,localhost",
    MPLBACKEND="Agg",
    MPLCONFIGDIR=str(_HOME / "matplotlib"),  # its font cache takes seconds: once per session
    DO_NOT_TRACK="1",
    SCARF_ANALYTICS="false",
    # Without credentials boto3 would ask the metadata service of a cloud machine.
    AWS_EC2_METADATA_DISABLED="true",
    AWS_CONFIG_FILE=os.devnull,
    AWS_SHARED_CREDENTIALS_FILE=os.devnull,
    AIRFLOW_HOME=str(_HOME / "airflow"),
    AIRFLOW__CORE__DAGS_FOLDER=str(_ROOT / "dags"),
    AIRFLOW__CORE__LOAD_EXAMPLES="False",
    AIRFLOW__CORE__UNIT_TEST_MODE="True",
    AIRFLOW__DATABASE__SQL_ALCHEMY_CONN=f"sqlite:///{_HOME / 'airflow' / 'airflow.db'}",
    AIRFLOW__USAGE_DATA_COLLECTION__ENABLED="False",
    PREFECT_HOME=str(_HOME / "prefect"),
    # Prefect below 3.8.6 does not move these two with PREFECT_HOME.
    PREFECT_LOCAL_STORAGE_PATH=str(_HOME / "prefect" / "storage"),
    PREFECT_MEMO_STORE_PATH=str(_HOME / "prefect" / "memo.toml"),
    PREFECT_SERVER_ANALYTICS_ENABLED="false",
    PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW="ignore",
)
(_HOME / "airflow").mkdir()


@atexit.register
def _remove_home() -> None:
    if os.getpid() == _PID:  # a forked child may end by way of this too
        shutil.rmtree(_HOME, ignore_errors=True)


import secrets  # noqa: E402
import sys  # noqa: E402
import tomllib  # noqa: E402
from importlib.metadata import entry_points  # noqa: E402

import hypothesis  # noqa: E402
import pytest  # noqa: E402

from demo.seaweedfs import SeaweedFS, seaweedfs  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.doors_support import World


def _offer_entry_points() -> None:
    """Offer this checkout's entry points where it is not installed, or was before it had them."""
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text())["project"]
    groups = project["entry-points"]
    if all(
        {point.name for point in entry_points(group=group)} >= points.keys()
        for group, points in groups.items()
    ):
        return
    folder = _HOME / "site" / f"t4_ops-{project['version']}.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    lines = [
        line
        for group, points in groups.items()
        for line in (f"[{group}]", *(f"{name} = {value}" for name, value in points.items()))
    ]
    (folder / "entry_points.txt").write_text("\n".join(lines))
    sys.path.insert(0, str(folder.parent))
    os.environ["PYTHONPATH"] = os.pathsep.join(
        [str(folder.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    )


_offer_entry_points()

# No deadline: two busy cores make single examples slow for reasons of their own.
hypothesis.settings.register_profile("dev", max_examples=50, deadline=None)
hypothesis.settings.register_profile(
    "ci", max_examples=100, deadline=None, derandomize=True, print_blob=True
)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "dev")


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the test an empty home: no file of the user's, and none of another test's."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("T4_CONFIG_FILE", str(home / "t4.toml"))
    monkeypatch.setenv("T4_REGISTRY", str(home / "registry"))
    return home


@pytest.fixture(scope="session")
def s3_server() -> Iterator[SeaweedFS]:
    """One real S3 server for the session, started by the first test that asks for it."""
    with tempfile.TemporaryDirectory(prefix="t4-s3-") as folder, seaweedfs(Path(folder)) as server:
        yield server


@pytest.fixture
def s3_env(s3_server: SeaweedFS, monkeypatch: pytest.MonkeyPatch) -> SeaweedFS:
    """Lead every AWS client of the test, and of its subprocesses, to the server."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in s3_server.environ().items():
        monkeypatch.setenv(name, value)
    return s3_server


@pytest.fixture
def versioned_bucket(s3_server: SeaweedFS) -> Iterator[str]:
    """The name of an empty bucket that keeps versions."""
    yield from _bucket(s3_server, versioned=True)


@pytest.fixture
def unversioned_bucket(s3_server: SeaweedFS) -> Iterator[str]:
    """The name of an empty bucket whose versioning was never asked for."""
    yield from _bucket(s3_server, versioned=False)


def _bucket(server: SeaweedFS, *, versioned: bool) -> Iterator[str]:
    name = f"t4-{secrets.token_hex(6)}"
    server.create_bucket(name, versioned)
    yield name
    server.delete_bucket(name)


@pytest.fixture(params=["folder", "versioned", "unversioned"])
def registry(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty registry of every kind there is: a folder, a bucket with versions, one without."""
    if request.param == "folder":
        return (tmp_path / "registry with space").as_uri()
    request.getfixturevalue("s3_env")
    return f"s3://{request.getfixturevalue(f'{request.param}_bucket')}"


@pytest.fixture
def local(tmp_path: Path) -> World:
    """The places a door test plays in, with a folder as registry."""
    from tests.doors_support import world_of

    return world_of(tmp_path, (tmp_path / "registry").as_uri())


@pytest.fixture
def remote(tmp_path: Path, bucket_registry: str) -> World:
    """The same with a bucket."""
    from tests.doors_support import world_of

    return world_of(tmp_path, bucket_registry)


@pytest.fixture
def world(tmp_path: Path, registry: str) -> World:
    """The same with a registry of every kind."""
    from tests.doors_support import world_of

    return world_of(tmp_path, registry)


@pytest.fixture(params=["versioned", "unversioned"])
def bucket_registry(request: pytest.FixtureRequest) -> str:
    """An empty bucket, with versions and without."""
    request.getfixturevalue("s3_env")
    return f"s3://{request.getfixturevalue(f'{request.param}_bucket')}"
