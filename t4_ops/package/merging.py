"""Applying a push's own changes to a revision that somebody else published meanwhile.

A three-way merge by logical key: what this push changed since the revision it came from is applied
to the one that is there now, if nobody else changed the same thing to something else. The result
has everybody's changes; whether they make sense together is for the users to know, so it is only
done when asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from t4_ops.errors import ConflictError, InvalidInputError, NotFoundError
from t4_ops.manifest import USER_META, Entry, Manifest, canonical_json, diff_entries
from t4_ops.package.contents import Contents
from t4_ops.transfer import moved

# What every revision says for itself; nobody's change of it is in anybody's way.
_OWN_HEADER: Final = ("version", "message")


class OwnChanges:
    """What a push changes: from the revision it came from to the contents it wants to publish.

    Args:
        base: Where it came from; None: the package was new to it.
        mine: Its contents; every entry has its hash.
    """

    def __init__(self, base: Manifest | None, header: Mapping[str, Any], mine: Contents) -> None:
        self._base = base
        self._header = dict(header)
        self._limits = mine.limits
        diff = diff_entries(() if base is None else base.entries(), mine.entries())
        self._set = {key: mine.get(key) for key in (*diff.added, *diff.modified)}
        self._deleted = diff.deleted
        self._metas = _changed(_metas_of(base), {d.key: d.meta for d in mine.directories()})

    @property
    def keys(self) -> frozenset[str]:
        """Logical keys of the entries it sets."""
        return frozenset(self._set)

    def applied(self, theirs: Manifest, places: Mapping[str, str], name: str) -> Contents:
        """Return the contents of a revision with these changes.

        Args:
            theirs: The revision.
            places: Where entries have been brought already, by logical key.
            name: Package name, for messages.

        Raises:
            ConflictError: They changed one of the same things to something else.
        """
        result = Contents(theirs, self._limits)
        result.header = self._merged_header(theirs, name)
        try:
            for key in self._deleted:
                if self._is_wanted(key, None, theirs, name):
                    result.delete(key)
            for key, entry in self._set.items():
                assert entry is not None
                if self._is_wanted(key, entry, theirs, name):
                    place = places.get(key)
                    result.set(entry if place is None else moved(entry, place))
            self._set_metas(result, theirs, name)
        except (InvalidInputError, NotFoundError) as exc:
            # A file of one of the two where the other has a directory.
            raise _both(name, exc.key or "", theirs) from exc
        return result

    def _is_wanted(self, key: str, mine: Entry | None, theirs: Manifest, name: str) -> bool:
        """Return whether a change is still to be made.

        Raises:
            ConflictError: They made another one.
        """
        before = None if self._base is None else self._base.get(key)
        now = theirs.get(key)
        if _same(now, mine):
            return False
        if not _same(now, before):
            raise _both(name, key, theirs)
        return True

    def _merged_header(self, theirs: Manifest, name: str) -> dict[str, Any]:
        base = {} if self._base is None else self._base.header
        header = theirs.header
        for key, value in _changed(_shared(base), _shared(self._header)).items():
            now = header.get(key)
            if _differs(now, value):
                if _differs(now, base.get(key)):
                    what = (
                        "the package's metadata" if key == USER_META else f"{key!r} of the header"
                    )
                    raise _both(name, what, theirs)
                if key in self._header:
                    header[key] = value
                else:
                    header.pop(key, None)
        return {**header, **{key: self._header[key] for key in _OWN_HEADER if key in self._header}}

    def _set_metas(self, result: Contents, theirs: Manifest, name: str) -> None:
        base, now = _metas_of(self._base), _metas_of(theirs)
        for folder, meta in self._metas.items():
            if not _differs(now.get(folder), meta):
                continue
            if _differs(now.get(folder), base.get(folder)):
                raise _both(name, f"metadata of {folder!r}", theirs)
            result.set_folder_meta(folder, meta)


def _metas_of(manifest: Manifest | None) -> dict[str, Mapping[str, Any]]:
    return {} if manifest is None else {d.key: d.meta for d in manifest.directories()}


def _shared(header: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in header.items() if key not in _OWN_HEADER}


def _changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is another value afterwards; None is what is gone."""
    keys = dict.fromkeys([*before, *after])
    return {key: after.get(key) for key in keys if _differs(before.get(key), after.get(key))}


def _differs(one: Any, other: Any) -> bool:
    """Return whether two values are hashed differently; no metadata is written in several ways."""
    if not one and not other:
        return False
    return canonical_json([one]) != canonical_json([other])


def _same(one: Entry | None, other: Entry | None) -> bool:
    if one is None or other is None:
        return one is other
    return one.same_content(other)


def _both(name: str, what: str, theirs: Manifest) -> ConflictError:
    return ConflictError(
        f"{name!r}: {what} was changed by this push and by {theirs.top_hash}, which was published"
        " meanwhile: browse it again and decide",
        name=name,
        actual=theirs.top_hash,
    )
