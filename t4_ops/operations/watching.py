"""What moved in a registry since one looked last, whoever moved it, and no revision skipped.

A look costs one small read of `latest` for each package that is watched. (No condition is put on
it: a pointer is 64 bytes, less than the reply that would say it is unchanged.) Only where `latest`
moved are the pointers of the revisions since then listed, and those that are new are read.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Final, NamedTuple

from t4_ops.errors import FormatError, InvalidInputError
from t4_ops.keys import RegistryLike, normalize_registry, validate_name
from t4_ops.operations.moves import ON_ITS_WAY_S, Move, move_to, moved_back
from t4_ops.operations.watermarks import Mark, read_watermark, written_watermark
from t4_ops.package import open_registry
from t4_ops.registry import Pointer, Registry
from t4_ops.settings import Settings, load_settings

MAX_WATCHED: Final = 1_000
"""Most packages of one watermark, some 150 kB. Orchestrators keep it in their databases."""
_SETTLED_AFTER_S: Final = 2.0
_GIVEN_UP_S: Final = 60.0
_READERS: Final = 16
_log = logging.getLogger(__name__)


class Polled(NamedTuple):
    """What a look found.

    Attributes:
        moves: What moved, for each package in the order of publication.
        watermark: What to give to the next look, once the moves are dealt with.
    """

    moves: list[Move]
    watermark: dict[str, Any]


def poll(
    registry: RegistryLike | None = None,
    names: str | Iterable[str] | None = None,
    *,
    prefix: str | None = None,
    watermark: Mapping[str, Any] | None = None,
    since: float | None = None,
    max_packages: int = MAX_WATCHED,
    skip_damaged: bool | None = None,
    settings: Settings | None = None,
) -> Polled:
    """Return what moved since the last look, and the watermark for the next one.

    Every revision that was published between two looks is reported, once as long as the watermark
    is kept, in the order of publication. What `latest` was moved back to is reported too. Only one
    that was moved away from within seconds is late: a minute passes until it is sure that it is
    not still on its way; it is reported before what is published until then. Where a writer that
    names its pointers by the clock alone, as quilt3 does, is more than ten minutes late, only the
    last of what it publishes between two looks is seen.

    Args:
        registry: Where; None is the default registry.
        names: One or several package names; one that is not there yet is waited for.
        prefix: Instead of names: all packages whose names begin so, also those that come; `""` all.
        watermark: That of the last look; None: this is the first one, which reports nothing but
            what `since` asks for.
        since: At the first look of a package report what was published after this moment, unix
            seconds; None: only what moves from now on. A package that appears under a prefix
            later is reported from its first revision on.
        max_packages: Most packages to watch, so that the watermark stays small; one that is kept
            in memory may have more.
        skip_damaged: Whether a package whose `latest` is damaged is passed over, and told of in the
            log, until it is mended, so that the others are watched on; None: unless it is the only
            one that was named.
        settings: Settings; None loads the user's.

    Raises:
        InvalidInputError: No names are given, or too many, or the watermark is of another registry.
        FormatError: `latest` of a package is damaged, and not to be skipped.
    """
    settings = settings or load_settings()
    url = normalize_registry(registry or settings.registry)
    source = open_registry(url, settings)
    marks = {} if watermark is None else read_watermark(watermark, url)
    wanted = _names(source, names, prefix, max_packages)
    is_first = watermark is None
    is_alone = prefix is None and len(wanted) == 1
    is_strict = is_alone if skip_damaged is None else not skip_damaged
    look = _Look(source, since, is_strict=is_strict)

    def work(name: str) -> tuple[list[Move], Mark]:
        mark = marks.get(name)
        if mark is None and not is_first and prefix is not None:
            mark = Mark()  # it was not there at the last look
        return look.at(name, mark)

    if len(wanted) < 2:
        found = [work(name) for name in wanted]
    else:
        with ThreadPoolExecutor(min(_READERS, len(wanted)), "t4-poll") as pool:
            found = list(pool.map(work, wanted))
    kept = {name: mark for name, (_, mark) in zip(wanted, found, strict=True)}
    return Polled([move for moves, _ in found for move in moves], written_watermark(url, kept))


def _names(
    source: Registry, names: str | Iterable[str] | None, prefix: str | None, most: int
) -> list[str]:
    if (names is None) == (prefix is None):
        raise InvalidInputError("give the names of packages to watch, or a prefix of them")
    if names is not None:
        given = [names] if isinstance(names, str) else list(names)
        wanted = sorted({validate_name(name) for name in given})
    else:
        wanted = source.pointers.packages(prefix or "")
    if len(wanted) > most:
        raise InvalidInputError(
            f"{len(wanted)} packages are too many for one watcher: at most {most}; narrow the"
            " prefix, or raise max_packages"
        )
    if names is not None and not wanted:
        raise InvalidInputError("names is empty: name at least one package to watch")
    return wanted


class _Look:
    """One look at the packages of a registry."""

    def __init__(self, source: Registry, since: float | None, *, is_strict: bool) -> None:
        self._source = source
        self._since = since
        self._is_strict = is_strict
        self._now_s = time.time()

    def at(self, name: str, mark: Mark | None) -> tuple[list[Move], Mark]:
        """Return what moved of one package, and its mark."""
        if mark is None:
            mark = self._first(name)
        try:
            held = self._source.pointers.latest(name)
        except FormatError as exc:
            if self._is_strict:
                raise
            _log.warning("%s; not watched until it is mended", exc)
            return [], mark
        if held is None:
            # Deleted, or never there. If it comes again its old pointers are still known.
            return [], replace(mark, top_hash=None, written_s=None, is_settled=True)
        is_same = (held.top_hash, held.mtime_s) == (mark.top_hash, mark.written_s)
        if is_same and mark.is_settled:
            return [], mark
        return self._since_mark(name, held, mark, is_same=is_same)

    def _first(self, name: str) -> Mark:
        """Return the mark of a package that was never looked at."""
        # Listed before `latest` is read: what is published in between is news already.
        listed = self._source.pointers.listed(name)
        since = self._since
        before = [info for info in listed if since is None or int(info.key) <= since]
        mark = Mark(is_settled=False, seen_s=self._now_s).with_reported(before)
        if len(before) < len(listed):
            known = self._source.pointers.read_all(name, [info.key for info in before[-1:]])
            return replace(mark, top_hash=known[0].top_hash if known else None)
        held = self._latest_or_none(name)
        if held is None:
            return mark
        return replace(mark, top_hash=held.top_hash, written_s=held.mtime_s)

    def _latest_or_none(self, name: str) -> Pointer | None:
        try:
            return self._source.pointers.latest(name)
        except FormatError:
            return None  # told where it is read next

    def _since_mark(
        self, name: str, held: Pointer, mark: Mark, *, is_same: bool
    ) -> tuple[list[Move], Mark]:
        listed = self._source.pointers.listed(name, mark.list_after)
        unknown = {info.key: info for info in listed if mark.is_new(info)}
        pointers = self._source.pointers.read_all(name, unknown)
        reported = [
            pointer for pointer in pointers if _was_latest(pointer, pointers, held, self._now_s)
        ]
        chain = list(reported)
        if not is_same and (not chain or chain[-1].top_hash != held.top_hash):
            chain.append(moved_back(held))
        moves: list[Move] = []
        previous = mark.top_hash
        for pointer in chain:
            if pointer.top_hash != previous:
                moves.append(move_to(self._source.url, name, pointer, previous))
                previous = pointer.top_hash
        if moves and moves[-1]["top_hash"] == held.top_hash:
            moves[-1]["is_latest"] = True
        seen_s = mark.seen_s if is_same else self._now_s
        return moves, replace(
            mark.with_reported([unknown[pointer.name] for pointer in reported]),
            top_hash=held.top_hash,
            written_s=held.mtime_s,
            seen_s=seen_s,
            is_settled=(
                is_same
                and self._now_s - seen_s >= _SETTLED_AFTER_S
                and len(reported) == len(pointers)
            ),
        )


def _was_latest(pointer: Pointer, new: list[Pointer], held: Pointer, now_s: float) -> bool:
    """Return whether `latest` has been at a revision, as far as its pointer tells.

    Up to the newest pointer to where `latest` is now that is so. One after it is either on its way
    to be `latest`, which the next look will tell, or was, and `latest` was moved back since.

    Args:
        pointer: A pointer that was not reported yet.
        new: All of those, oldest first.
        held: What `latest` points at.
        now_s: The time.
    """
    if any(
        other.top_hash == held.top_hash and int(pointer.name) <= int(other.name) for other in new
    ):
        return True
    if pointer.mtime_s is None or held.mtime_s is None:
        return True
    is_older = pointer.mtime_s < held.mtime_s - ON_ITS_WAY_S
    return is_older or pointer.mtime_s < now_s - _GIVEN_UP_S
