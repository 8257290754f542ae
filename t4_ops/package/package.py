"""`Package`: the T4 API."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from t4_ops.errors import InvalidInputError
from t4_ops.keys import NOW, PackageRef, RegistryLike, normalize_registry, validate_name
from t4_ops.package.destinations import Destination
from t4_ops.package.entry import PackageEntry
from t4_ops.package.finding import FoundPackage
from t4_ops.package.publishing import Expected, Publication, Publisher
from t4_ops.package.recording import (
    Origins,
    note_publication,
    origins_of,
)
from t4_ops.registry import ANYTHING

_MESSAGE = "message"


class Package(FoundPackage):
    """A group of files under logical keys, with metadata, under edit.

    It behaves like a nested dictionary: `p["a"]["b"]` and `p["a/b"]` are the same entry, `p["a"]`
    is a view of the directory. Building or pushing it makes an immutable revision.
    """

    def build(
        self,
        name: str,
        registry: RegistryLike | None = None,
        message: str | None = None,
        *,
        retry_conflicts: int = 0,
        stop: threading.Event | None = None,
    ) -> str:
        """Make a revision in a registry and return its top hash.

        Files stay where they are, except on a bucket, which gets the local ones, and objects that
        have no place yet. `latest` moves from what it is when this call begins.

        Args:
            name: Package name.
            registry: Where; None is the default registry.
            message: What changed; part of the top hash.
            retry_conflicts: How often, when somebody else was faster, to apply this build's own
                changes to what he published, and build that. They are measured from what this
                object was browsed from or last built as, else from what `latest` holds when the
                call begins. Afterwards the package has his changes too.
            stop: Set from another thread to give up.

        Raises:
            ConflictError: Somebody moved `latest` meanwhile; with `retry_conflicts`: and changed
                the same key to something else, or was faster too often.
            IntegrityError: A file changed while it was read.
        """
        origins = origins_of(self._contents, self._prefix, self._settings)
        expected: Expected = NOW
        if retry_conflicts:
            url = normalize_registry(registry or self._settings.registry)
            expected = self._known.get((url, validate_name(name)), NOW)
        publication = self.publish_build(
            name,
            registry,
            message,
            expected=expected,
            retry_conflicts=retry_conflicts,
            stop=stop,
        )
        self._note_publication(origins, name, registry, publication)
        return publication.published.top_hash

    def _note_publication(
        self,
        origins: Origins | None,
        name: str,
        registry: RegistryLike | None,
        publication: Publication,
    ) -> None:
        url = normalize_registry(registry or self._settings.registry)
        ref = PackageRef(url, name, publication.published.top_hash)
        note_publication(origins, ref, publication, self._settings)

    def publish_build(
        self,
        name: str,
        registry: RegistryLike | None = None,
        message: str | None = None,
        *,
        expected: Expected = NOW,
        retry_conflicts: int = 0,
        stop: threading.Event | None = None,
    ) -> Publication:
        """Build, and say what was done; `expected` is what `latest` must hold."""
        package = self._root_of_view()
        publisher = package._publisher(name, registry, stop)
        header = {**package._contents.header, _MESSAGE: _checked_message(message)}
        publication = publisher.build(header, expected, retry_conflicts)
        package._contents.rebase(publication.manifest)
        package._know(publisher.registry.url, name, publication.published.top_hash)
        # For a view this is not the contents of `self`.
        package._contents.origin = PackageRef(
            publisher.registry.url, name, publication.published.top_hash
        )
        return publication

    def push(
        self,
        name: str,
        registry: RegistryLike | None = None,
        dest: Destination | None = None,
        message: str | None = None,
        selector_fn: Callable[[str, PackageEntry], bool] | None = None,
        force: bool = False,
        *,
        retry_conflicts: int = 0,
        stop: threading.Event | None = None,
    ) -> Package:
        """Make a revision in a registry with its objects inside, and return the package there.

        Args:
            name: Package name.
            registry: Where; None is the default registry.
            dest: Prefix or folder inside the registry for new objects, or a function of logical
                key and entry that returns a URL in it. Default: `<name>/<logical key>`, pinned, on
                a bucket that keeps versions, else a place named by the content.
            message: What changed; None keeps the package's own.
            selector_fn: Which entries to bring, by logical key and entry; the others keep their
                places. Default: those that are not in the registry.
            force: Replace whatever `latest` holds, instead of only what this object was browsed
                from or pushed as. It also looks whether objects that the registry should have are
                there, and brings those that are lost.
            retry_conflicts: How often, when `latest` is not what this object came from, to apply
                this push's own changes (keys set and deleted, metadata) to what it holds, and push
                that. The package that is returned has everybody's changes; go on with that one.
            stop: Set from another thread to give up.

        Raises:
            ConflictError: `latest` is not what this package came from; nothing was moved. With
                `retry_conflicts`: somebody changed the same key to something else, or was faster
                too often.
            IntegrityError: A source is not what it was when it was hashed.
        """
        expected: Expected = ANYTHING
        if not force:
            url = normalize_registry(registry or self._settings.registry)
            expected = self._known.get((url, validate_name(name)))
        origins = origins_of(self._contents, self._prefix, self._settings)
        publication = self.publish_push(
            name,
            registry,
            dest,
            message,
            selector_fn,
            expected=expected,
            retry_conflicts=retry_conflicts,
            stop=stop,
        )
        self._note_publication(origins, name, registry, publication)
        pushed = Package._of(publication.manifest, self._settings)
        url = normalize_registry(registry or self._settings.registry)
        pushed._know(url, name, publication.published.top_hash)
        pushed._contents.origin = pushed._origin
        return pushed

    def publish_push(
        self,
        name: str,
        registry: RegistryLike | None = None,
        dest: Destination | None = None,
        message: str | None = None,
        selector_fn: Callable[[str, PackageEntry], bool] | None = None,
        *,
        expected: Expected,
        retry_conflicts: int = 0,
        stop: threading.Event | None = None,
    ) -> Publication:
        """Push, and say what was done; `expected` is what `latest` must hold."""
        package = self._root_of_view()
        publisher = package._publisher(name, registry, stop)
        header = dict(package._contents.header)
        if package._contents.frozen() is None:
            # A manifest that is made anew always has a message; a loaded one keeps its keys.
            header.setdefault(_MESSAGE, None)
        if message is not None:
            header[_MESSAGE] = _checked_message(message)
        publication = publisher.push(
            header, expected, _bound(package, dest), _bound(package, selector_fn), retry_conflicts
        )
        if not publication.is_merged:
            # After a merge this object lacks what others changed: pushed again as if it had it, it
            # would take that away.
            self._know(publisher.registry.url, name, publication.published.top_hash)
        return publication

    def _publisher(
        self, name: str, registry: RegistryLike | None, stop: threading.Event | None
    ) -> Publisher:
        url = normalize_registry(registry or self._settings.registry)
        return Publisher(self._contents, name, url, self._settings, stop)


def _checked_message(message: str | None) -> str | None:
    if message is not None and not isinstance(message, str):
        raise InvalidInputError(f"a message is text or None, not {type(message).__name__}")
    return message


def _bound(package: Package, function: Any) -> Any:
    """Let a user's function of logical key and `PackageEntry` be called with plain records."""
    if not callable(function):
        return function
    return lambda key, entry: function(
        key, PackageEntry(package._contents, entry, package._settings)
    )
