"""The library: packages and their entries."""

from t4_ops.keys import NOW
from t4_ops.package.cleaning import clean
from t4_ops.package.entry import PackageEntry
from t4_ops.package.finding import Installation
from t4_ops.package.names import delete_package, list_package_versions, list_packages
from t4_ops.package.opening import open_registry
from t4_ops.package.package import Package
from t4_ops.package.placing import place_entries
from t4_ops.package.publishing import Expected, Publication
from t4_ops.package.recording import output_of, source_inputs

__all__ = [
    "NOW",
    "Expected",
    "Installation",
    "Package",
    "PackageEntry",
    "Publication",
    "clean",
    "delete_package",
    "list_package_versions",
    "list_packages",
    "open_registry",
    "output_of",
    "place_entries",
    "source_inputs",
]
