"""Install, fetch and verify: files arrive whole, where they should, and nothing else is touched."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote

import pytest

import t4_ops as t4
from demo.seaweedfs import SeaweedFS
from t4_ops.keys import PhysicalKey
from t4_ops.settings import load_settings
from t4_ops.transfer import Cancelled
from tests.package_support import ROOT, bytes_below, store_of, watched, write_files
from tests.s3_support import Fault, s3_fault

NAME = "team/data"
FILES = {
    "a": b"one",
    "b/c d#?%41.txt": b"two",
    "b/d/é+": b"three",
    "empty": b"",
    "large": b"l" * (8 * 1024 * 1024 + 1),
}


def published(registry: str, root: Path, files: dict[str, bytes] = FILES) -> t4.Package:
    return t4.Package().set_dir("/", write_files(root, files)).push(NAME, registry, force=True)


@contextmanager
def object_fails(
    registry: str, package: t4.Package, key: str, server: SeaweedFS | None
) -> Iterator[t4.Settings]:
    """Make one object unreadable, in a way its registry may: damaged on disk, refused by S3."""
    place = PhysicalKey.parse(package.get(key))
    if place.is_local:
        good = Path(place.path).read_bytes()
        Path(place.path).write_bytes(b"x" * len(good))
        yield load_settings()
        Path(place.path).write_bytes(good)
        return
    assert server is not None
    with watched(server.endpoint_url) as (relay, settings):

        def refuse(request: object) -> Fault | None:
            target = unquote(getattr(request, "target", ""))
            hit = target.split("?")[0].endswith(place.path.rsplit("/", 1)[-1])
            return s3_fault(403, "AccessDenied") if hit and ".quilt" not in target else None

        relay.rule = refuse
        yield settings


@pytest.fixture
def server(request: pytest.FixtureRequest, registry: str) -> SeaweedFS | None:
    if registry.startswith("file:"):
        return None
    found: SeaweedFS = request.getfixturevalue("s3_server")
    return found


def test_install_brings_the_files_and_notes_the_package(
    registry: str, tmp_path: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("T4_INSTALL_DIR", str(tmp_path / "installs"))
    pushed = published(registry, tmp_path / "files")
    installed = t4.Package.install(NAME, registry)
    assert bytes_below(tmp_path / "installs" / NAME) == FILES
    assert installed.top_hash == pushed.top_hash
    assert {key: e.physical_key for key, e in installed.walk()} == {
        key: e.physical_key for key, e in pushed.walk()
    }
    # The local registry knows it now, and where its objects are.
    assert t4.list_packages() == [NAME]
    assert t4.list_package_versions(NAME)[-1] == ("latest", pushed.top_hash)
    local = t4.Package.browse(NAME)
    assert local.get("a") == pushed.get("a")
    assert local["large"].get_bytes() == FILES["large"]

    t4.Package.install(NAME, registry, dest=(tmp_path / "by url").as_uri())
    monkeypatch.chdir(tmp_path)
    t4.Package.install(NAME, registry, pushed.top_hash[:10], "relative/dest")
    assert bytes_below(tmp_path / "by url") == bytes_below(tmp_path / "relative/dest") == FILES
    t4.Package.install(NAME, registry, dest=tmp_path / "part", path="b")
    t4.Package.install(NAME, registry, dest=tmp_path / "part/sub", path="b/d/")
    t4.Package.install(NAME, registry, dest=tmp_path / "part/one", path="b/d/é+")
    below_b = {"c d#?%41.txt": b"two", "d/é+": b"three"}
    assert bytes_below(tmp_path / "part") == {
        **below_b,
        "sub/é+": b"three",
        "one/é+": b"three",
    }
    for bad, error in (
        ({"path": "nothing"}, t4.NotFoundError),
        ({"path": "../a"}, t4.InvalidInputError),
        ({"dest": "s3://bucket/x"}, t4.InvalidInputError),
        ({"dest": tmp_path / "files" / "a"}, t4.InvalidInputError),
        ({"dest": tmp_path / "files" / "a" / "b"}, t4.InvalidInputError),
        ({"top_hash": "0" * 64}, t4.NotFoundError),
        ({"top_hash": "xyz"}, t4.InvalidInputError),
    ):
        with pytest.raises(error):
            t4.Package.install(NAME, registry, **bad)  # type: ignore[arg-type]
    with pytest.raises(t4.NotFoundError):
        t4.Package.install("team/nothing", registry)


def test_good_files_are_kept_wrong_ones_replaced_foreign_ones_left(
    registry: str, tmp_path: Path
) -> None:
    pushed = published(registry, tmp_path / "files")
    dest = tmp_path / "dest"
    t4.Package.install(NAME, registry, dest=dest)
    write_files(dest, {"foreign": b"mine", "b/foreign": b"mine", "a": b"ONE", "empty": b"x"})
    (dest / "b/d/é+").unlink()
    before = {path: 10**18 for path in dest.rglob("*") if path.is_file()}
    for path, time_ns in before.items():
        os.utime(path, ns=(time_ns, time_ns))  # what is replaced in this very tick is seen too
    inode = (dest / "large").stat().st_ino
    t4.Package.install(NAME, registry, dest=dest)
    assert bytes_below(dest) == {**FILES, "foreign": b"mine", "b/foreign": b"mine"}
    kept = {path for path, time_ns in before.items() if path.stat().st_mtime_ns == time_ns}
    assert {path.relative_to(dest).as_posix() for path in kept} == {
        *("large", "b/c d#?%41.txt", "foreign", "b/foreign"),
    }
    assert (dest / "large").stat().st_ino == inode
    assert pushed.verify(dest, extra_files_ok=True)
    assert not pushed.verify(dest)


def test_a_failed_install_is_completed_by_the_next(
    registry: str, server: SeaweedFS | None, tmp_path: Path
) -> None:
    pushed = published(registry, tmp_path / "files")
    dest = write_files(tmp_path / "dest", {"b/d/é+": b"mine!"})
    with object_fails(registry, pushed, "b/d/é+", server) as settings:
        with pytest.raises((t4.IntegrityError, t4.StorageError)):
            t4.Package.install(NAME, registry, dest=dest, settings=settings)
        assert (dest / "b/d/é+").read_bytes() == b"mine!"
        assert not [path for path in dest.rglob("*") if path.name.startswith(".t4")]
        # Nothing was noted: half a package is none.
        assert t4.list_packages() == []
    t4.Package.install(NAME, registry, dest=dest)
    assert bytes_below(dest) == FILES
    assert t4.list_packages() == [NAME]


def test_what_the_local_registry_has_stands(
    bucket_registry: str, tmp_path: Path, own_home: Path
) -> None:
    files = write_files(tmp_path / "files", {"a": b"1"})
    package = t4.Package().set_dir("/", files)
    top_hash = package.build(NAME)
    later = package.set_meta({"later": 1}).build(NAME)
    # Of the registry itself nothing is noted: `latest` must not go back.
    t4.Package.install(NAME, top_hash=top_hash, dest=tmp_path / "old")
    assert t4.Package.browse(NAME).top_hash == later
    t4.Package.browse(NAME, top_hash=top_hash).push(NAME, bucket_registry)
    t4.Package.install(NAME, bucket_registry, dest=tmp_path / "new")
    local = t4.Package.browse(NAME)
    assert (local.top_hash, local.get("a")) == (top_hash, (files / "a").as_uri())
    # With a bucket as the default registry, the folder in the user's data directory notes it.
    settings = load_settings(registry=bucket_registry)
    t4.Package.install(NAME, dest=tmp_path / "third", settings=settings)
    noted = Path(PhysicalKey.parse(settings.local_registry).path)
    assert own_home in noted.parents
    assert t4.list_packages(str(noted)) == [NAME]


def test_fetch_and_verify(registry: str, tmp_path: Path) -> None:
    pushed = published(registry, tmp_path / "files")
    fetched = pushed.fetch(tmp_path / "fetched")
    assert bytes_below(tmp_path / "fetched") == FILES
    assert fetched.get("b/d/é+") == (tmp_path / "fetched/b/d/é+").as_uri()
    assert fetched.top_hash == pushed.top_hash
    assert pushed.get("a").startswith(store_of(registry).url)
    part = pushed["b"].fetch((tmp_path / "part").as_uri())
    assert bytes_below(tmp_path / "part") == {"c d#?%41.txt": b"two", "d/é+": b"three"}
    assert pushed["b"].verify(tmp_path / "part")
    assert [key for key, _ in part.walk()] == ["c d#?%41.txt", "d/é+"]
    # What was only set is hashed on the way.
    fresh = t4.Package().set_dir("/", tmp_path / "files").set("x.json", {"a": 1})
    again = fresh.fetch(tmp_path / "again")
    assert (tmp_path / "again" / "x.json").read_bytes() == again["x.json"].get_bytes()
    assert again.verify(tmp_path / "again")
    with pytest.raises(t4.InvalidInputError):
        pushed.fetch("s3://bucket/prefix")

    folder = tmp_path / "fetched"
    assert pushed.verify(folder)
    (folder / ".quilt").mkdir()
    (folder / ".quilt" / "x").write_bytes(b"of a registry")
    assert pushed.verify(folder)
    for key, data in (("a", b"ONE"), ("a", b"longer"), ("extra", b""), (".quiltignore", b"*")):
        before = (folder / key).read_bytes() if (folder / key).exists() else None
        (folder / key).write_bytes(data)
        assert not pushed.verify(folder)
        assert pushed.verify(folder, extra_files_ok=True) == (before is None)
        (folder / key).unlink()
        if before is not None:
            (folder / key).write_bytes(before)
    for target in (tmp_path / "files" / "a", tmp_path, tmp_path / "nothing"):
        (folder / "link").symlink_to(target)
        assert not pushed.verify(folder)
        assert pushed.verify(folder, extra_files_ok=True)
        (folder / "link").unlink()
    (folder / "a").unlink()
    (folder / "a").symlink_to(tmp_path / "files" / "a")
    assert not pushed.verify(folder, extra_files_ok=True)
    with pytest.raises(t4.NotFoundError):
        pushed.verify(tmp_path / "nowhere")
    with pytest.raises(t4.InvalidInputError, match="no hash"):
        t4.Package().set("a", tmp_path / "files" / "a").verify(folder)


def test_an_empty_package_installs_as_an_empty_folder(registry: str, tmp_path: Path) -> None:
    assert t4.Package().push(NAME, registry).top_hash == t4.Package().build(NAME)
    t4.Package.install(NAME, registry, dest=tmp_path / "dest")
    assert list((tmp_path / "dest").iterdir()) == []
    assert t4.Package.browse(NAME, registry).verify(tmp_path / "dest")


def test_a_stopped_install_notes_nothing_and_goes_on_later(registry: str, tmp_path: Path) -> None:
    published(registry, tmp_path / "files")
    stop = threading.Event()
    stop.set()
    with pytest.raises(Cancelled):
        t4.Package.install(NAME, registry, dest=tmp_path / "dest", stop=stop)
    assert bytes_below(tmp_path / "dest") == {}
    assert t4.list_packages() == []
    t4.Package.install(NAME, registry, dest=tmp_path / "dest", stop=threading.Event())
    assert bytes_below(tmp_path / "dest") == FILES


_SCRIPT = """
import sys
from pathlib import Path
from urllib.parse import unquote
import t4_ops as t4
work = Path(sys.argv[1])
package = t4.Package().set_dir("/", work / "files")
package.build("team/built", work / "registry")
t4.Package().set_dir("/", work / "files").set("o.json", {}).push("team/pushed", work / "registry")
t4.Package.install("team/pushed", str(work / "registry"), dest=work / "dest")
t4.Package().set_dir("/", work / "files").fetch(work / "fetched")
"""
# Every drawing of a bar begins by clearing its line.
_BARS = re.compile(r"\x1b\[2K(\w+)")


def run_script(work: Path, *, terminal: bool) -> str:
    """Run the script and return what it wrote to stderr."""
    import pty

    command = [sys.executable, "-c", _SCRIPT, str(work)]
    # Wide enough for a bar; a dumb terminal would get none.
    environ = {**os.environ, "TERM": "xterm", "COLUMNS": "120", "PYTHONPATH": str(ROOT)}
    if not terminal:
        done = subprocess.run(command, env=environ, capture_output=True, timeout=60, check=True)
        assert done.stdout == b""
        return done.stderr.decode()
    ours, theirs = pty.openpty()
    with subprocess.Popen(command, env=environ, stderr=theirs) as process:
        os.close(theirs)
        text = b""
        try:
            while piece := os.read(ours, 65536):
                text += piece
        except OSError:
            pass  # Linux says EIO when the other side is closed
        finally:
            os.close(ours)
        assert process.wait(60) == 0
    return text.decode()


def test_one_bar_for_each_operation_on_a_terminal_and_none_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_files(tmp_path / "quiet/files", FILES)
    assert run_script(tmp_path / "quiet", terminal=False) == ""
    write_files(tmp_path / "seen/files", FILES)
    shown = run_script(tmp_path / "seen", terminal=True)
    bars = [match[1] for match in _BARS.finditer(shown)]
    # Each is drawn many times; another name comes only when the operation before has ended.
    operations = [bar for bar, before in zip(bars, ["", *bars], strict=False) if bar != before]
    assert operations == ["building", "pushing", "installing", "fetching"]
    # Hashing and moving are one operation: the bar grows by what is to be moved.
    assert "8.4/8.4 MB" in shown
    assert "16.8/16.8 MB" in shown
    monkeypatch.setenv("T4_PROGRESS", "false")
    write_files(tmp_path / "off/files", FILES)
    assert run_script(tmp_path / "off", terminal=True) == ""
