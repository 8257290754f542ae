"""The model: entries and frozen manifests, bit-compatible with quilt3's format."""

from t4_ops.manifest.canonical import MAX_META_DEPTH, canonical_json, plain_meta
from t4_ops.manifest.checks import VERSION, check_records
from t4_ops.manifest.diff import Diff, diff_entries
from t4_ops.manifest.entry import USER_META, Directory, Entry
from t4_ops.manifest.model import Manifest, top_hash_of

__all__ = [
    "MAX_META_DEPTH",
    "USER_META",
    "VERSION",
    "Diff",
    "Directory",
    "Entry",
    "Manifest",
    "canonical_json",
    "check_records",
    "diff_entries",
    "plain_meta",
    "top_hash_of",
]
