"""The vocabulary: names, logical keys, physical keys, package URIs and references."""

from t4_ops.keys.expected import NOW, Now
from t4_ops.keys.identity import (
    Dataset,
    RegistryLike,
    asset_uri,
    dataset_of,
    is_folder,
    normalize_registry,
    package_of_asset,
)
from t4_ops.keys.names import (
    DEFAULT_LIMITS,
    RESERVED_COMPONENTS,
    Limits,
    are_legal,
    is_package_name,
    is_reserved,
    is_top_hash,
    logical_key_problem,
    tree_order,
    tree_orders,
    validate_hash_prefix,
    validate_logical_key,
    validate_name,
    validate_top_hash,
)
from t4_ops.keys.physical import PhysicalKey
from t4_ops.keys.refs import PackageRef
from t4_ops.keys.uri import PackageUri

__all__ = [
    "DEFAULT_LIMITS",
    "NOW",
    "RESERVED_COMPONENTS",
    "Dataset",
    "Limits",
    "Now",
    "PackageRef",
    "PackageUri",
    "PhysicalKey",
    "RegistryLike",
    "are_legal",
    "asset_uri",
    "dataset_of",
    "is_folder",
    "is_package_name",
    "is_reserved",
    "is_top_hash",
    "logical_key_problem",
    "normalize_registry",
    "package_of_asset",
    "tree_order",
    "tree_orders",
    "validate_hash_prefix",
    "validate_logical_key",
    "validate_name",
    "validate_top_hash",
]
