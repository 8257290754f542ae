"""The pages of a listing: while one is read the next is on its way.

A server's reply and our reading of it take about as long as each other.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from threading import Thread
from typing import Any, Final

from t4_ops.errors import T4Error
from t4_ops.storage._s3_boto import Connection, connect
from t4_ops.storage._s3_boto_listing import contents_of, has_contents
from t4_ops.storage._s3_errors import Attempt
from t4_ops.storage.base import ObjectInfo

# Method -> operation, and what a page calls the arguments that ask for the next one.
# Source: "ListObjectsV2" and "ListObjectVersions", S3 API reference.
_LISTINGS: Final = {
    "list_objects_v2": ("ListObjectsV2", {"ContinuationToken": "NextContinuationToken"}),
    "list_object_versions": (
        "ListObjectVersions",
        {"KeyMarker": "NextKeyMarker", "VersionIdMarker": "NextVersionIdMarker"},
    ),
}

# What botocore makes of a page whose rest can't be read.
_UNREADABLE: Final = 500


def pages(
    connection: Connection, method: str, prefix: str, *, ahead: bool = True, **parameters: str
) -> Iterator[tuple[dict[str, Any], list[ObjectInfo]]]:
    """Yield the pages of a listing, each with its objects (versions are in the page itself).

    Args:
        connection: Where to ask.
        method: `list_objects_v2` or `list_object_versions`.
        prefix: What keys start with.
        ahead: Ask for the next page while one is looked at.
        **parameters: More arguments of the method.

    Raises:
        T4Error: A page can't be had or read, or the server does not tell the next one.
    """
    listing = _Listing(connection, method, prefix, parameters)
    place: dict[str, str] = {}
    page = listing.ask(place)
    while True:
        following = listing.following(page, place)
        coming = _Coming(partial(listing.ask, following)) if ahead and following else None
        objects = _objects(page)
        if objects is None:
            page, objects = listing.ask_again(place)
            # Its own next page is another one, too, if keys came between.
            following, coming = listing.following(page, place), None
        yield page, objects
        if not page.get("IsTruncated"):
            return
        if not following:
            raise listing.failed("the server does not tell the next page")
        if listing.was_forked():
            coming = None
        page, place = coming.result() if coming else listing.ask(following), following


class _Listing:
    """How to ask for the pages of one listing."""

    def __init__(
        self, connection: Connection, method: str, prefix: str, parameters: dict[str, str]
    ) -> None:
        operation, self._names = _LISTINGS[method]
        self._attempt = Attempt(operation, prefix)
        self._method = method
        self._parameters = {**parameters, "Prefix": prefix}
        self._connection = connection
        self._pid = os.getpid()

    def ask(self, place: dict[str, str]) -> dict[str, Any]:
        """Return the page at a place; the first one is at none.

        Raises:
            T4Error: It can't be had.
        """
        send = self._connection.call
        return send(self._method, self._attempt, **self._parameters, **place)

    def ask_again(self, place: dict[str, str]) -> tuple[dict[str, Any], list[ObjectInfo]]:
        """Return a page, whose objects could not be read, and its objects.

        As often as botocore does where the rest of a page can't be read.

        Raises:
            T4Error: It can't be had, or its objects can't be read again.
        """
        for _ in range(1, self._connection.settings.max_attempts):
            page = self.ask(place)
            if (objects := _objects(page)) is not None:
                return page, objects
        text = "the objects of a page can't be read"
        raise self._connection.explain.refusal(self._attempt, _UNREADABLE, "", text)

    def following(self, page: dict[str, Any], place: dict[str, str]) -> dict[str, str]:
        """Return the place of the page after the one at `place`, empty if there is no other."""
        if not page.get("IsTruncated"):
            return {}
        found = {name: page[said] for name, said in self._names.items() if page.get(said)}
        return {} if found == place else found

    def was_forked(self) -> bool:
        """Return whether this is a child by now; it gets a connection of its own then.

        Raises:
            T4Error: It can't be made.
        """
        if self._pid == os.getpid():
            return False
        self._connection = connect(self._connection.explain.url, self._connection.settings)
        self._pid = os.getpid()
        return True

    def failed(self, text: str) -> T4Error:
        """Return the error for a listing that can't go on."""
        return self._connection.explain.unexpected(self._attempt, text)


def _objects(page: dict[str, Any]) -> list[ObjectInfo] | None:
    try:
        return [info_of(item["Key"], item, item["Size"]) for item in contents_of(page)]
    except ValueError:
        return None


def is_empty(connection: Connection, prefix: str) -> bool:
    """Return whether no key starts with a prefix.

    Raises:
        T4Error: The server can't be asked.
    """
    page = connection.call(
        "list_objects_v2", Attempt("ListObjectsV2", prefix), Prefix=prefix, MaxKeys=1
    )
    return not has_contents(page)


def info_of(key: str, facts: dict[str, Any], size_bytes: int) -> ObjectInfo:
    """Return what a reply says of an object.

    Args:
        key: Its key.
        facts: The reply, or its part about this object.
        size_bytes: Its size.
    """
    changed = facts.get("LastModified")
    return ObjectInfo(
        key=key,
        size_bytes=size_bytes,
        etag=facts.get("ETag"),
        version_id=facts.get("VersionId"),
        mtime_s=None if changed is None else changed.timestamp(),
    )


class _Coming:
    """A page that is being asked for on a thread of its own."""

    def __init__(self, ask: Callable[[], dict[str, Any]]) -> None:
        self._ask = ask
        self._page: dict[str, Any] | None = None
        self._error: BaseException | None = None
        # A process does not wait at its end for a page that nobody wants any more.
        self._thread: Thread | None = Thread(target=self._fetch, name="t4-list", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:
            # No more threads, or Python is ending.
            self._thread = None

    def _fetch(self) -> None:
        try:
            self._page = self._ask()
        except BaseException as exc:  # noqa: BLE001 (raised where the page is waited for)
            self._error = exc

    def result(self) -> dict[str, Any]:
        """Wait for the page.

        Raises:
            T4Error: It can't be had.
        """
        if self._thread is not None:
            self._thread.join()
        if self._error is not None:
            raise self._error
        return self._ask() if self._page is None else self._page
