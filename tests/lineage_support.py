"""What the tests of questions share: revisions that are published, not only recorded."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from t4_ops.keys import DEFAULT_LIMITS, PackageRef
from t4_ops.ledger import Input, Output, RunInfo, record
from t4_ops.registry import ANYTHING, Registry
from t4_ops.settings import Settings
from t4_ops.storage import open_store
from tests.ledger_support import revision


def registry_of(url: str | Path) -> Registry:
    return Registry(open_store(str(url), Settings()), DEFAULT_LIMITS)


def point(ref: PackageRef) -> bool:
    """Make a revision the latest of its package; return whether it was not before."""
    pointers = registry_of(ref.registry).pointers
    return pointers.publish(ref.name, ref.top_hash, expected=ANYTHING).changed


def publish(
    registry: str | Path,
    name: str,
    content: str = "",
    inputs: Iterable[PackageRef | Input] = (),
    *,
    job: str = "script",
) -> PackageRef:
    """Publish a revision as a step does: the pointer moves, then the run is recorded."""
    ref = revision(registry, name, content)
    is_new = point(ref)
    record(
        RunInfo.here(job),
        [item if isinstance(item, Input) else Input.of_ref(item) for item in inputs],
        [Output(ref, files=2, size_bytes=1_500_000, changed=is_new, message=f"{name} {content}")],
        settings=Settings(),
        open_store=open_store,
    )
    return ref
