"""Folders are scanned as git would, in manifest order, and never beyond their edges."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path

import pytest

from t4_ops.errors import IntegrityError, InvalidInputError, NotFoundError
from t4_ops.keys import Limits, tree_order
from t4_ops.storage import ScannedFile, Tree, open_source, scan_folder


def put(root: Path, *keys: str) -> None:
    for key in keys:
        path = root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(key.encode())


def keys_of(root: Path) -> list[str]:
    return [file.relative_key for file in scan_folder(root)]


# What is found


def test_files_come_in_manifest_order_with_their_facts(tmp_path: Path) -> None:
    put(tmp_path, "a-b", "a/b", "a/c/d", "a.b", "b", "Z", "é", ".hidden", "a b", "😀", "\uff5e")
    found = list(scan_folder(tmp_path))
    keys = [file.relative_key for file in found]
    assert keys == sorted(keys, key=tree_order)
    assert keys[:3] == [".hidden", "Z", "a/b"]
    for file in found:
        facts = (tmp_path / file.relative_key).stat()
        assert file.path == str(tmp_path / file.relative_key)
        assert file.size_bytes == facts.st_size


def test_what_is_no_file_to_package_is_passed_over(tmp_path: Path) -> None:
    put(tmp_path, "x", ".quilt/packages/1", ".t4/v1/lock", "sub/.quilt/y", "sub/.T4/y", "sub/z")
    put(tmp_path, "sub/.t4-0123456789abcdef.tmp", ".t4x/kept", "sub/.t4-mine.tmp")
    (tmp_path / "empty/deeper").mkdir(parents=True)
    os.mkfifo(tmp_path / "fifo")
    assert keys_of(tmp_path) == [".t4x/kept", "sub/.t4-mine.tmp", "sub/z", "x"]


def test_the_folder_may_be_a_symlink_and_paths_are_real(tmp_path: Path) -> None:
    put(tmp_path / "real", "a/x")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert [file.path for file in scan_folder(tmp_path / "link")] == [str(tmp_path / "real/a/x")]


def test_a_folder_is_needed(tmp_path: Path) -> None:
    put(tmp_path, "file")
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    with pytest.raises(NotFoundError):
        keys_of(tmp_path / "missing")
    for name in ("file", "circle"):
        with pytest.raises(InvalidInputError):
            keys_of(tmp_path / name)


@pytest.mark.parametrize("name", [b"\xff.txt", b"a\nb", b"a\\b", b"C:x", b"\x7f"])
@pytest.mark.parametrize("folder", [b"", b"sub"])
def test_names_that_are_no_keys_are_refused_by_name(
    tmp_path: Path, folder: bytes, name: bytes
) -> None:
    path = os.path.join(os.fsencode(tmp_path), folder, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb"):
        pass
    if name == b"C:x" and folder:
        assert keys_of(tmp_path) == ["sub/C:x"]
        return
    with pytest.raises(InvalidInputError) as caught:
        keys_of(tmp_path)
    assert repr(os.fsdecode(path)) in str(caught.value)
    (tmp_path / ".t4ignore").write_text("/sub\n" if folder else "*.txt\n[aC\x7f]*\n")
    assert keys_of(tmp_path) == [".t4ignore"]


def test_too_deep_and_too_long_is_refused(tmp_path: Path) -> None:
    put(tmp_path, "a/b/c")
    with pytest.raises(InvalidInputError):
        list(scan_folder(tmp_path, limits=Limits(depth=2)))
    with pytest.raises(InvalidInputError):
        list(scan_folder(tmp_path, limits=Limits(key_bytes=4)))
    assert len(list(scan_folder(tmp_path, limits=Limits(depth=3, key_bytes=5)))) == 1


# Ignore files

TREE = [
    *("!n", "#h", "a b", "a.py", "b.log", "build/o", "data/raw/1", "data/raw/2", "data/ok/1"),
    *("data/me", "doc/build/i", "doc/logs", "logs/a.log", "logs/k", "src/deep/er/x.py"),
    *("src/deep/x.py", "src/foo/foo"),
]

# What git 2.39 ignores of TREE under these rules ("=": what it keeps), as `git ls-files --others
# --exclude-standard` answered.
GIT_SAYS: list[tuple[list[str], str]] = [
    (["*.py"], "a.py|src/deep/er/x.py|src/deep/x.py"),
    (["# *.py", "", "*.log"], "b.log|logs/a.log"),
    (["/a.py"], "a.py"),
    (["x.py"], "src/deep/er/x.py|src/deep/x.py"),
    (["/x.py"], ""),
    (["build/"], "build/o|doc/build/i"),
    (["build"], "build/o|doc/build/i"),
    (["/build/"], "build/o"),
    (["logs/"], "logs/a.log|logs/k"),
    (["logs"], "doc/logs|logs/a.log|logs/k"),
    (["*", "!*/", "!*.py"], "=a.py|src/deep/er/x.py|src/deep/x.py"),
    (["*", "!*.py"], "=a.py"),
    (["[12]", "!1"], "data/raw/2"),
    (["data/", "!data/me"], "data/me|data/ok/1|data/raw/1|data/raw/2"),
    (["data/*", "!data/me"], "data/ok/1|data/raw/1|data/raw/2"),
    (["data/*", "!data/ok/"], "data/me|data/raw/1|data/raw/2"),
    (["/*", "!/data", "/data/*", "!/data/raw"], "=data/raw/1|data/raw/2"),
    (["data/**"], "data/me|data/ok/1|data/raw/1|data/raw/2"),
    (["data/**/1"], "data/ok/1|data/raw/1"),
    (["**/1"], "data/ok/1|data/raw/1"),
    (["**/foo"], "src/foo/foo"),
    (["foo"], "src/foo/foo"),
    (["foo/"], "src/foo/foo"),
    (["src/**/x.py"], "src/deep/er/x.py|src/deep/x.py"),
    (["src/*/x.py"], "src/deep/x.py"),
    (["!*.py", "*.py"], "a.py|src/deep/er/x.py|src/deep/x.py"),
    (["*.py", "!src/deep/x.py"], "a.py|src/deep/er/x.py"),
    (["[ab].*"], "a.py|b.log|logs/a.log"),
    (["[!a]*"], "=a b|a.py"),
    (["?.log"], "b.log|logs/a.log"),
    (["\\#h"], "#h"),
    (["\\!n"], "!n"),
    (["!n"], ""),
    (["a b"], "a b"),
    (["a\\ b"], "a b"),
    (["k   "], "logs/k"),
    (["k\\ "], ""),
    (["**"], "="),
    (["*/"], "=!n|#h|a b|a.py|b.log"),
    (["**/"], "=!n|#h|a b|a.py|b.log"),
    (["src/**/"], "src/deep/er/x.py|src/deep/x.py|src/foo/foo"),
    (["src/deep/**/"], "src/deep/er/x.py"),
    (["src/deep/"], "src/deep/er/x.py|src/deep/x.py"),
    (["deep"], "src/deep/er/x.py|src/deep/x.py"),
    (["deep/er"], ""),
    (["/deep"], ""),
    (["a.*", "!a.py"], "logs/a.log"),
    (["logs", "!logs/k"], "doc/logs|logs/a.log|logs/k"),
    (["logs/*", "!logs/k"], "logs/a.log"),
    (["*.log", "!logs"], "b.log|logs/a.log"),
    (["/"], ""),
    (["src/deep/**/x.py"], "src/deep/er/x.py|src/deep/x.py"),
    (["er/x.py"], ""),
    (["**/er/x.py"], "src/deep/er/x.py"),
    (["b[.]log"], "b.log"),
    (["SRC/"], ""),
]


@pytest.mark.parametrize(("lines", "answer"), GIT_SAYS, ids=[" ".join(c[0]) for c in GIT_SAYS])
def test_ignore_files_mean_what_they_mean_to_git(
    tmp_path: Path, lines: list[str], answer: str
) -> None:
    put(tmp_path, *TREE)
    (tmp_path / ".quiltignore").write_text("\n".join([*lines, "!/.quiltignore"]))
    named = set(answer.removeprefix("=").split("|")) - {""}
    expected = named if answer.startswith("=") else set(TREE) - named
    assert set(keys_of(tmp_path)) == expected | {".quiltignore"}


def test_both_ignore_files_count_and_are_packaged(tmp_path: Path) -> None:
    put(tmp_path, "a.log", "b.log", "c.txt", "sub/.quiltignore", "sub/d.txt")
    (tmp_path / ".quiltignore").write_bytes(b"\xef\xbb\xbf*.log\r\n*.txt\r\n")
    (tmp_path / ".t4ignore").write_text("!b.log\n")
    (tmp_path / "sub/.quiltignore").write_text("!d.txt\n")
    assert keys_of(tmp_path) == [".quiltignore", ".t4ignore", "b.log", "sub/.quiltignore"]


def test_an_ignored_folder_is_not_entered(tmp_path: Path) -> None:
    put(tmp_path, "x", "big/\x7f", "big/b\\c")
    (tmp_path / "big/link").symlink_to("/")
    (tmp_path / ".t4ignore").write_text("big/\n")
    assert keys_of(tmp_path) == [".t4ignore", "x"]


def test_a_line_that_is_no_pattern_is_named(tmp_path: Path) -> None:
    (tmp_path / ".quiltignore").write_text("*.log\n!\n")
    with pytest.raises(InvalidInputError, match="line 2"):
        keys_of(tmp_path)


def test_names_that_are_no_text_can_be_ignored(tmp_path: Path) -> None:
    with open(os.fsencode(tmp_path) + b"/\xff.txt", "wb"):
        pass
    (tmp_path / ".t4ignore").write_bytes(b"\xff.txt\n.t4ignore\n")
    assert keys_of(tmp_path) == []


# Symlinks


def test_links_inside_are_followed_to_files_only(tmp_path: Path) -> None:
    root = tmp_path / "root"
    put(root, "data/x", "data/y")
    (root / "absolute").symlink_to(root / "data/x")
    (root / "relative").symlink_to("data/y")
    (root / "data/up").symlink_to("../data/x")
    (root / "chain").symlink_to("relative")
    (root / "folder").symlink_to("data")
    (root / "data/circle").symlink_to("..")
    (root / "loop").symlink_to("loop")
    (root / "dangling").symlink_to("nothing/here")
    (root / "dangling-outside").symlink_to("/nothing/here")
    found = {file.relative_key: file.path for file in scan_folder(root)}
    x, y = str(root / "data/x"), str(root / "data/y")
    assert found == {
        "absolute": x,
        "chain": y,
        "data/up": x,
        "data/x": x,
        "data/y": y,
        "relative": y,
    }


@pytest.mark.parametrize("target", ["outside/secret", "outside", "root-sibling", "/dev/null"])
def test_links_that_leave_the_folder_are_refused(tmp_path: Path, target: str) -> None:
    put(tmp_path, "root/x", "outside/secret", "root-sibling")
    (tmp_path / "root/sub").mkdir()
    (tmp_path / "root/sub/link").symlink_to(tmp_path / target)
    with pytest.raises(InvalidInputError) as caught:
        keys_of(tmp_path / "root")
    assert str(tmp_path / "root/sub/link") in str(caught.value)
    assert str(tmp_path / target) in str(caught.value)
    (tmp_path / "root/.t4ignore").write_text("sub/link\n")
    assert keys_of(tmp_path / "root") == [".t4ignore", "x"]


def test_a_link_through_another_that_leaves_is_refused(tmp_path: Path) -> None:
    put(tmp_path, "root/x", "outside/secret")
    (tmp_path / "root/first").symlink_to("second/secret")
    (tmp_path / "root/second").symlink_to("../outside")
    (tmp_path / "root/.t4ignore").write_text("second\n")
    with pytest.raises(InvalidInputError, match="first"):
        keys_of(tmp_path / "root")


def test_an_ignore_file_may_be_a_link_inside_only(tmp_path: Path) -> None:
    put(tmp_path, "root/a.log", "outside")
    (tmp_path / "root/rules").write_text("*.log\n")
    (tmp_path / "root/.quiltignore").symlink_to("rules")
    (tmp_path / "root/.t4ignore").symlink_to("dangling")
    assert keys_of(tmp_path / "root") == [".quiltignore", "rules"]
    (tmp_path / "root/.t4ignore").unlink()
    (tmp_path / "root/.t4ignore").symlink_to("../outside")
    with pytest.raises(InvalidInputError):
        keys_of(tmp_path / "root")


def test_a_folder_swapped_for_a_link_is_never_packaged(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    put(root, "a/x", "a/deep/y", "z")
    put(outside, "x", "deep/y", "secret")
    done = threading.Event()

    def swap() -> None:
        while not done.is_set():
            (root / "a").rename(root / "aside")
            (root / "a").symlink_to(outside)
            (root / "a").unlink()
            (root / "aside").rename(root / "a")

    swapper = threading.Thread(target=swap)
    swapper.start()
    refused, seen = 0, 0
    try:
        for _ in range(3000):
            try:
                files = list(scan_folder(root))
                contents = [_content(file, root) for file in files]
            except (InvalidInputError, NotFoundError, IntegrityError):
                refused += 1
                continue
            seen += 1
            assert not any(file.path.startswith(str(outside)) for file in files)
            # `put` wrote each file's key into it: the bytes are those of the folder.
            assert set(contents) <= {b"a/x", b"a/deep/y", b"z"}
            if refused > 50 and seen > 50:
                break
    finally:
        done.set()
        swapper.join()
    assert refused
    assert seen
    shutil.rmtree(root)


def _content(file: ScannedFile, root: Path) -> bytes:
    with open_source(file.path, tree=Tree(root)) as source:
        return b"".join([bytes(piece) for piece in source])
