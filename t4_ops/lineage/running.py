"""Runs that say themselves where they begin and end, and repair of the ledger."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Mapping
from contextvars import Token
from dataclasses import replace
from types import TracebackType
from typing import Self

from t4_ops.errors import InvalidInputError
from t4_ops.keys import normalize_registry, validate_name
from t4_ops.ledger import (
    GRACE_S,
    CodeLocation,
    ColumnLineageLike,
    Gathered,
    Input,
    InputLike,
    Output,
    Repair,
    RunInfo,
    State,
    close,
    code_of_file,
    current,
    enter,
    leave,
    outcome_of,
    parse_column_lineage,
    parse_inputs,
)
from t4_ops.ledger import repair as repair_store
from t4_ops.settings import Settings, load_settings
from t4_ops.storage import open_store

_log = logging.getLogger("t4_ops.lineage")


class Run:
    """A run that is being recorded; `lineage.run` makes one.

    Attributes:
        info: Who it is.
    """

    def __init__(self, gathered: Gathered) -> None:
        self.info = gathered.run
        self._opened = gathered

    @property
    def _gathered(self) -> Gathered:
        return self._opened.of_this_process()

    @property
    def inputs(self) -> tuple[Input, ...]:
        """What it has read until now."""
        return self._gathered.all_inputs()

    @property
    def outputs(self) -> tuple[Output, ...]:
        """What it has published until now."""
        return self._gathered.outputs()

    def read(self, inputs: InputLike | Iterable[InputLike]) -> None:
        """Note inputs that the library does not see: a table, a file, an answer of a service.

        Args:
            inputs: One or several of what `inputs=` of a step takes.

        Raises:
            InvalidInputError: A value names no input.
        """
        for item in parse_inputs(inputs):
            self._gathered.read(item)

    def set_column_lineage(self, name: str, column_lineage: ColumnLineageLike) -> None:
        """Say what the columns of an output were made from.

        Args:
            name: Name of the package, which the run publishes before or after this call.
            column_lineage: Column to one or several `(input, column)` pairs.

        Raises:
            InvalidInputError: It is no such mapping.
        """
        self._gathered.set_column_lineage(validate_name(name), parse_column_lineage(column_lineage))


class RunContext:
    """The `with` block of a run; see `run`."""

    def __init__(self, run: Run, settings: Settings, *, is_joined: bool) -> None:
        self._run = run
        self._gathered = run._gathered
        self._settings = settings
        self._is_joined = is_joined
        self._around: Gathered | None = None
        self._token: Token[Gathered | None] | None = None

    def __enter__(self) -> Run:
        if self._token is not None or not self._gathered.has_end:
            raise InvalidInputError("this run has begun already: call lineage.run(...) for each")
        self._around = current(mode=self._settings.lineage)
        task = self._task_around()
        if task is not None:
            # What it has read before counts for what this block publishes.
            self._gathered.take(task)
        self._token = enter(self._gathered)
        return self._run

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Record the run's end.

        Raises:
            StorageError: The run did not fail, but its lineage can't be recorded and is required.
        """
        try:
            # A process that was forked inside the block sees its copy end too.
            if not (self._is_joined or self._gathered.is_of_parent):
                self._close(error)
        finally:
            if self._token is not None:
                leave(self._token)

    def _close(self, error: BaseException | None) -> None:
        state = _state_after(error)
        try:
            close(
                self._gathered,
                settings=self._settings,
                open_store=open_store,
                state=state,
                error=None if state == "COMPLETE" else error,
            )
        except Exception as exc:
            if error is None:
                raise
            # What ended the run matters more than that it is not recorded.
            _log.warning("run %s is not recorded: %s", self._run.info.run_id, exc)
        finally:
            task = self._task_around()
            if task is not None:
                # It goes on after this block, and has read what was read in it.
                task.take(self._gathered)

    def _task_around(self) -> Gathered | None:
        """Return what the orchestrator's own run gathers, if this block is a part of that."""
        around = self._around
        if around is None or around is self._gathered:
            return None
        return around if around.run.run_id == self._gathered.run.run_id else None


def _state_after(error: BaseException | None) -> State:
    # `sys.exit()` is how scripts end that have done their work.
    if error is None or (isinstance(error, SystemExit) and error.code in (None, 0)):
        return "COMPLETE"
    # Here and not at the top: it takes a while to load, and what raised it has done so.
    from asyncio import CancelledError

    if isinstance(error, CancelledError):
        return "ABORT"
    return outcome_of(error) or "FAIL"


def run(
    job: str | None = None,
    *,
    namespace: str | None = None,
    inputs: InputLike | Iterable[InputLike] | None = None,
    column_lineage: Mapping[str, ColumnLineageLike] | None = None,
    settings: Settings | None = None,
) -> RunContext:
    """Record what a `with` block reads and publishes as one run, when it ends.

    Noted is every revision that is read (`browse`, `install`, `fetch`, `deserialize`, `get_bytes`,
    ...) or published (`build`, `push`, the steps) by this thread, by coroutines and threads that
    carry its context (`asyncio`, `asyncio.to_thread`, `contextvars.copy_context().run`), and by
    others that call `attach`. Processes that it starts are not seen.

    The event says `COMPLETE`, or `FAIL` with the error that ended the block. Exceptions by which
    orchestrators skip, defer or pause are no failures; a cancelled run says `ABORT`.

    Args:
        job: Name of the job. None: that of the orchestrator's run around it, whose end this is
            then; else the name of the script. Inside another `lineage.run` None joins that run.
        namespace: Namespace of the job; that of the run around it unless given, else `t4_ops`.
        inputs: What it reads besides, as `inputs=` of a step.
        column_lineage: Package name to the column lineage of that output.
        settings: How to record; read from the environment unless given.

    Raises:
        InvalidInputError: An argument breaks a rule.
        StorageError: `settings.lineage` is `required`, and an orchestrator can't tell its run.
    """
    settings = settings or load_settings()
    around = current(mode=settings.lineage)
    is_joined = job is None and namespace is None and around is not None and around.has_end
    if is_joined and around is not None:
        gathered = around
    else:
        gathered = Gathered(_info(job, namespace, around), has_end=True)
    opened = Run(gathered)
    opened.read(parse_inputs(inputs))
    for name, mapping in (column_lineage or {}).items():
        opened.set_column_lineage(name, mapping)
    return RunContext(opened, settings, is_joined=is_joined)


def _info(job: str | None, namespace: str | None, around: Gathered | None) -> RunInfo:
    code = _caller()
    if around is None:
        return RunInfo.here(job, namespace=namespace, code=code)
    if job is None and namespace is None:
        return replace(around.run, code=around.run.code or code)
    return around.run.child(job or around.run.job_name, namespace=namespace, code=code)


def _caller() -> CodeLocation | None:
    """Return where the code is that called `run`."""
    frame = sys._getframe(3)
    function = frame.f_code.co_qualname
    return code_of_file(frame.f_code.co_filename, None if function == "<module>" else function)


class Attachment:
    """A thread's part in a run; see `attach`."""

    def __init__(self, token: Token[Gathered | None]) -> None:
        self._token = token

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        leave(self._token)


def attach(run: Run) -> Attachment:
    """Let a thread take part in a run from now on: what it reads and publishes is the run's.

    For threads that don't carry the context of the run. Call it at the beginning of the thread's
    work, or as `initializer=attach, initargs=(run,)` of a pool; in a `with` statement it ends with
    the block.

    Args:
        run: What `lineage.run` gave.
    """
    return Attachment(enter(run._gathered))


def repair(
    registry: str,
    *,
    grace_s: float = GRACE_S,
    is_thorough: bool = False,
    settings: Settings | None = None,
) -> Repair:
    """Mend a registry's ledger: remove markers whose event never came, make lost ones again.

    Readers pass over markers without an event, so removing them only saves some work; an event
    without a marker is not found from there. Writers may be at work meanwhile. A second call finds
    nothing left to do.

    Args:
        registry: Where.
        grace_s: Seconds that a marker may wait for its event. Below some minutes it may take a slow
            writer for a dead one, and its event then lacks markers until the step is repeated or a
            thorough repair is made.
        is_thorough: Read every event and look for each of its markers, one read and some requests
            for each; else only events without any marker are read.
        settings: How to reach it; read from the environment unless given.

    Raises:
        InvalidInputError: `grace_s` is negative, or `registry` is none.
        StorageError: The registry can't be read or written.
    """
    settings = settings or load_settings()
    store = open_store(normalize_registry(registry), settings)
    return repair_store(store, grace_s=grace_s, is_thorough=is_thorough)


__all__ = ["Attachment", "Repair", "Run", "RunContext", "attach", "repair", "run"]
