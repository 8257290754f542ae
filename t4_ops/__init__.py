"""t4_ops: data packages for workflow orchestrators.

import t4_ops as t4

package = t4.Package().set_dir("data", "./observations")
top_hash = package.build("weather/raw", message="first")
t4.Package.install("weather/raw", top_hash=top_hash, dest="./copy")
"""

from __future__ import annotations

from importlib import import_module

# Type checkers take it for true; `typing` itself would be most of what this import costs.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from t4_ops.bucket import Bucket, copy
    from t4_ops.errors import (
        ConflictError,
        ExpectationError,
        FormatError,
        IntegrityError,
        InvalidInputError,
        NotFoundError,
        StorageError,
        T4Error,
    )
    from t4_ops.keys import Limits, PackageRef, PackageUri, PhysicalKey
    from t4_ops.manifest import Diff, Entry
    from t4_ops.operations import resolve
    from t4_ops.package import (
        Package,
        PackageEntry,
        clean,
        delete_package,
        list_package_versions,
        list_packages,
    )
    from t4_ops.settings import S3Settings, Settings, config, load_settings

__version__ = "0.1.0"

__all__ = [
    "Bucket",
    "ConflictError",
    "Diff",
    "Entry",
    "ExpectationError",
    "FormatError",
    "IntegrityError",
    "InvalidInputError",
    "Limits",
    "NotFoundError",
    "Package",
    "PackageEntry",
    "PackageRef",
    "PackageUri",
    "PhysicalKey",
    "S3Settings",
    "Settings",
    "StorageError",
    "T4Error",
    "clean",
    "config",
    "copy",
    "delete_package",
    "list_package_versions",
    "list_packages",
    "load_settings",
    "resolve",
]

# Where each name is. It is loaded when it is first asked for: an orchestrator imports this module
# with every file it parses, and most of those files only name a package.
_HOMES = {
    "Bucket": "t4_ops.bucket",
    "ConflictError": "t4_ops.errors",
    "Diff": "t4_ops.manifest",
    "Entry": "t4_ops.manifest",
    "ExpectationError": "t4_ops.errors",
    "FormatError": "t4_ops.errors",
    "IntegrityError": "t4_ops.errors",
    "InvalidInputError": "t4_ops.errors",
    "Limits": "t4_ops.keys",
    "NotFoundError": "t4_ops.errors",
    "Package": "t4_ops.package",
    "PackageEntry": "t4_ops.package",
    "PackageRef": "t4_ops.keys",
    "PackageUri": "t4_ops.keys",
    "PhysicalKey": "t4_ops.keys",
    "S3Settings": "t4_ops.settings",
    "Settings": "t4_ops.settings",
    "StorageError": "t4_ops.errors",
    "T4Error": "t4_ops.errors",
    "clean": "t4_ops.package",
    "config": "t4_ops.settings",
    "copy": "t4_ops.bucket",
    "delete_package": "t4_ops.package",
    "list_package_versions": "t4_ops.package",
    "list_packages": "t4_ops.package",
    "load_settings": "t4_ops.settings",
    "resolve": "t4_ops.operations",
}
_MODULES = ("errors", "formats", "keys", "ledger", "lineage", "manifest", "operations", "settings")


def __getattr__(name: str) -> Any:
    """Load a public name, or a module below this one, when it is first used."""
    if name in _HOMES:
        value = getattr(import_module(_HOMES[name]), name)
    elif name in _MODULES:
        value = import_module(f"{__name__}.{name}")
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Return the public names, loaded or not."""
    return sorted({*globals(), *_HOMES, *_MODULES})
