"""The model: entries and frozen manifests, bit-compatible with quilt3's format."""

from t4_ops.manifest.batches import are_in_order
from t4_ops.manifest.canonical import MAX_META_DEPTH, canonical_json, plain_meta, stored_json
from t4_ops.manifest.checks import VERSION, check_records
from t4_ops.manifest.diff import (
    Change,
    Diff,
    changed_entries,
    changed_lines,
    diff_entries,
    diff_manifests,
)
from t4_ops.manifest.drafting import Draft
from t4_ops.manifest.entry import NO_META, USER_META, Directory, Entry
from t4_ops.manifest.index_format import (
    MAGIC_BYTES as INDEX_MAGIC_BYTES,
)
from t4_ops.manifest.index_format import (
    OPEN_BYTES as INDEX_OPEN_BYTES,
)
from t4_ops.manifest.index_format import (
    ManifestFacts,
    root_size_bytes,
)
from t4_ops.manifest.index_format import Root as IndexRoot
from t4_ops.manifest.index_format import parse_root as parse_index_root
from t4_ops.manifest.indexed import IndexedManifest, Ranges, UnusableIndexError
from t4_ops.manifest.indexing import write_index
from t4_ops.manifest.making import Kept, Piece, compose, top_hash_of_pieces
from t4_ops.manifest.model import Manifest
from t4_ops.manifest.patching import Changes, patched
from t4_ops.manifest.proving import top_hash_of
from t4_ops.manifest.view import Verified, View

__all__ = [
    "INDEX_MAGIC_BYTES",
    "INDEX_OPEN_BYTES",
    "MAX_META_DEPTH",
    "NO_META",
    "USER_META",
    "VERSION",
    "Change",
    "Changes",
    "Diff",
    "Directory",
    "Draft",
    "Entry",
    "IndexRoot",
    "IndexedManifest",
    "Kept",
    "Manifest",
    "ManifestFacts",
    "Piece",
    "Ranges",
    "UnusableIndexError",
    "Verified",
    "View",
    "are_in_order",
    "canonical_json",
    "changed_entries",
    "changed_lines",
    "check_records",
    "compose",
    "diff_entries",
    "diff_manifests",
    "parse_index_root",
    "patched",
    "plain_meta",
    "root_size_bytes",
    "stored_json",
    "top_hash_of",
    "top_hash_of_pieces",
    "write_index",
]
