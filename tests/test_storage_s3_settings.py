"""How the bucket store finds server and credentials, and what it writes along."""

from __future__ import annotations

import datetime
import ipaddress
import json
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from demo.seaweedfs import REGION, SeaweedFS
from t4_ops.errors import InvalidInputError, StorageError
from t4_ops.settings import S3Settings
from t4_ops.storage._s3_boto import connect
from t4_ops.storage.s3 import S3Store
from tests.s3_support import (
    MIB,
    Fault,
    Relay,
    Request,
    client_of,
    numbered_pages,
    run_relay,
    s3_fault,
    settings_for,
)

LONG_AGO = "Wed, 21 Oct 2015 07:28:00 GMT"


@pytest.fixture
def relay(s3_server: SeaweedFS) -> Iterator[Relay]:
    with run_relay(s3_server.endpoint_url) as running:
        yield running


@pytest.fixture
def url(unversioned_bucket: str) -> str:
    return f"s3://{unversioned_bucket}"


@pytest.fixture
def other(s3_server: SeaweedFS) -> Any:
    return client_of(s3_server)


def use(store: S3Store) -> None:
    """Go both ways, obstore's and boto3's."""
    for key in ("plain", "odd\t"):
        store.write(key, key.encode())
        assert store.read(key).data == key.encode()


def test_environment(s3_env: SeaweedFS, url: str) -> None:
    use(S3Store(url, S3Settings()))


def test_the_endpoint_for_s3_wins_over_the_common_one(
    s3_env: SeaweedFS, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3_env.endpoint_url)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    use(S3Store(url, S3Settings()))


def test_settings_win_over_the_environment(
    s3_server: SeaweedFS, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9",
        "AWS_ACCESS_KEY_ID": "foreign",
        "AWS_SECRET_ACCESS_KEY": "foreign",
        "AWS_SESSION_TOKEN": "foreign",
        "AWS_SKIP_SIGNATURE": "true",
        "AWS_VIRTUAL_HOSTED_STYLE_REQUEST": "false",
    }.items():
        monkeypatch.setenv(name, value)
    use(S3Store(url, settings_for(s3_server)))


def test_a_profile_of_the_shared_files(
    s3_server: SeaweedFS, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, credentials = tmp_path / "config", tmp_path / "credentials"
    config.write_text(
        f"[profile mine]\nregion = {REGION}\nendpoint_url = {s3_server.endpoint_url}\n"
    )
    credentials.write_text(
        f"[mine]\naws_access_key_id = {s3_server.access_key}\n"
        f"aws_secret_access_key = {s3_server.secret_key}\n"
    )
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(credentials))

    use(S3Store(url, S3Settings(profile="mine")))
    monkeypatch.setenv("AWS_PROFILE", "of somebody else")
    use(S3Store(url, S3Settings(profile="mine", max_attempts=2)))
    with pytest.raises(InvalidInputError, match="yours"):
        S3Store(url, S3Settings(profile="yours")).head("k")


def test_credentials_that_are_renewed(
    s3_server: SeaweedFS, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script, calls = tmp_path / "login", tmp_path / "calls"
    # Within ten minutes of its end botocore renews a credential before it hands it out.
    ends = datetime.datetime.now(datetime.UTC) + datetime.timedelta(minutes=5)
    answer = {
        "Version": 1,
        "AccessKeyId": s3_server.access_key,
        "SecretAccessKey": s3_server.secret_key,
        "Expiration": ends.isoformat(),
    }
    script.write_text(f"#!/bin/sh\necho x >> {calls}\necho '{json.dumps(answer)}'\n")
    script.chmod(0o700)
    config = tmp_path / "config"
    config.write_text(f"[profile mine]\ncredential_process = {script}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    settings = S3Settings(profile="mine", endpoint_url=s3_server.endpoint_url, region=REGION)
    connection = connect(url, settings)
    assert connection.credentials is not None

    lease = connection.credentials()["expires_at"]

    assert lease is not None
    assert lease - datetime.datetime.now(datetime.UTC) <= datetime.timedelta(minutes=10)
    assert len(calls.read_text().splitlines()) >= 2
    use(S3Store(url, settings))

    script.write_text("#!/bin/sh\necho SECRET-OF-THE-TOOL >&2\nexit 1\n")
    with pytest.raises(StorageError, match=r"boto3's chain.* can't be had") as caught:
        connect(url, settings)
    assert "SECRET-OF-THE-TOOL" not in str(caught.value)
    assert not caught.value.retryable


def test_a_login_for_which_a_library_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "config"
    config.write_text("[profile mine]\nlogin_session = arn:aws:iam::1:user/me\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    # As where awscrt is not installed; the suite has it with quilt3.
    monkeypatch.setattr("botocore.credentials.EC", None)
    with pytest.raises(InvalidInputError, match=r"pip install 'botocore\[crt\]'"):
        connect("s3://bucket", S3Settings(profile="mine", region=REGION))


def test_no_credentials_at_all(s3_server: SeaweedFS, url: str) -> None:
    settings = S3Settings(endpoint_url=s3_server.endpoint_url, region=REGION)
    with pytest.raises(StorageError, match=r"can't be had .*NoCredentials.*anonymous") as caught:
        S3Store(url, settings).head("k")
    assert not caught.value.retryable


def test_a_public_bucket_is_read_without_credentials(
    s3_server: SeaweedFS, relay: Relay, url: str, other: Any
) -> None:
    S3Store(url, settings_for(s3_server)).write("plain", b"1")
    S3Store(url, settings_for(s3_server)).write("odd\t", b"2")
    bucket = url.removeprefix("s3://")
    statement = {
        "Effect": "Allow",
        "Principal": "*",
        "Action": ["s3:GetObject", "s3:ListBucket"],
        "Resource": [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"],
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    other.put_bucket_policy(Bucket=bucket, Policy=policy)
    store = S3Store(url, S3Settings(endpoint_url=relay.url, anonymous=True))

    assert store.read("plain").data == b"1"
    assert store.read("odd\t").data == b"2"
    assert [info.key for info in store.list()] == ["odd\t", "plain"]
    assert not store.is_versioned
    with pytest.raises(StorageError, match=r"from nobody \(anonymous\) need s3:PutObject"):
        store.write("new", b"")
    assert not any("authorization" in request.headers for request in relay.requests)


def test_two_servers_at_once(s3_server: SeaweedFS, relay: Relay, url: str) -> None:
    straight = S3Store(url, settings_for(s3_server))
    around = S3Store(url, settings_for(s3_server, endpoint_url=relay.url))
    straight.write("k", b"1")
    assert relay.requests == []
    assert around.read("k").data == b"1"
    assert len(relay.requests) == 1


def test_a_proxy(s3_server: SeaweedFS, relay: Relay, url: str) -> None:
    use(S3Store(url, settings_for(s3_server, proxy_url=relay.url)))
    assert len(relay.requests) == 4
    assert all(r.target.startswith(s3_server.endpoint_url) for r in relay.requests)


def certificate(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """Make a self-signed certificate for 127.0.0.1; return its file and a server's context."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now, day = datetime.datetime.now(datetime.UTC), datetime.timedelta(days=1)
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - day)
        .not_valid_after(now + day)
        .add_extension(names, critical=False)
        .sign(key, hashes.SHA256())
    )
    public, private = folder / "ca.pem", folder / "key.pem"
    public.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(public, private)
    return public, context


def test_a_private_certificate_authority(
    s3_server: SeaweedFS, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority, context = certificate(tmp_path)
    with run_relay(s3_server.endpoint_url, context) as relay:
        reach = {"endpoint_url": relay.url, "max_attempts": 1}
        distrustful = S3Store(url, settings_for(s3_server, **reach))
        for key in ("plain", "odd\t"):
            with pytest.raises(StorageError, match="set `ca_bundle`") as caught:
                distrustful.read(key)
            assert not caught.value.retryable

        use(S3Store(url, settings_for(s3_server, ca_bundle=str(authority), **reach)))

        monkeypatch.setenv("AWS_CA_BUNDLE", str(authority))
        use(S3Store(url, settings_for(s3_server, connect_timeout_s=9, **reach)))


def test_a_certificate_file_that_is_not_there(s3_server: SeaweedFS, url: str) -> None:
    with pytest.raises(InvalidInputError, match="no-such-file"):
        S3Store(url, settings_for(s3_server, ca_bundle="/no-such-file")).head("k")


@pytest.mark.parametrize("wrong", [{"region": "not a region"}, {"endpoint_url": "http://a b"}])
def test_a_place_that_can_not_be(s3_server: SeaweedFS, url: str, wrong: Any) -> None:
    with pytest.raises(InvalidInputError, match="check `endpoint_url` and `region`"):
        S3Store(url, settings_for(s3_server, **wrong)).head("k")


@pytest.mark.parametrize(
    ("endpoint", "style", "expected"),
    [
        ("http://s3.test:9000", "auto", "http://s3.test:9000/bucket"),
        ("http://s3.test:9000/", "path", "http://s3.test:9000/bucket"),
        ("http://s3.test:9000", "virtual", "http://bucket.s3.test:9000"),
        ("https://127.0.0.1", "auto", "https://127.0.0.1/bucket"),
    ],
)
def test_addressing_style(s3_server: SeaweedFS, endpoint: str, style: str, expected: str) -> None:
    settings = settings_for(s3_server, endpoint_url=endpoint, addressing_style=style)
    connection = connect("s3://bucket", settings)
    assert connection.bucket_url == expected
    assert not connection.is_aws


@pytest.fixture
def amazon(s3_server: SeaweedFS, relay: Relay) -> S3Settings:
    """Settings that lead to Amazon's names, and to the relay in Amazon's place."""
    endpoint = "http://s3.us-east-1.amazonaws.com"
    return settings_for(s3_server, endpoint_url=endpoint, proxy_url=relay.url, max_attempts=2)


@pytest.mark.parametrize("status", [200, 301, 403])
def test_amazon_says_in_which_region_a_bucket_is(
    amazon: S3Settings, relay: Relay, status: int
) -> None:
    def rule(request: Request) -> Fault:
        at_home = "/eu-west-1/s3/" in request.headers["authorization"]
        headers = {"x-amz-bucket-region": "eu-west-1", "Last-Modified": LONG_AGO, "ETag": '"1"'}
        if request.method == "HEAD":
            return Fault(200 if at_home and status == 301 else status, headers=headers)
        return Fault(200, b"there", headers) if at_home else s3_fault(400, "WrongRegion")

    relay.rule = rule
    store = S3Store("s3://a-bucket", amazon)

    assert store.read("plain").data == b"there"
    assert store.read("odd\t").data == b"there"
    gets = [request.target for request in relay.seen("GET")]
    assert gets == [f"http://a-bucket.s3.us-east-1.amazonaws.com/{k}" for k in ("plain", "odd%09")]


def test_amazons_order_is_trusted(amazon: S3Settings, relay: Relay) -> None:
    relay.rule = lambda r: numbered_pages(r) if "list-type" in r.target else Fault(200)
    found = S3Store("s3://a-bucket", amazon).list(start_after="-")

    assert next(found).key == "0"
    # The second page may be on its way by now. Unordered keys would need all pages first.
    asked_for = [request.target for request in relay.seen("GET")]
    assert len(asked_for) <= 2, "pages are fetched one ahead"
    assert "start-after=-" in asked_for[0]
    assert [info.key for info in found] == ["1", "2", "3"]
    assert len(relay.seen("GET")) == 4


@pytest.mark.parametrize("key", ["plain", "odd\t"])
@pytest.mark.parametrize("size_bytes", [1, 9 * MIB])
def test_storage_class_and_tags(
    s3_server: SeaweedFS, url: str, other: Any, key: str, size_bytes: int
) -> None:
    tags = (("team name", "data&co"), ("é", "1=2"))
    settings = settings_for(s3_server, storage_class="STANDARD_IA", tags=tags)

    S3Store(url, settings).upload(key, [bytes(size_bytes)], size_bytes)

    there = {"Bucket": url.removeprefix("s3://"), "Key": key}
    assert other.head_object(**there)["StorageClass"] == "STANDARD_IA"
    found = other.get_object_tagging(**there)["TagSet"]
    assert sorted((tag["Key"], tag["Value"]) for tag in found) == sorted(tags)


@pytest.mark.parametrize("key", ["plain", "odd\t"])
@pytest.mark.parametrize(
    ("changes", "headers"),
    [
        ({"sse": "AES256"}, {"x-amz-server-side-encryption": "AES256"}),
        (
            {"kms_key_id": "key-1"},
            {
                "x-amz-server-side-encryption": "aws:kms",
                "x-amz-server-side-encryption-aws-kms-key-id": "key-1",
            },
        ),
        ({"acl": "bucket-owner-full-control"}, {"x-amz-acl": "bucket-owner-full-control"}),
    ],
)
def test_encryption_and_acl_are_asked_for(
    s3_server: SeaweedFS, relay: Relay, url: str, key: str, changes: Any, headers: Any
) -> None:
    # The test server has no keys to encrypt with, so what it is asked is what can be seen.
    started = b"<Result><UploadId>1</UploadId></Result>"
    relay.rule = lambda r: (
        Fault(403) if "uploadId" in r.target else Fault(200, started, {"ETag": '"1"'})
    )
    store = S3Store(url, settings_for(s3_server, endpoint_url=relay.url, **changes))

    store.write(key, b"1")
    with pytest.raises(StorageError, match="UploadPart"):
        store.upload(key, [bytes(9 * MIB)], 9 * MIB)

    (put,) = [r for r in relay.seen("PUT") if "uploadId" not in r.target]
    (start,) = relay.seen("POST", "uploads")
    for request in (put, start):
        assert {name: request.headers.get(name) for name in headers} == headers
        signed = request.headers["authorization"]
        assert all(name in signed for name in headers)
