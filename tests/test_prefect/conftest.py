"""One Prefect server for the session, and a package to work with."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
from prefect.testing.utilities import prefect_test_harness


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[None]:
    """A server of this session's own; tests of plain functions do without it."""
    with (
        prefect_test_harness(server_startup_timeout=120),
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
