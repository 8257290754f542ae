"""The S3 connections of this process, and which library may use them."""

from __future__ import annotations

import os
import sys
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from t4_ops.settings import S3Settings
from t4_ops.storage._s3_leaf import Leaf

if TYPE_CHECKING:
    from t4_ops.storage._s3_api import ObjectApi

# A boto3 client takes some 15 MB: a process that sees many buckets keeps the last ones only.
_MAX_BUCKETS: Final = 32


@dataclass(slots=True)
class Leaves:
    """The two ways to one bucket.

    Attributes:
        api: boto3: every operation, every key.
        fast: obstore; None in a process that was forked from one that had loaded it.
        is_versioned: What the bucket said when it was asked; None before.
    """

    api: ObjectApi
    fast: Leaf | None
    is_versioned: bool | None = None

    def leaf(self, key: str) -> Leaf:
        """Return who reads an object."""
        if self.fast is None:
            return self.api
        from t4_ops.storage._s3_obstore import carries

        return self.fast if carries(key) else self.api

    def writer(self, key: str) -> Leaf:
        """Return who writes an object; obstore can't set an ACL."""
        return self.api if self.api.connection.settings.acl else self.leaf(key)


class _Process:
    def __init__(self) -> None:
        self._is_obstore_dead = False
        self._inherited: list[dict[tuple[str, S3Settings], Leaves]] = []
        self._start()

    def _start(self) -> None:
        self._lock = threading.Lock()
        self._made: dict[tuple[str, S3Settings], Leaves] = {}

    def after_fork(self) -> None:
        """Start afresh in a forked child.

        The lock may be held by a thread that was not copied. Nor were the threads of obstore's
        runtime, so its calls would never return; worse, parent and child share its epoll instance,
        and a socket that the child registers there crashes the parent (seen with 0.12.1). What the
        parent made is kept, not used, lest its end unregister the parent's sockets.
        """
        self._is_obstore_dead = self._is_obstore_dead or "obstore" in sys.modules
        self._inherited.append(self._made)
        self._start()

    def leaves_of(self, url: str, settings: S3Settings) -> Leaves:
        with self._lock:
            # Taken out and put back: the dictionary's order is that of the last use.
            made = self._made.pop((url, settings), None) or self._connect(url, settings)
            self._made[url, settings] = made
            while len(self._made) > _MAX_BUCKETS:
                # Whoever uses it now keeps it alive.
                del self._made[next(iter(self._made))]
            return made

    def _connect(self, url: str, settings: S3Settings) -> Leaves:
        from t4_ops.storage._s3_api import ObjectApi
        from t4_ops.storage._s3_boto import connect

        connection = connect(url, settings)
        if self._is_obstore_dead:
            return Leaves(ObjectApi(connection), None)
        from t4_ops.storage._s3_obstore import FastObjects

        return Leaves(ObjectApi(connection), FastObjects(connection))


_PROCESS: Final = _Process()
os.register_at_fork(after_in_child=_PROCESS.after_fork)


def leaves_of(url: str, settings: S3Settings) -> Leaves:
    """Return this process's ways to a bucket, made at the first call.

    Args:
        url: `s3://bucket`.
        settings: How to reach it.

    Raises:
        InvalidInputError: The settings can't be used.
        StorageError: There are no credentials.
    """
    return _PROCESS.leaves_of(url, settings)
