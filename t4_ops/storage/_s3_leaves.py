"""The S3 connections of this process, and which library may use them."""

from __future__ import annotations

import os
import sys
import threading
from typing import TYPE_CHECKING, Final

from t4_ops.settings import S3Settings
from t4_ops.storage._s3_leaf import Leaf

if TYPE_CHECKING:
    from t4_ops.storage._s3_api import ObjectApi

# A client takes some 15 MB: a process that sees many buckets keeps the last ones only.
_MAX_BUCKETS: Final = 32


class Leaves:
    """The two ways to one bucket: boto3 at once, obstore when the first object is asked for.

    Who only lists is spared obstore's import and its start, 15 to 60 ms.

    Args:
        api: boto3: every operation, every key.
        may_be_fast: Whether obstore may be used; not in a process that was forked from one that
            had loaded it.

    Attributes:
        api: The same.
        is_versioned: What the bucket said when it was asked; None before.
    """

    def __init__(self, api: ObjectApi, *, may_be_fast: bool) -> None:
        self.api = api
        self.is_versioned: bool | None = None
        self._may_be_fast = may_be_fast
        self._fast: Leaf | None = None
        self._lock = threading.Lock()

    def leaf(self, key: str) -> Leaf:
        """Return who reads an object.

        Raises:
            InvalidInputError: obstore can't use the settings.
        """
        if not self._may_be_fast:
            return self.api
        from t4_ops.storage._s3_obstore import FastObjects, carries

        if not carries(key):
            return self.api
        if (fast := self._fast) is not None:
            return fast
        with self._lock:
            # Another thread may have been first.
            fast = self._fast
            if fast is None:
                fast = self._fast = FastObjects(self.api.connection)
            return fast

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

        api = ObjectApi(connect(url, settings))
        return Leaves(api, may_be_fast=not self._is_obstore_dead)


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
