"""Copies that the server makes itself, and what it says of the hashes of what it stores.

Source of the rules: the S3 API reference. CopyObject takes objects of at most 5 GiB; larger ones
are put together by UploadPartCopy. A composite SHA-256 is that over the digests of the parts, so it
is `sha2-256-chunked` where the parts are those of the chunk schedule.
"""

from __future__ import annotations

import threading
from binascii import Error as NotBase64
from binascii import a2b_base64
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

from t4_ops.checksums import (
    CHUNK_BYTES,
    SHA256,
    SHA256_CHUNKED,
    Checksum,
    chunk_size_bytes,
    combine_digests,
)
from t4_ops.storage._s3_api import write_parameters
from t4_ops.storage._s3_boto import Connection
from t4_ops.storage._s3_errors import Attempt, RefusedError
from t4_ops.storage._s3_multipart import Upload, begun, check_parts
from t4_ops.storage.base import Copied, CopySource, ObjectInfo

_DIGEST_BYTES: Final = 32
_PARTS_AT_ONCE: Final = 4
_UNSUPPORTED: Final = frozenset({"AccessDenied", "MethodNotAllowed", "NotImplemented"})


@dataclass(frozen=True, slots=True)
class Stored:
    """What a server says of an object it stores.

    Attributes:
        info: The object's facts.
        checksum: Its hash, if the server has one that a manifest can hold.
    """

    info: ObjectInfo
    checksum: Checksum | None


def stored(connection: Connection, key: str, version_id: str | None) -> Stored:
    """Ask for an object's facts and its stored hash.

    Raises:
        NotFoundError: There is no such object.
    """
    version = {} if version_id is None else {"VersionId": version_id}
    reply = connection.call(
        "head_object",
        Attempt("HeadObject", key, version_id),
        Key=key,
        ChecksumMode="ENABLED",
        **version,
    )
    size_bytes = reply["ContentLength"]
    info = ObjectInfo(key, size_bytes, reply.get("ETag"), reply.get("VersionId"))
    checksum = _checksum(reply, size_bytes)
    if checksum is not None and _is_composite(reply):
        sizes_bytes = _part_sizes_bytes(connection, info)
        checksum = checksum if sizes_bytes == _schedule(size_bytes) else None
    return Stored(info, checksum)


def copy_whole(
    connection: Connection, key: str, source: CopySource, *, create_only: bool
) -> Copied:
    """Have the server copy an object of at most 5 GiB in one request.

    Raises:
        PreconditionFailedError: The source has another etag; or `create_only`, and there is an
            object.
    """
    reply = connection.call(
        "copy_object",
        # A refused condition is a 412; what is missing, a 404, is the source.
        Attempt("CopyObject", key),
        Key=key,
        CopySource=_place(source),
        ChecksumAlgorithm="SHA256",
        # As when bytes are sent: the new object is bytes, what is known of them is the manifest's.
        MetadataDirective="REPLACE",
        TaggingDirective="REPLACE",
        **({} if source.etag is None else {"CopySourceIfMatch": source.etag}),
        **({"IfNoneMatch": "*"} if create_only else {}),
        **write_parameters(connection.settings),
    )
    result = reply["CopyObjectResult"]
    checksum = None if _is_composite(result) else _checksum(result, source.size_bytes)
    info = ObjectInfo(key, source.size_bytes, None, reply.get("VersionId"))
    return Copied(info, checksum)


def copy_parts(
    connection: Connection,
    key: str,
    source: CopySource,
    expected: Checksum,
    check: Callable[[], None],
    *,
    create_only: bool,
) -> Copied:
    """Have the server copy an object of any size in parts of the chunk schedule.

    What `check`, called before each part, raises ends the copy, and nothing is left of it.

    Raises:
        PreconditionFailedError: The source has another etag; or `create_only`, and there is an
            object.
        IntegrityError: The server's checksums of the parts say that it is another object than
            expected; nothing was written.
    """
    with begun(connection, key) as upload:
        parts = _send(upload, connection, key, source, check)
        where = f"s3://{connection.bucket}/{key}, a copy of s3://{source.bucket}/{source.key},"
        checksum = check_parts(parts, expected, where)
        return Copied(upload.complete(parts, source.size_bytes, create_only), checksum)


def is_unsupported(exc: RefusedError) -> bool:
    """Return whether a server refused to copy by itself, so that bytes have to be sent."""
    return exc.code in _UNSUPPORTED


def _send(
    upload: Upload,
    connection: Connection,
    key: str,
    source: CopySource,
    check: Callable[[], None],
) -> list[dict[str, Any]]:
    step = chunk_size_bytes(source.size_bytes)
    condition = {} if source.etag is None else {"CopySourceIfMatch": source.etag}
    failed = threading.Event()

    def send(start: int) -> dict[str, Any]:
        if failed.is_set():
            return {}
        try:
            check()
            end, number = min(start + step, source.size_bytes) - 1, start // step + 1
            reply = connection.call(
                "upload_part_copy",
                Attempt("UploadPartCopy", key),
                Key=key,
                UploadId=upload.id,
                PartNumber=number,
                CopySource=_place(source),
                CopySourceRange=f"bytes={start}-{end}",
                **condition,
            )
        except BaseException:
            failed.set()
            raise
        result = reply["CopyPartResult"]
        part = {"PartNumber": number, "ETag": result["ETag"]}
        checksum = result.get("ChecksumSHA256")
        return {**part, "ChecksumSHA256": checksum} if checksum else part

    with ThreadPoolExecutor(_PARTS_AT_ONCE, "t4-copy") as pool:
        return list(pool.map(send, range(0, source.size_bytes, step)))


def _place(source: CopySource) -> dict[str, str]:
    version = {} if source.version_id is None else {"VersionId": source.version_id}
    return {"Bucket": source.bucket, "Key": source.key, **version}


def _is_composite(reply: Mapping[str, Any]) -> bool:
    value = str(reply.get("ChecksumSHA256") or "")
    return reply.get("ChecksumType") == "COMPOSITE" or "-" in value


def _checksum(reply: Mapping[str, Any], size_bytes: int) -> Checksum | None:
    """Return the hash in a reply; a composite one as if its parts were those of the schedule."""
    value = str(reply.get("ChecksumSHA256") or "").partition("-")[0]
    try:
        digest = a2b_base64(value)
    except (NotBase64, ValueError):
        return None
    if len(digest) != _DIGEST_BYTES:
        return None
    if _is_composite(reply):
        return Checksum(SHA256_CHUNKED, value)
    if size_bytes <= CHUNK_BYTES:
        return combine_digests((digest,) if size_bytes else ())
    return Checksum(SHA256, digest.hex())


def _schedule(size_bytes: int) -> list[int]:
    step = chunk_size_bytes(size_bytes)
    return [min(step, size_bytes - start) for start in range(0, size_bytes, step)]


def _part_sizes_bytes(connection: Connection, info: ObjectInfo) -> list[int]:
    """Return the sizes of an object's parts; none if the server does not tell, or it changed."""
    key, version_id = info.key, info.version_id
    # That of the reply before: what is current may be another one by now.
    version = {} if version_id is None else {"VersionId": version_id}
    sizes: list[int] = []
    marker = 0
    while True:
        try:
            reply = connection.call(
                "get_object_attributes",
                Attempt("GetObjectAttributes", key, version_id),
                Key=key,
                ObjectAttributes=["ObjectParts", "ETag"],
                PartNumberMarker=marker,
                **version,
            )
        except RefusedError as exc:
            if is_unsupported(exc):
                return []
            raise
        # Without versions only the etag tells; this reply has it without quotes.
        if str(reply.get("ETag") or "").strip('"') != (info.etag or "").strip('"'):
            return []
        page = reply.get("ObjectParts", {})
        sizes += [part["Size"] for part in page.get("Parts", ())]
        if not page.get("IsTruncated") or page.get("NextPartNumberMarker", 0) <= marker:
            return sizes
        marker = page["NextPartNumberMarker"]
