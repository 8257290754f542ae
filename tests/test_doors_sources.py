"""Sources that change or lead elsewhere, names that are no text, and secrets that must not leak.

Each row is a case that was tried on another client of this format; the tests show that here it is
refused, with nothing written, or survived, with nothing lost.

| row | case | tests |
|---|---|---|
| 23 | `set_dir` over symlinks | `test_row_23_...` |
| 24 | source changed between build and push | `test_row_24_...` |
| 25 | source changed between set and build | `test_row_25_...` |
| 34 | file names that are no text | `test_row_34_...` |
| - | credentials in messages, logs, events | `test_no_secret_...` |
"""

from __future__ import annotations

import logging
import os
import pickle
import socket
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from pytest_mock import MockerFixture

import t4_ops as t4
from demo.seaweedfs import SeaweedFS
from t4_ops import operations
from tests.doors_support import (
    NAME,
    Outside,
    World,
    files_below,
    refused,
    tree,
    world_of,
)
from tests.s3_support import run_relay, s3_fault

OLD = b"what was set"
CHANGES: dict[str, bytes | None] = {
    "same size": b"what is here",
    "grown": OLD + b" and more",
    "shrunk": OLD[:3],
    "emptied": b"",
    "vanished": None,
}


# For cases that an object's version has no part in.
PLAIN = pytest.mark.parametrize("registry", ["folder", "unversioned"], indirect=True)


@pytest.fixture
def world(tmp_path: Path, registry: str) -> World:
    return world_of(tmp_path, registry)


@pytest.fixture
def local(tmp_path: Path) -> World:
    return world_of(tmp_path, (tmp_path / "registry").as_uri())


@pytest.fixture
def remote(tmp_path: Path, bucket_registry: str) -> World:
    return world_of(tmp_path, bucket_registry)


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


# Links in a source


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


# Sources that change


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


def test_row_24_a_file_that_changes_while_it_is_pushed_is_noticed(world: World) -> None:
    """The function that says where an object goes is called between hashing and moving."""
    url = world.outside.url
    for what, new in CHANGES.items():
        source = new_source(world.root / what)

        def dest(
            key: str, entry: t4.PackageEntry, source: Path = source, new: bytes | None = new
        ) -> str:
            if key == "d/data.txt":
                change(source / key, new)
            return f"{url}/{source.name}/{key}"

        package = t4.Package().set_dir("", source)
        kind = t4.NotFoundError if new is None else t4.IntegrityError
        refused(lambda p=package, d=dest: p.push(NAME, url, dest=d), kind)
        assert published(world.outside) == []
        assert f"{what}/d/data.txt" not in world.outside.all_keys()
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


# Names that are no text


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


# Secrets

ACCESS_KEY = "AKIADOORSDOORSDOORS1"
SECRET_KEY = "doors/secret+key=that/nobody-may/SEE"
TOKEN = "doors-session-token-that-nobody-may-see=="
PROXY = "doors-proxy-password"
SECRETS = (ACCESS_KEY, SECRET_KEY, TOKEN, PROXY)


def s3_actions(url: str, settings: t4.Settings, root: Path) -> dict[str, Callable[[], Any]]:
    """Return every way to reach a bucket."""
    name = "team/data"
    file = root / "file.txt"
    file.write_bytes(b"x")
    local = (root / "actions").as_uri()
    built = t4.Package(settings=settings).set("a.txt", file)
    top_hash = built.build(name, local)
    entry = t4.Package(settings=settings).set("a.txt", file)
    bucket = t4.Bucket(url, settings=settings)
    ref = {"registry": url, "name": name, "top_hash": top_hash}
    options: dict[str, Any] = {"settings": settings}
    return {
        "browse": lambda: t4.Package.browse(name, url, **options),
        "browse hash": lambda: t4.Package.browse(name, url, top_hash, **options),
        "install": lambda: t4.Package.install(name, url, dest=root / "out", **options),
        "build": lambda: entry.build(name, url),
        "push": lambda: built.push(name, url),
        "rollback": lambda: t4.Package.rollback(name, url, top_hash, **options),
        "resolve": lambda: t4.resolve(name, url, **options),
        "list_packages": lambda: t4.list_packages(url, **options),
        "list versions": lambda: t4.list_package_versions(name, url, **options),
        "delete_package": lambda: t4.delete_package(name, url, **options),
        "set": lambda: t4.Package(**options).set("a", f"{url}/key"),
        "set_dir": lambda: t4.Package(**options).set_dir("", f"{url}/prefix"),
        "Bucket.keys": bucket.keys,
        "Bucket.ls": bucket.ls,
        "Bucket.put": lambda: bucket.put("a.json", {}, meta={"a": 1}),
        "Bucket.get": lambda: bucket.get("a.json"),
        "Bucket.put_file": lambda: bucket.put_file("a", file),
        "Bucket.fetch": lambda: bucket.fetch("a", root / "out"),
        "Bucket.fetch a folder": lambda: bucket.fetch("a/", root / "out"),
        "Bucket.delete": lambda: bucket.delete("a"),
        "Bucket.delete_dir": lambda: bucket.delete_dir("a"),
        "Bucket.set_meta": lambda: bucket.set_meta("a", {}),
        "copy from": lambda: t4.copy(f"{url}/key", root / "out", **options),
        "copy to": lambda: t4.copy(file, f"{url}/key", **options),
        "operations.build": lambda: operations.build(name, file, registry=url, **options),
        "operations.push": lambda: operations.push(f"{name}@{top_hash}", registry=url, **options),
        "operations.install": lambda: operations.install(ref, dest=root / "out", **options),
        "operations.browse": lambda: operations.browse(name, registry=url, **options),
    }


def assert_silent(actions: dict[str, Callable[[], Any]], caplog: pytest.LogCaptureFixture) -> None:
    """Let every action fail and look for secrets in all that is told of it."""
    for name, action in actions.items():
        with pytest.raises(t4.T4Error) as caught:
            action()
        error = caught.value
        told = [
            str(error),
            repr(error),
            str(vars(error)),
            *traceback.format_exception(error),
            repr(pickle.dumps(error)),
            caplog.text,
            *(str(vars(log)) for log in caplog.records),
        ]
        for text in told:
            assert not any(secret in text for secret in SECRETS), name
    caplog.clear()


@pytest.fixture
def quick_log(mocker: MockerFixture, caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """The log, down to the last line of ours; retries come without pauses."""
    mocker.patch("random.uniform", autospec=True, return_value=0.0)
    caplog.set_level(logging.INFO)
    caplog.set_level(logging.DEBUG, logger="t4_ops")
    return caplog


@pytest.fixture
def nobody() -> Iterator[str]:
    """An endpoint where nobody answers."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


def with_keys(endpoint_url: str, **changes: Any) -> t4.Settings:
    values = {
        "endpoint_url": endpoint_url,
        "region": "us-east-1",
        "access_key_id": ACCESS_KEY,
        "secret_access_key": SECRET_KEY,
        "session_token": TOKEN,
        "max_attempts": 1,
        **changes,
    }
    return t4.load_settings(s3=t4.S3Settings(**values))


@pytest.mark.parametrize("given", ["settings", "environment", "proxy"])
def test_no_secret_is_told_when_nobody_answers(
    nobody: str,
    tmp_path: Path,
    quick_log: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    given: str,
) -> None:
    if given == "environment":
        for name, value in (
            ("AWS_ACCESS_KEY_ID", ACCESS_KEY),
            ("AWS_SECRET_ACCESS_KEY", SECRET_KEY),
            ("AWS_SESSION_TOKEN", TOKEN),
            ("AWS_ENDPOINT_URL", nobody),
            ("AWS_REGION", "us-east-1"),
            ("T4_S3_MAX_ATTEMPTS", "1"),
        ):
            monkeypatch.setenv(name, value)
        settings = t4.load_settings()
    elif given == "proxy":
        proxy = nobody.replace("://", f"://user:{PROXY}@")
        settings = with_keys("http://s3.invalid", proxy_url=proxy)
    else:
        settings = with_keys(nobody)
    assert_silent(s3_actions("s3://a-bucket", settings, tmp_path), quick_log)
    shown = repr(settings) + repr(t4.Bucket("s3://a-bucket", settings=settings))
    assert not any(secret in shown for secret in SECRETS)


@pytest.mark.parametrize("wrong", ["secret", "access key"])
def test_no_secret_is_told_when_the_server_refuses(
    s3_server: SeaweedFS,
    unversioned_bucket: str,
    tmp_path: Path,
    quick_log: pytest.LogCaptureFixture,
    wrong: str,
) -> None:
    settings = with_keys(
        s3_server.endpoint_url,
        session_token=None,
        access_key_id=s3_server.access_key if wrong == "secret" else ACCESS_KEY,
    )
    actions = s3_actions(f"s3://{unversioned_bucket}", settings, tmp_path)
    assert_silent(actions, quick_log)
    error = refused(actions["browse"], t4.StorageError)
    assert isinstance(error, t4.StorageError)
    assert not error.retryable


def test_no_secret_is_told_when_the_server_repeats_it(
    s3_env: SeaweedFS,
    unversioned_bucket: str,
    tmp_path: Path,
    quick_log: pytest.LogCaptureFixture,
) -> None:
    """Servers name the access key, and Amazon the expired token, in what they answer."""
    with run_relay(s3_env.endpoint_url) as relay:
        said = f"token {TOKEN} of {ACCESS_KEY} with {SECRET_KEY} is expired"
        relay.rule = lambda r: s3_fault(
            400, "ExpiredToken", said, f"<Token-0>{TOKEN}</Token-0><Key>{ACCESS_KEY}</Key>"
        )
        actions = s3_actions(f"s3://{unversioned_bucket}", with_keys(relay.url), tmp_path)
        # A reply to HEAD has no body, so that nothing can be repeated in it.
        assert_silent(actions, quick_log)


def test_no_secret_is_stored_or_shown_when_all_goes_well(
    remote: World, s3_env: SeaweedFS, source: Path, quick_log: pytest.LogCaptureFixture
) -> None:
    url = remote.outside.url
    keys = (s3_env.access_key, s3_env.secret_key)
    settings = t4.load_settings(
        s3=t4.S3Settings(
            endpoint_url=s3_env.endpoint_url,
            region="us-east-1",
            access_key_id=keys[0],
            secret_access_key=keys[1],
        )
    )
    built = operations.build(NAME, source, registry=remote.other.url, settings=settings)
    pushed = operations.push(built, registry=url, settings=settings)
    installed = operations.install(pushed, dest=remote.root / "out", settings=settings)
    package = t4.Package.browse(NAME, url, settings=settings)
    assert any("lineage/events" in key for key in remote.outside.all_keys())
    shown = [repr(value) for value in (settings, package, package["steady.txt"], package.ref)]
    shown += [str(built), str(pushed), str(installed), quick_log.text]
    shown += [repr(remote.outside.get(key)) for key in remote.outside.all_keys()]
    shown += [repr(data) for data in files_below(remote.root).values()]
    shown += remote.outside.all_keys()
    for text in shown:
        assert not any(key in text for key in keys)
