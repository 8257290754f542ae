"""Artifacts: what a revision holds and changed, how far a transfer is, and its lineage as a chart.

They are for people: one that can't be made is told in the log and fails nothing. Outside of a run
none is made.
"""

from __future__ import annotations

import hashlib
import logging
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from prefect.context import FlowRunContext, TaskRunContext

from t4_ops import operations
from t4_ops.keys import PackageRef, PackageUri, asset_uri
from t4_ops.prefect._reach import Where, reach, url_of
from t4_ops.prefect.revisions import plain
from t4_ops.settings import Settings

if TYPE_CHECKING:
    from t4_ops.operations import DiffResult, PackageLike

MAX_ROWS: Final = 500
"""Most keys in a table: Prefect's page shows all rows at once."""
MAX_COMPARED_FILES: Final = 10_000
"""Of larger revisions a push shows totals only: to compare them takes both manifests."""
MAX_EDGES: Final = 400
"""Most edges of a chart; Mermaid refuses more than 500 unless it is told otherwise."""
_PROGRESS_EVERY_S: Final = 5.0
_SLUG_CHARS: Final = 40
_CHANGES: Final = ("added", "modified", "deleted")
_log = logging.getLogger("t4_ops.prefect")


def artifact_key(kind: str, registry: str, name: str) -> str:
    """Return the key under which Prefect keeps the versions of an artifact.

    Keys are lower case letters, digits and dashes, so two packages may look alike in them: the
    digest of the package's identity tells them apart.

    Args:
        kind: What it shows.
        registry: Where the package is.
        name: The package.
    """
    digest = hashlib.sha256(asset_uri(registry, name).encode()).hexdigest()[:10]
    slug = re.sub("[^a-z0-9]+", "-", name.lower()).strip("-")[:_SLUG_CHARS]
    return f"t4-{kind}-{slug}-{digest}"


def show_revision(
    result: Mapping[str, Any], before: str | None = None, *, settings: Settings | None = None
) -> UUID | None:
    """Show a table of a revision: its size, and what changed from the one before.

    Args:
        result: The step's result.
        before: Top hash of the one before; None: there is none.
        settings: How to reach the registry.

    Returns:
        The artifact's id; None: none was made.
    """
    if not _is_in_run():
        return None
    ref = PackageRef(result["registry"], result["name"], result["top_hash"])

    def make() -> UUID:
        diff = None
        if before not in (None, ref.top_hash) and result["files"] <= MAX_COMPARED_FILES:
            old = PackageRef(ref.registry, ref.name, str(before))
            diff = operations.diff(old, ref, max_keys=MAX_ROWS, settings=settings)
        rows = [
            {"what": "revision", "value": ref.uri},
            {"what": "files", "value": f"{result['files']:,}"},
            {"what": "bytes", "value": f"{result['size_bytes']:,}"},
            *([] if diff is None else _rows(diff)),
        ]
        return _table(rows, artifact_key("revision", ref.registry, ref.name), ref.uri)

    return _made(make, ref.uri)


def show_diff(diff: DiffResult) -> UUID | None:
    """Show a table of what changed from one revision to another.

    Args:
        diff: What `diff_packages` returned.

    Returns:
        The artifact's id; None: none was made.
    """
    if not _is_in_run():
        return None
    new = PackageUri.parse(diff["new"])
    rows = [{"what": "from", "value": diff["old"]}, {"what": "to", "value": diff["new"]}]
    key = artifact_key("diff", new.registry, new.name)
    return _made(lambda: _table([*rows, *_rows(diff)], key, diff["new"]), diff["new"])


def show_lineage(
    package: PackageLike, *, registry: Where = None, depth: int | None = 3
) -> UUID | None:
    """Show what a revision was made from, and what was made from it, as a Mermaid chart.

    Args:
        package: The revision, in any form.
        registry: Where `ns/name` is; None is the default registry.
        depth: Most runs between it and the ends of the chart; None: all.

    Returns:
        The artifact's id; None: none was made.

    Raises:
        NotFoundError: There is no such revision.
    """
    settings = reach(registry)
    ref = operations.resolve(plain(package), url_of(registry), settings=settings)
    if not _is_in_run():
        return None

    def make() -> UUID:
        from prefect.artifacts import create_markdown_artifact

        from t4_ops import lineage

        graph = lineage.graph(ref, depth=depth, settings=settings)
        if len(graph.edges) > MAX_EDGES:
            text = f"```\n{lineage.tree(ref, depth=1, settings=settings)}\n```"
        else:
            text = f"```mermaid\n{lineage.mermaid(graph)}```"
        markdown = f"### Lineage of `{ref.name}@{ref.top_hash[:8]}`\n\n{text}\n\n`{ref.uri}`\n"
        key = artifact_key("lineage", ref.registry, ref.name)
        return _id(create_markdown_artifact(markdown, key=key, description=ref.uri, _sync=True))  # type: ignore[call-arg]

    return _made(make, ref.uri)


@contextmanager
def progress_shown() -> Iterator[None]:
    """Show how far the operations inside are, from the time on when they take longer than seconds.

    Nothing is shown outside of a run.
    """
    if not _is_in_run():
        yield
        return
    bar = _Bar()
    context = copy_context()

    def tell(what: str, done_bytes: int, total_bytes: int) -> None:
        # From a worker's thread, which knows nothing of the run.
        context.run(bar.tell, what, done_bytes, total_bytes)

    with operations.watch_progress(tell, _PROGRESS_EVERY_S):
        yield


class _Bar:
    """The progress artifacts of one task run: one for each operation that takes long."""

    def __init__(self) -> None:
        self._ids: dict[str, UUID] = {}
        self._lock = threading.Lock()

    def tell(self, what: str, done_bytes: int, total_bytes: int) -> None:
        """Bring the artifact of an operation up to date; the first time make it."""
        from prefect.artifacts import create_progress_artifact, update_progress_artifact

        is_done = done_bytes >= total_bytes
        share = 100.0 if is_done else 100.0 * done_bytes / total_bytes
        text = f"{what}: {done_bytes:,} of {total_bytes:,} bytes"
        with self._lock:
            known = self._ids.get(what)
            if known is not None:
                update_progress_artifact(known, share, description=text, _sync=True)  # type: ignore[call-arg]
            elif not is_done:
                made = create_progress_artifact(share, description=text, _sync=True)  # type: ignore[call-arg]
                self._ids[what] = _id(made)


def _rows(diff: DiffResult) -> list[dict[str, str]]:
    """Return rows of totals, then of keys, as many as there may be."""
    rows = [{"what": change, "value": f"{_count(diff, change):,}"} for change in _CHANGES]
    keys = [
        {"what": change, "value": key}
        for change in _CHANGES
        for key in diff[f"{change}_keys"]  # type: ignore[literal-required]
    ]
    left = sum(_count(diff, change) for change in _CHANGES) - len(keys[:MAX_ROWS])
    more = [{"what": "more", "value": f"{left:,} further keys"}] if left else []
    return [*rows, *keys[:MAX_ROWS], *more]


def _count(diff: DiffResult, change: str) -> int:
    return int(diff[change])  # type: ignore[literal-required]


def _table(rows: list[dict[str, str]], key: str, description: str) -> UUID:
    from prefect.artifacts import create_table_artifact

    return _id(create_table_artifact(rows, key=key, description=description, _sync=True))  # type: ignore[call-arg]


def _made(make: Any, uri: str) -> UUID | None:
    try:
        made: UUID = make()
    except Exception as exc:  # noqa: BLE001 (for people to look at; the log has it)
        _log.warning("%s: no artifact was made: %s", uri, exc)
        return None
    return made


def _id(value: Any) -> UUID:
    return UUID(str(value))


def _is_in_run() -> bool:
    return FlowRunContext.get() is not None or TaskRunContext.get() is not None
