"""Physical keys: URLs of objects, read and written as quilt3 does."""

from __future__ import annotations

import os
import pickle
from pathlib import Path, PurePosixPath
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from t4_ops.errors import InvalidInputError
from t4_ops.keys import PhysicalKey
from tests.strategies import local_keys, logical_keys, physical_keys, s3_keys

# Made by quilt3 8.0.0.
VECTOR = "s3://b/a%20b/%C3%A9%2B%3F%23%25%26%3D~.txt?versionId=x%2Fy%3D"


def test_the_vector_is_written_and_read() -> None:
    key = PhysicalKey("b", "a b/é+?#%&=~.txt", "x/y=")
    assert str(key) == VECTOR
    assert PhysicalKey.parse(VECTOR) == key


@given(physical_keys())
def test_what_is_written_is_read_back(key: PhysicalKey) -> None:
    assert PhysicalKey.parse(str(key)) == key
    assert PhysicalKey.of(str(key)) == key
    assert pickle.loads(pickle.dumps(key)) == key  # noqa: S301 - made here


@given(s3_keys())
def test_an_s3_url_says_the_same_to_other_parsers(key: PhysicalKey) -> None:
    parts = urlsplit(str(key))
    assert (parts.scheme, parts.netloc, parts.fragment) == ("s3", key.bucket, "")
    assert unquote(parts.path) == f"/{key.path}"
    versions = parse_qs(parts.query, strict_parsing=True) if parts.query else {}
    assert versions == ({} if key.version_id is None else {"versionId": [key.version_id]})


@given(local_keys())
def test_a_file_url_is_the_one_pathlib_writes(key: PhysicalKey) -> None:
    assert str(key) == PurePosixPath(key.path).as_uri()
    assert key.is_local


@given(logical_keys())
def test_unreserved_characters_stay_and_all_others_are_escaped(path: str) -> None:
    text = str(PhysicalKey("b", path)).removeprefix("s3://b/")
    unreserved = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-~/"
    expected = (chr(byte) if chr(byte) in unreserved else f"%{byte:02X}" for byte in path.encode())
    assert text == "".join(expected)


def test_the_null_version_is_not_no_version() -> None:
    none = PhysicalKey.parse("s3://b/k")
    null = PhysicalKey.parse("s3://b/k?versionId=null")
    assert none.version_id is None
    assert null.version_id == "null"
    assert none != null
    assert (str(none), str(null)) == ("s3://b/k", "s3://b/k?versionId=null")


@pytest.mark.parametrize(
    ("url", "key"),
    [
        ("s3://b", PhysicalKey("b", "")),
        ("s3://b/", PhysicalKey("b", "")),
        ("S3://b/k", PhysicalKey("b", "k")),
        ("s3://b/k?", PhysicalKey("b", "k")),
        ("s3://b//k/", PhysicalKey("b", "/k/")),
        ("s3://b/a/../b", PhysicalKey("b", "a/../b")),
        ("s3://b/%2541", PhysicalKey("b", "%41")),
        ("s3://b/50%", PhysicalKey("b", "50%")),
        ("s3://b/a+b?versionId=a+b", PhysicalKey("b", "a+b", "a b")),
        ("s3://b/k?versionId=a%2Bb", PhysicalKey("b", "k", "a+b")),
        ("s3://b/k?versionId=a=b", PhysicalKey("b", "k", "a=b")),
        ("s3://b/é", PhysicalKey("b", "é")),
        ("s3://Old_Bucket/k", PhysicalKey("Old_Bucket", "k")),
        ("file:///a%20b", PhysicalKey(None, "/a b")),
        ("file://localhost/a", PhysicalKey(None, "/a")),
        ("FILE:///a", PhysicalKey(None, "/a")),
        ("file:///", PhysicalKey(None, "/")),
        ("file:///a/b/../c/", PhysicalKey(None, "/a/c")),
        ("file:////a", PhysicalKey(None, "/a")),
        ("file:///~", PhysicalKey(None, "/~")),
        ("file:///%2541", PhysicalKey(None, "/%41")),
    ],
)
def test_other_spellings_are_read(url: str, key: PhysicalKey) -> None:
    assert PhysicalKey.parse(url) == key


@pytest.mark.parametrize(
    "url",
    [
        *("", "/a", "a", "http://b/k", "gs://b/k", "s3:/b/k", "s3:b", "quilt+s3://b#package=a/b"),
        *("s3://", "s3:///k", "s3://?versionId=1", "s3://user@b/k", "s3://b c/k", "s3://b\n/k"),
        # A raw '?' or '#' in a key would silently cut it off.
        *("s3://b/k#f", "s3://b/k?x=1", "s3://b/k?versionId=1&x=2", "s3://b/k?versionId="),
        *("s3://b/k?versionid=1", "s3://b/k?versionId", "s3://b/k?versionId=1#f"),
        *("s3://b/%FF", "s3://b/k?versionId=%FF", "s3://b/\ud800", "file:///\ud800"),
        *("file://", "file://host/a", "file://a", "file:///a?x=1", "file:///a#f", "file:///a%00b"),
    ],
)
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        PhysicalKey.parse(url)
    assert caught.value.key is not None


def test_what_may_be_a_password_is_not_shown() -> None:
    with pytest.raises(InvalidInputError, match="no user or password") as caught:
        PhysicalKey.parse("s3://user:sec@ret@bkt/k")
    assert caught.value.key == "s3://bkt/k"
    assert "sec" not in str(caught.value)


def test_paths_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    here = os.fspath(tmp_path)
    assert PhysicalKey.of("a b/é").path == f"{here}/a b/é"
    assert PhysicalKey.of(Path("x")).path == f"{here}/x"
    assert PhysicalKey.of("~/x").path == f"{here}/x"
    assert PhysicalKey.of("~$draft.docx").path == f"{here}/~$draft.docx"
    assert PhysicalKey.of("./a/../b/").path == f"{here}/b"
    assert PhysicalKey.of("%41").path == f"{here}/%41"
    assert PhysicalKey.of(f"/{here}").path == here


def test_symlinks_are_kept(tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "target")
    assert PhysicalKey.of(tmp_path / "link" / "x").path == str(tmp_path / "link" / "x")


def test_a_file_name_that_is_no_utf8_survives(tmp_path: Path) -> None:
    name = os.fsdecode(b"\xff.bin")
    (tmp_path / name).write_bytes(b"x")
    key = PhysicalKey.of_path(tmp_path / name)
    assert str(key).endswith("/%FF.bin")
    assert Path(PhysicalKey.parse(str(key)).path).read_bytes() == b"x"


@pytest.mark.parametrize("path", ["", "a\0b", "a\ud800"])
def test_other_paths_are_refused(path: str) -> None:
    with pytest.raises(InvalidInputError):
        PhysicalKey.of_path(path)


@pytest.mark.parametrize(
    ("base", "joined"),
    [
        ("s3://b", "s3://b/k/l"),
        ("s3://b/a", "s3://b/a/k/l"),
        ("s3://b/a/", "s3://b/a/k/l"),
        ("s3://b/a//", "s3://b/a//k/l"),
        ("s3://b/a?versionId=1", "s3://b/a/k/l"),
        ("file:///", "file:///k/l"),
        ("file:///a", "file:///a/k/l"),
        ("file:///a/", "file:///a/k/l"),
    ],
)
def test_join(base: str, joined: str) -> None:
    assert str(PhysicalKey.parse(base).join("k/l")) == joined


@given(st.one_of(s3_keys(), local_keys()))
def test_the_kind_is_told(key: PhysicalKey) -> None:
    assert key.is_local == (key.bucket is None) == str(key).startswith("file://")
