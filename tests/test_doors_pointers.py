"""Pointers that lie or collide, and the clock, at every door of the library.

Each row is a case that was tried on another client of this format; the tests show that here it is
refused, with nothing written, or survived, with nothing lost.

| row | case | tests |
|---|---|---|
| 17 | revisions of one second | `test_row_17_...` |
| 18 | a slow clock | `test_row_18_...` |
| 39 | pointers with a newline, with `../` | `test_row_39_...` |
"""

from __future__ import annotations

from pathlib import Path

from pytest_mock import MockerFixture

import t4_ops as t4
from t4_ops import operations
from tests.doors_support import (
    LATEST,
    NAME,
    PLAIN,
    SECOND,
    World,
    hostile,
    refused,
)


def test_row_17_revisions_of_one_second_stay_apart(world: World, mocker: MockerFixture) -> None:
    mocker.patch("time.time", autospec=True, return_value=SECOND + 0.5)
    url = world.outside.url
    hashes = []
    for number in range(4):
        package = t4.Package().set("n.bin", b"%d" % number)
        hashes.append(package.push(NAME, url, force=True).top_hash)
    versions = t4.list_package_versions(NAME, url)
    assert [top_hash for _, top_hash in versions] == [*hashes, hashes[-1]]
    assert len({pointer for pointer, _ in versions}) == 5
    for number, top_hash in enumerate(hashes):
        assert t4.Package.browse(NAME, url, top_hash)["n.bin"].get_bytes() == b"%d" % number


def test_row_18_a_slow_clock_does_not_make_an_old_revision_latest(
    world: World, mocker: MockerFixture
) -> None:
    url = world.outside.url
    clock = mocker.patch("time.time", autospec=True, return_value=float(SECOND))
    package = t4.Package()
    hashes = [package.set("n.bin", b"0").build(NAME, url)]
    clock.return_value -= 24 * 60 * 60
    hashes += [package.set("n.bin", b"%d" % number).build(NAME, url) for number in (1, 2)]
    assert [top_hash for _, top_hash in t4.list_package_versions(NAME, url)][:3] == hashes
    t4.delete_package(NAME, url, hashes[-1])
    assert t4.Package.browse(NAME, url)["n.bin"].get_bytes() == b"1"


@PLAIN
def test_row_39_a_pointer_with_white_space_is_read(world: World) -> None:
    planted = hostile(world.outside)
    for text in (f"{planted.top_hash}\n", f" \t{planted.top_hash}\r\n\n"):
        for pointer in ("latest", str(SECOND)):
            world.outside.put(f".quilt/named_packages/{NAME}/{pointer}", text.encode())
        assert t4.Package.browse(NAME, planted.url).top_hash == planted.top_hash
        installed = t4.Package.install(NAME, planted.url, dest=world.dest)
        assert installed.top_hash == planted.top_hash
        assert t4.resolve(NAME, planted.url).top_hash == planted.top_hash
        pointers = [(str(SECOND), planted.top_hash), ("latest", planted.top_hash)]
        assert t4.list_package_versions(NAME, planted.url) == pointers


def bad_pointers(secret: Path) -> list[bytes]:
    up = "../" * 40 + str(secret).lstrip("/")
    sixty_four = ("../" * 25 + str(secret).lstrip("/"))[:64]
    return [
        up.encode(),
        sixty_four.encode(),
        b"../" * 21 + b"x",
        b"",
        b"\n",
        b"A" * 64,
        b"0" * 63,
        b"0" * 65,
        b"0" * 32 + b"\n" + b"0" * 32,
        b"\xff" * 64,
        b"0" * 2_000_000,
    ]


@PLAIN
def test_row_39_a_pointer_that_holds_something_else_is_refused(world: World) -> None:
    planted = hostile(world.outside)
    secret = world.root / "secret"
    secret.write_bytes(planted.data)
    package = t4.Package().set_text("a", "x")
    for bad in bad_pointers(secret)[:: 1 if world.outside.is_folder else 4]:
        world.outside.put(LATEST, bad)
        before = world.state()
        for action in (
            lambda: t4.Package.browse(NAME, planted.url),
            lambda: t4.Package.install(NAME, planted.url, dest=world.dest),
            lambda: t4.resolve(NAME, planted.url),
            lambda: operations.browse(NAME, registry=planted.url),
            lambda: operations.install(NAME, registry=planted.url, dest=world.dest),
            lambda: package.push(NAME, planted.url, force=True),
            lambda: package.build(NAME, planted.url),
            lambda: t4.list_package_versions(NAME, planted.url),
        ):
            refused(action, t4.FormatError)
        assert world.state() == before, bad
        # What the messages advise must work.
        assert t4.Package.rollback(NAME, planted.url, planted.top_hash) == planted.top_hash
        assert world.outside.get(LATEST) == planted.top_hash.encode()


@PLAIN
def test_row_39_a_damaged_older_pointer_does_not_block_the_package(world: World) -> None:
    planted = hostile(world.outside)
    world.outside.put(f".quilt/named_packages/{NAME}/{SECOND - 1}", b"../../secret")
    assert t4.Package.browse(NAME, planted.url, planted.top_hash[:8]).top_hash == planted.top_hash
    assert t4.Package.rollback(NAME, planted.url, planted.top_hash[:8]) == planted.top_hash
    pushed = t4.Package.browse(NAME, planted.url).set("b.bin", b"b").push(NAME, planted.url)
    assert t4.Package.rollback(NAME, planted.url, planted.top_hash) == planted.top_hash
    assert t4.resolve(f"{NAME}@{pushed.top_hash[:10]}", planted.url).top_hash == pushed.top_hash
