"""t4_ops: data packages for workflow orchestrators.

import t4_ops as t4

package = t4.Package().set_dir("data", "./observations")
top_hash = package.build("weather/raw", message="first")
t4.Package.install("weather/raw", top_hash=top_hash, dest="./copy")
"""

from t4_ops.bucket import Bucket, copy
from t4_ops.errors import (
    ConflictError,
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
    "config",
    "copy",
    "delete_package",
    "list_package_versions",
    "list_packages",
    "load_settings",
    "resolve",
]
