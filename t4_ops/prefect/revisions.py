"""What the tasks return: a pinned revision, and what the step did."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final

from t4_ops.keys import PackageRef

_URI: Final = "uri"


@dataclass(frozen=True, eq=False)
class Revision(PackageRef):
    """A `PackageRef` that also tells what the step that returned it did.

    It equals any `PackageRef` of the same revision. It can be pickled, and Prefect's JSON
    serializer keeps it. Every step returns a new one, down to its texts: Prefect tells by the
    identity of a result, and of its fields, which task a later argument came from.

    Attributes:
        registry: Normalised registry.
        name: Package name.
        top_hash: Full top hash.
        inputs: What it was made from, as the next step's lineage wants it.
        files: Number of entries.
        size_bytes: Their size.
        changed: False if the step found its work done.
        dest: The folder that was filled or verified, on the machine that did it; else empty.
        details: What else the step's result says, such as `keys`, `previous` or `host`.
    """

    inputs: list[dict[str, str]] = field(default_factory=list)
    files: int = 0
    size_bytes: int = 0
    changed: bool = False
    dest: str = ""
    details: dict[str, Any] = field(default_factory=dict)

    def __eq__(self, other: object) -> bool:
        """Compare as references: what a step did does not make another revision."""
        if not isinstance(other, PackageRef):
            return NotImplemented
        return _key(self) == _key(other)

    def __hash__(self) -> int:
        """Hash as the plain reference does."""
        return hash(_key(self))

    @classmethod
    def of(cls, result: Mapping[str, Any]) -> Revision:
        """Return the revision of a step's result, sharing no object with it."""
        values: dict[str, Any] = json.loads(json.dumps(dict(result)))
        values.pop(_URI, None)
        known = {name: values.pop(name) for name in _FIELDS if name in values}
        known["dest"] = known.get("dest") or ""
        return cls(**known, details=values)

    def to_dict(self) -> dict[str, Any]:
        """Return the step's result: JSON scalars and lists."""
        told = {name: getattr(self, name) for name in _FIELDS}
        if not self.dest:
            del told["dest"]
        return {_URI: self.uri, **told, **self.details}


_FIELDS: Final = tuple(item.name for item in fields(Revision) if item.name != "details")


def _key(ref: PackageRef) -> tuple[str, str, str]:
    return ref.registry, ref.name, ref.top_hash


def plain(value: Any) -> Any:
    """Return what a task was given as the steps take it: revisions as the results they stand for.

    A step reads the inputs, the folder and the machine of an earlier one from its result.
    """
    if isinstance(value, Revision):
        return value.to_dict()
    if type(value) in (list, tuple, set):
        return [plain(item) for item in value]
    if type(value) is dict:
        return {key: plain(item) for key, item in value.items()}
    return value
