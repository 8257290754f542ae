"""The tasks that read: install, browse, diff, verify, wait."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

from t4_ops import operations
from t4_ops.prefect import events
from t4_ops.prefect._finishing import log, was_read
from t4_ops.prefect._reach import Where, reach, url_of
from t4_ops.prefect._runs import run_info
from t4_ops.prefect._step import PureTask, step
from t4_ops.prefect.artifacts import show_diff
from t4_ops.prefect.revisions import Revision, plain

if TYPE_CHECKING:
    from t4_ops.operations import DiffResult, ExpectationsLike, PackageLike, SelectorLike


@step("install")
def install_package(
    package: PackageLike,
    *,
    dest: str | os.PathLike[str] | None = None,
    path: str | None = None,
    expectations: ExpectationsLike | None = None,
    registry: Where = None,
) -> Revision:
    """Bring a revision's files into a folder, every byte verified.

    Args:
        package: The revision: a task's result, a `PackageRef`, a package URI, or `ns/name[@hash]`.
        dest: Folder; None is `<install_dir>/<ns>/<name>`.
        path: Only this file, or what lies below this directory.
        expectations: What must be so before anything is written, such as
            `{"has": ["data.csv"], "min_files": 1}`.
        registry: Where `ns/name` is; None is the default registry.

    Returns:
        The revision, its `dest` the folder's absolute path on the machine that ran the task.

    Raises:
        NotFoundError: There is no such revision or path, or an object is gone.
        ExpectationError: Something expected is not so; nothing was written.
        IntegrityError: An object is not what the revision promises.
    """
    result = operations.install(
        plain(package),
        dest=dest,
        path=path,
        expectations=expectations,
        registry=url_of(registry),
        run=run_info(),
        settings=reach(registry),
    )
    return was_read("installed", result, events.INSTALLED if result["changed"] else None)


@step("browse")
def browse_package(
    package: PackageLike,
    *,
    path: str | None = None,
    selector: SelectorLike | None = None,
    expectations: ExpectationsLike | None = None,
    max_keys: int | None = None,
    registry: Where = None,
) -> Revision:
    """Pin a revision, prove its manifest, and look at what it holds, without its files.

    Args:
        package: A package URI, `ns/name[@hash]`, a task's result or a `PackageRef`.
        path: Look only at this file, or below this directory.
        selector: Look only at these: patterns as in a `.gitignore`, or a function of logical key
            and entry.
        expectations: What must be so of what is looked at.
        max_keys: How many logical keys to return in `details["keys"]`; None: none.
        registry: Where `ns/name` is; None is the default registry.

    Raises:
        NotFoundError: There is no such revision, or nothing at `path`.
        ExpectationError: Something expected is not so.
        IntegrityError: The stored manifest is not the one of its hash.
    """
    result = operations.browse(
        plain(package),
        path=path,
        selector=selector,
        expectations=expectations,
        max_keys=max_keys,
        registry=url_of(registry),
        run=run_info(),
        settings=reach(registry),
    )
    return was_read("browsed", result)


@step("diff", PureTask)
def diff_packages(
    one: PackageLike, other: PackageLike, *, registry: Where = None, max_keys: int = 100
) -> DiffResult:
    """Return what changed from one revision to another, and show it as an artifact of the run.

    Args:
        one: The old revision, in any form; of the same package or not.
        other: The new one.
        registry: Where `ns/name` is; None is the default registry.
        max_keys: Most keys of each kind to name.

    Returns:
        Counts of `added`, `modified` and `deleted` entries, the first of their keys, and `changed`.

    Raises:
        NotFoundError: There is no such revision.
        IntegrityError: A stored manifest is not the one of its hash.
    """
    result = operations.diff(
        plain(one),
        plain(other),
        registry=url_of(registry),
        max_keys=max_keys,
        settings=reach(registry),
    )
    counts = (result["added"], result["modified"], result["deleted"])
    log(
        "compared %s with %s: %d added, %d modified, %d deleted",
        result["old"],
        result["new"],
        *counts,
    )
    show_diff(result)
    return result


@step("verify", PureTask)
def verify_package(
    package: PackageLike,
    *,
    dest: str | os.PathLike[str] | None = None,
    path: str | None = None,
    extra_files_ok: bool = False,
    fail: bool = True,
    registry: Where = None,
) -> Revision:
    """Prove a revision: its manifest, and the bytes of every object, or of every installed file.

    Args:
        package: The revision, in any form.
        dest: A folder it was installed in; None: its objects, wherever its manifest says they are.
        path: Only this file, or what lies below this directory.
        extra_files_ok: Whether the folder may hold other files too.
        fail: Whether to raise an error; else `details` say what is wrong: `ok`, `bad`, `bad_keys`.
        registry: Where `ns/name` is; None is the default registry.

    Raises:
        NotFoundError: There is no such revision, path or folder.
        IntegrityError: Something is not as promised; the message lists it.
    """
    result = operations.verify(
        plain(package),
        dest=dest,
        path=path,
        extra_files_ok=extra_files_ok,
        fail=fail,
        registry=url_of(registry),
        run=run_info(),
        settings=reach(registry),
    )
    # Who waits for the event goes by the whole revision.
    is_whole = result["ok"] and "path" not in result
    return was_read("verified", result, events.VERIFIED if is_whole else None)


@step("wait")
def wait_for_revision(
    name: str,
    *,
    registry: Where = None,
    moved_since: str | None = None,
    equals: str | None = None,
    contains: str | Iterable[str] = (),
    timeout_s: float | None = 3600.0,
    poll_s: float = 30.0,
) -> Revision:
    """Wait until a package is there, and what else is given is so; return the revision, pinned.

    Args:
        name: Package name.
        registry: Where; None is the default registry.
        moved_since: A top hash that `latest` must have left.
        equals: The top hash `latest` must hold, or the first digits of it.
        contains: Logical keys that it must have; directories end in `/`, patterns are those of a
            `.gitignore`.
        timeout_s: Seconds to wait; None: for ever.
        poll_s: Seconds between two looks.

    Raises:
        WaitTimeoutError: It was not so in time; also a `TimeoutError`.
    """
    place = url_of(registry)
    condition = operations.Condition(
        name=name,
        registry=None if place is None else os.fspath(place),
        moved_since=moved_since,
        equals=equals,
        contains=(contains,) if isinstance(contains, str) else tuple(contains),
    )
    result = operations.wait_for(
        condition, timeout_s=timeout_s, poll_s=poll_s, settings=reach(registry)
    )
    return was_read("found", result)
