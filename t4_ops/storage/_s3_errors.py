"""What a server's refusal means to the caller: one reading of it for both S3 leaves.

Messages are made of facts: the operation, the object, the status and the server's code and
sentence. Replies, headers and URLs as the libraries print them may hold keys and tokens
(`ExpiredToken` repeats the token), so none of their text is passed on.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from t4_ops.errors import InvalidInputError, NotFoundError, StorageError, T4Error
from t4_ops.storage.base import NoStoreError, PreconditionFailedError

# Codes of the S3 API reference, "Error responses", after which the same request may succeed.
_RETRYABLE_CODES: Final = frozenset(
    {
        "BadDigest",
        "BandwidthLimitExceeded",
        "ConditionalRequestConflict",
        "IncompleteBody",
        "InternalError",
        "NoSuchUpload",
        "OperationAborted",
        "RequestLimitExceeded",
        "RequestTimeout",
        "ServiceUnavailable",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "TooManyRequests",
        "XAmzContentSHA256Mismatch",
    }
)
_CREDENTIAL_CODES: Final = {
    "AuthorizationHeaderMalformed": "check the region and the access key",
    "ExpiredToken": "they have expired: log in again",
    "InvalidAccessKeyId": "the server does not know the access key",
    "InvalidToken": "the session token is not valid: log in again",
    "RequestTimeTooSkewed": "the clock of this machine is wrong",
    "SignatureDoesNotMatch": "the secret key does not fit the access key",
    "TokenRefreshRequired": "they have expired: log in again",
}
# Source: "Actions, resources and condition keys for Amazon S3", Service Authorization Reference.
_IAM_ACTIONS: Final = {
    "AbortMultipartUpload": "s3:AbortMultipartUpload",
    "CopyObject": "s3:GetObject, s3:GetObjectTagging, s3:PutObject and s3:PutObjectTagging",
    "UploadPartCopy": "s3:GetObject and s3:PutObject",
    "DeleteObject": "s3:DeleteObject",
    "DeleteObjects": "s3:DeleteObject",
    "GetBucketVersioning": "s3:GetBucketVersioning",
    "GetObject": "s3:GetObject",
    "GetObjectAttributes": "s3:GetObjectAttributes",
    "HeadBucket": "s3:ListBucket",
    "HeadObject": "s3:GetObject",
    "ListMultipartUploads": "s3:ListBucketMultipartUploads",
    "ListObjectVersions": "s3:ListBucketVersions",
    "ListObjectsV2": "s3:ListBucket",
}
_UNTRUSTED: Final = "its certificate is not trusted: set `ca_bundle`"
_UNKNOWN: Final = "its name is not known: check `endpoint_url` and `region`"
# What both libraries print of the causes below them, and what to say instead. Their texts hold the
# object's URL too, so a sign that must not be mistaken has white space, which no URL has.
_CAUSES: Final = (
    ("invalidcertificate(\n", _UNTRUSTED),
    ("certificate verify failed", _UNTRUSTED),
    ("connection refused", "the connection was refused: check `endpoint_url`"),
    ("dns error", _UNKNOWN),
    ("name or service not known", _UNKNOWN),
    ("nodename nor servname", _UNKNOWN),
    ("timedout", "it took too long"),
    ("timed out", "it took too long"),
    ("timeout", "it took too long"),
)


class RefusedError(StorageError):
    """The server answered with an error that is not one of the port's own.

    Attributes:
        status: HTTP status.
        code: S3 error code; empty where the reply had none.
    """

    status: int
    code: str

    def __init__(
        self,
        message: str,
        *,
        status: int = 0,
        code: str = "",
        key: str | None = None,
        retryable: bool = False,
    ) -> None:
        T4Error.__init__(self, message, status=status, code=code, key=key, retryable=retryable)


@dataclass(frozen=True, slots=True)
class Attempt:
    """What was tried.

    Attributes:
        operation: Name in the S3 API, `GetObject`.
        key: Key in the bucket; empty for the bucket itself.
        version_id: Version asked for.
        is_conditional: Whether the request named the object it expects there.
    """

    operation: str
    key: str = ""
    version_id: str | None = None
    is_conditional: bool = False


@dataclass(slots=True)
class Explainer:
    """Turns failures at one bucket into our errors.

    Attributes:
        url: The bucket, `s3://bucket`.
        endpoint: Scheme, host and port of the server.
        source: Where the credentials come from.
        write_actions: IAM actions that a write needs with these settings.
        secrets: Texts that must not be printed.
    """

    url: str
    endpoint: str
    source: str
    write_actions: str
    secrets: set[str] = field(default_factory=set, repr=False)

    def refusal(
        self,
        attempt: Attempt,
        status: int,
        code: str,
        message: str,
        *,
        was_repeated: bool = False,
    ) -> T4Error:
        """Return the error for a reply of the server.

        Args:
            attempt: What was tried.
            status: HTTP status.
            code: S3 error code; replies to HEAD have none.
            message: The server's sentence.
            was_repeated: Whether the library had sent the request before.
        """
        where = self._where(attempt)
        if code == "NoSuchBucket":
            return NoStoreError(
                f"bucket {self.url} does not exist at {self.endpoint};"
                " check its name, the endpoint and the region",
                key=self.url,
            )
        missing = self._is_missing(attempt, status, code, message)
        if status == 412 or code == "PreconditionFailed" or (missing and attempt.is_conditional):
            return PreconditionFailedError(
                f"{where} is not what {attempt.operation} expected to find there",
                key=where,
                was_repeated=was_repeated,
            )
        if missing:
            version = f" in version {attempt.version_id}" if attempt.version_id else ""
            return NotFoundError(f"{where} does not exist{version}", key=where)
        if code == "KeyTooLongError":
            return InvalidInputError(f"{where}: the key is too long for this server", key=where)
        said = self.scrub(" ".join(filter(None, (str(status), code, message))))
        retryable = (
            code in _RETRYABLE_CODES or status in (408, 429) or (status >= 500 and status != 501)
        )
        advice = "; try again later" if retryable else self._advice(attempt, status, code)
        return RefusedError(
            f"{attempt.operation} of {where} was refused ({said}){advice}",
            status=status,
            code=code,
            key=where,
            retryable=retryable,
        )

    def _advice(self, attempt: Attempt, status: int, code: str) -> str:
        if code in _CREDENTIAL_CODES:
            return f"; credentials from {self.source}: {_CREDENTIAL_CODES[code]}"
        if status in (301, 307) or "Redirect" in code:
            return "; the bucket is in another region: set `region`"
        if status not in (401, 403):
            return ""
        action = _IAM_ACTIONS.get(attempt.operation, self.write_actions)
        if attempt.version_id:
            action = action.replace("s3:GetObject", "s3:GetObjectVersion")
        advice = f"; credentials from {self.source} need {action}"
        if attempt.operation in ("GetObject", "HeadObject"):
            advice += ", and s3:ListBucket to tell a missing object from a forbidden one"
        return advice

    def unreachable(self, attempt: Attempt, text: str) -> StorageError:
        """Return the error for a request without a (whole) reply.

        Args:
            attempt: What was tried.
            text: What the library says; only searched for known causes.
        """
        lower = text.lower()
        cause = next((say for sign, say in _CAUSES if sign in lower), "the connection broke")
        return StorageError(
            f"{attempt.operation} of {self._where(attempt)} at {self.endpoint} failed: {cause}",
            key=self._where(attempt),
            retryable=cause != _UNTRUSTED,
        )

    def no_credentials(self, attempt: Attempt, reason: str) -> StorageError:
        """Return the error for credentials that can't be had.

        Args:
            attempt: What was tried.
            reason: Name of the library's error, no text of it.
        """
        return StorageError(
            f"{self._where(attempt)}: credentials from {self.source} can't be had ({reason});"
            " log in again, or set a profile, keys or `anonymous`",
            key=self._where(attempt),
        )

    def unexpected(self, attempt: Attempt, text: str) -> StorageError:
        """Return the error for a failure of the library itself."""
        line = self.scrub(text.partition("\n")[0])[:300]
        return StorageError(
            f"{attempt.operation} of {self._where(attempt)} failed: {line}",
            key=self._where(attempt),
        )

    def scrub(self, text: str) -> str:
        """Return text without the credentials that are in use."""
        # A copy: another thread may renew credentials meanwhile.
        for secret in tuple(self.secrets):
            text = text.replace(secret, "***")
        return text

    def _where(self, attempt: Attempt) -> str:
        return f"{self.url}/{attempt.key}" if attempt.key else self.url

    @staticmethod
    def _is_missing(attempt: Attempt, status: int, code: str, message: str) -> bool:
        if code in ("NoSuchKey", "NoSuchVersion") or (status == 404 and code != "NoSuchUpload"):
            return True
        # S3 answers 405 for a delete marker and 400 for a version id that can't be one, the latter
        # as InvalidArgument with a sentence on versions; SeaweedFS says "Invalid Request" only.
        is_read = attempt.operation in ("GetObject", "HeadObject")
        is_bad_version = code in ("InvalidArgument", "InvalidRequest") and (
            "version" in message.lower() or message == "Invalid Request"
        )
        return is_read and (status == 405 or (attempt.version_id is not None and is_bad_version))
