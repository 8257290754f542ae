"""Faults between the library and a real S3 server, and what must hold after each.

The relay of `s3_support` plays them; here are the rules that say when, the registry that is hurt,
and the look at it afterwards by a way without faults.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import t4_ops as t4
from t4_ops.settings import load_settings
from tests.package_support import bytes_below, contents_of, write_files
from tests.s3_support import Fault, Relay, Request, s3_fault

Rule = Callable[[Request], Fault | None]

EXPIRED: Final = s3_fault(400, "ExpiredToken", "the token has expired")
VANISHED: Final = s3_fault(404, "NoSuchBucket", "there is no such bucket")
SLOW_DOWN: Final = s3_fault(503, "SlowDown", "reduce your request rate")


def sometimes(fault: Fault, seed: int, share: float = 0.3, *, writes_only: bool = False) -> Rule:
    """Return a rule that hurts a share of the requests, none of them twice in a row."""
    chance, lock = random.Random(seed), threading.Lock()
    hurt: set[tuple[str, str]] = set()

    def rule(request: Request) -> Fault | None:
        what = (request.method, request.target)
        with lock:
            if writes_only and request.method not in ("PUT", "POST", "DELETE"):
                return None
            if what in hurt or chance.random() >= share:
                hurt.discard(what)
                return None
            hurt.add(what)
            return fault

    return rule


def once_each(fault: Fault, *, method: str, part: str = "") -> Rule:
    """Return a rule that hurts the first request for each object of a method."""
    hurt: set[str] = set()
    lock = threading.Lock()

    def rule(request: Request) -> Fault | None:
        with lock:
            if request.method != method or part not in request.target or request.target in hurt:
                return None
            hurt.add(request.target)
            return fault

    return rule


def from_request(number: int, fault: Fault) -> Rule:
    """Return a rule that lets so many requests pass and hurts all that follow."""
    seen, lock = [0], threading.Lock()

    def rule(_: Request) -> Fault | None:
        with lock:
            seen[0] += 1
            return fault if seen[0] > number else None

    return rule


@dataclass
class Hurt:
    """A registry that is reached in two ways.

    Attributes:
        registry: Its URL.
        name: The package.
        root: A folder for files of the test.
        relay: What stands in the way through `settings`.
        settings: Lead through the relay, with little patience.
        revisions: What was published until now: bytes by logical key, by top hash.
    """

    registry: str
    name: str
    root: Path
    relay: Relay
    settings: t4.Settings
    revisions: dict[str, dict[str, bytes]] = field(default_factory=dict)

    def publish(self, files: dict[str, bytes]) -> str:
        """Publish a revision without faults, from the newest one."""
        package = self._edited(files, load_settings())
        return self._noted(package.push(self.name, self.registry, force=True))

    def build(self, number: int) -> None:
        """Build a revision from local files, through the faults."""
        folder = write_files(self.root / f"build-{number}", _files(number))
        package = t4.Package(settings=self.settings).set_dir("/", folder)
        package.build(self.name, self.registry, f"build {number}")
        self._noted(package)

    def push(self, number: int) -> None:
        """Push a revision that has one more file, through the faults."""
        package = self._edited({f"pushed-{number}.bin": b"p%d" % number}, load_settings())
        package._settings = self.settings
        self._noted(package.push(self.name, self.registry))

    def install(self, number: int) -> None:
        """Install the newest revision, through the faults."""
        dest = self.root / f"install-{number}"
        package = t4.Package.install(self.name, self.registry, dest=dest, settings=self.settings)
        assert bytes_below(dest) == self.revisions[package.top_hash]

    def check(self) -> None:
        """Look by the way without faults: all that was ever published is there, and right."""
        assert self.name in t4.list_packages(self.registry)
        versions = t4.list_package_versions(self.name, self.registry)
        assert {top_hash for _, top_hash in versions} >= self.revisions.keys()
        for _, top_hash in versions:
            package = t4.Package.browse(self.name, self.registry, top_hash)
            held = contents_of(package)
            # One that is not known yet may have come about behind a lost reply: whole, or not.
            assert held == self.revisions.setdefault(top_hash, held)
        oldest = versions[0][1]
        dest = self.root / f"check-{len(list(self.root.iterdir()))}"
        assert t4.Package.install(self.name, self.registry, oldest, dest=dest).verify(dest)
        assert bytes_below(dest) == self.revisions[oldest]

    def _edited(self, files: dict[str, bytes], settings: t4.Settings) -> t4.Package:
        package = t4.Package(settings=settings)
        if self.revisions:
            package = t4.Package.browse(self.name, self.registry, settings=settings)
        for key, data in files.items():
            package.set(key, data)
        return package

    def _noted(self, package: t4.Package) -> str:
        top_hash = package.top_hash
        browsed = t4.Package.browse(self.name, self.registry, top_hash, settings=load_settings())
        self.revisions[top_hash] = contents_of(browsed)
        return top_hash


def _files(number: int) -> dict[str, bytes]:
    return {"a.bin": b"a%d" % number, "d/b.bin": b"same", "d/c.bin": b"c" * (number + 1)}


def hurt(relay: Relay, registry: str, name: str, root: Path) -> Hurt:
    """Publish two revisions of a package, to be hurt by a relay from now on."""
    s3 = t4.S3Settings(
        endpoint_url=relay.url, max_attempts=3, read_timeout_s=2, connect_timeout_s=2
    )
    world = Hurt(registry, name, root, relay, load_settings(s3=s3))
    root.mkdir(exist_ok=True)
    relay.rule = lambda _: None
    world.publish({"old.bin": b"old", "d/both.bin": b"both"})
    world.publish({"old.bin": b"newer"})
    return world
