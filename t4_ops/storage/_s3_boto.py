"""boto3, the only room that imports it: credentials, endpoint, client, and its errors as ours."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import urlsplit

import boto3
import botocore.session
from botocore import UNSIGNED, exceptions
from botocore.config import Config
from botocore.credentials import Credentials, RefreshableCredentials
from botocore.utils import parse_timestamp

from t4_ops.errors import InvalidInputError, T4Error
from t4_ops.settings import AddressingStyle, S3Settings
from t4_ops.storage._s3_boto_listing import read_listings_quickly
from t4_ops.storage._s3_boto_models import models
from t4_ops.storage._s3_errors import Attempt, Explainer

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

T = TypeVar("T")

# Connections kept open; more threads than this wait for one.
_POOL_SIZE: Final = 64
# How long obstore may keep credentials. botocore renews those that end within 10 minutes (its
# `_mandatory_refresh_timeout`) before it hands them out.
_LEASE: Final = timedelta(minutes=10)
_CONNECT: Final = Attempt("HeadBucket")
_CREDENTIAL_ERRORS: tuple[type[Exception], ...] = (
    exceptions.CredentialRetrievalError,
    exceptions.NoCredentialsError,
    exceptions.PartialCredentialsError,
    exceptions.RefreshWithMFAUnsupportedError,
    exceptions.SSOError,
    exceptions.TokenRetrievalError,
    exceptions.UnauthorizedSSOTokenError,
)
if hasattr(exceptions, "LoginError"):  # since botocore 1.41
    _CREDENTIAL_ERRORS += (exceptions.LoginError,)
_TRANSPORT_ERRORS: Final = (
    exceptions.ConnectionError,
    exceptions.HTTPClientError,
    exceptions.IncompleteReadError,
    exceptions.MetadataRetrievalError,
)


class CredentialSource:
    """boto3's credentials, renewed when due, in the form obstore asks for.

    Attributes:
        failure: Name of the error that the last renewal ended with.
    """

    def __init__(self, credentials: Credentials, explain: Explainer) -> None:
        self.failure: str | None = None
        self._credentials = credentials
        self._explain = explain

    def __call__(self) -> dict[str, Any]:
        """Return key, secret, token and the time to ask again (None: never).

        Raises:
            StorageError: They can't be renewed.
        """
        frozen, failure = None, None
        try:
            frozen = self._credentials.get_frozen_credentials()
        except (exceptions.BotoCoreError, exceptions.ClientError, RuntimeError) as exc:
            failure = type(exc).__name__
        self.failure = failure
        if frozen is None:
            raise self._explain.no_credentials(_CONNECT, failure or "none")
        self._explain.secrets.update(text for text in frozen if text)
        is_renewed = isinstance(self._credentials, RefreshableCredentials)
        return {
            "access_key_id": frozen.access_key,
            "secret_access_key": frozen.secret_key,
            "token": frozen.token,
            "expires_at": datetime.now(UTC) + _LEASE if is_renewed else None,
        }


@dataclass(slots=True)
class Connection:
    """How this process reaches one bucket. Made by `connect`; safe for threads.

    Attributes:
        bucket: Bucket name.
        settings: The settings it was made from.
        client: boto3's client.
        bucket_url: The URL below which the bucket's objects are, without a final slash.
        is_aws: Whether the server is Amazon's own.
        ca_bundle: File with certificate authorities, from the settings or boto3's chain.
        credentials: None for anonymous requests.
        explain: Makes our errors.
    """

    bucket: str
    settings: S3Settings
    client: S3Client = field(repr=False)
    bucket_url: str
    is_aws: bool
    ca_bundle: str | None
    credentials: CredentialSource | None = field(repr=False)
    explain: Explainer

    def call(self, method: str, attempt: Attempt, **parameters: Any) -> dict[str, Any]:
        """Send one request to the bucket.

        Args:
            method: The client's method, `get_object`.
            attempt: The same, for messages.
            **parameters: The method's arguments besides the bucket.

        Raises:
            T4Error: What the failure means.
        """
        send = getattr(self.client, method)
        reply: dict[str, Any] = self.guard(attempt, lambda: send(Bucket=self.bucket, **parameters))
        return reply

    def guard(self, attempt: Attempt, action: Callable[[], T]) -> T:
        """Do something with the client or a reply of it.

        Raises:
            T4Error: What the failure means. It carries no library error along: those print
                requests and replies, and with them tokens.
        """
        try:
            return action()
        except (exceptions.BotoCoreError, exceptions.ClientError) as exc:
            error = _explained(exc, attempt, self.explain)
        raise error


def connect(url: str, settings: S3Settings) -> Connection:
    """Find credentials, endpoint and region of a bucket, as boto3 would.

    Asks Amazon where the bucket lies (one HEAD request), because obstore, unlike boto3, does not
    follow to another region. Asks other servers nothing.

    Args:
        url: `s3://bucket`.
        settings: How to reach it.

    Raises:
        InvalidInputError: The profile, the configuration or `ca_bundle` can't be used.
        StorageError: There are no credentials, or Amazon can't be reached.
    """
    explain = Explainer(url, "the server", "the settings", _write_actions(settings))
    try:
        return _connect(url.removeprefix("s3://"), settings, explain)
    except T4Error:
        raise
    except (exceptions.BotoCoreError, exceptions.ClientError, ValueError) as exc:
        error = _explained(exc, _CONNECT, explain)
    raise error


def _connect(bucket: str, settings: S3Settings, explain: Explainer) -> Connection:
    session, ca_bundle = _session(settings)
    if ca_bundle and not Path(ca_bundle).is_file():
        raise InvalidInputError(f"ca_bundle {ca_bundle!r} is no file", key=ca_bundle)
    credentials = _credentials(session, settings, explain)
    style = settings.addressing_style
    client = _client(session, settings, style, settings.region, ca_bundle)
    is_aws = _is_aws(client.meta.endpoint_url)
    if is_aws:
        region = _region_of(client, bucket) or client.meta.region_name
        # For its own servers `auto` means virtual, but botocore's URLs for `auto` name no region.
        style = "virtual" if style == "auto" else style
        client = _client(session, settings, style, region, ca_bundle)
    # The public way to ask botocore for a bucket's URL: one to share, less its signature.
    shared = client.generate_presigned_url("head_bucket", Params={"Bucket": bucket})
    bucket_url = shared.partition("?")[0].rstrip("/")
    parts = urlsplit(bucket_url)
    explain.endpoint = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
    return Connection(bucket, settings, client, bucket_url, is_aws, ca_bundle, credentials, explain)


def _session(settings: S3Settings) -> tuple[boto3.Session, str | None]:
    # With its profile from the start: that of the environment may not exist.
    core = botocore.session.Session(profile=settings.profile)
    loader = models(core.get_config_variable("data_path"))
    core.register_component("data_loader", loader)
    # Most of the time of a listing went into dateutil: 0.70 s, now 0.31 s for 3,000 objects.
    core.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=_parse_time)
    session = boto3.Session(
        botocore_session=core,
        profile_name=settings.profile,
        region_name=settings.region,
        aws_access_key_id=settings.access_key_id,
        aws_secret_access_key=settings.secret_access_key,
        aws_session_token=settings.session_token,
    )
    # Every session of boto3 adds its own folder.
    loader.search_paths[:] = dict.fromkeys(loader.search_paths)
    return session, settings.ca_bundle or core.get_config_variable("ca_bundle")


def _credentials(
    session: boto3.Session, settings: S3Settings, explain: Explainer
) -> CredentialSource | None:
    if settings.anonymous:
        explain.source = "nobody (anonymous)"
        return None
    explain.source = "boto3's chain"
    found = session.get_credentials()
    if found is None:
        raise exceptions.NoCredentialsError
    explain.source = "the settings" if settings.access_key_id else f"boto3's chain ({found.method})"
    credentials = CredentialSource(found, explain)
    # The first time now, so that what is missing is said in so many words.
    credentials()
    return credentials


def _client(
    session: boto3.Session,
    settings: S3Settings,
    style: AddressingStyle,
    region: str | None,
    ca_bundle: str | None,
) -> S3Client:
    proxy = settings.proxy_url
    config = Config(
        signature_version=UNSIGNED if settings.anonymous else None,
        connect_timeout=settings.connect_timeout_s,
        read_timeout=settings.read_timeout_s,
        retries={"total_max_attempts": settings.max_attempts, "mode": "standard"},
        max_pool_connections=_POOL_SIZE,
        proxies={"http": proxy, "https": proxy} if proxy else None,
        # Bodies carry a SHA-256 that is signed as a header: a second one would prove no more.
        s3={"addressing_style": style, "payload_signing_enabled": False},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    client = session.client(
        "s3",
        region_name=region,
        endpoint_url=settings.endpoint_url,
        verify=ca_bundle,
        config=config,
    )
    read_listings_quickly(client, _parse_time)
    return client


def _region_of(client: S3Client, bucket: str) -> str | None:
    """Return the region that a reply to HEAD names; refusals name it too."""
    try:
        return client.head_bucket(Bucket=bucket).get("BucketRegion")
    except exceptions.ClientError as exc:
        headers = exc.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
        return headers.get("x-amz-bucket-region")


def _explained(exc: Exception, attempt: Attempt, explain: Explainer) -> T4Error:
    """Return our error for one of botocore's."""
    if isinstance(exc, exceptions.ClientError):
        error = exc.response.get("Error", {})
        facts = exc.response.get("ResponseMetadata", {})
        status = facts.get("HTTPStatusCode", 0)
        code = error.get("Code", "")
        # botocore puts the status where a reply has no code.
        code = "" if code.isdigit() else code
        message = error.get("Message", "") if code else ""
        was_repeated = facts.get("RetryAttempts", 0) > 0
        return explain.refusal(attempt, status, code, message, was_repeated=was_repeated)
    if isinstance(exc, _CREDENTIAL_ERRORS):
        return explain.no_credentials(attempt, type(exc).__name__)
    if isinstance(exc, exceptions.MissingDependencyException):
        # `aws login`, as of botocore 1.44.5, which needs awscrt for it.
        return InvalidInputError(
            f"{explain.url}: the profile logs in by a way for which botocore lacks a library:"
            " pip install 'botocore[crt]'"
        )
    if isinstance(exc, _TRANSPORT_ERRORS):
        # The cause of a failed connection is among the facts only; both are searched, not shown.
        return explain.unreachable(attempt, f"{exc} {exc.kwargs}")
    if isinstance(exc, exceptions.ProfileNotFound | exceptions.ConfigParseError):
        return InvalidInputError(f"{explain.url}: {exc}; check `profile` and AWS's own files")
    if isinstance(exc, ValueError):
        # Its text is left out: it may be an endpoint with a password.
        return InvalidInputError(
            f"{explain.url}: botocore refuses them: check `endpoint_url` and `region`"
        )
    if isinstance(exc, exceptions.ParamValidationError):
        return InvalidInputError(f"{attempt.operation} of {explain.url}/{attempt.key}: {exc}")
    return explain.unexpected(attempt, f"{type(exc).__name__}: {exc}")


def _write_actions(settings: S3Settings) -> str:
    actions = ["s3:PutObject"]
    if settings.acl:
        actions.append("s3:PutObjectAcl")
    if settings.tags:
        actions.append("s3:PutObjectTagging")
    if settings.kms_key_id or settings.sse == "aws:kms":
        actions.append("kms:GenerateDataKey and kms:Decrypt on the key")
    return ", ".join(actions)


def _is_aws(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    return host.endswith((".amazonaws.com", ".amazonaws.com.cn", ".amazonaws.eu"))


def _parse_time(value: Any) -> datetime:
    if isinstance(value, str) and value[:4].isdigit():
        with suppress(ValueError):  # seconds since the epoch begin so, too
            return datetime.fromisoformat(value)
    return parse_timestamp(value)
