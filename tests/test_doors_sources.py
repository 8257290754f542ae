"""Sources that change or lead elsewhere, and file names that are no text.

Each row is a case that was tried on another client of this format; the tests show that here it is
refused, with nothing written, or survived, with nothing lost.

| row | case | tests |
|---|---|---|
| 23 | `set_dir` over symlinks | `test_row_23_...` |
| 24 | source changed between build and push | `test_row_24_...`, `test_rows_24_25_...` |
| 25 | source changed between set and build | `test_row_25_...`, `test_rows_24_25_...` |
| 34 | file names that are no text | `test_row_34_...` |
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

import t4_ops as t4
from t4_ops import operations
from tests.doors_support import (
    NAME,
    PLAIN,
    Outside,
    World,
    files_below,
    refused,
    tree,
)

OLD = b"what was set"


CHANGES: dict[str, bytes | None] = {
    "same size": b"what is here",
    "grown": OLD + b" and more",
    "shrunk": OLD[:3],
    "emptied": b"",
    "vanished": None,
}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder to package."""
    return new_source(tmp_path / "source")


def new_source(folder: Path) -> Path:
    (folder / "d").mkdir(parents=True)
    (folder / "d" / "data.txt").write_bytes(OLD)
    (folder / "steady.txt").write_bytes(b"steady")
    return folder


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A file beside the source, as long as the one in it."""
    place = tmp_path / "outside" / "data.txt"
    place.parent.mkdir()
    place.write_bytes(OLD.upper())
    return place


def change(file: Path, data: bytes | None) -> None:
    """Change a file so that not even its time tells."""
    facts = file.stat()
    if data is None:
        file.unlink()
        return
    file.write_bytes(data)
    os.utime(file, ns=(facts.st_atime_ns, facts.st_mtime_ns))


def published(outside: Outside) -> list[str]:
    """Return the keys that make a revision: manifests and pointers."""
    return [key for key in outside.all_keys() if key.startswith(".quilt/")]


def objects(outside: Outside) -> list[str]:
    """Return the keys of packaged objects."""
    return [key for key in outside.all_keys() if "/objects/" in key or key.startswith("team/")]


def packagers(world: World, folder: Path) -> dict[str, Callable[[], Any]]:
    """Return every way to package or store a folder."""
    url = world.outside.url
    found: dict[str, Callable[[], Any]] = {
        "set_dir": lambda: t4.Package().set_dir("", folder),
        "set_dir below": lambda: t4.Package().set_dir("below", folder),
        "set_dir of a URL": lambda: t4.Package().set_dir("", folder.as_uri()),
        "set_dir of a view": lambda: t4.Package().set_text("v/a", "x")["v"].set_dir("", folder),
        "operations.build": lambda: operations.build(NAME, folder, registry=url),
        "operations.build of a mapping": lambda: operations.build(
            NAME, {"below": folder}, registry=url
        ),
    }
    if not world.outside.is_folder:
        found["Bucket.put_dir"] = lambda: t4.Bucket(url).put_dir("below", folder)
    return found


@PLAIN
def test_row_23_a_link_that_leaves_the_folder_is_refused(
    world: World, source: Path, secret: Path
) -> None:
    link = source / "link"
    (source / "d" / "up").symlink_to("../..")
    targets = (secret, secret.parent, Path("../outside/data.txt"), Path("d/up/outside/data.txt"))
    for target in targets:
        link.symlink_to(target)
        before = world.state()
        for name, action in packagers(world, source).items():
            error = refused(action, t4.InvalidInputError)
            assert "link" in str(error) or "up" in str(error), name
        assert world.state() == before
        link.unlink()


@PLAIN
def test_row_23_links_inside_are_packaged_as_files(world: World, source: Path) -> None:
    (source / "alias.txt").symlink_to("d/data.txt")
    (source / "folder").symlink_to("d")
    (source / "dangling").symlink_to("nowhere")
    (source / "loop").symlink_to("loop")
    package = t4.Package().set_dir("", source)
    assert [key for key, _ in package.walk()] == ["alias.txt", "d/data.txt", "steady.txt"]
    pushed = package.push(NAME, world.outside.url)
    assert pushed["alias.txt"].get_bytes() == OLD
    t4.Package.install(NAME, world.outside.url, dest=world.root / "out")
    assert not any(kind[0] == "link" for kind in tree(world.root / "out").values())


@PLAIN
def test_row_23_a_link_the_user_names_is_followed_once(world: World, secret: Path) -> None:
    link = world.root / "named"
    link.symlink_to(secret)
    package = t4.Package().set("a.txt", link)
    link.unlink()
    link.symlink_to(world.dest / "theirs.txt")
    pushed = package.push(NAME, world.outside.url)
    assert pushed["a.txt"].get_bytes() == secret.read_bytes()


@PLAIN
@pytest.mark.parametrize("what", ["file", "folder"])
def test_row_23_a_link_that_takes_a_place_after_the_scan_leads_nowhere(
    world: World, source: Path, secret: Path, what: str
) -> None:
    package = t4.Package().set_dir("", source)
    kept = package.filter(lambda key, entry: True)
    moved = t4.Package().set("moved", package["d/data.txt"])
    if what == "file":
        (source / "d" / "data.txt").unlink()
        (source / "d" / "data.txt").symlink_to(secret)
    else:
        (source / "d").rename(source / "e")
        (source / "d").symlink_to(secret.parent)
    url = world.outside.url
    before = world.state()
    for action in (
        lambda: package.build(NAME, url),
        lambda: package.push(NAME, url),
        lambda: package["d"].push(NAME, url),
        lambda: kept.push(NAME, url),
        lambda: moved.push(NAME, url),
        lambda: package.fetch(world.dest / "new"),
        lambda: package["d/data.txt"].fetch(world.dest),
        package["d/data.txt"].get_bytes,
        package["d/data.txt"].deserialize,
    ):
        error = refused(action, t4.InvalidInputError)
        assert "link" in str(error)
    assert world.state() == before


def test_row_24_a_file_that_changed_since_the_build_is_not_pushed(world: World) -> None:
    url = world.outside.url
    first = t4.Package().set("first.bin", b"first").push(NAME, url)
    for what, new in CHANGES.items():
        source = new_source(world.root / what)
        built = t4.Package().set_dir("", source)
        result = operations.build(NAME, source, registry=world.other.url)
        built.build("team/more", world.other.url)
        change(source / "d" / "data.txt", new)
        kind = t4.NotFoundError if new is None else t4.IntegrityError
        browsed = t4.Package.browse(NAME, world.other.url)
        before, state = published(world.outside), tree(world.dest)
        dest = world.root / "new" / what
        for action in (
            lambda p=built: p.push(NAME, url, force=True),
            lambda p=built: p.push(NAME, url, force=True, dest=f"{url}/place"),
            lambda p=browsed: p.push(NAME, url, force=True),
            lambda r=result: operations.push(r, registry=url, force=True),
            lambda d=dest: t4.Package.install(NAME, world.other.url, dest=d),
            lambda r=result, d=dest: operations.install(r, dest=d),
            lambda p=browsed: p["d"].fetch(world.dest),
            lambda p=browsed: p["d/data.txt"].fetch(world.dest),
            browsed["d/data.txt"].get_bytes,
            lambda p=browsed: p["d/data.txt"].deserialize(bytes),
        ):
            error = refused(action, kind)
            assert "data.txt" in str(error), what
        assert published(world.outside) == before
        assert {world.outside.get(key) for key in objects(world.outside)} <= {b"first", b"steady"}
        assert tree(world.dest) == state
        assert not (dest / "d" / "data.txt").exists()
        assert t4.Package.browse(NAME, url).top_hash == first.top_hash
        if new is not None:
            # Setting it again is what the message says.
            again = t4.Package().set_dir("", source).push("team/again", url, force=True)
            assert again["d/data.txt"].get_bytes() == new
            for key in objects(world.outside):
                if world.outside.get(key) == new:
                    world.outside.remove(f"{url}/{quote(key)}")


def change_while_pushed(world: World, source: Path, new: bytes | None) -> Callable[[], t4.Package]:
    """Return a push during which a file changes, after it was hashed and before it is moved."""

    def dest(key: str, entry: object) -> str:
        # The function that says where an object goes is called between hashing and moving.
        if key == "d/data.txt":
            change(source / key, new)
        return f"{world.outside.url}/{source.name}/{key}"

    package = t4.Package().set_dir("", source)
    return lambda: package.push(NAME, world.outside.url, dest=dest, force=True)


@pytest.mark.parametrize("what", CHANGES)
def test_row_24_a_large_file_that_changes_while_it_is_pushed_is_noticed(
    world: World, what: str
) -> None:
    source, new = new_source(world.root / what), CHANGES[what]
    # Too large to be kept in memory until it is sent.
    (source / "d" / "data.txt").write_bytes(OLD * 200_000)
    push = change_while_pushed(world, source, None if new is None else new * 200_000)
    refused(push, t4.NotFoundError if new is None else t4.IntegrityError)
    assert published(world.outside) == []
    assert f"{what}/d/data.txt" not in world.outside.all_keys()
    assert t4.list_packages(world.outside.url) == []


@pytest.mark.parametrize("what", CHANGES)
def test_row_24_a_small_file_that_changes_while_it_is_pushed_is_what_was_hashed(
    world: World, what: str
) -> None:
    """Into a bucket goes what was read once; a folder reads again and notices."""
    url, new = world.outside.url, CHANGES[what]
    push = change_while_pushed(world, new_source(world.root / what), new)
    if url.startswith("s3://"):
        push()
        assert t4.Package.browse(NAME, url)["d/data.txt"].get_bytes() == OLD
        assert world.outside.get(f"{what}/d/data.txt") == OLD
    else:
        refused(push, t4.NotFoundError if new is None else t4.IntegrityError)
        assert published(world.outside) == []
        assert t4.list_packages(url) == []


def test_row_25_a_file_that_changed_before_the_build_is_built_as_it_is(world: World) -> None:
    url = world.outside.url
    for what, new in CHANGES.items():
        source = new_source(world.root / what)
        package = t4.Package().set_dir("", source).set("single.txt", source / "d" / "data.txt")
        change(source / "d" / "data.txt", new)
        if new is None:
            before = world.state()
            for action in (
                lambda p=package: p.build(NAME, url),
                lambda p=package: p.push(NAME, url, force=True),
                lambda p=package: p.fetch(world.root / "new"),
                package["single.txt"].get_bytes,
                lambda p=package: p["d/data.txt"].fetch(world.dest),
            ):
                refused(action, t4.NotFoundError)
            assert world.state() == before
            continue
        assert package["d/data.txt"].get_bytes() == new
        top_hash = package.build(NAME, url)
        t4.Package.install(NAME, url, top_hash, dest=world.dest)
        assert (world.dest / "d" / "data.txt").read_bytes() == new
        browsed = t4.Package.browse(NAME, url)
        for key in ("d/data.txt", "single.txt"):
            assert browsed[key].size == len(new), what
            assert browsed[key].get_bytes() == new
        assert browsed.verify(world.dest, extra_files_ok=True)


def test_rows_24_25_an_object_that_changes_in_a_bucket_is_noticed_or_pinned(remote: World) -> None:
    url = remote.outside.url
    for what, new in CHANGES.items():
        place = remote.outside.put(f"{what}/data.bin", OLD)
        plain = place.partition("?")[0]
        set_before = t4.Package().set("a.bin", plain).set_dir("d", f"{url}/{what}")
        built = t4.Package().set("a.bin", plain).set_dir("d", f"{url}/{what}")
        built.build(NAME, remote.other.url, what)
        if new is None:
            remote.outside.remove(plain)
        else:
            remote.outside.put(f"{what}/data.bin", new)
        target = (remote.root / "targets" / what).as_uri()
        if "versionId" in place:
            for package in (built, set_before):
                pushed = package.push(NAME, target, force=True)
                assert [entry.get_bytes() for _, entry in pushed.walk()] == [OLD, OLD]
            continue
        kind = t4.NotFoundError if new is None else t4.IntegrityError
        for action in (
            lambda p=built, t=target: p.push(NAME, t),
            lambda: t4.Package.install(NAME, remote.other.url, dest=remote.dest),
            built["a.bin"].get_bytes,
            lambda p=built: p["d/data.bin"].fetch(remote.dest),
        ):
            refused(action, kind)
        assert published(Outside(target)) == []
        assert files_below(remote.dest) == {"theirs.txt": b"somebody else's"}
        if new is None:
            refused(lambda p=set_before, t=target: p.push(NAME, t), t4.NotFoundError)
        else:
            pushed = set_before.push(NAME, target)
            assert [entry.get_bytes() for _, entry in pushed.walk()] == [new, new]
            assert pushed["a.bin"].size == len(new)


def test_rows_24_25_what_is_no_regular_file_is_no_source(local: World) -> None:
    fifo, folder = local.root / "fifo", local.root / "folder"
    os.mkfifo(fifo)
    folder.mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        here = Path.cwd()
        os.chdir(local.root)  # the names of such sockets are short
        try:
            server.bind("socket")
        finally:
            os.chdir(here)
        for place in (fifo, folder, local.root / "socket", Path(os.devnull)):
            for action in (
                lambda p=place: t4.Package().set("a.bin", p),
                lambda p=place: t4.copy(p, local.dest / "copied"),
            ):
                refused(action, t4.InvalidInputError)
    assert not (local.dest / "copied").exists()


@PLAIN
def test_row_34_a_file_whose_name_is_no_text_is_refused_by_name(world: World, source: Path) -> None:
    (source / os.fsdecode(b"bad\xff.txt")).write_bytes(b"x")
    before = world.state()
    for action in packagers(world, source).values():
        error = refused(action, t4.InvalidInputError)
        assert "bad" in str(error)
        str(error).encode()  # a message that can't be printed would hide the reason
    assert world.state() == before
    (source / ".quiltignore").write_text("bad*\n")
    pushed = t4.Package().set_dir("", source).push(NAME, world.outside.url)
    assert len(list(pushed.walk())) == 3


def test_row_34_a_path_that_is_no_text_is_a_source_and_a_destination(local: World) -> None:
    folder = local.root / os.fsdecode(b"odd\xfe")
    folder.mkdir()
    (folder / os.fsdecode(b"odd\xff.txt")).write_bytes(OLD)
    url = local.outside.url
    package = t4.Package().set("odd.txt", folder / os.fsdecode(b"odd\xff.txt"))
    assert package.build(NAME, url) == package.push("team/pushed", url).top_hash
    assert t4.Package.browse(NAME, url)["odd.txt"].get_bytes() == OLD
    installed = t4.Package.install(NAME, url, dest=folder / "out")
    assert (folder / "out" / "odd.txt").read_bytes() == OLD
    assert installed.verify(folder / "out")
    (folder / "out" / os.fsdecode(b"more\xff")).write_bytes(b"x")
    assert not installed.verify(folder / "out")
    assert installed.verify(folder / "out", extra_files_ok=True)
    registry = folder / "registry"
    package.push(NAME, str(registry))
    assert t4.Package.browse(NAME, str(registry))["odd.txt"].get_bytes() == OLD


def test_row_34_a_step_over_paths_that_are_no_text(local: World) -> None:
    folder = local.root / os.fsdecode(b"odd\xfe")
    folder.mkdir()
    (folder / "a.txt").write_bytes(OLD)
    built = operations.build(NAME, folder, registry=local.outside.url)
    pushed = operations.push(built, registry=str(folder / "registry"))
    installed = operations.install(pushed, dest=folder / "out")
    assert (folder / "out" / "a.txt").read_bytes() == OLD
    assert installed["top_hash"] == built["top_hash"]
