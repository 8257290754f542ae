"""What is tried again, and what is not, with faults that are real: a port nobody listens on."""

import socket
import time
from pathlib import Path

import pytest
from prefect import flow, runtime

import t4_ops as t4
from demo.seaweedfs import SeaweedFS
from t4_ops.lineage import runs_of
from t4_ops.prefect._runs import retry_delays_s
from t4_ops.prefect.revisions import Revision
from t4_ops.prefect.tasks import browse_package, build_package
from t4_ops.registry.common import MAX_TRIES
from tests.s3_support import Request, run_relay, s3_fault
from tests.test_prefect.support import task_runs

pytestmark = pytest.mark.usefixtures("prefect_server")


@pytest.fixture
def one_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the storage give up at once, so that what is counted is the task's own tries."""
    monkeypatch.setenv("T4_S3_MAX_ATTEMPTS", "1")
    monkeypatch.setenv("T4_S3_CONNECT_TIMEOUT_S", "2")


@pytest.fixture
def dead_server(one_attempt: None, monkeypatch: pytest.MonkeyPatch) -> str:
    """A bucket at an address where nobody answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setenv("T4_S3_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("T4_S3_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("T4_S3_SECRET_ACCESS_KEY", "a made-up secret")
    return "s3://no-bucket"


def test_a_storage_that_does_not_answer_is_tried_three_times(dead_server: str) -> None:
    run_ids = []

    @flow
    def fails() -> Revision:
        run_ids.append(runtime.flow_run.get_id())
        return browse_package.with_options(retry_delay_seconds=0)("team/raw", registry=dead_server)

    start_s = time.monotonic()
    with pytest.raises(t4.StorageError, match="refused") as caught:
        fails()
    assert caught.value.retryable
    assert time.monotonic() - start_s < 30
    (run,) = task_runs(run_ids[0], 1)
    assert (run.run_count, run.state_name) == (3, "Failed")


@pytest.mark.parametrize(
    ("package", "error"), [("team/none", t4.NotFoundError), ("no name", t4.InvalidInputError)]
)
def test_what_the_caller_has_to_mend_is_not_tried_again(
    package: str, error: type[t4.T4Error], registry: str
) -> None:
    run_ids = []

    @flow
    def fails() -> Revision:
        run_ids.append(runtime.flow_run.get_id())
        return browse_package(package, registry=registry)

    with pytest.raises(error):
        fails()
    (run,) = task_runs(run_ids[0], 1)
    assert (run.run_count, run.state_name) == (1, "Failed")


def test_a_later_try_succeeds_and_lineage_tells_which(
    source: Path,
    one_attempt: None,
    s3_env: SeaweedFS,
    unversioned_bucket: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    @flow
    def recovers() -> Revision:
        step = build_package.with_options(retry_delay_seconds=0)
        return step("team/raw", source, registry=f"s3://{unversioned_bucket}")

    with run_relay(s3_env.endpoint_url) as relay:
        monkeypatch.setenv("AWS_ENDPOINT_URL", relay.url)
        # Longer than the storage itself has patience.
        relay.rule = lambda _: (
            s3_fault(503, "SlowDown") if len(relay.requests) <= MAX_TRIES else None
        )
        built = recovers()
    assert built.changed is True
    (event,) = runs_of(built)
    assert event.run.attempt == 2


def test_a_refused_request_is_not_tried_again(
    one_attempt: None,
    s3_env: SeaweedFS,
    unversioned_bucket: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[Request] = []

    @flow
    def fails() -> Revision:
        return browse_package("team/raw", registry=f"s3://{unversioned_bucket}")

    with run_relay(s3_env.endpoint_url) as relay:
        monkeypatch.setenv("AWS_ENDPOINT_URL", relay.url)
        relay.rule = lambda _: s3_fault(403, "AccessDenied")
        with pytest.raises(t4.StorageError) as caught:
            fails()
        seen = relay.requests
    assert not caught.value.retryable
    assert len(seen) == 1


def test_delays_grow_and_differ_between_processes() -> None:
    delays_s = browse_package.retry_delay_seconds
    assert isinstance(delays_s, list)
    first_s, second_s = delays_s
    assert 1 <= first_s <= 3
    assert 5 <= second_s <= 15
    assert len({tuple(retry_delays_s(4)) for _ in range(3)}) == 3
