"""Waiting without a worker: for one revision, or for every move of `latest`.

    orders = package_asset(
        "shop/orders", "s3://bucket", watchers=[package_watcher("shop/orders", "s3://bucket")]
    )

    with DAG("report", schedule=[orders]): ...

starts a run whenever somebody moves `latest`, be it this Airflow, another one, Prefect or quilt3.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Hashable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from airflow.sdk import AssetWatcher
from airflow.triggers.base import BaseEventTrigger, BaseTrigger, TriggerEvent

from t4_ops import operations
from t4_ops.airflow._run import settings_for
from t4_ops.airflow._watching import Group, group_of
from t4_ops.errors import StorageError, T4Error
from t4_ops.keys import RegistryLike, normalize_registry, validate_name

if TYPE_CHECKING:
    from t4_ops import Settings

DEFAULT_POLL_S: Final = 60.0
"""One small read for each package a minute: some 43,000 requests a month, about two US cents."""
_SETTINGS_LIFE_S: Final = 600.0
"""Keys of a role last 15 minutes at least (`DurationSeconds` of AWS's AssumeRole); so connections
are read again before."""
_EVENT_ARRIVES_S: Final = 5.0
"""How long after an event its watermark is kept. The triggerer stores events about once a second;
kept at once, a kill in between would lose one, kept later it repeats one."""
_STATE_KEY: Final = "t4_watermark"

_log = logging.getLogger(__name__)


class _Reach:
    """The settings of a connection, read again from time to time, never on the event loop."""

    def __init__(self, t4_conn_id: str | None) -> None:
        self._t4_conn_id = t4_conn_id
        self._settings: Settings | None = None
        self._read_s = 0.0

    async def settings(self) -> Settings:
        now_s = time.monotonic()
        if self._settings is None or now_s - self._read_s > _SETTINGS_LIFE_S:
            self._settings = await asyncio.to_thread(self._load)
            self._read_s = now_s
        return self._settings

    def _load(self) -> Settings:
        return settings_for(self._t4_conn_id)


# Called in threads, where their names are looked up too: that loads the library, which takes longer
# than the event loop may stand still.
def _check(*args: Any, **kwargs: Any) -> Any:
    return operations.check(*args, **kwargs)


def _poll(*args: Any, **kwargs: Any) -> Any:
    return operations.poll(*args, **kwargs)


class PackageTrigger(BaseTrigger):
    """Fires once, when a condition of a package is met, or can't be.

    Args:
        condition: A `Condition` as JSON.
        t4_conn_id: Connection; None: the settings of the triggerer.
        poll_s: Seconds between two looks.
        seen: The top hash of an answer that it is not so.
        until_s: When to give up, unix seconds, so that the task can say what was lacking; None:
            when Airflow ends the trigger.
    """

    def __init__(
        self,
        condition: dict[str, Any],
        t4_conn_id: str | None = None,
        poll_s: float = DEFAULT_POLL_S,
        seen: str | None = None,
        until_s: float | None = None,
    ) -> None:
        super().__init__()
        self.until_s = until_s
        self.condition = condition
        self.t4_conn_id = t4_conn_id
        self.poll_s = poll_s
        self.seen = seen

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return class path and arguments: what another triggerer makes the same trigger from."""
        return (
            f"{__name__}.{type(self).__name__}",
            {
                "condition": self.condition,
                "t4_conn_id": self.t4_conn_id,
                "poll_s": self.poll_s,
                "seen": self.seen,
                "until_s": self.until_s,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look until it is so; a storage that is away is waited for."""
        reach, seen, reason = _Reach(self.t4_conn_id), self.seen, ""
        while True:
            try:
                settings = await reach.settings()
                answer = await asyncio.to_thread(
                    _check, self.condition, seen=seen, settings=settings
                )
            except T4Error as exc:
                if not (isinstance(exc, StorageError) and exc.retryable):
                    yield TriggerEvent({"met": False, "reason": exc.message})
                    return
                _log.warning("%s; looking again in %g s", exc, self.poll_s)
                reason = exc.message
            else:
                if answer["met"]:
                    yield TriggerEvent(dict(answer))
                    return
                seen, reason = answer["top_hash"], answer["reason"]
            left_s = self.poll_s if self.until_s is None else self.until_s - time.time()
            if left_s <= 0:
                yield TriggerEvent({"met": False, "reason": reason, "timed_out": True})
                return
            await asyncio.sleep(min(self.poll_s, left_s))


class PackageMovedTrigger(BaseEventTrigger):
    """Fires for every revision that `latest` of a package moves to, whoever moved it.

    Revisions between two looks are found too. How far it got is kept with the asset, so that a
    restart repeats nothing; after a kill one event may come twice, with the same `id`.

    Triggers of one registry, connection and interval share one poll loop.

    Args:
        name: Package name.
        registry: `s3://bucket` or a folder.
        t4_conn_id: Connection; None: the settings of the triggerer.
        poll_s: Seconds between two looks.
    """

    def __init__(
        self,
        name: str,
        registry: str,
        t4_conn_id: str | None = None,
        poll_s: float = DEFAULT_POLL_S,
    ) -> None:
        super().__init__()
        self.name = validate_name(name)
        self.registry = normalize_registry(registry)
        self.t4_conn_id = t4_conn_id
        self.poll_s = poll_s

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return class path and arguments; they are the trigger's identity."""
        return (
            f"{__name__}.{type(self).__name__}",
            {
                "name": self.name,
                "registry": self.registry,
                "t4_conn_id": self.t4_conn_id,
                "poll_s": self.poll_s,
            },
        )

    def shared_stream_key(self) -> Hashable:
        """Return what triggers that share a poll loop have in common."""
        return _key(self.serialize()[1])

    @classmethod
    async def open_shared_stream(cls, kwargs: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """Yield what moved of all packages that are watched in this process."""
        async for found in _polls(group_of(_key(kwargs)), kwargs):
            yield found

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Poll alone; Airflow calls this where it shares nothing."""
        group = Group()
        async for event in self._events(group, _polls(group, self.serialize()[1])):
            yield event

    async def filter_shared_stream(
        self, shared_stream: AsyncIterator[Any]
    ) -> AsyncIterator[TriggerEvent]:
        """Yield an event for each move of this trigger's package."""
        group = group_of(self.shared_stream_key())
        async for event in self._events(group, shared_stream):
            yield event

    async def _events(
        self, group: Group, stream: AsyncIterator[dict[str, Any]]
    ) -> AsyncIterator[TriggerEvent]:
        kept = await self._kept()
        moves, mark = await self._caught_up(kept)
        told: dict[str, None] = {}
        for move in moves:
            told[move["id"]] = None
            yield TriggerEvent(dict(move))
        await self._keep(mark, kept, was_event=bool(moves))
        kept = mark
        with group.watching(self.name, mark):
            async for found in stream:
                # What the loop saw while this trigger caught up by itself is known already.
                news = [m for m in found["moves"].get(self.name, ()) if m["id"] not in told]
                for move in news:
                    told[move["id"]] = None
                    yield TriggerEvent(dict(move))
                mark = found["marks"].get(self.name, kept)
                await self._keep(mark, kept, was_event=bool(news))
                kept = mark
                while len(told) > _MOST_TOLD:
                    del told[next(iter(told))]

    async def _caught_up(self, kept: dict[str, Any] | None) -> tuple[list[Any], dict[str, Any]]:
        """Return what moved since the watermark that was kept, and the new one."""
        reach = _Reach(self.t4_conn_id)
        while True:
            try:
                settings = await reach.settings()
                found = await asyncio.to_thread(
                    _poll, self.registry, self.name, watermark=kept, settings=settings
                )
            except T4Error as exc:
                _log.warning("%s; looking again in %g s", exc, self.poll_s)
                await asyncio.sleep(self.poll_s)
            else:
                return list(found.moves), found.watermark

    def _state(self) -> Any:
        """Return where Airflow keeps values with the asset; None where it has no such place."""
        from airflow.sdk import Asset

        from t4_ops.keys import asset_uri

        store = self.asset_state_store
        if store is None:
            return None
        uri = asset_uri(self.registry, self.name)
        try:
            return store[Asset(name=uri, uri=uri)]
        except KeyError:
            return store  # the user's own asset, watched by this trigger alone

    async def _kept(self) -> dict[str, Any] | None:
        state = self._state()
        kept = None if state is None else await state.aget(_STATE_KEY)
        return kept if isinstance(kept, dict) and kept.get("registry") == self.registry else None

    async def _keep(
        self, mark: dict[str, Any], kept: dict[str, Any] | None, *, was_event: bool
    ) -> None:
        state = self._state()
        if state is None or mark == kept:
            return
        try:
            if was_event:
                await asyncio.sleep(_EVENT_ARRIVES_S)
            await state.aset(_STATE_KEY, mark)
        except asyncio.CancelledError:
            # An orderly stop: the event is on its way, and the watermark may still be.
            with suppress(Exception):
                await asyncio.wait_for(state.aset(_STATE_KEY, mark), _LAST_WORD_S)
            raise


_MOST_TOLD: Final = 1_000
_LAST_WORD_S: Final = 2.0


def _key(kwargs: dict[str, Any]) -> tuple[str, ...]:
    return ("t4", kwargs["registry"], str(kwargs.get("t4_conn_id")), str(kwargs["poll_s"]))


async def _polls(group: Group, kwargs: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
    """Yield moves and watermarks by package, whenever one of them is new."""
    registry, poll_s = kwargs["registry"], kwargs["poll_s"]
    reach = _Reach(kwargs.get("t4_conn_id"))
    while True:
        await asyncio.sleep(poll_s)
        if not group.names:
            continue
        try:
            settings = await reach.settings()
            found = await asyncio.to_thread(group.look, registry, settings)
        except T4Error as exc:
            # A watcher that ended would be noticed by nobody; whatever it is may be mended.
            level = logging.WARNING if getattr(exc, "retryable", False) else logging.ERROR
            _log.log(level, "%s; looking again in %g s", exc, poll_s)
            continue
        if found is not None:
            yield found


def package_watcher(
    name: str,
    registry: RegistryLike,
    *,
    t4_conn_id: str | None = None,
    poll_s: float = DEFAULT_POLL_S,
) -> AssetWatcher:
    """Return what starts DAGs when `latest` of a package moves, whoever moves it.

    For `package_asset(name, registry, watchers=[package_watcher(name, registry)])`. A push by a
    task that has this asset as an outlet makes an event of its own: watch what others write to.

    Args:
        name: Package name.
        registry: `s3://bucket` or a folder.
        t4_conn_id: Connection; None: the settings of the triggerer.
        poll_s: Seconds between two looks.

    Raises:
        InvalidInputError: Name or registry breaks a rule.
    """
    trigger = PackageMovedTrigger(name, normalize_registry(registry), t4_conn_id, poll_s)
    return AssetWatcher(name=f"latest of {name}", trigger=trigger)
