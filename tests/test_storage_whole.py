"""An assistant answers what the plain way reads, and nothing that the plain way refuses."""

from __future__ import annotations

import marshal
import os
from io import BytesIO
from pathlib import Path

import pytest

from t4_ops.checksums import checksum_of, checksum_of_digest
from t4_ops.errors import IntegrityError, StorageError
from t4_ops.storage import SMALL_BYTES, SmallFiles, Tree, whole


def answers(*questions: whole.Question) -> whole.Answer:
    """Return what an assistant says to questions that are asked at once."""
    said = BytesIO()
    whole.serve(BytesIO(marshal.dumps(list(questions))), said)
    text = said.getvalue()
    assert int.from_bytes(text[: whole.LENGTH_BYTES], "big") == len(text) - whole.LENGTH_BYTES
    found: whole.Answer = marshal.loads(text[whole.LENGTH_BYTES :])  # noqa: S302 - our own
    return found


def plain(root: Path | None, folder: Path, name: bytes) -> tuple[int, str] | None:
    try:
        with SmallFiles(str(folder), None if root is None else Tree(root)) as files:
            data = files.read(os.fsdecode(name))
    except (IntegrityError, StorageError):
        return None
    return None if data is None else (len(data), checksum_of(data).value)


def told(root: Path | None, folder: Path, names: list[bytes]) -> list[tuple[int, str] | None]:
    question = (None if root is None else bytes(root), bytes(folder), names, SMALL_BYTES)
    found = answers(question)
    return [x if x is None else (x[0], checksum_of_digest(x[1]).value) for x in found]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with all that a name in it may be, and one of the same name that a link leads to."""
    outside = tmp_path / "outside"
    root = tmp_path / "root"
    for folder in (outside, root, root / "sub", root / "sub" / "é \udcff"):
        folder.mkdir()
        (folder / "file").write_bytes(bytes(folder))
        (folder / "empty").write_bytes(b"")
        (folder / "of a MiB").write_bytes(b"x" * SMALL_BYTES)
        (folder / "larger").write_bytes(b"x" * (SMALL_BYTES + 1))
        Path(os.fsdecode(bytes(folder) + b"/\xff\xfe")).write_bytes(b"no UTF-8")
        (folder / "link").symlink_to("file")
        (folder / "out").symlink_to(outside / "file")
        (folder / "circle").symlink_to("circle")
        os.mkfifo(folder / "fifo")
    (root / "way out").symlink_to(outside)
    (root / "sub" / "way in").symlink_to(root / "sub")
    return root


NAMES = (
    *(b"file", b"empty", b"of a MiB", b"larger", b"\xff\xfe", b"link", b"out", b"circle"),
    *(b"fifo", b"sub", b"", b".", b"..", b"missing", b"n" * 256),
)
FOLDERS = ("", "sub", "sub/é \udcff", "sub/missing", "file", "way out", "sub/way in", "sub/file")


@pytest.mark.parametrize("is_scanned", [True, False])
@pytest.mark.parametrize("folder", FOLDERS)
def test_an_assistant_reads_what_the_plain_way_reads(
    root: Path, folder: str, is_scanned: bool
) -> None:
    top = root if is_scanned else None
    found = told(top, root / folder, list(NAMES))
    assert found == [plain(top, root / folder, name) for name in NAMES]
    assert (found[0] is not None) == (
        folder in FOLDERS[:3] or (not is_scanned and folder in ("way out", "sub/way in"))
    )
    assert (found[5] is not None) == (found[0] is not None and not is_scanned)


def test_folders_are_asked_for_together(root: Path) -> None:
    asked = [(bytes(root), bytes(root / name), [b"file"], SMALL_BYTES) for name in FOLDERS]
    assert answers(*asked) == [found for one in asked for found in answers(one)]


def test_a_file_that_changes_meanwhile_is_left_to_others(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.read

    def grow_and_read(fd: int, count: int) -> bytes:
        with (root / "file").open("ab") as file:
            file.write(b"more")
        return real(fd, count)

    monkeypatch.setattr(os, "read", grow_and_read)
    assert told(root, root, [b"file"]) == [None]
