"""Where a file on this machine comes from."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from typing import Final

from t4_ops.errors import FormatError, IntegrityError, InvalidInputError, NotFoundError
from t4_ops.keys import PackageRef, PackageUri, normalize_registry
from t4_ops.lineage.asking import Ledgers
from t4_ops.lineage.origins import Origin, Way, manifest_of
from t4_ops.lineage.samebytes import LocalFile
from t4_ops.lineage.walks import Subject, begin
from t4_ops.settings import Settings, load_settings

MAX_REVISIONS: Final = 100
"""Revisions that are looked through, newest first, unless told otherwise."""
# Revisions that an error names; more would hide what it says.
_LOST_TOLD: Final = 3


def origin_of_file(
    path: str | os.PathLike[str],
    package: Subject,
    *,
    registry: str | None = None,
    max_revisions: int = MAX_REVISIONS,
    depth: int | None = None,
    settings: Settings | None = None,
    registries: Iterable[str] = (),
) -> Origin:
    """Return where a local file's bytes come from, given the package it was taken from.

    The file is hashed and looked for by its bytes, so its name does not matter. Without a top hash
    the package's revisions are looked through, newest first, until one holds them.

    Args:
        path: The file.
        package: A package name `ns/name`, or a revision as for `upstream`.
        registry: Where `ns/name` is; None is the default registry.
        max_revisions: Revisions to look through at most.
        depth: Runs to go back at most; None for all.
        settings: How to reach the registries; read from the environment unless given.
        registries: Further registries to ask.

    Raises:
        InvalidInputError: An argument breaks a rule, or the path is no regular file.
        NotFoundError: There is no such file or package, or no revision looked at holds the bytes;
            the message names revisions whose manifest is lost or damaged, and damaged pointers.
        FormatError: `latest`, which is asked where no hash is given, holds no top hash.
        StorageError: The package's registry, or one of `registries`, can't be read.
        IntegrityError: The file changed meanwhile.
    """
    settings = settings or load_settings()
    about = _subject(package, registry, settings)
    root, ledgers = begin(about, depth, settings, registries)
    if root.ref is None:
        raise InvalidInputError(f"{package!r} is no revision of a package")
    file = LocalFile(path)
    lost: dict[str, str] = {}
    candidates = _candidates(about, root.ref, ledgers, lost)
    looked_at = 0
    for ref in islice(candidates, max_revisions):
        try:
            manifest = manifest_of(ref, ledgers)
        except (NotFoundError, IntegrityError, FormatError) as exc:
            lost[ref.uri] = str(exc)
            continue
        looked_at += 1
        if found := file.entries_in(manifest):
            entry = max(found, key=lambda entry: file.likeness(entry.logical_key))
            answer = Way(ledgers, entry).origin(ref, manifest, depth)
            return replace(answer, unread={**answer.unread, **lost})
    has_more = next(candidates, None) is not None
    raise NotFoundError(
        f"no entry of {root.ref.identity} holds the bytes of {file.path} (revisions looked at:"
        f" {looked_at}{_not_looked_at(lost, has_more)}): the file was changed since, or comes from"
        " elsewhere",
        key=file.path,
    )


def _not_looked_at(lost: Mapping[str, str], has_more: bool) -> str:
    told = [f"{uri} could not be: {why}" for uri, why in islice(lost.items(), _LOST_TOLD)]
    if len(lost) > _LOST_TOLD:
        told.append(f"nor could {len(lost) - _LOST_TOLD} others")
    if has_more:
        told.append("more were not looked at, max_revisions= bounds them")
    return "".join(f"; {text}" for text in told)


def _subject(package: Subject, registry: str | None, settings: Settings) -> Subject:
    if isinstance(package, str) and not PackageUri.is_uri(package):
        name, mark, top_hash = package.partition("@")
        url = normalize_registry(registry or settings.registry)
        return str(PackageUri(url, name, top_hash=top_hash if mark else None))
    if registry is not None:
        raise InvalidInputError("registry= goes with a package name; what was given has its own")
    return package


def _candidates(
    about: Subject, newest: PackageRef, ledgers: Ledgers, lost: dict[str, str]
) -> Iterator[PackageRef]:
    """Yield the revision named; where only a package is, all its revisions, newest first.

    Pointers that hold no top hash are noted in `lost`.
    """
    yield newest
    if not isinstance(about, str) or PackageUri.parse(about).top_hash is not None:
        return
    seen = {newest.top_hash}
    pointers = ledgers.registry(newest.registry).pointers
    for pointer in pointers.newest_first(newest.name, lost):
        if pointer.top_hash not in seen:
            seen.add(pointer.top_hash)
            yield PackageRef(newest.registry, newest.name, pointer.top_hash)
