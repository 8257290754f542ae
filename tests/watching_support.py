"""A publisher and a watcher of pointers."""

from __future__ import annotations

import json
from typing import Any

from t4_ops import operations as ops
from t4_ops.registry import ANYTHING, Registry
from t4_ops.settings import load_settings
from t4_ops.storage import open_store

NAME = "team/raw"
NAMED = ".quilt/named_packages/"


def hash_of(number: int) -> str:
    return f"{number:064x}"


class Publisher:
    """Moves pointers of revisions that have no manifests: a watcher reads none."""

    def __init__(self, registry: str) -> None:
        settings = load_settings()
        self.url = registry
        self.store = open_store(registry, settings)
        self.pointers = Registry(self.store, settings.limits).pointers

    def publish(self, number: int, name: str = NAME) -> None:
        self.pointers.publish(name, hash_of(number), expected=ANYTHING)

    def rollback(self, number: int, name: str = NAME) -> None:
        self.pointers.rollback(name, hash_of(number), expected=ANYTHING)

    def claim(self, number: int, second: int, name: str = NAME) -> str:
        """Write the pointer of a revision, as publishers do before they move `latest`."""
        key = f"{NAMED}{name}/{second}"
        self.store.write(key, hash_of(number).encode())
        return key

    def move(self, number: int, name: str = NAME) -> None:
        """Move `latest` alone, as the second half of a publication does."""
        self.store.write(f"{NAMED}{name}/latest", hash_of(number).encode())

    def newest(self, name: str = NAME) -> int:
        return max(int(pointer.name) for pointer in self.pointers.revisions(name))


class Watcher:
    """Looks again and again, its watermark stored as JSON in between."""

    def __init__(self, registry: str, **asked: Any) -> None:
        self.registry = registry
        self.asked = asked or {"names": NAME}
        self.watermark: str | None = None

    def look(self, **more: Any) -> list[ops.Move]:
        mark = None if self.watermark is None else json.loads(self.watermark)
        polled = ops.poll(self.registry, watermark=mark, **self.asked, **more)
        self.watermark = json.dumps(polled.watermark)
        assert json.loads(json.dumps(polled.moves)) == polled.moves
        return polled.moves

    def numbers(self, **more: Any) -> list[int]:
        return [int(move["top_hash"], 16) for move in self.look(**more)]
