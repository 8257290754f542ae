"""Credentials that must reach no message, log line, event or result.

Each row is a case that was tried on another client of this format; the tests show that here it is
refused, with nothing written, or survived, with nothing lost.

| row | case | tests |
|---|---|---|
| - | credentials in messages, logs, events | `test_no_secret_...` |
"""

from __future__ import annotations

import logging
import pickle
import socket
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pytest_mock import MockerFixture

import t4_ops as t4
from demo.seaweedfs import SeaweedFS
from t4_ops import operations
from tests.doors_support import (
    NAME,
    World,
    files_below,
    refused,
)
from tests.s3_support import run_relay, s3_fault

ACCESS_KEY = "AKIADOORSDOORSDOORS1"


SECRET_KEY = "doors/secret+key=that/nobody-may/SEE"


TOKEN = "doors-session-token-that-nobody-may-see=="


PROXY = "doors-proxy-password"


SECRETS = (ACCESS_KEY, SECRET_KEY, TOKEN, PROXY)


def s3_actions(url: str, settings: t4.Settings, root: Path) -> dict[str, Callable[[], Any]]:
    """Return every way to reach a bucket."""
    name = "team/data"
    file = root / "file.txt"
    file.write_bytes(b"x")
    local = (root / "actions").as_uri()
    built = t4.Package(settings=settings).set("a.txt", file)
    top_hash = built.build(name, local)
    entry = t4.Package(settings=settings).set("a.txt", file)
    bucket = t4.Bucket(url, settings=settings)
    ref = {"registry": url, "name": name, "top_hash": top_hash}
    options: dict[str, Any] = {"settings": settings}
    return {
        "browse": lambda: t4.Package.browse(name, url, **options),
        "browse hash": lambda: t4.Package.browse(name, url, top_hash, **options),
        "install": lambda: t4.Package.install(name, url, dest=root / "out", **options),
        "build": lambda: entry.build(name, url),
        "push": lambda: built.push(name, url),
        "rollback": lambda: t4.Package.rollback(name, url, top_hash, **options),
        "resolve": lambda: t4.resolve(name, url, **options),
        "list_packages": lambda: t4.list_packages(url, **options),
        "list versions": lambda: t4.list_package_versions(name, url, **options),
        "delete_package": lambda: t4.delete_package(name, url, **options),
        "set": lambda: t4.Package(**options).set("a", f"{url}/key"),
        "set_dir": lambda: t4.Package(**options).set_dir("", f"{url}/prefix"),
        "Bucket.keys": bucket.keys,
        "Bucket.ls": bucket.ls,
        "Bucket.put": lambda: bucket.put("a.json", {}, meta={"a": 1}),
        "Bucket.get": lambda: bucket.get("a.json"),
        "Bucket.put_file": lambda: bucket.put_file("a", file),
        "Bucket.fetch": lambda: bucket.fetch("a", root / "out"),
        "Bucket.fetch a folder": lambda: bucket.fetch("a/", root / "out"),
        "Bucket.delete": lambda: bucket.delete("a"),
        "Bucket.delete_dir": lambda: bucket.delete_dir("a"),
        "Bucket.set_meta": lambda: bucket.set_meta("a", {}),
        "copy from": lambda: t4.copy(f"{url}/key", root / "out", **options),
        "copy to": lambda: t4.copy(file, f"{url}/key", **options),
        "operations.build": lambda: operations.build(name, file, registry=url, **options),
        "operations.push": lambda: operations.push(f"{name}@{top_hash}", registry=url, **options),
        "operations.install": lambda: operations.install(ref, dest=root / "out", **options),
        "operations.browse": lambda: operations.browse(name, registry=url, **options),
    }


def assert_silent(actions: dict[str, Callable[[], Any]], caplog: pytest.LogCaptureFixture) -> None:
    """Let every action fail and look for secrets in all that is told of it."""
    for name, action in actions.items():
        with pytest.raises(t4.T4Error) as caught:
            action()
        error = caught.value
        told = [
            str(error),
            repr(error),
            str(vars(error)),
            *traceback.format_exception(error),
            repr(pickle.dumps(error)),
            caplog.text,
            *(str(vars(log)) for log in caplog.records),
        ]
        for text in told:
            assert not any(secret in text for secret in SECRETS), name
    caplog.clear()


@pytest.fixture
def quick_log(mocker: MockerFixture, caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """The log, down to the last line of ours; retries come without pauses."""
    mocker.patch("random.uniform", autospec=True, return_value=0.0)
    caplog.set_level(logging.INFO)
    caplog.set_level(logging.DEBUG, logger="t4_ops")
    return caplog


@pytest.fixture
def nobody() -> Iterator[str]:
    """An endpoint where nobody answers."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


def with_keys(endpoint_url: str, **changes: Any) -> t4.Settings:
    values = {
        "endpoint_url": endpoint_url,
        "region": "us-east-1",
        "access_key_id": ACCESS_KEY,
        "secret_access_key": SECRET_KEY,
        "session_token": TOKEN,
        "max_attempts": 1,
        **changes,
    }
    return t4.load_settings(s3=t4.S3Settings(**values))


@pytest.mark.parametrize("given", ["settings", "environment", "proxy"])
def test_no_secret_is_told_when_nobody_answers(
    nobody: str,
    tmp_path: Path,
    quick_log: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    given: str,
) -> None:
    if given == "environment":
        for name, value in (
            ("AWS_ACCESS_KEY_ID", ACCESS_KEY),
            ("AWS_SECRET_ACCESS_KEY", SECRET_KEY),
            ("AWS_SESSION_TOKEN", TOKEN),
            ("AWS_ENDPOINT_URL", nobody),
            ("AWS_REGION", "us-east-1"),
            ("T4_S3_MAX_ATTEMPTS", "1"),
        ):
            monkeypatch.setenv(name, value)
        settings = t4.load_settings()
    elif given == "proxy":
        proxy = nobody.replace("://", f"://user:{PROXY}@")
        settings = with_keys("http://s3.invalid", proxy_url=proxy)
    else:
        settings = with_keys(nobody)
    assert_silent(s3_actions("s3://a-bucket", settings, tmp_path), quick_log)
    shown = repr(settings) + repr(t4.Bucket("s3://a-bucket", settings=settings))
    assert not any(secret in shown for secret in SECRETS)


@pytest.mark.parametrize("wrong", ["secret", "access key"])
def test_no_secret_is_told_when_the_server_refuses(
    s3_server: SeaweedFS,
    unversioned_bucket: str,
    tmp_path: Path,
    quick_log: pytest.LogCaptureFixture,
    wrong: str,
) -> None:
    settings = with_keys(
        s3_server.endpoint_url,
        session_token=None,
        access_key_id=s3_server.access_key if wrong == "secret" else ACCESS_KEY,
    )
    actions = s3_actions(f"s3://{unversioned_bucket}", settings, tmp_path)
    assert_silent(actions, quick_log)
    error = refused(actions["browse"], t4.StorageError)
    assert isinstance(error, t4.StorageError)
    assert not error.retryable


def test_no_secret_is_told_when_the_server_repeats_it(
    s3_env: SeaweedFS,
    unversioned_bucket: str,
    tmp_path: Path,
    quick_log: pytest.LogCaptureFixture,
) -> None:
    """Servers name the access key, and Amazon the expired token, in what they answer."""
    with run_relay(s3_env.endpoint_url) as relay:
        said = f"token {TOKEN} of {ACCESS_KEY} with {SECRET_KEY} is expired"
        relay.rule = lambda r: s3_fault(
            400, "ExpiredToken", said, f"<Token-0>{TOKEN}</Token-0><Key>{ACCESS_KEY}</Key>"
        )
        actions = s3_actions(f"s3://{unversioned_bucket}", with_keys(relay.url), tmp_path)
        # A reply to HEAD has no body, so that nothing can be repeated in it.
        assert_silent(actions, quick_log)


def test_no_secret_is_stored_or_shown_when_all_goes_well(
    remote: World, s3_env: SeaweedFS, quick_log: pytest.LogCaptureFixture
) -> None:
    url = remote.outside.url
    keys = (s3_env.access_key, s3_env.secret_key)
    source = remote.root / "source"
    source.mkdir()
    (source / "steady.txt").write_bytes(b"steady")
    settings = t4.load_settings(
        s3=t4.S3Settings(
            endpoint_url=s3_env.endpoint_url,
            region="us-east-1",
            access_key_id=keys[0],
            secret_access_key=keys[1],
        )
    )
    built = operations.build(NAME, source, registry=remote.other.url, settings=settings)
    pushed = operations.push(built, registry=url, settings=settings)
    installed = operations.install(pushed, dest=remote.root / "out", settings=settings)
    package = t4.Package.browse(NAME, url, settings=settings)
    assert any("lineage/events" in key for key in remote.outside.all_keys())
    shown = [repr(value) for value in (settings, package, package["steady.txt"], package.ref)]
    shown += [str(built), str(pushed), str(installed), quick_log.text]
    shown += [repr(remote.outside.get(key)) for key in remote.outside.all_keys()]
    shown += [repr(data) for data in files_below(remote.root).values()]
    shown += remote.outside.all_keys()
    for text in shown:
        assert not any(key in text for key in keys)
