"""The tasks that move `latest`: build, push, roll back, promote, delete."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from t4_ops import operations
from t4_ops.keys import NOW, PackageRef
from t4_ops.prefect._finishing import built, deleted, pushed
from t4_ops.prefect._moves import Publishing, undo_of_rollback
from t4_ops.prefect._reach import Where, reach, url_of
from t4_ops.prefect._runs import run_info
from t4_ops.prefect._step import step
from t4_ops.prefect.revisions import Revision, plain

if TYPE_CHECKING:
    from t4_ops.operations import (
        ColumnLineageLike,
        Expected,
        InputLike,
        PackageLike,
        PointerResult,
        SelectorLike,
        Sources,
    )


@step("build")
def build_package(
    name: str,
    source: Sources,
    *,
    registry: Where = None,
    meta: Mapping[str, Any] | None = None,
    message: str | None = None,
    inputs: InputLike | Iterable[InputLike] | None = None,
    column_lineage: ColumnLineageLike | None = None,
    expected: Expected = NOW,
    retry_conflicts: int = 0,
) -> Revision:
    """Make a revision from files.

    Args:
        name: Package name.
        source: A folder, `s3://` prefix, file or object, or a package; a list of such; or a mapping
            of logical keys to such.
        registry: Where; None is the default registry.
        meta: Metadata of the package.
        message: What changed; part of the top hash.
        inputs: What the files were made from: results of earlier steps, package URIs, or
            `{"namespace": ..., "name": ...}` of OpenLineage. The sources are noted too.
        column_lineage: What the columns of the package's table were made from: column to one or
            several `(input, column)` pairs, such as `{"total": [(installed, "amount")]}`.
        expected: Top hash that `latest` must hold; None for no such package. Unless given, what it
            holds when the step begins.
        retry_conflicts: How often, when somebody else was faster, to apply this step's changes to
            what he published, and publish that.

    Raises:
        InvalidInputError: An argument breaks a rule; nothing was written.
        NotFoundError: A source is not there.
        ConflictError: Somebody moved `latest` meanwhile.
    """
    settings = reach(registry)
    publishing = Publishing(
        name, url_of(registry), settings, expected=expected, is_sure=retry_conflicts == 0
    )
    result = operations.build(
        name,
        plain(source),
        registry=url_of(registry),
        meta=meta,
        message=message,
        inputs=plain(inputs),
        column_lineage=column_lineage,
        expected=publishing.expected,
        retry_conflicts=retry_conflicts,
        run=run_info(),
        settings=settings,
    )
    return built(result, publishing.undo(result))


@step("push")
def push_package(
    package: PackageLike,
    *,
    registry: Where = None,
    name: str | None = None,
    message: str | None = None,
    dest: str | None = None,
    selector: SelectorLike | None = None,
    force: bool = False,
    expected: Expected = NOW,
    retry_conflicts: int = 0,
    inputs: InputLike | Iterable[InputLike] | None = None,
    column_lineage: ColumnLineageLike | None = None,
) -> Revision:
    """Bring a revision with all its objects into a registry.

    Args:
        package: The revision: a task's result, a `PackageRef`, a package URI, or `ns/name[@hash]`
            in the default registry.
        registry: Where to; None is the default registry.
        name: Its name there; None keeps it.
        message: What changed; None keeps the package's own, and with it the top hash.
        dest: Folder or prefix inside the registry for new objects; None: the usual places.
        selector: Bring only the objects of these: patterns as in a `.gitignore`, or a function of
            logical key and entry.
        force: Replace whatever `latest` holds.
        expected: What `latest` must hold otherwise; see `build_package`.
        retry_conflicts: As for the build; not with `force`.
        inputs: What it was made from, besides what the given step's result says.
        column_lineage: What the columns of its table were made from, as for the build.

    Raises:
        NotFoundError: There is no such revision, or one of its objects is gone.
        ConflictError: `latest` is not what is expected.
        IntegrityError: An object is not what the revision promises.
    """
    settings = reach(registry)
    source = operations.resolve(plain(package), settings=settings)
    is_sure = not force and retry_conflicts == 0
    publishing = Publishing(
        name or source.name, url_of(registry), settings, expected=expected, is_sure=is_sure
    )
    result = operations.push(
        _as_pinned(package, source),
        registry=url_of(registry),
        name=name,
        message=message,
        dest=dest,
        selector=selector,
        force=force,
        expected=publishing.expected,
        retry_conflicts=retry_conflicts,
        inputs=plain(inputs),
        column_lineage=column_lineage,
        run=run_info(),
        settings=settings,
    )
    is_news = publishing.has_moved(result) or getattr(package, "changed", False)
    return pushed("pushed", result, publishing.undo(result), settings, is_news=is_news)


@step("rollback")
def rollback_package(
    name: str,
    to: PackageLike,
    *,
    registry: Where = None,
    expected: Expected = NOW,
    force: bool = False,
) -> Revision:
    """Move `latest` back to an earlier revision of the same package; nothing is removed.

    Args:
        name: Package name.
        to: The revision: its top hash or the first digits of it, or any other form.
        registry: Where; None is that of `to`, or the default registry.
        expected: What `latest` must hold: give the top hash you want to get away from. Unless
            given, what it holds when the step begins.
        force: Move it whatever it holds.

    Raises:
        NotFoundError: It is no revision of this package, or its manifest is gone.
        ConflictError: `latest` holds something else than expected.
    """
    settings = reach(registry)
    result = operations.rollback(
        name,
        plain(to),
        registry=url_of(registry),
        expected=expected,
        force=force,
        settings=settings,
    )
    undo = undo_of_rollback(result, settings)
    return pushed("rolled back to", result, undo, settings, is_news=result["changed"])


@step("promote")
def promote_package(
    package: PackageLike,
    *,
    registry: Where = None,
    name: str | None = None,
    source_registry: Where = None,
    dest: str | None = None,
    force: bool = False,
    expected: Expected = NOW,
    inputs: InputLike | Iterable[InputLike] | None = None,
) -> Revision:
    """Bring a revision, unchanged, to another registry or name; its top hash stays what it is.

    Args:
        package: The revision, in any form.
        registry: Where to; None: the registry it is in.
        name: Its name there; None keeps it.
        source_registry: Where `ns/name` is; a block also says how to reach the revision's registry.
        dest: Folder or prefix inside the target for new objects; None: the usual places.
        force: Replace whatever `latest` holds there.
        expected: What `latest` must hold there otherwise.
        inputs: What it was made from, besides itself and what the given step's result says.

    Raises:
        InvalidInputError: It is to be promoted to where it is.
        NotFoundError: There is no such revision, or one of its objects is gone.
        ConflictError: `latest` is not what is expected.
        IntegrityError: An object is not what the revision promises.
    """
    settings = reach(registry, source_registry)
    source = operations.resolve(plain(package), url_of(source_registry), settings=settings)
    target = url_of(registry) or source.registry
    publishing = Publishing(
        name or source.name, target, settings, expected=expected, is_sure=not force
    )
    result = operations.promote(
        _as_pinned(package, source),
        registry=target,
        name=name,
        dest=dest,
        force=force,
        expected=publishing.expected,
        inputs=plain(inputs),
        run=run_info(),
        settings=settings,
    )
    is_news = publishing.has_moved(result)
    return pushed("promoted", result, publishing.undo(result), settings, is_news=is_news)


@step("delete")
def delete_revision(package: PackageLike, *, registry: Where = None) -> PointerResult:
    """Take a revision away from its package: its pointers go, manifest and objects stay.

    It is not undone by a transaction that fails: put it at the end of one.

    Args:
        package: The revision, its hash told.
        registry: Where `ns/name` is; None is the default registry.

    Raises:
        InvalidInputError: No hash is given: `latest` may be another one at the next try.
        NotFoundError: No revision begins with the hash that is given.
    """
    result = operations.delete_revision(
        plain(package), registry=url_of(registry), settings=reach(registry)
    )
    deleted(result)
    return result


def _as_pinned(package: PackageLike, source: PackageRef) -> PackageLike:
    """Return what a step was given, pinned: a result with its inputs, else the plain reference."""
    given = plain(package)
    return given if isinstance(given, dict) else source
