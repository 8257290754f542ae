"""The run that code is part of: one opened around it, or an orchestrator's."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar, Token
from typing import Final

from t4_ops.keys import PackageRef
from t4_ops.ledger.finding import run_of_orchestrator
from t4_ops.ledger.gathering import LOCK, Gathered
from t4_ops.ledger.runs import RunInfo
from t4_ops.settings import LineageMode, Settings

MAX_RUNS: Final = 10_000
"""Most runs of orchestrators whose reads one process remembers, those used last."""
MAX_KNOWN_INPUTS: Final = 100_000
"""Most inputs, and paths of them, of all runs together; they take some 50 MB."""
# Runs are summed up each time so many reads were noted, which costs less than one of them.
_READS_PER_LOOK: Final = 1000

_log = logging.getLogger("t4_ops.lineage")
_current: ContextVar[Gathered | None] = ContextVar("t4_ops_run", default=None)
_is_internal: ContextVar[bool] = ContextVar("t4_ops_internal", default=False)


class _Found:
    """Runs of orchestrators, by id and attempt: their reads come from any thread.

    Nobody says when they end, so those used longest ago are forgotten when there are too many.
    """

    def __init__(self) -> None:
        self._runs: OrderedDict[tuple[str, int], Gathered] = OrderedDict()
        self._calls = 0
        self._has_warned = False

    def get(self, run: RunInfo) -> Gathered:
        key = (run.run_id, run.attempt)
        with LOCK:
            found = self._runs.get(key)
            self._calls += 1
            is_new = found is None
            if found is None:
                found = self._runs[key] = Gathered(run, has_end=False)
            self._runs.move_to_end(key)
            if is_new or self._calls % _READS_PER_LOOK == 0:
                self._forget()
        return found

    def _forget(self) -> None:
        count = sum(gathered.read_count for gathered in self._runs.values())
        while len(self._runs) > 1 and (len(self._runs) > MAX_RUNS or count > MAX_KNOWN_INPUTS):
            _, oldest = self._runs.popitem(last=False)
            count -= oldest.read_count
            if not self._has_warned:
                self._has_warned = True
                _log.warning(
                    "this process remembers what %d runs read, %d inputs at most, and now forgets"
                    " those used longest ago: if such a run still goes on, what it publishes lacks"
                    " them; `with lineage.run():` around its work keeps them",
                    MAX_RUNS,
                    MAX_KNOWN_INPUTS,
                )


_found = _Found()


def current(run: RunInfo | None = None, *, mode: LineageMode) -> Gathered | None:
    """Return what the current run has gathered; None outside a run.

    Args:
        run: The run this is known to be, unless somebody sees to the end of the one around it.
        mode: `settings.lineage`: what to do if an orchestrator can't tell its run.

    Raises:
        StorageError: `required`, and an orchestrator can't tell its run.
    """
    around = _current.get()
    if around is not None:
        around = around.of_this_process()
        if around.has_end or run is None:
            return around
    run = run or run_of_orchestrator(mode)
    return None if run is None else _found.get(run).of_this_process()


def enter(gathered: Gathered) -> Token[Gathered | None]:
    """Make a run the current one of this context; `leave` takes the token."""
    return _current.set(gathered)


def leave(token: Token[Gathered | None]) -> None:
    """Make current again what was current before `enter`, if this is still the same context."""
    try:
        _current.reset(token)
    except ValueError:
        # A generator or a fixture may end in another context than it began in.
        _log.warning("a lineage run ended in another context than it began in")


@contextmanager
def internal() -> Iterator[None]:
    """Note no reads inside a `with` block: they are our own, or whoever calls notes them."""
    token = _is_internal.set(True)
    try:
        yield
    finally:
        _is_internal.reset(token)


def note_read(
    ref: PackageRef | None,
    settings: Settings,
    *,
    paths: Iterable[str] = (),
    is_whole: bool = True,
) -> None:
    """Note that the current run read a revision; outside a run nothing happens.

    Args:
        ref: The revision; None is none.
        settings: How its registry was reached; `lineage` says whether anything is noted.
        paths: Keys and directories of it, if not all of it and they are known.
        is_whole: Whether without paths all of it was read, or a part that nobody knows; else only
            its manifest was.

    Raises:
        StorageError: `settings.lineage` is `required`, and an orchestrator can't tell its run.
    """
    if ref is None or settings.lineage == "off" or _is_internal.get():
        return
    gathered = current(mode=settings.lineage)
    if gathered is not None:
        gathered.read_ref(ref, settings, paths, is_whole=is_whole)
