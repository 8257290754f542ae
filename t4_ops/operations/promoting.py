"""The same revision in another registry or under another name."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping

from t4_ops.errors import IntegrityError, InvalidInputError
from t4_ops.keys import RegistryLike, normalize_registry
from t4_ops.ledger import InputLike, RunInfo
from t4_ops.operations.results import PackageLike, StepResult, as_given, pinned
from t4_ops.operations.steps import push
from t4_ops.package import NOW, Expected
from t4_ops.settings import Settings, load_settings


def promote(
    package: PackageLike,
    *,
    registry: RegistryLike | None = None,
    name: str | None = None,
    source_registry: RegistryLike | None = None,
    dest: str | None = None,
    force: bool = False,
    expected: Expected = NOW,
    inputs: InputLike | Iterable[InputLike] | None = None,
    run: RunInfo | None = None,
    settings: Settings | None = None,
    stop: threading.Event | None = None,
) -> StepResult:
    """Bring a revision, unchanged, to another registry or name; its top hash stays what it is.

    Buckets that the same server holds copy among themselves; what the target has is not sent. The
    objects are whole there before `latest` moves, and lineage names the revision it came from.

    Args:
        package: The revision: a step's result, a package URI, or `ns/name[@hash]`.
        registry: Where to; None: the registry it is in.
        name: Its name there; None keeps it.
        source_registry: Where `ns/name` is; None is the default registry.
        dest: Folder or prefix inside the target for new objects; None: the usual places.
        force: Replace whatever `latest` holds there.
        expected: What `latest` must hold there otherwise.
        inputs: What it was made from, besides itself and what the given step's result says.
        run: The run to record, unless a `lineage.run` is open; None is the current one.
        settings: Settings; None loads the user's.
        stop: Set from another thread to give up.

    Raises:
        InvalidInputError: It is to be promoted to where it is.
        NotFoundError: There is no such revision, or one of its objects is gone.
        ConflictError: `latest` is not what is expected.
        IntegrityError: An object is not what the revision promises.
    """
    settings = settings or load_settings()
    source = pinned(package, settings, source_registry)
    target = normalize_registry(registry or source.registry)
    if (target, name or source.name) == (source.registry, source.name):
        raise InvalidInputError(
            f"{source.uri} would be promoted to itself: give another registry or name; to make an"
            " older revision the latest again, roll back",
            key=source.uri,
        )
    given = as_given(package)
    result = push(
        given if isinstance(given, Mapping) else source,
        registry=target,
        name=name,
        dest=dest,
        force=force,
        expected=expected,
        inputs=inputs,
        run=run,
        settings=settings,
        stop=stop,
    )
    if result["top_hash"] != source.top_hash:
        raise IntegrityError(
            f"{source.uri} became {result['uri']}: that is another revision; roll back",
            key=source.uri,
            expected=source.top_hash,
            actual=result["top_hash"],
        )
    return result
