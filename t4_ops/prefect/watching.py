"""The watcher: tells Prefect of revisions that somebody else published.

A flow that looks at `latest` of some packages and sends `t4.package.pushed` for what moved, whoever
moved it: quilt3, Airflow, a script. No revision is skipped. What our own tasks have announced is
not told again, because both have the same event id. Where the last look stopped is kept in a block
on Prefect's server, and only after the server has taken the events: an orderly restart repeats
nothing, and a crash between the two repeats an event under its old id.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from prefect import flow
from prefect.blocks.core import Block
from prefect.client.orchestration import get_client
from prefect.events import Event
from prefect.exceptions import ObjectNotFound
from pydantic import Field, HttpUrl

from t4_ops import operations
from t4_ops.errors import InvalidInputError
from t4_ops.keys import is_folder, normalize_registry
from t4_ops.prefect._finishing import log
from t4_ops.prefect._reach import reach
from t4_ops.prefect.events import PUSHED, Announcement, event_fields
from t4_ops.settings import Settings

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

    from t4_ops.operations import Move

# Some 1 kB each, and the server takes requests of any length; one at a time would be slow.
_BATCH: Final = 50


class T4Watermark(Block):
    """Where a watcher of data packages stopped looking. Written by the watcher, one for each.

    Example:
        See what a watcher knows:
        ```python
        from t4_ops.prefect.watching import T4Watermark

        watermark = T4Watermark.load("BLOCK_NAME")
        ```
    """

    _block_type_name = "T4 Watermark"
    _block_type_slug = "t4-watermark"
    _documentation_url = HttpUrl("https://docs.prefect.io/v3/concepts/blocks")

    watermark: dict[str, Any] = Field(
        default_factory=dict, description="The last look, as operations.poll gives it."
    )


@flow(name="t4-watch", persist_result=False)
def watch_packages(
    registry: str | None = None,
    names: list[str] | None = None,
    prefix: str | None = None,
    registry_block: str | None = None,
    since: float | None = None,
    for_s: float = 0.0,
    poll_s: float = 10.0,
) -> int:
    """Send an event for each revision that was published since the last look.

    Deploy it with a schedule and a concurrency limit of 1.

    Args:
        registry: Where; None is the default registry, or that of the block.
        names: The packages; one that is not there yet is waited for.
        prefix: Instead of names: packages whose names begin so; `""` is all of the registry.
        registry_block: Name of the `T4Registry` block to reach it by.
        since: At the very first look tell also what was published after this moment, unix seconds.
        for_s: Seconds to go on looking; 0 is one look.
        poll_s: Seconds between two looks.

    Returns:
        How many events were sent.

    Raises:
        InvalidInputError: Neither names nor a prefix are given, or too many; or `poll_s` is 0.
        FormatError: `latest` of the only package that is named is damaged; of several it is told
            in the log.
        StorageError: The registry does not answer.
    """
    if not poll_s > 0:
        raise InvalidInputError(f"poll_s is {poll_s}: give more than 0 seconds")
    settings, url = _place(registry, registry_block)
    kept = _Kept(url, names, prefix, endpoint=settings.s3_for(url).endpoint_url)
    ends_s = time.monotonic() + for_s
    count = 0
    while True:
        before = kept.read()
        looked = operations.poll(
            url, names, prefix=prefix, watermark=before, since=since, settings=settings
        )
        count += send_moves(looked.moves)
        if looked.watermark != before:
            kept.write(looked.watermark)
        if time.monotonic() + poll_s > ends_s:
            return count
        time.sleep(poll_s)


def _place(registry: str | None, block: str | None) -> tuple[Settings, str]:
    if block is None:
        settings = reach()
        return settings, normalize_registry(registry or settings.registry)
    from t4_ops.prefect.blocks import T4Registry

    loaded: Any = T4Registry.load(block, _sync=True)  # type: ignore[call-arg]
    return reach(loaded), normalize_registry(registry or loaded.url)


class _Kept:
    """A watcher's watermark on Prefect's server.

    Args:
        url: The registry.
        names: What is watched.
        prefix: Instead.
        endpoint: The S3 server: two of them may have buckets of one name.
    """

    def __init__(
        self, url: str, names: Iterable[str] | None, prefix: str | None, endpoint: str | None
    ) -> None:
        # Another set of packages is another watcher. Names of blocks: lower case and dashes.
        at = None if is_folder(url) else endpoint
        what = json.dumps([url, None if names is None else sorted(names), prefix, at])
        self._name = f"t4-{hashlib.sha256(what.encode()).hexdigest()[:32]}"

    def read(self) -> dict[str, Any] | None:
        """Return it; None: this is the first look."""
        try:
            block: Any = T4Watermark.load(self._name, _sync=True)  # type: ignore[call-arg]
        except ValueError as exc:
            # As Prefect says that there is none; a damaged one is told, and no revision skipped.
            if isinstance(exc.__cause__, ObjectNotFound):
                return None
            raise
        watermark: dict[str, Any] = block.watermark
        return watermark

    def write(self, watermark: Mapping[str, Any]) -> None:
        """Keep it."""
        T4Watermark(watermark=dict(watermark)).save(self._name, overwrite=True, _sync=True)  # type: ignore[call-arg]


def send_moves(moves: Iterable[Move]) -> int:
    """Send events of moves that Prefect's server does not know yet; return how many.

    When it returns the server has them: `emit_event` only hands them to a thread.

    Args:
        moves: What moved, oldest first.

    Raises:
        Exception: Whatever Prefect's client raises, if the server did not take them.
    """
    waiting = list(moves)
    count = 0
    with get_client(sync_client=True) as client:
        for start in range(0, len(waiting), _BATCH):
            batch = waiting[start : start + _BATCH]
            known = _known(client, [UUID(move["id"]) for move in batch])
            events = [_event(move) for move in batch if UUID(move["id"]) not in known]
            if events:
                body = [event.model_dump(mode="json") for event in events]
                client.request("POST", "/events", json=body).raise_for_status()
            for event in events:
                log("%s: %s", event.event, event.payload["uri"])
            count += len(events)
    return count


def _known(client: SyncPrefectClient, ids: list[UUID]) -> set[UUID]:
    asked = {"filter": {"id": {"id": [str(item) for item in ids]}}, "limit": _BATCH}
    reply = client.request("POST", "/events/filter", json=asked)
    reply.raise_for_status()
    return {UUID(event["id"]) for event in reply.json()["events"]}


def _event(move: Move) -> Event:
    told = {**move, "watched": True}
    return Event(**event_fields(Announcement(PUSHED, told, UUID(move["id"]))))
