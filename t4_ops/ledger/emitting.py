"""Sending events where the user's OpenLineage configuration says; its failure is a warning.

The configuration is the OpenLineage client's own: `OPENLINEAGE_URL`, `OPENLINEAGE__TRANSPORT__*`,
`OPENLINEAGE_CONFIG` and `openlineage.yml`, its filters included. The transport gets the event as
the ledger holds it: what the client would add, such as environment variables or a repository's URL
with its password, is left out.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterable
from typing import Any, Final

from t4_ops.ledger.finding import sender_of
from t4_ops.ledger.runs import RunInfo
from t4_ops.ledger.text import clean

_log = logging.getLogger("t4_ops.lineage")
_ERROR_MAX_CHARS: Final = 1000
# Source of these names: OpenLineageClient of openlineage-python 1.54.
_CONFIG_FILE: Final = "openlineage.yml"
_TRANSPORT_PREFIX: Final = "OPENLINEAGE__TRANSPORT"


def send(event: Any, run: RunInfo, *, timeout_s: float, secrets: Iterable[str] = ()) -> None:
    """Send an event: by the orchestrator's own integration if that is active, else by ours.

    Nothing happens, and no client is made, where no transport is configured.

    Args:
        event: An OpenLineage `RunEvent`.
        run: The run it tells of.
        timeout_s: Seconds to wait; what takes longer goes on without us, as long as the process.
        secrets: Credentials in use, hidden in the warning.
    """
    failures: list[Exception] = []
    try:
        # In this thread: only it knows which task it runs.
        sender = sender_of(run) or (_send_by_client if is_configured() else None)
    except Exception as exc:  # noqa: BLE001 (foreign code, which may fail in any way)
        _warn_of(exc, run, secrets)
        return
    if sender is None:
        return

    def work() -> None:
        try:
            sender(event)
        except Exception as exc:  # noqa: BLE001 (as above)
            failures.append(exc)

    # A thread of its own: a transport may hang in ways that no time-out of its own ends.
    thread = threading.Thread(target=work, name="t4-lineage-send", daemon=True)
    thread.start()
    thread.join(timeout_s)
    if thread.is_alive():
        _warn(run, f"no answer in {timeout_s:g} s")
    elif failures:
        _warn_of(failures[0], run, secrets)


def _warn_of(exc: Exception, run: RunInfo, secrets: Iterable[str]) -> None:
    _warn(run, clean(f"{type(exc).__name__}: {exc}", _ERROR_MAX_CHARS, secrets))


def _warn(run: RunInfo, reason: str) -> None:
    _log.warning(
        "the OpenLineage event of run %s was not sent, but is in the ledger: %s", run.run_id, reason
    )


def is_configured() -> bool:
    """Return whether the user's OpenLineage configuration may name a transport."""
    if os.environ.get("OPENLINEAGE_DISABLED", "").strip().lower() == "true":
        return False
    return _has_variables() or _has_config_file()


def _has_variables() -> bool:
    if os.environ.get("OPENLINEAGE_URL"):
        return True
    return any(name.startswith(_TRANSPORT_PREFIX) for name in os.environ)


def _has_config_file() -> bool:
    named = os.environ.get("OPENLINEAGE_CONFIG")
    places = [named] if named else []
    places += [_CONFIG_FILE, os.path.expanduser(f"~/.openlineage/{_CONFIG_FILE}")]
    return any(os.path.isfile(path) and os.access(path, os.R_OK) for path in places)


def _send_by_client(event: Any) -> None:
    from openlineage.client import OpenLineageClient
    from openlineage.client.transport.noop import NoopConfig, NoopTransport

    if not _has_variables():
        # The file may be about other things; without a transport the client would print events.
        probe = OpenLineageClient(transport=NoopTransport(NoopConfig()))
        if not (probe.config.transport or {}).get("type"):
            return
    client = OpenLineageClient()
    try:
        if client.filter_event(event) is not None:
            client.transport.emit(event)
    finally:
        client.close()
