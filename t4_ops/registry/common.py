"""What manifests and pointers share: places, patience, and giving up."""

from __future__ import annotations

import random
import time
from typing import Final

from t4_ops.errors import ConflictError

PACKAGES: Final = ".quilt/packages/"
NAMED: Final = ".quilt/named_packages/"
LATEST: Final = "latest"
MAX_ROUNDS: Final = 200
"""Rounds of re-reading after a lost race. Each round lost is one that another writer won, so the
bound only guards against a store that refuses for ever."""
_BACKOFF_S: Final = 0.01


def pause() -> None:
    """Wait a random moment, so that rivals don't meet again at the same time."""
    time.sleep(random.uniform(0, _BACKOFF_S))


def gives_up(url: str, key: str) -> ConflictError:
    """Return the error for a key that others changed in every round."""
    return ConflictError(
        f"{url}: {key} was changed by others {MAX_ROUNDS} times in a row; try again later", name=key
    )
