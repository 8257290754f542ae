"""One Prefect server for the session, and a package to work with."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest
from prefect.events import Event
from prefect.events.clients import AssertingEventsClient
from prefect.events.worker import EventsWorker
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
from prefect.testing.utilities import prefect_test_harness

# Settings of the server, given by its environment because older versions don't know all of them.
_SERVER: Final = {
    # Events are in the database at once, not after five seconds.
    "EVENT_PERSISTER_FLUSH_INTERVAL": "0.1",
    # What only deployments need: the tests have none that runs.
    **{
        f"{service}_ENABLED": "false"
        for service in (
            *("CANCELLATION_CLEANUP", "FOREMAN", "LATE_RUNS", "PAUSE_EXPIRATIONS"),
            *("REPOSSESSOR", "SCHEDULER", "TRIGGERS"),
        )
    },
}


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[None]:
    """A server of this session's own; tests of plain functions do without it."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in _SERVER.items():
            patch.setenv(f"PREFECT_SERVER_SERVICES_{name}", value)
        yield from _harness()


def _harness() -> Iterator[None]:
    with (
        prefect_test_harness(server_startup_timeout=400),
        # The heartbeat's thread sleeps in whole seconds and is waited for at the end of each flow.
        temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}),
    ):
        yield


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let Prefect's clients be collected with their sockets open, as they are at times."""
    for item in items:
        if "prefect_server" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"))


@pytest.fixture(scope="module", autouse=True)
def no_left_overs() -> Iterator[None]:
    """Collect those clients here, not in a test of somebody else's."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder with two files."""
    folder = tmp_path / "source"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.txt").write_text("first")
    (folder / "deep" / "b.bin").write_bytes(bytes(range(256)) * 5)
    return folder


@pytest.fixture
def registry(tmp_path: Path) -> str:
    """A folder registry that is not the default one."""
    return str(tmp_path / "registry")


@pytest.fixture
def sent(prefect_server: None) -> Iterator[Callable[[], list[Event]]]:
    """What the flows of the test send to Prefect as events, in the order of sending."""
    EventsWorker.set_client_override(AssertingEventsClient)
    AssertingEventsClient.reset()

    def events() -> list[Event]:
        EventsWorker.instance().wait_until_empty()
        return [event for client in AssertingEventsClient.all for event in client.events]

    yield events
    # Its client is one of those that `reset` forgets: the next test gets another worker.
    EventsWorker.instance().drain()
    EventsWorker.set_client_override(None)  # type: ignore[arg-type]
    AssertingEventsClient.reset()
