"""Opening a registry by what a user gives for one."""

from __future__ import annotations

from t4_ops.keys import RegistryLike, normalize_registry
from t4_ops.registry import Registry
from t4_ops.settings import Settings
from t4_ops.storage import open_store


def open_registry(registry: RegistryLike | None, settings: Settings) -> Registry:
    """Return a registry; None is the default one."""
    url = normalize_registry(registry or settings.registry)
    return Registry(open_store(url, settings), settings.limits)
