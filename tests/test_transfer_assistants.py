"""Assistants: many small files are hashed right, whoever reads them and whatever befalls him."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from t4_ops import Package
from t4_ops.checksums import checksum_of
from t4_ops.errors import IntegrityError, NotFoundError
from t4_ops.keys import PhysicalKey
from t4_ops.manifest import Entry
from t4_ops.settings import Settings
from t4_ops.storage import whole
from t4_ops.transfer import Cancelled, Opener, hash_entries, progress
from t4_ops.transfer.assistants import HELPED_FROM_FILES, processors

needs_processors = pytest.mark.skipif(
    processors() < 2, reason="one processor alone: there is nobody to assist"
)


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of as many files as assistants are started for, some of them odd."""
    folder = tmp_path_factory.mktemp("many").resolve()
    for number in range(HELPED_FROM_FILES):
        below = folder / f"d{number % 7}"
        below.mkdir(exist_ok=True)
        # With names so long that not all questions fit into a pipe at once.
        (below / f"{number}-{'n' * 200}.txt").write_bytes(b"x" * (number % 50))
    (folder / "a b#%2F.txt").write_bytes(b"odd")
    (folder / "é").mkdir()
    (folder / "é" / "ü.txt").write_bytes(b"umlaut")
    return folder


def entries_of(folder: Path) -> list[Entry]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return [
        Entry(
            str(path.relative_to(folder)),
            str(PhysicalKey(None, str(path))),
            path.stat().st_size,
        )
        for path in paths
    ]


def hashing(
    folder: Path, stop: threading.Event | None = None, *, workers: int = 2
) -> Iterator[Entry]:
    with progress("hash", shown=False) as bar:
        opener = Opener(Settings(), roots=[str(folder)])
        for batch in hash_entries(entries_of(folder), opener, bar, workers=workers, stop=stop):
            yield from batch


def children() -> set[int]:
    """Return the processes below this one that run the assistants' script."""
    found = set()
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(status.read_text().rpartition(")")[2].split()[1])
            command = (status.parent / "cmdline").read_bytes()
        except (OSError, IndexError):
            continue  # it has ended
        if parent == os.getpid() and Path(whole.__file__ or "").name.encode() in command:
            found.add(int(status.parent.name))
    return found


def check(hashed: list[Entry], folder: Path) -> None:
    assert {entry.logical_key for entry in hashed} == {
        entry.logical_key for entry in entries_of(folder)
    }
    for entry in hashed:
        data = (folder / entry.logical_key).read_bytes()
        assert (entry.size_bytes, entry.hash) == (len(data), checksum_of(data)), entry.logical_key


needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no /proc here")


@needs_processors
@needs_proc
def test_assistants_work_while_files_are_hashed_and_are_gone_afterwards(many: Path) -> None:
    before = children()
    hashed = hashing(many)
    first = next(hashed)
    assert children() - before
    check([first, *hashed], many)
    assert children() == before


@needs_processors
@needs_proc
@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGTERM])
def test_what_a_killed_assistant_was_asked_for_is_done_here(
    many: Path, blow: signal.Signals
) -> None:
    before = children()
    hashed = hashing(many)
    first = next(hashed)
    for victim in children() - before:
        os.kill(victim, blow)
    check([first, *hashed], many)


@needs_processors
@needs_proc
@pytest.mark.timeout(60)
def test_an_assistant_that_stands_still_is_not_waited_for(many: Path) -> None:
    before = children()
    hashed = hashing(many)
    first = next(hashed)
    for victim in children() - before:
        os.kill(victim, signal.SIGSTOP)
    check([first, *hashed], many)
    assert children() == before


@needs_processors
@needs_proc
def test_nobody_is_left_behind_when_the_work_is_dropped(many: Path) -> None:
    before = children()
    hashed = hashing(many)
    next(hashed)
    hashed.close()  # type: ignore[attr-defined]
    assert children() == before


@needs_proc
def test_one_worker_works_alone(many: Path) -> None:
    before = children()
    hashed = hashing(many, workers=1)
    first = next(hashed)
    assert children() == before
    check([first, *hashed], many)


def test_a_stop_ends_the_work(many: Path) -> None:
    stop = threading.Event()
    hashed = hashing(many, stop)
    next(hashed)
    stop.set()
    with pytest.raises(Cancelled):
        list(hashed)


def test_without_a_program_to_run_it_is_all_done_here(
    many: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(many / "no-such-python"))
    check(list(hashing(many)), many)
    monkeypatch.setattr(sys, "executable", "")
    check(list(hashing(many)), many)


ODD_PROGRAMS = {
    "never answers": "exec sleep 1000",
    "greets first": 'echo "welcome to this Python"; exec {python} "$@"',
    "says back what it is told": "exec cat",
    "never ends to talk": "exec yes",
    "talks and ends": 'printf "\\0\\0\\0\\5N1234"',
}


@needs_processors
@pytest.mark.timeout(60)
@pytest.mark.parametrize("text", ODD_PROGRAMS.values(), ids=ODD_PROGRAMS.keys())
def test_a_program_that_is_no_assistant_spoils_nothing(
    many: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\n{text.format(python=sys.executable)}\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    check(list(hashing(many)), many)


@needs_processors
@pytest.mark.parametrize("kind", ["another name", "frozen"])
def test_a_program_that_is_not_plain_python_is_not_run(
    many: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    program = tmp_path / ("python" if kind == "frozen" else "server")
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/was-run\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    monkeypatch.setattr(sys, "frozen", kind == "frozen", raising=False)
    check(list(hashing(many)), many)
    assert not (tmp_path / "was-run").exists()


def test_a_file_right_below_the_root_is_told_of_like_any_other(many: Path) -> None:
    entries = [Entry("x", "file:///no-such-file-of-t4", 1), *entries_of(many)]
    with progress("hash", shown=False) as bar, pytest.raises(NotFoundError) as caught:
        list(hash_entries(entries, Opener(Settings()), bar, workers=2))
    assert "/no-such-file-of-t4" in str(caught.value)


def _vanish(path: Path) -> None:
    path.unlink()


def _become_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _become_a_link(path: Path) -> None:
    target = path.parent.parent / "elsewhere"
    target.write_bytes(b"secret")
    path.unlink()
    path.symlink_to(target)


@pytest.mark.parametrize("befall", [_vanish, _become_a_folder, _become_a_link])
def test_a_file_that_is_none_any_more_is_told_of_whoever_met_it(
    tmp_path: Path, befall: Callable[[Path], None]
) -> None:
    folder = (tmp_path / "many").resolve()
    folder.mkdir()
    for number in range(HELPED_FROM_FILES):
        (folder / f"{number}.txt").write_bytes(b"%d" % number)
    # One in each batch, so that assistants meet some of them too.
    package = Package().set_dir("/", folder)
    for number in range(0, HELPED_FROM_FILES, 100):
        befall(folder / f"{number}.txt")
    with pytest.raises((NotFoundError, IntegrityError, ValueError)) as caught:
        package.build("a/b", (tmp_path / "registry").as_uri())
    assert ".txt" in str(caught.value)
    assert not (tmp_path / "registry" / ".quilt").exists()


def test_a_folder_that_became_a_link_is_not_entered(tmp_path: Path) -> None:
    folder, other = (tmp_path / "many").resolve(), tmp_path / "other"
    (folder / "sub").mkdir(parents=True)
    other.mkdir()
    for number in range(HELPED_FROM_FILES):
        (folder / "sub" / f"{number}.txt").write_bytes(b"mine")
        (other / f"{number}.txt").write_bytes(b"them")
    package = Package().set_dir("/", folder)
    (folder / "sub").rename(tmp_path / "moved")
    (folder / "sub").symlink_to(other)
    with pytest.raises((NotFoundError, ValueError)):
        package.build("a/b", (tmp_path / "registry").as_uri())


def test_a_build_has_the_hashes_of_few_files_at_a_time(many: Path, tmp_path: Path) -> None:
    together = Package().set_dir("/", many)
    together.build("a/b", (tmp_path / "one").as_uri())
    apart = Package()
    for folder in sorted(path for path in many.iterdir() if path.is_dir()):
        apart.set_dir(folder.name, folder)
        apart.build("a/c", (tmp_path / "two").as_uri())
    apart.set("a b#%2F.txt", many / "a b#%2F.txt")
    apart.build("a/c", (tmp_path / "two").as_uri())
    assert list(together.diff(apart)) == [[], [], []]
