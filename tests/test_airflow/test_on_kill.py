"""What a task that is killed in the middle of an upload in parts leaves on the server: nothing."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from airflow.sdk.exceptions import AirflowFailException

import t4_ops as t4
from t4_ops import operations
from t4_ops.airflow.operators import BuildPackageOperator, PushPackageOperator
from tests.s3_support import MIB, Fault, Relay, client_of, run_relay

if TYPE_CHECKING:
    from airflow.sdk import Context

    from demo.seaweedfs import SeaweedFS

MakeContext = Callable[..., "Context"]

NAME: Final = "team/large"
PARTS: Final = 8  # of 8 MiB, four of them in flight
PART_DELAY_S: Final = 1.0
# So long after it asked, Airflow kills for good; source: `escalation_delay` of the supervisor of
# `airflow.sdk` 1.3.2.
KILLED_AFTER_S: Final = 5.0


@pytest.fixture
def relay(s3_env: SeaweedFS) -> Iterator[Relay]:
    with run_relay(s3_env.endpoint_url) as running:
        yield running


@pytest.fixture
def registry(
    s3_env: SeaweedFS, relay: Relay, versioned_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> str:
    """A bucket that the connection `team` reaches through the relay."""
    connection = {
        "conn_type": "t4",
        "host": f"s3://{versioned_bucket}",
        "login": s3_env.access_key,
        "password": s3_env.secret_key,
        "extra": {"endpoint_url": relay.url},
    }
    monkeypatch.setenv("AIRFLOW_CONN_TEAM", json.dumps(connection))
    return f"s3://{versioned_bucket}"


def build(source: Path) -> Any:
    return BuildPackageOperator(task_id="build", name=NAME, source=str(source), t4_conn_id="team")


def push(source: Path) -> Any:
    built = operations.build(NAME, source)
    return PushPackageOperator(task_id="push", package=built, t4_conn_id="team")


@pytest.mark.parametrize("make", [build, push])
def test_a_task_killed_in_an_upload_ends_in_time_and_leaves_no_part(
    make: Callable[[Path], Any],
    registry: str,
    relay: Relay,
    s3_env: SeaweedFS,
    tmp_path: Path,
    context: MakeContext,
) -> None:
    source = tmp_path / "large.bin"
    with source.open("wb") as file:
        file.truncate(PARTS * 8 * MIB)  # a hole: it takes no space
    operator, bucket = make(source), registry.removeprefix("s3://")
    server = client_of(s3_env)
    raised: list[BaseException] = []

    def work() -> None:
        try:
            operator.execute(context())
        except BaseException as exc:  # noqa: BLE001 (whatever it is, the test looks at it)
            raised.append(exc)

    def slowly(request: Any) -> Fault | None:
        return Fault(delay_s=PART_DELAY_S) if "partNumber=" in request.target else None

    relay.rule = slowly
    task = threading.Thread(target=work)
    task.start()
    give_up_s = time.monotonic() + 60
    while not relay.seen("PUT", "partNumber=") and time.monotonic() < give_up_s:
        time.sleep(0.02)
    assert server.list_multipart_uploads(Bucket=bucket)["Uploads"]
    killed_s = time.monotonic()
    operator.on_kill()
    task.join(timeout=60)
    assert time.monotonic() - killed_s < KILLED_AFTER_S
    assert len(relay.seen("PUT", "partNumber=")) < PARTS
    # Not a failure for good: who was killed may be tried again.
    assert [isinstance(error, AirflowFailException) for error in raised] == [False]
    assert not server.list_multipart_uploads(Bucket=bucket).get("Uploads")
    assert list(t4.list_packages(registry)) == []
    with pytest.raises(t4.NotFoundError):
        t4.list_package_versions(NAME, registry)  # nor is there a pointer without `latest`

    relay.rule = lambda _: None
    again = operator.execute(context(try_number=2))
    assert (again["changed"], again["size_bytes"]) == (True, PARTS * 8 * MIB)
    assert t4.resolve(NAME, registry).top_hash == again["top_hash"]
    assert not server.list_multipart_uploads(Bucket=bucket).get("Uploads")
