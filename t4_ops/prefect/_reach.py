"""Where a task works and with which settings: registries as texts or as blocks."""

from __future__ import annotations

from typing import Protocol, TypeAlias, runtime_checkable

from t4_ops.keys import RegistryLike
from t4_ops.settings import Settings, load_settings


@runtime_checkable
class RegistryBlock(Protocol):
    """What the tasks ask of a `T4Registry`; its module is slow to import, so they don't name it."""

    url: str

    @property
    def endpoint(self) -> str | None:
        """The S3 server it leads to; None: Amazon's, or the one of the user's settings."""

    def extend(self, settings: Settings) -> Settings:
        """Return settings that also know how to reach this registry."""


Where: TypeAlias = RegistryLike | RegistryBlock | None
"""`s3://bucket`, a folder, a `T4Registry` block, or None for the default registry."""


def reach(*registries: Where) -> Settings:
    """Return the user's settings, and how to reach the registries that are blocks.

    Without a progress bar, which would tear up the run's log.

    Raises:
        InvalidInputError: A block's credentials ask for what we don't do.
    """
    settings = load_settings(progress=False)
    for registry in registries:
        if isinstance(registry, RegistryBlock):
            settings = registry.extend(settings)
    return settings


def url_of(registry: Where) -> RegistryLike | None:
    """Return what names a registry to the steps."""
    return registry.url if isinstance(registry, RegistryBlock) else registry
