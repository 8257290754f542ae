"""What a revision brought, beside the one before it."""

from __future__ import annotations

from t4_ops.keys import RegistryLike
from t4_ops.operations.diffing import MAX_KEYS, DiffResult, diff, revision_before
from t4_ops.operations.looking import Part
from t4_ops.operations.results import PackageLike, pinned
from t4_ops.settings import Settings, load_settings


def changes(
    package: PackageLike,
    *,
    registry: RegistryLike | None = None,
    max_keys: int = MAX_KEYS,
    settings: Settings | None = None,
) -> DiffResult:
    """Return what changed from the revision before to this one; of the first one all is added.

    Args:
        package: The revision: a step's result, a package URI, or `ns/name[@hash]`.
        registry: Where `ns/name` is; None is the default registry.
        max_keys: Most keys of each kind to name.
        settings: Settings; None loads the user's.

    Raises:
        NotFoundError: There is no such revision.
        IntegrityError: A stored manifest is not the one of its hash.
    """
    settings = settings or load_settings()
    ref = pinned(package, settings, registry)
    before = revision_before(ref, settings=settings)
    if before is not None:
        return diff(before, ref, max_keys=max_keys, settings=settings)
    part = Part(ref, settings)
    files, size_bytes = part.totals()
    keys = part.keys(max_keys)
    return DiffResult(
        old="",
        new=ref.uri,
        added=files,
        modified=0,
        deleted=0,
        added_keys=keys,
        modified_keys=[],
        deleted_keys=[],
        old_files=0,
        new_files=files,
        old_bytes=0,
        new_bytes=size_bytes,
        meta_changed=False,
        truncated=files > len(keys),
        changed=True,
    )
