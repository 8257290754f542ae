"""A triggerer as far as event triggers see one, and what it keeps."""

from __future__ import annotations

import asyncio
import importlib
import json
import time
from typing import Any

from airflow.sdk import Asset
from airflow.triggers.base import BaseEventTrigger
from airflow.triggers.shared_stream import SharedStreamManager


def again(trigger: Any) -> Any:
    """Return the trigger as another process makes it, from JSON alone."""
    classpath, kwargs = trigger.serialize()
    module, _, name = classpath.rpartition(".")
    return getattr(importlib.import_module(module), name)(**json.loads(json.dumps(kwargs)))


class Kept:
    """Where Airflow keeps values with an asset: in its database, here in a dict of JSON."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}

    def __getitem__(self, asset: Asset) -> Kept:
        return self

    async def aget(self, key: str, default: Any = None) -> Any:
        return json.loads(self.values[key]) if key in self.values else default

    async def aset(self, key: str, value: Any) -> None:
        self.values[key] = json.dumps(value)


class Triggerer:
    """What Airflow's triggerer does with event triggers: shared streams, events into a list."""

    def __init__(self) -> None:
        self.manager = SharedStreamManager()
        self.events: list[Any] = []
        self.tasks: list[asyncio.Task[None]] = []

    def start(self, trigger: BaseEventTrigger, kept: Kept) -> None:
        trigger = again(trigger)
        trigger.asset_state_store = kept  # type: ignore[assignment]
        key = trigger.shared_stream_key()
        assert key is not None
        number = len(self.tasks)
        stream = self.manager.subscribe(trigger_id=number, trigger=trigger, key=key)

        async def run() -> None:
            try:
                async for event in trigger.filter_shared_stream(stream):
                    self.events.append(event.payload)
            finally:
                await self.manager.unsubscribe(number, key)

        self.tasks.append(asyncio.create_task(run()))

    async def until(self, count: int, within_s: float = 30) -> None:
        end_s = time.monotonic() + within_s
        while len(self.events) < count and time.monotonic() < end_s:
            for task in self.tasks:
                if task.done():
                    task.result()
            await asyncio.sleep(0.02)
        assert len(self.events) >= count, self.events

    async def stop(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self.manager.stop_all()
