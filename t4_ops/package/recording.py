"""What the library tells the ledger: what was read, what was published, and from what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from t4_ops.keys import PackageRef, PhysicalKey
from t4_ops.ledger import Column, ColumnLineage, Input, Output, current, note_published, note_read
from t4_ops.ledger.gathering import MAX_PATHS
from t4_ops.package.contents import Contents
from t4_ops.package.publishing import Publication
from t4_ops.package.table_columns import table_columns
from t4_ops.settings import Settings
from t4_ops.storage import open_store

MAX_SOURCES: Final = 20
"""Most folders, prefixes and objects that are noted as inputs by themselves."""


@dataclass(frozen=True, slots=True)
class Origins:
    """Where a package's entries came from, asked before it is published: after that they are in it.

    Attributes:
        revisions: Revisions of packages, with the paths that were taken from each.
        sources: Folders, prefixes and single objects.
        columns: Columns of the table in it.
    """

    revisions: tuple[Input, ...]
    sources: tuple[Input, ...]
    columns: tuple[Column, ...]


def origins_of(contents: Contents, prefix: str, settings: Settings) -> Origins | None:
    """Return where the entries below a directory came from; None if no run would be told."""
    if settings.lineage == "off" or current(mode=settings.lineage) is None:
        return None
    revisions = contents.revisions(prefix).items()
    return Origins(
        tuple(_input(ref, paths) for ref, paths in revisions),
        tuple(source_inputs(contents.sources(prefix))),
        table_columns(contents, prefix, settings),
    )


def _input(ref: PackageRef, paths: tuple[str, ...]) -> Input:
    return Input.of_ref(ref, paths if len(paths) <= MAX_PATHS else ())


def note_contents_read(contents: Contents, prefix: str, settings: Settings) -> None:
    """Tell the current run that all files of a package, or of a directory of it, were read."""
    for revision, paths in contents.revisions(prefix).items():
        note_read(revision, settings, paths=paths)


def source_inputs(urls: list[str]) -> list[Input]:
    """Return the inputs for folders, prefixes and objects, the first 20 of them."""
    found = []
    for url in urls[:MAX_SOURCES]:
        key = PhysicalKey.parse(url)
        if key.bucket is None:
            found.append(Input.of_dataset("file", key.path))
        elif key.path.rstrip("/"):
            name = key.path.rstrip("/")
            found.append(Input.of_dataset(f"s3://{key.bucket}", name, key.version_id))
        else:
            # A whole bucket: OpenLineage has no empty names, "/" is its form for a root.
            found.append(Input.of_dataset(f"s3://{key.bucket}", "/"))
    return found


def output_of(
    ref: PackageRef,
    publication: Publication,
    columns: tuple[Column, ...] = (),
    column_lineage: ColumnLineage = (),
) -> Output:
    """Return what the ledger says of a publication."""
    return Output(
        ref,
        files=publication.files,
        size_bytes=publication.size_bytes,
        changed=publication.changed,
        message=publication.manifest.header.get("message"),
        parent=publication.published.previous,
        columns=columns,
        column_lineage=column_lineage,
    )


def note_publication(
    origins: Origins | None, ref: PackageRef, publication: Publication, settings: Settings
) -> None:
    """Tell the current run what was published.

    Raises:
        StorageError: Its lineage has to be recorded now, and can't be.
    """
    if origins is None:
        return
    # What was built a second time unchanged was not made from itself.
    taken = [item for item in origins.revisions if item.ref != ref]
    note_published(
        output_of(ref, publication, origins.columns),
        [*taken, *origins.sources],
        settings=settings,
        open_store=open_store,
    )
