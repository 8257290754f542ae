"""The steps that publish: build and push.

One function each: plain arguments in, a small JSON-able result out, lineage recorded, no
orchestrator in sight. Steps are idempotent: the same inputs give the same top hash, and a step that
finds its work done says so.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from typing import Any

from t4_ops.keys import PackageRef, RegistryLike, normalize_registry
from t4_ops.ledger import ColumnLineageLike, Input, InputLike, RunInfo, internal
from t4_ops.operations.recording import published
from t4_ops.operations.results import (
    PackageLike,
    StepResult,
    as_given,
    carried_inputs,
    columns_of,
    inputs_of,
    pinned,
)
from t4_ops.operations.selecting import SelectorLike, selector_of
from t4_ops.operations.sources import Sources, add_sources
from t4_ops.package import NOW, Expected, Package, source_inputs
from t4_ops.registry import ANYTHING
from t4_ops.settings import Settings, load_settings


def build(
    name: str,
    source: Sources,
    *,
    registry: RegistryLike | None = None,
    meta: Mapping[str, Any] | None = None,
    message: str | None = None,
    inputs: InputLike | Iterable[InputLike] | None = None,
    column_lineage: ColumnLineageLike | None = None,
    expected: Expected = NOW,
    retry_conflicts: int = 0,
    run: RunInfo | None = None,
    settings: Settings | None = None,
    stop: threading.Event | None = None,
) -> StepResult:
    """Make a revision from files.

    Args:
        name: Package name.
        source: A folder, `s3://` prefix, file or object, or a package; or several of them, as a
            list, where no two may have the same file, or as a mapping of logical keys to such. A
            folder's, prefix's or package's files go below its key (`""` is the root).
        registry: Where; None is the default registry.
        meta: Metadata of the package.
        message: What changed; part of the top hash.
        inputs: What the files were made from: results of earlier steps, package URIs, or
            OpenLineage namespace and name. The sources themselves are noted too, and what the run
            has read.
        column_lineage: What the columns of the package's table were made from: column to one or
            several `(input, column)` pairs.
        expected: What `latest` must hold.
        retry_conflicts: How often, when somebody else was faster, to apply what this step changes
            in the expected revision to what he published, and publish that.
        run: The run to record, unless a `lineage.run` is open; None is the current one.
        settings: Settings; None loads the user's.
        stop: Set from another thread to give up.

    Raises:
        InvalidInputError: An argument breaks a rule; nothing was written.
        NotFoundError: A source is not there.
        ConflictError: Somebody moved `latest` meanwhile; with `retry_conflicts`: and changed the
            same key to something else, or was faster too often.
    """
    settings = settings or load_settings()
    made_from, given = columns_of(column_lineage), inputs_of(inputs)
    package = Package(settings=settings)
    with internal():
        packages = add_sources(package, source, settings)
    if meta is not None:
        package.set_meta(meta)
    known = list(dict.fromkeys([*given, *packages, *source_inputs(package.sources)]))
    columns = package.table_columns()
    with internal():
        publication = package.publish_build(
            name,
            registry,
            message,
            expected=expected,
            retry_conflicts=retry_conflicts,
            stop=stop,
        )
    url = normalize_registry(registry or settings.registry)
    ref = PackageRef(url, name, publication.published.top_hash)
    return published(ref, publication, known, run, settings, columns=columns, made_from=made_from)


def push(
    package: PackageLike,
    *,
    registry: RegistryLike | None = None,
    name: str | None = None,
    message: str | None = None,
    dest: str | None = None,
    force: bool = False,
    expected: Expected = NOW,
    retry_conflicts: int = 0,
    selector: SelectorLike | None = None,
    inputs: InputLike | Iterable[InputLike] | None = None,
    column_lineage: ColumnLineageLike | None = None,
    run: RunInfo | None = None,
    settings: Settings | None = None,
    stop: threading.Event | None = None,
) -> StepResult:
    """Bring a revision with all its objects into a registry.

    Args:
        package: The revision: a step's result, a package URI, or `ns/name[@hash]` in the default
            registry.
        registry: Where to; None is the default registry.
        name: Its name there; None keeps it.
        message: What changed; None keeps the package's own, and with it the top hash.
        dest: Folder or prefix inside the registry for new objects; None: the usual places.
        force: Replace whatever `latest` holds, and bring objects again that the registry lost.
        expected: What `latest` must hold otherwise.
        retry_conflicts: How often, when somebody else was faster, to apply what this step changes
            in the expected revision to what he published, and publish that; not with `force`.
        selector: Which entries to bring: patterns as in a `.gitignore`, or a function of logical
            key and entry. The others keep their places.
        inputs: What it was made from, besides what the given step's result says and what the run
            has read.
        column_lineage: What the columns of its table were made from, as `build` takes it.
        run: The run to record, unless a `lineage.run` is open; None is the current one.
        settings: Settings; None loads the user's.
        stop: Set from another thread to give up.

    Raises:
        NotFoundError: There is no such revision, or one of its objects is gone.
        ConflictError: `latest` is not what is expected; with `retry_conflicts`: and somebody
            changed the same key to something else, or was faster too often.
        IntegrityError: An object is not what the revision promises.
        InvalidInputError: An entry that is not selected can't stay where it is.
    """
    settings = settings or load_settings()
    selects = selector_of(selector)
    source = pinned(package, settings)
    target, name = normalize_registry(registry or settings.registry), name or source.name
    known = list(dict.fromkeys([*inputs_of(inputs), *inputs_carried(package)]))
    made_from = columns_of(column_lineage)
    with internal():
        revision = Package.browse(source.name, source.registry, source.top_hash, settings=settings)
        columns = revision.table_columns()
        publication = revision.publish_push(
            name,
            target,
            dest,
            message,
            selects,
            expected=ANYTHING if force else expected,
            retry_conflicts=retry_conflicts,
            stop=stop,
        )
    if source.identity != PackageRef(target, name, source.top_hash).identity:
        known.insert(0, Input.of_ref(source))
    ref = PackageRef(target, name, publication.published.top_hash)
    return published(ref, publication, known, run, settings, columns=columns, made_from=made_from)


def inputs_carried(package: PackageLike) -> tuple[Input, ...]:
    """Return the inputs in a step's result, so that they reach the push on any worker."""
    given = as_given(package)
    return carried_inputs(given.get("inputs")) if isinstance(given, Mapping) else ()
