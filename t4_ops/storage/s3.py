"""The bucket store: obstore for what is many and plain, boto3 for everything else."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import Final

from t4_ops.checksums import CHUNK_BYTES, Buffer
from t4_ops.errors import (
    FormatError,
    IntegrityError,
    InvalidInputError,
    NotFoundError,
)
from t4_ops.settings import S3Settings
from t4_ops.storage._rooms import ROOMS
from t4_ops.storage._s3_errors import RefusedError
from t4_ops.storage._s3_large import LargeObjects
from t4_ops.storage._s3_leaf import OpenReader
from t4_ops.storage._s3_leaves import Leaves, leaves_of
from t4_ops.storage.base import (
    Content,
    Listing,
    ObjectInfo,
    PreconditionFailedError,
    Reader,
    exists,
)
from t4_ops.storage.small import SMALL_BYTES

# Of two conditional writes of one key at one time S3 answers one with 409: "retry the upload".
_CONFLICT_PAUSES_S: Final = (0.05, 0.1, 0.2, 0.4)

# Larger than any object.
_NO_LIMIT: Final = 2**63


class S3Store(LargeObjects):
    """A bucket as a `Store`.

    It holds no connection itself, so it may be pickled, and used on both sides of a fork.

    Attributes:
        settings: How to reach the bucket.
    """

    def __init__(self, url: str, s3: S3Settings) -> None:
        self._url = url
        self.settings = s3

    def __repr__(self) -> str:
        """Name the bucket; no settings, they may hold secrets."""
        return f"S3Store({self._url!r})"

    @property
    def url(self) -> str:
        """The normalised registry URL, `s3://bucket`."""
        return self._url

    @property
    def is_versioned(self) -> bool:
        """Whether versioning is enabled: the setting, else what the bucket says, asked once.

        A bucket that may not be asked, has no versions or has them suspended counts as not.
        """
        if self.settings.versioning != "auto":
            return self.settings.versioning == "enabled"
        leaves = self._leaves()
        if leaves.is_versioned is None:
            leaves.is_versioned = leaves.api.is_versioned()
        return leaves.is_versioned

    def head(self, key: str, *, version_id: str | None = None) -> ObjectInfo:
        """Return an object's facts.

        Raises:
            NotFoundError: There is none.
        """
        leaf = self._leaves(key).leaf(key)
        try:
            info = leaf.head(key, version_id)
        except RefusedError as exc:
            if exc.code or exc.retryable:
                raise
            # A refused HEAD has no body to say why; a refused GET has.
            with closing(leaf.open(key, version_id, 0, None, None)) as reader:
                info = reader.info
        self._check_found(info, version_id)
        return info

    def read(
        self, key: str, *, version_id: str | None = None, max_bytes: int | None = None
    ) -> Content:
        """Return a small object whole; of one that is too large no bytes are read.

        Raises:
            NotFoundError: There is none.
            FormatError: It is larger than `max_bytes`.
        """
        limit_bytes = _NO_LIMIT if max_bytes is None else max_bytes
        info, data = self._leaves(key).leaf(key).read(key, version_id, limit_bytes)
        self._check_found(info, version_id)
        if info.size_bytes > limit_bytes:
            raise FormatError(
                f"{self._url}/{key} has {info.size_bytes} bytes, the limit is {max_bytes}",
                key=f"{self._url}/{key}",
            )
        return Content(data, info)

    @contextmanager
    def open(
        self,
        key: str,
        *,
        version_id: str | None = None,
        start: int = 0,
        end: int | None = None,
        if_match: str | None = None,
    ) -> Iterator[Reader]:
        """Open an object, or its bytes from `start` to before `end`.

        Args:
            key: Where it is.
            version_id: S3 version.
            start: Offset of the first byte.
            end: Offset after the last byte; None is the object's end.
            if_match: Fail unless the object has this etag.

        Raises:
            NotFoundError: There is none.
            PreconditionFailedError: `if_match`, and the object is another.
        """
        if end is not None and end <= start:
            yield self._no_bytes(key, version_id, if_match)
            return
        leaf = self._leaves(key).leaf(key)
        try:
            reader: OpenReader = leaf.open(key, version_id, start, end, if_match)
        except RefusedError as exc:
            # 416: the object ends at or before `start`.
            if exc.status != 416:
                raise
            reader = self._no_bytes(key, version_id, if_match)
        with closing(reader):
            self._check_found(reader.info, version_id)
            if if_match is not None and reader.info.etag != if_match:
                # A server that does not know the condition on reads.
                where = f"{self._url}/{key}"
                raise PreconditionFailedError(f"{where} is another object by now", key=where)
            yield reader

    def _no_bytes(self, key: str, version_id: str | None, if_match: str | None) -> _NoBytes:
        info = self.head(key, version_id=version_id)
        if if_match is not None and info.etag != if_match:
            where = f"{self._url}/{key}"
            raise PreconditionFailedError(f"{where} is another object by now", key=where)
        return _NoBytes(info)

    def write(
        self, key: str, data: Buffer, *, create_only: bool = False, if_match: str | None = None
    ) -> ObjectInfo:
        """Write a small object in one request, its SHA-256 checked by the server.

        Raises:
            InvalidInputError: Both conditions at once.
            PreconditionFailedError: The condition does not hold; nothing changed.
        """
        if create_only and if_match is not None:
            raise InvalidInputError(
                f"write {key!r} with create_only or if_match, not both", key=key
            )
        leaf = self._leaves(key).writer(key)
        for pause_s in _CONFLICT_PAUSES_S:
            try:
                return leaf.put(key, data, create_only, if_match)
            except RefusedError as exc:
                if exc.status != 409:
                    raise
            time.sleep(pause_s)
        return leaf.put(key, data, create_only, if_match)

    def create_empty(self, keys: Sequence[str], *, workers: int) -> list[str]:
        """Create many empty objects, a request each; return those that were there and stay.

        Args:
            keys: Where to.
            workers: Requests at a time.

        Raises:
            StorageError: One could not be created; others may have been.
        """

        def was_there(key: str) -> bool:
            try:
                self.write(key, b"", create_only=True)
            except PreconditionFailedError:
                return True
            return False

        with ThreadPoolExecutor(max(1, min(workers, len(keys)))) as pool:
            try:
                results = list(pool.map(was_there, keys))
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return [key for key, there in zip(keys, results, strict=True) if there]

    def upload(
        self, key: str, chunks: Iterable[Buffer], size_bytes: int, *, create_only: bool = False
    ) -> ObjectInfo:
        """Write an object of any size; from 8 MiB on in parts of the chunk schedule.

        The parts are those of `sha2-256-chunked`, so the server's own checksum of the object is
        that value.

        Raises:
            PreconditionFailedError: `create_only`, and there is an object.
            IntegrityError: The pieces are more or fewer bytes than `size_bytes`.
        """
        exact = _exactly(chunks, size_bytes, f"{self._url}/{key}")
        if size_bytes < CHUNK_BYTES:
            if size_bytes <= SMALL_BYTES:
                data = b"".join([bytes(chunk) for chunk in exact])
                return self.write(key, data, create_only=create_only)
            with ROOMS.buffer() as room:
                end = 0
                for chunk in exact:
                    room[end : end + len(chunk)] = chunk
                    end += len(chunk)
                return self.write(key, memoryview(room)[:end], create_only=create_only)
        if create_only and self._exists(key):
            # Known before the bytes travel; the condition itself is on the last request.
            where = f"{self._url}/{key}"
            raise PreconditionFailedError(f"{where} exists already", key=where)
        from t4_ops.storage._s3_multipart import upload_parts

        connection = self._leaves(key).api.connection
        return upload_parts(connection, key, exact, size_bytes, create_only=create_only)

    def list(self, prefix: str = "", *, start_after: str = "") -> Iterator[ObjectInfo]:
        """Yield every object whose key starts with `prefix`, in key order.

        Amazon lists in that order. SeaweedFS 4.48 lists folder by folder and starts in the wrong
        place, so what servers other than Amazon's say is gathered and sorted first.

        Args:
            prefix: What keys start with.
            start_after: Only keys that sort after this one; Amazon does not even look at others.
        """
        api = self._leaves().api
        if api.connection.is_aws:
            return api.list_objects(prefix, start_after)
        found = (info for info in api.list_objects(prefix, "") if info.key > start_after)
        return iter(sorted(found, key=lambda info: info.key))

    def list_versions(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Yield the newest version of every object below `prefix`, with its version id.

        On a bucket without versions this is `list`.
        """
        if not self.is_versioned:
            return self.list(prefix)
        api = self._leaves().api
        if api.connection.is_aws:
            return api.list_versions(prefix)
        return self._checked_versions(prefix)

    def _checked_versions(self, prefix: str) -> Iterator[ObjectInfo]:
        # SeaweedFS 4.48 leaves out versions where a page ends between `a/...` and `a-b`.
        versions = {info.key: info for info in self._leaves().api.list_versions(prefix)}
        for info in self.list(prefix):
            yield versions.get(info.key) or self.head(info.key)

    def list_level(self, folder: str, *, start_after: str = "") -> Iterator[ObjectInfo]:
        """Yield the objects right below a folder, which ends in `/`, in key order.

        Servers begin at `start_after`, which lies right below the folder too: SeaweedFS 4.48 as
        well, since what it may pass over lies in folders.
        """
        api = self._leaves().api
        level = (
            info
            for info in api.list_objects(folder, start_after)
            # The latter for servers that don't know where to start.
            if "/" not in info.key[len(folder) :] and info.key > start_after
        )
        return level if api.connection.is_aws else iter(sorted(level, key=lambda info: info.key))

    def list_folder(self, prefix: str = "") -> Listing:
        """Return one level: the folders and objects right below `prefix` (`""` or ending `/`)."""
        return self._leaves().api.list_folder(prefix)

    def delete(self, key: str, *, if_match: str | None = None) -> None:
        """Remove an object (on a versioned bucket: hide it); none there is no error.

        Raises:
            PreconditionFailedError: `if_match`, and the object there is another.
        """
        api = self._leaves(key).api
        try:
            api.delete(key, if_match)
        except PreconditionFailedError:
            if self._exists(key):
                raise

    def delete_many(self, keys: Iterable[str]) -> None:
        """Remove objects, a thousand a request; those that are not there are no error.

        Raises:
            StorageError: Some could not be removed; others may be.
        """
        self._leaves().api.delete_many(map(self._checked, keys))

    def user_metadata(self, key: str) -> dict[str, str]:
        """Return an object's own metadata (`x-amz-meta-`), names in lower case.

        Raises:
            NotFoundError: There is no object.
        """
        return self._leaves(key).api.user_metadata(key)

    def set_user_metadata(self, key: str, metadata: Mapping[str, str]) -> ObjectInfo:
        """Replace an object's own metadata by a copy at the server, on to itself.

        Content type, storage class, encryption and tags stay; on a versioned bucket the result is
        a new version. Objects above 5 GiB can't be copied like this (a limit of S3).

        Raises:
            NotFoundError: There is no object.
            PreconditionFailedError: The object changed meanwhile.
            InvalidInputError: A name or value is not ASCII.
        """
        return self._leaves(key).api.set_user_metadata(key, dict(metadata))

    def _leaves(self, key: str | None = None) -> Leaves:
        if key is not None:
            self._checked(key)
        return leaves_of(self._url, self.settings)

    def _checked(self, key: str) -> str:
        if not key:
            raise InvalidInputError(f"an object of {self._url} needs a key", key=key)
        try:
            key.encode()
        except UnicodeEncodeError as exc:
            raise InvalidInputError(f"key {key!r} is not valid Unicode", key=key) from exc
        return key

    def _check_found(self, info: ObjectInfo, version_id: str | None) -> None:
        """Refuse what is not the object that was asked for.

        SeaweedFS ignores an unknown version on a bucket without versions and sends what is there;
        for a key that ends in a slash it invents an object where there is a folder.
        """
        where = f"{self._url}/{info.key}"
        if version_id is not None:
            if (info.version_id or "null") != version_id:
                raise NotFoundError(f"{where} does not exist in version {version_id}", key=where)
        elif info.key.endswith("/"):
            first = next(self._leaves().api.list_objects(info.key, "", ahead=False), None)
            if first is None or first.key != info.key:
                raise NotFoundError(f"{where} does not exist", key=where)

    def _exists(self, key: str) -> bool:
        return exists(self, key)


class _NoBytes:
    """An object opened where it has no bytes."""

    def __init__(self, info: ObjectInfo) -> None:
        self.info = info

    def __iter__(self) -> Iterator[Buffer]:
        return iter(())

    def close(self) -> None:
        pass


def _exactly(chunks: Iterable[Buffer], size_bytes: int, where: str) -> Iterator[Buffer]:
    """Pass pieces on, and fail where they are not as many bytes as promised."""
    count = 0
    for chunk in chunks:
        count += len(chunk)
        if count > size_bytes:
            break
        yield chunk
    if count != size_bytes:
        more = "at least " if count > size_bytes else ""
        raise IntegrityError(
            f"{where}: {size_bytes} bytes were promised and {more}{count} came;"
            " the source changed, nothing was written",
            key=where,
            expected=str(size_bytes),
            actual=str(count),
        )
