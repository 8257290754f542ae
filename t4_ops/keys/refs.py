"""Pinned references to revisions: what steps hand to each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from t4_ops.errors import InvalidInputError
from t4_ops.keys.identity import asset_uri, normalize_registry
from t4_ops.keys.names import validate_name, validate_top_hash
from t4_ops.keys.uri import PackageUri


@dataclass(frozen=True)
class PackageRef:
    """One revision, pinned: what steps hand to each other instead of data.

    Not slotted: Prefect tracks results by weak reference.

    Attributes:
        registry: Normalised registry.
        name: Package name.
        top_hash: Full top hash.
    """

    registry: str
    name: str
    top_hash: str

    # Prefect makes a flow's parameters by pydantic, which would refuse a step's result for what it
    # says besides.
    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "ignore"}

    def __post_init__(self) -> None:
        """Check and normalise, so that a ref that exists is a ref that can be used."""
        object.__setattr__(self, "registry", normalize_registry(self.registry))
        validate_name(self.name)
        validate_top_hash(self.top_hash)

    @property
    def uri(self) -> str:
        """The package URI with the full top hash."""
        return str(PackageUri(self.registry, self.name, top_hash=self.top_hash))

    @property
    def identity(self) -> str:
        """The package's asset URI, without the top hash."""
        return asset_uri(self.registry, self.name)

    def to_dict(self) -> dict[str, str]:
        """Return the ref as JSON scalars: registry, name, top_hash, uri."""
        return {
            "uri": self.uri,
            "registry": self.registry,
            "name": self.name,
            "top_hash": self.top_hash,
        }

    @classmethod
    def from_dict(cls, value: Mapping[str, object]) -> PackageRef:
        """Read a step's result or any mapping with registry, name and top_hash.

        Raises:
            InvalidInputError: One of them is missing or wrong.
        """
        missing = [field for field in ("registry", "name", "top_hash") if not value.get(field)]
        if missing:
            raise InvalidInputError(
                f"no package reference: {', '.join(missing)} missing in {sorted(map(str, value))}"
            )
        return cls(str(value["registry"]), str(value["name"]), str(value["top_hash"]))
