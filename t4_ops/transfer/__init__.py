"""The engine: hashes and moves many objects at once, in bounded memory, verified always."""

from t4_ops.transfer.cache import open_cache
from t4_ops.transfer.digests import hash_object, payload_checksum, still_holds
from t4_ops.transfer.download import (
    Target,
    check_paths,
    check_targets,
    download_files,
    make_folder,
    mismatches,
    refuse_twins,
)
from t4_ops.transfer.hashing import hash_entries, is_light
from t4_ops.transfer.keeping import KEPT_BYTES
from t4_ops.transfer.opening import OBJECT_SCHEME, Opener, Payload
from t4_ops.transfer.plan import (
    OBJECTS_PREFIX,
    Move,
    Plan,
    Selector,
    known_places,
    moved,
    plan_moves,
)
from t4_ops.transfer.pool import Cancelled, run_all, with_retries
from t4_ops.transfer.progress import Progress, ProgressWatcher, progress, watch_progress
from t4_ops.transfer.reading import check_hash_type, open_verified, read_verified
from t4_ops.transfer.upload import object_key, upload_objects

__all__ = [
    "KEPT_BYTES",
    "OBJECTS_PREFIX",
    "OBJECT_SCHEME",
    "Cancelled",
    "Move",
    "Opener",
    "Payload",
    "Plan",
    "Progress",
    "ProgressWatcher",
    "Selector",
    "Target",
    "check_hash_type",
    "check_paths",
    "check_targets",
    "download_files",
    "hash_entries",
    "hash_object",
    "is_light",
    "known_places",
    "make_folder",
    "mismatches",
    "moved",
    "object_key",
    "open_cache",
    "open_verified",
    "payload_checksum",
    "plan_moves",
    "progress",
    "read_verified",
    "refuse_twins",
    "run_all",
    "still_holds",
    "upload_objects",
    "watch_progress",
    "with_retries",
]
