"""What a bucket does with large objects and copies: part of `S3Store`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from t4_ops.checksums import CHUNK_BYTES, Checksum
from t4_ops.errors import NotFoundError
from t4_ops.settings import S3Settings
from t4_ops.storage._leftovers import abort, multipart_uploads
from t4_ops.storage._s3_errors import RefusedError
from t4_ops.storage._s3_leaves import Leaves
from t4_ops.storage.base import (
    Copied,
    CopySource,
    Leftover,
    ObjectInfo,
    PartSource,
    PreconditionFailedError,
    Store,
)

# With SeaweedFS 4.48 sending took 0.75, 0.9 and 1.06 times the copying of objects of 128, 256 and
# 512 KiB (3000, 800 and 400 of them).
_TINY_BYTES: Final = 256 * 1024
COPY_MAX_BYTES: Final = 5 * 1024**3
"""Largest object that a server copies in one request. Source: CopyObject, S3 API reference."""


class LargeObjects:
    """The part of `S3Store` that needs boto3 whatever the key.

    Attributes:
        settings: How to reach the bucket.
    """

    _url: str
    settings: S3Settings

    def upload_ranges(
        self,
        key: str,
        source: PartSource,
        expected: Checksum | None,
        *,
        create_only: bool = False,
        digests: Sequence[bytes] = (),
    ) -> ObjectInfo:
        """Write an object of more than 8 MiB from a source that can be read at any place.

        What `upload` does with the same bytes, faster: parts are read, hashed and sent side by
        side, and each byte is hashed once.

        Raises:
            PreconditionFailedError: `create_only`, and there is an object.
            IntegrityError: The bytes don't have the hash; nothing was written.
        """
        where = f"{self._url}/{key}"
        if create_only and self._exists(key):
            raise PreconditionFailedError(f"{where} exists already", key=where)
        from t4_ops.storage._s3_multipart import upload_ranges

        connection = self._leaves(key).api.connection
        return upload_ranges(
            connection, key, source, expected, create_only=create_only, digests=digests
        )

    def stored(
        self, key: str, *, version_id: str | None = None
    ) -> tuple[ObjectInfo, Checksum | None]:
        """Return an object's facts, and its hash if the server stored one that manifests hold.

        Raises:
            NotFoundError: There is none.
        """
        from t4_ops.storage._s3_copy import stored

        found = stored(self._leaves(key).api.connection, key, version_id)
        if version_id is not None and (found.info.version_id or "null") != version_id:
            # SeaweedFS ignores an unknown version on a bucket without versions.
            where = f"{self._url}/{key}"
            raise NotFoundError(f"{where} does not exist in version {version_id}", key=where)
        return found.info, found.checksum

    def can_copy_from(self, other: Store, size_bytes: int) -> bool:
        """Return whether the server may copy from another store, and it pays for this size.

        It may if both are one server and reached as one user. Amazon's servers say the hash of the
        copy; a copy by others has to be read to be proved, so that small objects are sent sooner
        than copied: 1000 of 4 KiB took half the time and half of our processor's.
        """
        if not isinstance(other, LargeObjects) or _access(self.settings) != _access(other.settings):
            return False
        return size_bytes > _TINY_BYTES or self._leaves().api.connection.is_aws

    def copy_from(
        self,
        source: CopySource,
        key: str,
        expected: Checksum,
        *,
        create_only: bool = False,
        check: Callable[[], None] = lambda: None,
        whole_max_bytes: int = COPY_MAX_BYTES,
    ) -> Copied | None:
        """Have the server copy an object; None: it won't, so the bytes have to be sent.

        Amazon's servers copy objects of more than 8 MiB in parts of the chunk schedule, because
        they then say the hash.

        Args:
            source: What to copy.
            key: Where to.
            expected: The hash it must have; compared where the server says it in time.
            create_only: Fail if there is an object.
            check: Called before each part; what it raises ends the copy.
            whole_max_bytes: Largest object to copy in one request.

        Raises:
            NotFoundError: There is no such source.
            PreconditionFailedError: The source has another etag; or `create_only`, and there is an
                object.
            IntegrityError: The server says another hash; nothing was written.
        """
        from t4_ops.storage import _s3_copy

        connection = self._leaves(key).api.connection
        in_parts = source.size_bytes > (CHUNK_BYTES if connection.is_aws else whole_max_bytes)
        try:
            if in_parts:
                return _s3_copy.copy_parts(
                    connection, key, source, expected, check, create_only=create_only
                )
            return _s3_copy.copy_whole(connection, key, source, create_only=create_only)
        except RefusedError as exc:
            if _s3_copy.is_unsupported(exc):
                return None
            raise

    def leftovers(self, prefix: str, older_than_s: float) -> Iterator[Leftover]:
        """Yield multipart uploads below a prefix that were begun some time ago.

        Raises:
            StorageError: The server refuses or fails.
        """
        return multipart_uploads(self._leaves().api.connection, prefix, older_than_s)

    def remove_leftover(self, leftover: Leftover) -> None:
        """Give up one of `leftovers`.

        Raises:
            StorageError: The server refuses or fails.
        """
        abort(self._leaves().api.connection, leftover)

    def _leaves(self, key: str | None = None) -> Leaves:
        raise NotImplementedError  # what the whole store does

    def _exists(self, key: str) -> bool:
        raise NotImplementedError  # so too


def _access(settings: S3Settings) -> tuple[object, ...]:
    """Return what decides which server is asked, and as whom."""
    return (
        settings.endpoint_url,
        settings.profile,
        settings.access_key_id,
        settings.secret_access_key,
        settings.session_token,
        settings.anonymous,
        settings.proxy_url,
    )
