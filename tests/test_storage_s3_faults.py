"""The bucket store when things go wrong: refusals, lost replies, broken connections, secrets."""

from __future__ import annotations

import os
import pickle
import time
import traceback
from collections.abc import Iterator
from typing import Any

import pytest

from demo.seaweedfs import SeaweedFS
from t4_ops.errors import InvalidInputError, NotFoundError, StorageError, T4Error
from t4_ops.storage.base import PreconditionFailedError
from t4_ops.storage.s3 import S3Store
from tests.s3_support import MIB, Fault, Relay, Request, run_relay, s3_fault, settings_for

# The first goes through obstore, the second through boto3: both must mean the same.
BOTH_WAYS = pytest.mark.parametrize("key", ["plain", "odd\t"])


@pytest.fixture
def relay(s3_server: SeaweedFS) -> Iterator[Relay]:
    with run_relay(s3_server.endpoint_url) as running:
        yield running


@pytest.fixture
def direct(s3_server: SeaweedFS, unversioned_bucket: str) -> S3Store:
    return S3Store(f"s3://{unversioned_bucket}", settings_for(s3_server))


@pytest.fixture
def store(s3_server: SeaweedFS, relay: Relay, direct: S3Store) -> S3Store:
    """The same bucket through the relay, with little patience."""
    settings = settings_for(
        s3_server, endpoint_url=relay.url, max_attempts=2, read_timeout_s=2, connect_timeout_s=2
    )
    return S3Store(direct.url, settings)


def first(count: int, fault: Fault, method: str = "") -> Any:
    """Return a rule that plays a fault for the first `count` requests of a method."""
    left = [count]

    def rule(request: Request) -> Fault | None:
        if (method and request.method != method) or not left[0]:
            return None
        left[0] -= 1
        return fault

    return rule


REFUSALS = [
    (503, "SlowDown", StorageError, True, "503 SlowDown"),
    (429, "TooManyRequests", StorageError, True, "429"),
    (500, "InternalError", StorageError, True, "500"),
    (400, "RequestTimeout", StorageError, True, "RequestTimeout"),
    (403, "AccessDenied", StorageError, False, r"credentials from the settings need s3:GetObject"),
    (403, "InvalidAccessKeyId", StorageError, False, "does not know the access key"),
    (403, "SignatureDoesNotMatch", StorageError, False, "secret key does not fit"),
    (400, "ExpiredToken", StorageError, False, "expired: log in again"),
    (501, "NotImplemented", StorageError, False, "501"),
    (404, "NoSuchBucket", NotFoundError, False, "bucket s3://.* does not exist"),
    (404, "NoSuchKey", NotFoundError, False, "does not exist"),
    (405, "MethodNotAllowed", NotFoundError, False, "does not exist"),
    (400, "KeyTooLongError", InvalidInputError, False, "too long"),
]


@BOTH_WAYS
@pytest.mark.parametrize(("status", "code", "kind", "retryable", "text"), REFUSALS)
def test_what_a_refusal_means(
    store: S3Store,
    relay: Relay,
    key: str,
    status: int,
    code: str,
    kind: type[T4Error],
    retryable: bool,
    text: str,
) -> None:
    relay.rule = lambda _: s3_fault(status, code)

    with pytest.raises(kind, match=text) as caught:
        store.read(key)

    assert caught.value.retryable is retryable
    again = pickle.loads(pickle.dumps(caught.value))  # noqa: S301 - our own
    assert (type(again), str(again)) == (type(caught.value), str(caught.value))


def test_a_bucket_of_another_region(store: S3Store, relay: Relay) -> None:
    relay.rule = lambda _: s3_fault(301, "PermanentRedirect")
    with pytest.raises(StorageError, match="in another region: set `region`") as caught:
        store.read("k")
    assert not caught.value.retryable


@BOTH_WAYS
def test_a_refused_head_says_why(store: S3Store, relay: Relay, key: str) -> None:
    relay.rule = lambda _: s3_fault(403, "AccessDenied", "you may not")
    with pytest.raises(StorageError, match="403 AccessDenied you may not") as caught:
        store.head(key)
    assert not caught.value.retryable


@BOTH_WAYS
def test_no_secret_of_a_reply_is_told(
    store: S3Store, relay: Relay, s3_server: SeaweedFS, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    secrets = ("TOKEN-IN-REPLY", s3_server.access_key, s3_server.secret_key)
    extra = f"<Token-0>{secrets[0]}</Token-0><AWSAccessKeyId>{secrets[1]}</AWSAccessKeyId>"
    relay.rule = lambda _: s3_fault(403, "AccessDenied", f"{secrets[1]} may not", extra)

    for ask in (lambda: store.read(key), lambda: store.write(key, b""), store.list_folder):
        with pytest.raises(StorageError, match=r"\*\*\* may not") as caught:
            ask()
        told = "".join(traceback.format_exception(caught.value)) + repr(vars(caught.value))
        assert caught.value.__cause__ is caught.value.__context__ is None
        assert not [secret for secret in secrets if secret in told + caplog.text]


def test_a_wrong_secret_is_the_users_to_mend(direct: S3Store, s3_server: SeaweedFS) -> None:
    wrong = settings_for(s3_server, secret_access_key="not-the-secret")
    with pytest.raises(StorageError, match="from the settings: the secret key does not") as caught:
        S3Store(direct.url, wrong).read("k")
    assert not caught.value.retryable
    assert "not-the-secret" not in str(caught.value)


@BOTH_WAYS
def test_a_short_overload_is_outlived(
    store: S3Store, direct: S3Store, relay: Relay, key: str
) -> None:
    relay.rule = first(1, s3_fault(503, "SlowDown"), "PUT")
    store.write(key, b"1")
    relay.rule = first(1, s3_fault(503, "SlowDown"), "GET")
    assert store.read(key).data == b"1"
    assert [len(relay.seen(method)) for method in ("PUT", "GET")] == [2, 2]


@BOTH_WAYS
def test_a_lasting_overload_ends_after_the_attempts(store: S3Store, relay: Relay, key: str) -> None:
    relay.rule = lambda _: s3_fault(503, "SlowDown")
    with pytest.raises(StorageError):
        store.read(key)
    assert len(relay.requests) == 2


@BOTH_WAYS
def test_a_dead_endpoint_fails_soon(s3_server: SeaweedFS, key: str) -> None:
    dead = settings_for(s3_server, endpoint_url="http://127.0.0.1:9", max_attempts=3)
    started = time.monotonic()
    with pytest.raises(StorageError, match=r"http://127.0.0.1:9 failed: .* refused") as caught:
        S3Store("s3://bucket", dead).read(key)
    assert caught.value.retryable
    assert time.monotonic() - started < 20


def test_words_in_a_key_do_not_change_the_cause(s3_server: SeaweedFS) -> None:
    dead = settings_for(s3_server, endpoint_url="http://127.0.0.1:9", max_attempts=1)
    for key in ("redirect/certificate.pem", "redirect\t/certificate.pem"):
        with pytest.raises(StorageError, match="was refused: check `endpoint_url`") as caught:
            S3Store("s3://bucket", dead).read(key)
        assert caught.value.retryable


@BOTH_WAYS
def test_a_silent_endpoint_fails_in_time(store: S3Store, relay: Relay, key: str) -> None:
    relay.rule = lambda _: Fault(delay_s=4)
    with pytest.raises(StorageError, match="took too long") as caught:
        store.read(key)
    assert caught.value.retryable


def test_an_unknown_endpoint(s3_server: SeaweedFS) -> None:
    lost = settings_for(s3_server, endpoint_url="http://there-is-none.invalid", max_attempts=1)
    with pytest.raises(StorageError, match="its name is not known") as caught:
        S3Store("s3://bucket", lost).head("k")
    assert caught.value.retryable


@BOTH_WAYS
def test_a_lost_reply_to_a_creation_is_read_back_by_the_caller(
    store: S3Store, direct: S3Store, relay: Relay, key: str
) -> None:
    relay.rule = first(1, Fault(drop=True), "PUT")
    with pytest.raises(PreconditionFailedError):
        store.write(key, b"mine", create_only=True)
    assert direct.read(key).data == b"mine"


@BOTH_WAYS
def test_a_conflict_under_way_is_tried_again(store: S3Store, relay: Relay, key: str) -> None:
    conflict = s3_fault(409, "ConditionalRequestConflict")
    relay.rule = first(2, conflict, "PUT")
    store.write(key, b"1", create_only=True)
    assert store.read(key).data == b"1"

    relay.rule = lambda _: conflict
    with pytest.raises(StorageError, match="409") as caught:
        store.write(key, b"2")
    assert caught.value.retryable


@BOTH_WAYS
def test_a_cut_reply_never_passes_for_the_whole(
    store: S3Store, direct: S3Store, relay: Relay, key: str
) -> None:
    data = os.urandom(3 * MIB)
    direct.write(key, data)
    relay.rule = lambda request: Fault(truncate_bytes=MIB) if request.method == "GET" else None

    arrived = bytearray()

    def take() -> None:
        with store.open(key) as reader:
            for piece in reader:
                arrived.extend(piece)

    with pytest.raises(StorageError) as caught:
        take()

    assert caught.value.retryable
    assert data.startswith(arrived)
    assert len(arrived) < len(data)


def test_a_reply_cut_once_is_resumed(store: S3Store, direct: S3Store, relay: Relay) -> None:
    data = os.urandom(3 * MIB)
    direct.write("k", data)
    relay.rule = first(1, Fault(truncate_bytes=MIB), "GET")
    assert store.read("k").data == data


def test_a_failed_part_leaves_no_upload(store: S3Store, direct: S3Store, relay: Relay) -> None:
    def rule(request: Request) -> Fault | None:
        return s3_fault(500, "InternalError") if "partNumber=2" in request.target else None

    relay.rule = rule
    with pytest.raises(StorageError, match="UploadPart") as caught:
        store.upload("k", [bytes(20 * MIB)], 20 * MIB)

    assert caught.value.retryable
    assert len(relay.seen("DELETE", "uploadId=")) == 1
    assert list(direct.list()) == []


def test_parts_that_can_not_be_removed_are_told_of(store: S3Store, relay: Relay) -> None:
    def rule(request: Request) -> Fault | None:
        refused = "partNumber=2" in request.target or request.method == "DELETE"
        return s3_fault(403, "AccessDenied") if refused else None

    relay.rule = rule
    with pytest.raises(StorageError, match=r"UploadPart .* need s3:PutObject") as caught:
        store.upload("k", [bytes(20 * MIB)], 20 * MIB)
    (note,) = caught.value.__notes__
    assert "s3:AbortMultipartUpload" in note


def test_a_reader_of_the_old_object_is_told_of_a_new_one_while_metadata_is_set(
    store: S3Store, direct: S3Store, relay: Relay
) -> None:
    direct.write("k", b"one")

    def rule(request: Request) -> Fault | None:
        if "x-amz-copy-source" in request.headers:
            direct.write("k", b"another")
        return None

    relay.rule = rule
    with pytest.raises(PreconditionFailedError):
        store.set_user_metadata("k", {"a": "b"})
    assert direct.read("k").data == b"another"


def test_a_bucket_that_may_not_be_asked_counts_as_unversioned(
    s3_server: SeaweedFS, relay: Relay, versioned_bucket: str
) -> None:
    relay.rule = lambda r: s3_fault(403, "AccessDenied") if "versioning" in r.target else None
    store = S3Store(f"s3://{versioned_bucket}", settings_for(s3_server, endpoint_url=relay.url))

    assert not store.is_versioned
    assert not store.is_versioned
    assert len(relay.requests) == 1


def test_a_question_for_versioning_that_fails_is_no_answer(
    s3_server: SeaweedFS, relay: Relay, versioned_bucket: str
) -> None:
    settings = settings_for(s3_server, endpoint_url=relay.url, max_attempts=1)
    store = S3Store(f"s3://{versioned_bucket}", settings)
    relay.rule = first(1, s3_fault(503, "SlowDown"))

    with pytest.raises(StorageError):
        store.is_versioned  # noqa: B018 - the question is the test
    assert store.is_versioned


def test_a_key_that_can_not_be_deleted_is_told_of(store: S3Store, relay: Relay) -> None:
    body = b"<DeleteResult><Error><Key>b</Key><Code>AccessDenied</Code></Error></DeleteResult>"
    relay.rule = lambda _: Fault(200, body)
    with pytest.raises(StorageError, match=r"/b was refused .*s3:DeleteObject"):
        store.delete_many(["a", "b"])
