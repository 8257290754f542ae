"""The hook: what a connection says, in every form, and what its test tells."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowNotFoundException

import t4_ops as t4
from demo.seaweedfs import SeaweedFS
from t4_ops import operations
from t4_ops.airflow.hook import T4Hook
from t4_ops.storage import open_store

SECRET = "wJalrXUtnFEMI/K7MDENG"


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Define a connection as Airflow reads it from the environment: a URI, or JSON."""

    def define(value: str | dict[str, Any], conn_id: str = "reg") -> T4Hook:
        text = value if isinstance(value, str) else json.dumps({"conn_type": "t4", **value})
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", text)
        return T4Hook(conn_id)

    return define


@pytest.mark.parametrize(
    ("uri", "registry"),
    [
        ("t4://bucket-a", "s3://bucket-a"),
        ("t4://s3://bucket-a", "s3://bucket-a"),
        ("t4://s3://bucket-a/?region=eu-west-1", "s3://bucket-a"),
        ("t4:///data/registry", "file:///data/registry"),
        ("t4://file:///data/registry", "file:///data/registry"),
        ("t4://%2Fdata%2Fregistry", "file:///data/registry"),
        ("t4://file://%2Fdata%2Fmy%20registry", "file:///data/my%20registry"),
    ],
)
def test_a_uri_names_a_registry(connect: Any, uri: str, registry: str) -> None:
    assert connect(uri).settings.registry == registry


@pytest.mark.parametrize(
    ("host", "registry"),
    [
        ("s3://bucket-a", "s3://bucket-a"),
        ("bucket-a", "s3://bucket-a"),
        ("/data/registry", "file:///data/registry"),
        ("file:///data/registry", "file:///data/registry"),
    ],
)
def test_a_form_names_a_registry_and_survives_its_own_uri(
    connect: Any, host: str, registry: str
) -> None:
    hook = connect({"host": host, "extra": {"endpoint_url": "http://127.0.0.1:1"}})
    assert hook.settings.registry == registry
    # Airflow's DAG processor keeps connections as URIs.
    again = connect(hook.get_connection("reg").get_uri())
    assert again.settings == hook.settings


def test_what_a_connection_says_wins_and_the_rest_is_the_workers(
    connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("T4_S3_REGION", "us-east-1")
    monkeypatch.setenv("T4_S3_MAX_ATTEMPTS", "9")
    monkeypatch.setenv("T4_S3_SESSION_TOKEN", "of-the-worker")
    extra = {
        "region": "eu-central-1",
        "endpoint_url": "https://minio.example:9000",
        "anonymous": False,
        "read_timeout_s": 5,
        "tags": {"team": "a"},
        "aws_conn_id": "",
    }
    settings = connect(
        {"host": "s3://bucket-a", "login": "KEY", "password": SECRET, "extra": extra}
    ).settings
    assert settings.s3 == t4.S3Settings(
        region="eu-central-1",
        endpoint_url="https://minio.example:9000",
        access_key_id="KEY",
        secret_access_key=SECRET,
        read_timeout_s=5.0,
        max_attempts=9,
        tags=(("team", "a"),),
    )
    assert SECRET not in repr(settings)


def test_all_values_of_a_uri_are_text(connect: Any) -> None:
    uri = f"t4://KEY:{SECRET.replace('/', '%2F')}@bucket-a/?anonymous=false&read_only=true"
    settings = connect(uri + "&max_attempts=2&endpoint_url=http%3A%2F%2F127.0.0.1%3A1").settings
    assert (settings.s3.max_attempts, settings.s3.secret_access_key) == (2, SECRET)
    assert settings.s3.endpoint_url == "http://127.0.0.1:1"
    assert settings.read_only == ("s3://bucket-a",)


def test_without_a_connection_the_workers_settings_hold(own_home: Path) -> None:
    assert T4Hook(None).settings.registry == f"file://{own_home / 'registry'}"
    assert T4Hook(None, registry="s3://other").settings.registry == "s3://other"


def test_a_registry_given_besides_is_reached_the_same_way(connect: Any) -> None:
    connect({"host": "s3://bucket-a", "extra": {"region": "eu-west-1"}})
    settings = T4Hook("reg", registry="s3://bucket-b").settings
    assert (settings.registry, settings.s3.region) == ("s3://bucket-b", "eu-west-1")


def test_an_unknown_connection_is_named() -> None:
    with pytest.raises(AirflowNotFoundException, match="nowhere"):
        _ = T4Hook("nowhere").settings


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({"host": "data/registry"}, "neither s3://bucket nor an absolute"),
        ({"host": "s3://bucket-a/below"}, "whole bucket"),
        ({"host": "bucket-a", "login": "KEY"}, "login .* password"),
        ({"host": "bucket-a", "password": SECRET}, "login .* password"),
        ({"host": "bucket-a", "extra": {"regoin": SECRET}}, "no regoin; known: .*region"),
        ({"host": "bucket-a", "extra": {"secret_access_key": SECRET}}, "login and password"),
        ({"host": "bucket-a", "extra": {"max_attempts": "many"}}, "max_attempts='many'"),
        ({"host": "bucket-a", "extra": {"endpoint_url": f"http://k:{SECRET}@h"}}, "endpoint_url"),
        ({"host": "bucket-a", "extra": {"read_only": "perhaps"}}, "read_only='perhaps'"),
    ],
)
def test_what_does_not_fit_is_named_and_secrets_are_not_shown(
    connect: Any, value: dict[str, Any], says: str
) -> None:
    hook = connect(value)
    with pytest.raises(t4.InvalidInputError, match=says) as caught:
        _ = hook.settings
    assert "'reg'" in str(caught.value)
    assert SECRET not in str(caught.value)
    ok, message = hook.test_connection()
    assert not ok
    assert SECRET not in message


def test_keys_region_and_endpoint_are_borrowed(connect: Any) -> None:
    aws = {
        "conn_type": "aws",
        "login": "KEY",
        "password": SECRET,
        "extra": {
            "region_name": "eu-north-1",
            "endpoint_url": "http://127.0.0.1:1",
            "service_config": {"s3": {"endpoint_url": "http://127.0.0.1:2"}},
        },
    }
    connect(aws, "aws_lab")
    s3 = connect({"host": "bucket-a", "extra": {"aws_conn_id": "aws_lab"}}).settings.s3
    assert (s3.access_key_id, s3.secret_access_key) == ("KEY", SECRET)
    assert (s3.region, s3.endpoint_url) == ("eu-north-1", "http://127.0.0.1:2")
    own = {"aws_conn_id": "aws_lab", "region": "eu-west-1"}
    assert connect({"host": "bucket-a", "extra": own}).settings.s3.region == "eu-west-1"


@pytest.mark.parametrize(
    ("conn", "who"),
    [
        ({"login": "KEY", "password": SECRET}, {"access_key_id": "KEY"}),
        ({"extra": {"profile": "team"}}, {"profile": "team"}),
        ({"extra": {"anonymous": True}}, {"anonymous": True}),
        ({"extra": {"aws_conn_id": "lab"}}, {"access_key_id": "LAB", "session_token": "of-lab"}),
        (
            {"login": "KEY", "password": SECRET, "extra": {"aws_conn_id": "lab"}},
            {"access_key_id": "KEY"},
        ),
        ({"extra": {"aws_conn_id": "lab", "anonymous": "True"}}, {"anonymous": True}),
        ({"extra": {"anonymous": False}}, {"access_key_id": "WORKER", "session_token": "of-it"}),
    ],
    ids=",".join,
)
def test_only_one_says_who_asks(
    connect: Any, conn: dict[str, Any], who: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("T4_S3_ACCESS_KEY_ID", "WORKER")
    monkeypatch.setenv("T4_S3_SECRET_ACCESS_KEY", "of-the-worker")
    monkeypatch.setenv("T4_S3_SESSION_TOKEN", "of-it")
    aws = {"aws_session_token": "of-lab", "region_name": "eu-north-1"}
    connect({"conn_type": "aws", "login": "LAB", "password": "x", "extra": aws}, "lab")
    s3 = connect({"host": "bucket-a", **conn}).settings.s3
    nobody = {"access_key_id": None, "session_token": None, "profile": None, "anonymous": False}
    assert {name: getattr(s3, name) for name in nobody} == {**nobody, **who}


def test_a_connection_wins_over_what_the_workers_file_says_of_its_registry(
    connect: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.toml").write_text(
        '[registries."s3://bucket-a"]\nregion = "us-east-1"\nmax_attempts = 9\n'
        'access_key_id = "WORKER"\nsecret_access_key = "of-the-worker"\n'
        '[registries."s3://bucket-b"]\nregion = "us-west-2"\n'
    )
    monkeypatch.setenv("T4_CONFIG_FILE", str(tmp_path / "config.toml"))
    settings = connect(
        {"host": "bucket-a", "login": "KEY", "password": SECRET, "extra": {"region": "eu-west-1"}}
    ).settings
    s3 = settings.s3_for("s3://bucket-a")
    assert (s3.access_key_id, s3.secret_access_key, s3.region) == ("KEY", SECRET, "eu-west-1")
    assert s3.max_attempts == 9
    assert settings.s3_for("s3://bucket-b").region == "us-west-2"


def test_a_borrowed_role_is_not_taken_on_by_a_test(connect: Any) -> None:
    role = {"role_arn": "arn:aws:iam::1:role/r", "aws_secret_access_key": SECRET}
    connect({"conn_type": "aws", "extra": role}, "aws_role")
    ok, message = connect(
        {"host": "bucket-a", "extra": {"aws_conn_id": "aws_role"}}
    ).test_connection()
    assert not ok
    assert "role_arn" in message
    assert "STS" in message
    assert SECRET not in message


def test_a_test_of_a_folder_tells_what_is_there(connect: Any, tmp_path: Path) -> None:
    folder = tmp_path / "registry"
    hook = connect({"host": str(folder)})
    assert hook.test_connection() == (
        True,
        f"file://{folder} is not there yet: the first publication makes it",
    )
    assert not folder.exists()
    t4.Package().set_text("a.txt", "a").build("team/a", str(folder))
    ok, message = hook.test_connection()
    assert ok
    assert message == f"file://{folder} can be read: 1 namespaces of packages"


def test_a_test_of_a_bucket_tells_what_is_wrong(
    connect: Any, s3_server: SeaweedFS, unversioned_bucket: str
) -> None:
    environ = s3_server.environ()
    login, password = environ["AWS_ACCESS_KEY_ID"], environ["AWS_SECRET_ACCESS_KEY"]
    extra = {"endpoint_url": environ["AWS_ENDPOINT_URL"], "region": "us-east-1"}
    given = {"host": unversioned_bucket, "login": login, "password": password, "extra": extra}
    assert connect(given).test_connection()[0]
    for change, says in (
        ({"host": "no-such-bucket"}, "no-such-bucket"),
        ({"password": SECRET}, "SignatureDoesNotMatch|denied|refused|Forbidden|403"),
    ):
        ok, message = connect({**given, **change}).test_connection()
        assert not ok
        assert re.search(says, message), message
        assert SECRET not in message
        assert password not in message


@pytest.fixture
def dead_endpoint() -> Iterator[str]:
    """An address that refuses connections: bound, so that nobody takes it, but not listening."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"


def test_a_server_that_is_away_is_named(connect: Any, dead_endpoint: str) -> None:
    given = {
        "host": "bucket-a",
        "login": "KEY",
        "password": SECRET,
        "extra": {"endpoint_url": dead_endpoint, "region": "us-east-1"},
    }
    ok, message = connect(given).test_connection()
    assert not ok
    assert "bucket-a" in message
    assert SECRET not in message


def keys(registry: str) -> list[str]:
    return [info.key for info in open_store(registry, t4.load_settings()).list()]


@pytest.mark.parametrize("kind", ["folder", "bucket"])
def test_nothing_is_changed_through_a_read_only_connection(
    connect: Any, kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if kind == "bucket":
        request.getfixturevalue("s3_env")
        registry = f"s3://{request.getfixturevalue('unversioned_bucket')}"
    else:
        registry = str(tmp_path / "registry")
    (tmp_path / "a.txt").write_text("a")
    operations.build("team/a", tmp_path / "a.txt", registry=registry)
    settings = connect({"host": registry, "extra": {"read_only": True}}).settings
    held = keys(registry)

    read = operations.install("team/a", dest=tmp_path / "copy", settings=settings)
    assert (tmp_path / "copy" / "a.txt").read_text() == "a"
    for change in (
        lambda: operations.build("team/b", tmp_path / "a.txt", settings=settings),
        lambda: operations.push(read, name="team/c", settings=settings),
        lambda: t4.delete_package("team/a", settings=settings),
        lambda: t4.Package(settings=settings).set_text("b.txt", "b").push("team/d"),
    ):
        with pytest.raises(t4.InvalidInputError, match="read-only"):
            change()
    assert keys(registry) == held

    # From there to elsewhere is allowed.
    other = str(tmp_path / "other")
    assert operations.push(read, registry=other, settings=settings)["changed"]
