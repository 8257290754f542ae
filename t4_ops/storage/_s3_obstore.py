"""obstore, the only room that imports it: heads, reads and one-request writes, fast.

Its runtime does not survive a fork, it can't carry every key (`carries`), and it lists keys wrongly
without a word: `a/` and `/a` come as `a`, a control character as U+FFFD. Hence it never lists.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import obstore
from obstore.exceptions import BaseError, UnauthenticatedError
from obstore.store import S3Store

from t4_ops.checksums import Buffer
from t4_ops.errors import InvalidInputError, T4Error
from t4_ops.storage._s3_api import write_parameters
from t4_ops.storage._s3_boto import Connection
from t4_ops.storage._s3_errors import Attempt
from t4_ops.storage._s3_leaf import OpenReader
from t4_ops.storage.base import ObjectInfo

if TYPE_CHECKING:
    from obstore import GetOptions, ObjectMeta, PutMode
    from obstore.store import ClientConfig, S3Config

T = TypeVar("T")

# A piece stays in a processor's own cache while it is hashed and written. Pieces of 1 MiB took 1.1
# times the processor time (hashing left out) and, with 16 threads, 25 MB more memory.
_PIECE_BYTES: Final = 256 * 1024
# obstore bounds a whole request by 30 s unless told otherwise, which would cut large reads; what
# bounds them here is the time to the next bytes.
_WHOLE_REQUEST: Final = timedelta(days=7)
_FIRST_PAUSE: Final = timedelta(milliseconds=100)
_LONGEST_PAUSE: Final = timedelta(seconds=5)
_STATUS: Final = re.compile(r"non-2xx status code: (\d{3})")
_CODE: Final = re.compile(r"<Code>([^<]*)</Code>")
_MESSAGE: Final = re.compile(r"<Message>([^<]*)</Message>")
# Said of a request that was sent before. A URL has no white space, so no key can say it.
_REPEATED: Final = re.compile(r", after [1-9]\d* retries, ")
_UNCARRIED: Final = re.compile(r"[\x00-\x1f\x7f]|//|^/|/$|(?:^|/)\.\.?(?:/|$)")


def carries(key: str) -> bool:
    """Return whether obstore sends this very key.

    It refuses control characters and the components ``, `.` and `..`, and drops a slash at either
    end (tried with 0.12.1); all else passes, backslashes and percent signs included.
    """
    return _UNCARRIED.search(key) is None


class _StreamReader:
    def __init__(
        self,
        info: ObjectInfo,
        stream: Iterator[bytes],
        guard: Callable[[Callable[[], bytes | None]], bytes | None],
    ) -> None:
        self.info, self._stream, self._guard = info, stream, guard

    def __iter__(self) -> Iterator[Buffer]:
        while (piece := self._guard(lambda: next(self._stream, None))) is not None:
            yield piece

    def close(self) -> None:
        # The connection is closed when the last reference to the stream goes.
        self._stream = iter(())


def _store(connection: Connection) -> S3Store:
    settings = connection.settings
    try:
        return S3Store(
            connection.bucket,
            config=_config(connection),
            client_options=_client_options(connection),
            credential_provider=connection.credentials,  # type: ignore[arg-type]
            retry_config={
                "max_retries": settings.max_attempts - 1,
                "backoff": {"init_backoff": _FIRST_PAUSE, "max_backoff": _LONGEST_PAUSE, "base": 2},
                "retry_timeout": timedelta(
                    seconds=settings.max_attempts * settings.read_timeout_s,
                ),
            },
        )
    except BaseError:
        # Its text is not passed on, nor is it the cause: it prints the proxy with its password.
        pass
    raise InvalidInputError(
        f"s3://{connection.bucket} can't be reached with these settings: check proxy_url and"
        " ca_bundle",
        key=f"s3://{connection.bucket}",
    )


class FastObjects:
    """Heads, reads and writes of the objects of one bucket. Safe for threads, not for forks."""

    def __init__(self, connection: Connection) -> None:
        settings = connection.settings
        self._connection = connection
        self._tags = dict(settings.tags) or None
        self._attributes = (
            {"Storage-Class": settings.storage_class} if settings.storage_class else None
        )
        self._store = _store(connection)

    def head(self, key: str, version_id: str | None) -> ObjectInfo:
        """Return an object's facts."""
        attempt = Attempt("HeadObject", key, version_id)
        options: GetOptions = {"head": True}
        if version_id is not None:
            options["version"] = version_id
        found = self._guard(attempt, lambda: obstore.get(self._store, key, options=options))
        return _info(key, found.meta)

    def open(
        self, key: str, version_id: str | None, start: int, end: int | None, if_match: str | None
    ) -> OpenReader:
        """Open an object, or its bytes from `start` to before `end`."""
        attempt = Attempt("GetObject", key, version_id)
        options: GetOptions = {}
        if if_match is not None:
            options["if_match"] = if_match
        if version_id is not None:
            options["version"] = version_id
        if end is not None:
            options["range"] = (start, end)
        elif start:
            options["range"] = {"offset": start}
        found = self._guard(attempt, lambda: obstore.get(self._store, key, options=options))
        return _StreamReader(
            _info(key, found.meta),
            found.stream(_PIECE_BYTES),
            lambda act: self._guard(attempt, act),
        )

    def read(self, key: str, version_id: str | None, max_bytes: int) -> tuple[ObjectInfo, bytes]:
        """Return an object's facts and its bytes; no bytes if they are more than `max_bytes`.

        In one piece: as a stream, objects of 4 KiB took half as much time again.
        """
        attempt = Attempt("GetObject", key, version_id)
        options: GetOptions = {} if version_id is None else {"version": version_id}
        found = self._guard(attempt, lambda: obstore.get(self._store, key, options=options))
        info = _info(key, found.meta)
        if info.size_bytes > max_bytes:
            return info, b""
        return info, self._guard(attempt, lambda: bytes(found.bytes()))

    def put(self, key: str, data: Buffer, create_only: bool, if_match: str | None) -> ObjectInfo:
        """Write an object in one request."""
        mode: PutMode = "create" if create_only else "overwrite"
        if if_match is not None:
            mode = {"e_tag": if_match}
        attempt = Attempt("PutObject", key, is_conditional=mode != "overwrite")
        result = self._guard(
            attempt,
            lambda: obstore.put(
                self._store,
                key,
                data,
                mode=mode,
                attributes=self._attributes,
                tags=self._tags,
                use_multipart=False,
            ),
        )
        return ObjectInfo(key, len(data), result["e_tag"], result["version"])

    def _guard(self, attempt: Attempt, action: Callable[[], T]) -> T:
        """Do something with obstore.

        Raises:
            T4Error: What the failure means, without obstore's own error: it prints the reply.
        """
        try:
            return action()
        except (BaseError, FileNotFoundError) as exc:
            error = self._explained(exc, attempt)
        raise error

    def _explained(self, exc: Exception, attempt: Attempt) -> T4Error:
        explain, text = self._connection.explain, str(exc)
        if status := _STATUS.search(text):
            code, message = (p.search(text) for p in (_CODE, _MESSAGE))
            return explain.refusal(
                attempt,
                int(status[1]),
                code[1] if code else "",
                message[1] if message else "",
                was_repeated=_REPEATED.search(text) is not None,
            )
        credentials = self._connection.credentials
        if isinstance(exc, UnauthenticatedError) and credentials is not None:
            return explain.no_credentials(attempt, credentials.failure or type(exc).__name__)
        if "Received redirect without LOCATION" in text:
            return explain.refusal(attempt, 301, "PermanentRedirect", "")
        if "HTTP error" in text:
            # The name of its own setting is no sign that anything took too long.
            return explain.unreachable(attempt, text.replace("retry_timeout", ""))
        return explain.unexpected(attempt, f"{type(exc).__name__}: {text}")


def _config(connection: Connection) -> S3Config:
    settings = connection.settings
    said = write_parameters(settings)
    # obstore reads environment variables of its own: what is said here wins over them.
    config: S3Config = {
        "aws_endpoint_url_s3": connection.bucket_url,
        "virtual_hosted_style_request": True,  # meaning: the URL names the bucket already
        "region": connection.client.meta.region_name,
        "checksum_algorithm": "SHA256",
        "conditional_put": "etag",
        "skip_signature": settings.anonymous,
        "unsigned_payload": False,
        "disable_tagging": False,
    }
    if sse := said.get("ServerSideEncryption"):
        config["server_side_encryption"] = sse
    if key_id := said.get("SSEKMSKeyId"):
        config["sse_kms_key_id"] = key_id
    return config


def _client_options(connection: Connection) -> ClientConfig:
    settings = connection.settings
    options: ClientConfig = {
        "allow_http": connection.bucket_url.startswith("http://"),
        "allow_invalid_certificates": False,
        "connect_timeout": timedelta(seconds=settings.connect_timeout_s),
        "read_timeout": timedelta(seconds=settings.read_timeout_s),
        "timeout": _WHOLE_REQUEST,
    }
    if settings.proxy_url:
        options["proxy_url"] = settings.proxy_url
    if connection.ca_bundle:
        options["root_certificate"] = Path(connection.ca_bundle).read_bytes()
    return options


def _info(key: str, meta: ObjectMeta) -> ObjectInfo:
    return ObjectInfo(
        key=key,
        size_bytes=meta["size"],
        etag=meta["e_tag"],
        version_id=meta["version"],
        mtime_s=meta["last_modified"].timestamp(),
    )
