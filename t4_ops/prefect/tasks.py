"""Prefect tasks: build, push, install and browse data packages.

Each is a `Task` like any other, with `.submit`, `.map`, `.with_options` and `.fn`, and the same in
sync and async flows. They take and return a step's result: a small dict with `uri`, `registry`,
`name`, `top_hash`, `inputs`, `files`, `size_bytes` and `changed`. Data never pass through Prefect.

Nothing is cached: these steps move pointers and fill folders, and a repeat finds its work done.
What may succeed later, a storage that does not answer, is tried three times in all.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ParamSpec, TypeVar

from prefect import Task, task
from prefect.cache_policies import NO_CACHE

from t4_ops import operations
from t4_ops.keys import RegistryLike
from t4_ops.operations import (
    NOW,
    ColumnLineageLike,
    Expected,
    InputLike,
    InstallResult,
    PackageLike,
    Sources,
    StepResult,
)
from t4_ops.prefect._names import RunNamer
from t4_ops.prefect._runs import finished, is_retryable, retry_delays_s, run_info
from t4_ops.settings import Settings, load_settings

_P = ParamSpec("_P")
_R = TypeVar("_R")


def _step(verb: str) -> Callable[[Callable[_P, _R]], Task[_P, _R]]:
    return task(
        # Its type asks for a class method of Prefect's own protocol, which no function has either.
        task_run_name=RunNamer(verb),  # type: ignore[arg-type]
        retries=2,
        retry_delay_seconds=retry_delays_s,
        retry_condition_fn=is_retryable,
        persist_result=False,
        # Named too, so that a user who persists results does not get them cached with it.
        cache_policy=NO_CACHE,
    )


def _settings() -> Settings:
    """Return the user's settings without a progress bar, which would tear up the run's log."""
    return load_settings(progress=False)


@_step("build")
def build_package(
    name: str,
    source: Sources,
    *,
    registry: RegistryLike | None = None,
    meta: Mapping[str, Any] | None = None,
    message: str | None = None,
    inputs: InputLike | Iterable[InputLike] | None = None,
    column_lineage: ColumnLineageLike | None = None,
    expected: Expected = NOW,
) -> StepResult:
    """Make a revision from files.

    Args:
        name: Package name.
        source: A folder, `s3://` prefix, file or object; or a mapping of logical keys to such.
        registry: Where; None is the default registry.
        meta: Metadata of the package.
        message: What changed; part of the top hash.
        inputs: What the files were made from: results of earlier steps, package URIs, or
            `{"namespace": ..., "name": ...}` of OpenLineage. The sources are noted too.
        column_lineage: What the columns of the package's table were made from: column to one or
            several `(input, column)` pairs, such as `{"total": [(installed, "amount")]}`.
        expected: Top hash that `latest` must hold; None for no such package. Unless given, what it
            holds when the step begins.

    Raises:
        InvalidInputError: An argument breaks a rule; nothing was written.
        NotFoundError: A source is not there.
        ConflictError: Somebody moved `latest` meanwhile.
    """
    result = operations.build(
        name,
        source,
        registry=registry,
        meta=meta,
        message=message,
        inputs=inputs,
        column_lineage=column_lineage,
        expected=expected,
        run=run_info(),
        settings=_settings(),
    )
    return finished("built", result)


@_step("push")
def push_package(
    package: PackageLike,
    *,
    registry: RegistryLike | None = None,
    name: str | None = None,
    message: str | None = None,
    dest: str | None = None,
    force: bool = False,
    expected: Expected = NOW,
    inputs: InputLike | Iterable[InputLike] | None = None,
    column_lineage: ColumnLineageLike | None = None,
) -> StepResult:
    """Bring a revision with all its objects into a registry.

    Args:
        package: The revision: a step's result, a `PackageRef`, a package URI, or `ns/name[@hash]`
            in the default registry.
        registry: Where to; None is the default registry.
        name: Its name there; None keeps it.
        message: What changed; None keeps the package's own, and with it the top hash.
        dest: Folder or prefix inside the registry for new objects; None: the usual places.
        force: Replace whatever `latest` holds.
        expected: What `latest` must hold otherwise; see `build_package`.
        inputs: What it was made from, besides what the given step's result says.
        column_lineage: What the columns of its table were made from, as for the build.

    Raises:
        NotFoundError: There is no such revision, or one of its objects is gone.
        ConflictError: `latest` is not what is expected.
        IntegrityError: An object is not what the revision promises.
    """
    result = operations.push(
        package,
        registry=registry,
        name=name,
        message=message,
        dest=dest,
        force=force,
        expected=expected,
        inputs=inputs,
        column_lineage=column_lineage,
        run=run_info(),
        settings=_settings(),
    )
    return finished("pushed", result)


@_step("install")
def install_package(
    package: PackageLike,
    *,
    dest: str | os.PathLike[str] | None = None,
    path: str | None = None,
    registry: RegistryLike | None = None,
) -> InstallResult:
    """Bring a revision's files into a folder, every byte verified.

    Args:
        package: The revision: a step's result, a `PackageRef`, a package URI, or `ns/name[@hash]`.
        dest: Folder; None is `<install_dir>/<ns>/<name>`.
        path: Only this file, or what lies below this directory.
        registry: Where `ns/name` is; None is the default registry.

    Returns:
        A step's result, and `dest`: the folder's absolute path on the machine that ran the task.

    Raises:
        NotFoundError: There is no such revision or path, or an object is gone.
        IntegrityError: An object is not what the revision promises.
    """
    result = operations.install(
        package, dest=dest, path=path, registry=registry, run=run_info(), settings=_settings()
    )
    return finished("installed", result)


@_step("browse")
def browse_package(package: PackageLike, *, registry: RegistryLike | None = None) -> StepResult:
    """Pin a revision and prove its manifest, without its files.

    Args:
        package: A package URI, `ns/name[@hash]`, a step's result or a `PackageRef`.
        registry: Where `ns/name` is; None is the default registry.

    Raises:
        NotFoundError: There is no such revision.
        IntegrityError: The stored manifest is not the one of its hash.
    """
    result = operations.browse(package, registry=registry, run=run_info(), settings=_settings())
    return finished("browsed", result)
