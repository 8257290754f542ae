"""What every step does at its end: record what it read or published, and say so in a result."""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Iterable

from t4_ops.keys import PackageRef, is_folder
from t4_ops.ledger import Column, ColumnLineage, Input, RunInfo, note_fetched, note_published
from t4_ops.operations.counting import note_files
from t4_ops.operations.hosts import host
from t4_ops.operations.results import MAX_RESULT_INPUTS, StepResult
from t4_ops.package import Publication, output_of
from t4_ops.settings import Settings
from t4_ops.storage import open_store
from t4_ops.transfer import Cancelled

_log = logging.getLogger("t4_ops.operations")


def published(
    ref: PackageRef,
    publication: Publication,
    inputs: list[Input],
    run: RunInfo | None,
    settings: Settings,
    *,
    columns: tuple[Column, ...] = (),
    made_from: ColumnLineage = (),
) -> StepResult:
    """Record what a step published, tell the log and who counts, and return the step's result.

    Args:
        ref: The revision.
        publication: What was done.
        inputs: What it was made from.
        run: The run to record.
        settings: Settings.
        columns: Columns of its table.
        made_from: What those were made from.

    Raises:
        StorageError: `settings.lineage` is `required`, and a registry did not take the event.
    """
    known = note_published(
        output_of(ref, publication, columns, made_from),
        inputs,
        settings=settings,
        open_store=open_store,
        run=run,
        needs_run=False,
    )
    files, size_bytes = publication.files, publication.size_bytes
    note_files(files, publication.moved_files)
    _log.info(
        "%s: %d files, %d bytes; %d objects written, %d were there",
        ref.uri,
        files,
        size_bytes,
        publication.moved_files,
        max(0, files - publication.moved_files),
    )
    return result_of(ref, files, size_bytes, known, changed=publication.changed)


def was_read(
    ref: PackageRef, paths: Iterable[str], run: RunInfo | None, settings: Settings
) -> None:
    """Record that a step read a revision, or some paths of it.

    Raises:
        StorageError: A lineage registry is required, and did not take the event.
    """
    note_fetched(ref, paths, settings=settings, open_store=open_store, run=run)


def result_of(
    ref: PackageRef,
    files: int,
    size_bytes: int,
    inputs: Iterable[Input] = (),
    *,
    changed: bool,
    path: str | None = None,
) -> StepResult:
    """Return a step's result."""
    result = StepResult(
        uri=ref.uri,
        registry=ref.registry,
        name=ref.name,
        top_hash=ref.top_hash,
        inputs=[item.to_dict() for item in itertools.islice(inputs, MAX_RESULT_INPUTS)],
        files=files,
        size_bytes=size_bytes,
        changed=changed,
    )
    if is_folder(ref.registry):
        result["host"] = host()
    if path is not None:
        result["path"] = path
    return result


def check_stop(stop: threading.Event | None) -> None:
    """Give up if that was asked for.

    Raises:
        Cancelled: It was.
    """
    if stop is not None and stop.is_set():
        raise Cancelled("stopped on request")
