"""Small objects are read once for hashing and sending, and what is sent is what was hashed."""

from pathlib import Path

from t4_ops.checksums import checksum_of
from t4_ops.manifest import Entry
from t4_ops.settings import Settings
from t4_ops.transfer import Opener, hash_entries, progress
from t4_ops.transfer.keeping import KEPT_BYTES, Kept
from t4_ops.transfer.reading import read_small
from tests.package_support import write_files


def test_what_is_kept_is_given_once_and_only_for_its_hash() -> None:
    kept = Kept(10)
    kept.keep("file:///a", b"12345", checksum_of(b"12345"))
    kept.keep("file:///b", b"123456", checksum_of(b"123456"))
    assert kept.take("file:///b", checksum_of(b"123456")) is None  # there was no room
    assert kept.take("file:///a", checksum_of(b"other")) is None
    assert kept.take("file:///a", checksum_of(b"12345")) is None  # it was forgotten
    kept.keep("file:///a", b"1234567890", checksum_of(b"1234567890"))
    assert kept.take("file:///a", checksum_of(b"1234567890")) == b"1234567890"


def test_files_share_the_room_with_what_is_kept_of_them() -> None:
    kept = Kept(4 * 800 + 10)
    kept.share(4)
    kept.keep("file:///a", b"12345678901", checksum_of(b"12345678901"))
    assert kept.take("file:///a", checksum_of(b"12345678901")) is None
    kept.keep("file:///a", b"1234567890", checksum_of(b"1234567890"))
    assert kept.take("file:///a", checksum_of(b"1234567890")) == b"1234567890"
    kept.share(1000)
    assert not kept.has_room


def test_of_ten_thousand_small_files_all_are_kept() -> None:
    kept, data = Kept(KEPT_BYTES), bytes(4096)
    kept.share(10_000)
    checksum = checksum_of(data)
    for number in range(10_000):
        kept.keep(f"file:///{number}", data, checksum)
    assert all(kept.take(f"file:///{number}", checksum) for number in range(10_000))


def test_bytes_that_were_hashed_are_sent_whatever_the_file_holds_by_then(tmp_path: Path) -> None:
    write_files(tmp_path, {"a": b"hashed", "b": b"hashed too"})
    entries = [Entry(name, (tmp_path / name).as_uri()) for name in ("a", "b")]
    opener = Opener(Settings(), kept_bytes=len(b"hashed"))
    with progress("hashing", shown=False) as bar:
        ((first, second),) = hash_entries(entries, opener, bar, workers=1)
    (tmp_path / "a").write_bytes(b"edited")
    assert read_small(first, opener) == b"hashed"
    # There was room for one; the other is read and proved as ever.
    assert read_small(second, opener) == b"hashed too"
