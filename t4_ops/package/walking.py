"""Asking a manifest about many keys in order: one walk beside them instead of a search for each."""

from __future__ import annotations

from typing import Final

from t4_ops.keys import tree_order
from t4_ops.manifest import Manifest

# How many keys of the manifest may be passed over for each one that is asked about: decoding so
# many in a row takes as long as one search.
_PASSED_FOR_EACH: Final = 32
# Sorts after every key.
_END: Final = chr(0x10FFFF)


class KeyWalk:
    """Says whether a manifest has keys that come in tree order, as those of a scanned folder do.

    Args:
        manifest: The manifest.
    """

    def __init__(self, manifest: Manifest) -> None:
        self._keys = manifest.logical_keys()
        self._order = ""
        self._room = 10 * _PASSED_FOR_EACH

    def has(self, key: str) -> bool:
        """Return whether the manifest surely has a key.

        False may also mean that the key is out of order, or too far from the one before it.
        """
        order = tree_order(key)
        self._room += _PASSED_FOR_EACH
        while self._order < order and self._room > 0:
            following = next(self._keys, None)
            self._order = _END if following is None else tree_order(following)
            self._room -= 1
        return self._order == order
