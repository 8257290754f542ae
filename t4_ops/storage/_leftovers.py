"""What killed processes leave behind: temporary files in folders, multipart uploads in buckets."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from t4_ops.errors import NotFoundError
from t4_ops.storage._files import is_temporary, storage_error
from t4_ops.storage.base import Leftover
from t4_ops.storage.tree import Tree

if TYPE_CHECKING:
    from t4_ops.storage._s3_boto import Connection


def temporary_files(tree: Tree, folder: str, older_than_s: float) -> Iterator[Leftover]:
    """Yield our temporary files below a folder that were not written to for some time.

    Links are not followed, and what vanishes meanwhile is passed over.

    Raises:
        InvalidInputError: A component is a symlink, or no name.
        StorageError: A folder can't be read.
    """
    before_s = time.time() - older_than_s
    try:
        directory = tree.open_folder(folder)
    except NotFoundError:
        return
    folders: list[str] = []
    base = f"{folder}/" if folder else ""
    try:
        with os.scandir(directory) as found:
            for item in found:
                if item.is_dir(follow_symlinks=False):
                    folders.append(base + item.name)
                elif is_temporary(item.name):
                    with suppress(FileNotFoundError):
                        facts = item.stat(follow_symlinks=False)
                        if stat.S_ISREG(facts.st_mode) and facts.st_mtime < before_s:
                            yield Leftover(
                                base + item.name, facts.st_mtime, size_bytes=facts.st_size
                            )
    except OSError as exc:
        raise storage_error(exc, tree.path(folder)) from exc
    finally:
        os.close(directory)
    for below in folders:
        yield from temporary_files(tree, below, older_than_s)


def multipart_uploads(
    connection: Connection, prefix: str, older_than_s: float
) -> Iterator[Leftover]:
    """Yield the multipart uploads below a prefix that were begun some time ago.

    Age is told by the server's clock alone, because this machine's may be wrong.

    Raises:
        NotFoundError: There is no such bucket.
        StorageError: The server refuses or fails.
    """
    from t4_ops.storage._s3_errors import Attempt

    markers: dict[str, str] = {}
    while True:
        reply = connection.call(
            "list_multipart_uploads",
            Attempt("ListMultipartUploads", prefix),
            Prefix=prefix,
            **markers,
        )
        date = reply["ResponseMetadata"]["HTTPHeaders"].get("date")
        now_s = parsedate_to_datetime(date).timestamp() if date else time.time()
        for upload in reply.get("Uploads", ()):
            since_s = upload["Initiated"].timestamp()
            # SeaweedFS does not always keep to the prefix.
            if upload["Key"].startswith(prefix) and since_s < now_s - older_than_s:
                yield Leftover(upload["Key"], since_s, upload["UploadId"])
        if not reply.get("IsTruncated"):
            return
        after = {
            "KeyMarker": reply.get("NextKeyMarker", ""),
            "UploadIdMarker": reply.get("NextUploadIdMarker", ""),
        }
        if after == markers or not after["KeyMarker"]:
            return
        markers = after


def abort(connection: Connection, leftover: Leftover) -> None:
    """Give up a multipart upload; one that is gone is no error.

    Raises:
        StorageError: The server refuses or fails.
    """
    from t4_ops.storage._s3_errors import Attempt, RefusedError

    try:
        connection.call(
            "abort_multipart_upload",
            Attempt("AbortMultipartUpload", leftover.key),
            Key=leftover.key,
            UploadId=leftover.upload_id,
        )
    except NotFoundError:
        return
    except RefusedError as exc:
        if exc.code != "NoSuchUpload":
            raise
