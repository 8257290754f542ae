"""The grammar of package URIs, rule by rule."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from t4_ops.errors import InvalidInputError
from t4_ops.keys import PackageUri, PhysicalKey
from tests.strategies import local_keys, logical_keys, package_names, texts, top_hashes

HASH = "2a5a67156ca9238c14d12042db51c5b52260fdd5511b61ea89b58929d6e1769b"
PREFIX = "quilt+s3://bkt#package=ns/name"
PLAIN = PackageUri("s3://bkt", "ns/name")


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        (PREFIX, PLAIN),
        # The scheme's case does not matter on reading.
        ("QUILT+S3://bkt#package=ns/name", PLAIN),
        ("Quilt+s3://bkt#package=ns/name", PLAIN),
        # A hash, a prefix of one, or a tag.
        (f"{PREFIX}@{HASH}", replace(PLAIN, top_hash=HASH)),
        (f"{PREFIX}@abc1", replace(PLAIN, top_hash="abc1")),
        (f"{PREFIX}:latest", replace(PLAIN, tag="latest")),
        (f"{PREFIX}:v1.0", replace(PLAIN, tag="v1.0")),
        # The order of parameters is free.
        (
            "quilt+s3://bkt#catalog=open.example.com&path=a.csv&package=ns/name@abc1",
            PackageUri("s3://bkt", "ns/name", "abc1", path="a.csv", catalog="open.example.com"),
        ),
        # Values are decoded exactly once.
        (f"{PREFIX}&path=a%2Fb", replace(PLAIN, path="a/b")),
        (f"{PREFIX}&path=a%252Fb", replace(PLAIN, path="a%2Fb")),
        (f"{PREFIX}&path=a%20b", replace(PLAIN, path="a b")),
        (f"{PREFIX}&path=a%2520b", replace(PLAIN, path="a%20b")),
        (f"{PREFIX}&path=%C3%A9", replace(PLAIN, path="é")),
        ("quilt+s3://bkt#package=ns%2Fname%40abc1", replace(PLAIN, top_hash="abc1")),
        ("quilt+s3://bkt#package=ns%2Fname%3Av1", replace(PLAIN, tag="v1")),
        (
            f"{PREFIX}&catalog=https%3A%2F%2Fexample.com",
            replace(PLAIN, catalog="https://example.com"),
        ),
        # Other writers leave paths as they are.
        (f"{PREFIX}&path=a/b c/é", replace(PLAIN, path="a/b c/é")),
        (f"{PREFIX}&path=a=b", replace(PLAIN, path="a=b")),
        (f"{PREFIX}&path=a#b", replace(PLAIN, path="a#b")),
        # A percent sign that begins no escape stays.
        (f"{PREFIX}&path=50%", replace(PLAIN, path="50%")),
        (f"{PREFIX}&path=50%_off", replace(PLAIN, path="50%_off")),
        (f"{PREFIX}&path=50%25_off", replace(PLAIN, path="50%_off")),
        (f"{PREFIX}&path=a%2zb", replace(PLAIN, path="a%2zb")),
        # A plus is a plus, never a space.
        (f"{PREFIX}&path=C++.csv", replace(PLAIN, path="C++.csv")),
        (f"{PREFIX}&path=C%2B%2B.csv", replace(PLAIN, path="C++.csv")),
        # A directory keeps its slash.
        (f"{PREFIX}&path=dir%2F", replace(PLAIN, path="dir/")),
        (f"{PREFIX}&path=dir/", replace(PLAIN, path="dir/")),
        # An empty path or catalog counts as absent, and so does an empty parameter.
        (f"{PREFIX}&path=&catalog=", PLAIN),
        (f"{PREFIX}&path", PLAIN),
        (f"{PREFIX}&", PLAIN),
        # Folders: this library's own notation.
        ("t4+file:///reg#package=ns/name", PackageUri("file:///reg", "ns/name")),
        ("T4+FILE:///reg#package=ns/name", PackageUri("file:///reg", "ns/name")),
        ("t4+file:///reg/#package=ns/name", PackageUri("file:///reg", "ns/name")),
        ("t4+file://localhost/reg#package=ns/name", PackageUri("file:///reg", "ns/name")),
        (
            f"t4+file:///a%20b/50%25/%C3%A9%23#package=ns/name@{HASH}",
            PackageUri("file:///a%20b/50%25/%C3%A9%23", "ns/name", HASH),
        ),
    ],
)
def test_valid_uris(uri: str, expected: PackageUri) -> None:
    assert PackageUri.is_uri(uri)
    assert PackageUri.parse(uri) == expected
    assert PackageUri.parse(uri, ignore_unknown=True) == expected


@pytest.mark.parametrize(
    ("uri", "why"),
    [
        ("", "scheme"),
        ("s3://bkt#package=ns/name", "scheme"),
        ("quilt+http://bkt#package=ns/name", "scheme"),
        ("quilt+file:///reg#package=ns/name", "scheme"),
        (" quilt+s3://bkt#package=ns/name", "scheme"),
        ("quilt+s3:bkt#package=ns/name", "scheme"),
        ("quilt+s3:/bkt#package=ns/name", "scheme"),
        ("quilt+s3://#package=ns/name", "no bucket"),
        ("quilt+s3://b c#package=ns/name", "no bucket"),
        ("quilt+s3://user:secret@bkt#package=ns/name", "no user or password"),
        ("quilt+s3://bkt/#package=ns/name", "root"),
        ("quilt+s3://bkt/a/b#package=ns/name", "root"),
        ("quilt+s3://bkt?x=1#package=ns/name", "root"),
        ("quilt+s3://bkt", "no package="),
        ("quilt+s3://bkt#", "no package="),
        ("quilt+s3://bkt#package=", "no package="),
        ("quilt+s3://bkt#package", "no package="),
        ("quilt+s3://bkt#path=a", "no package="),
        ("quilt+s3://bkt#package=ns/name&package=ns/other", "more than once"),
        ("quilt+s3://bkt#package=&package=ns/name", "more than once"),
        (f"{PREFIX}&path=a&path=b", "more than once"),
        (f"{PREFIX}&path=&path=b", "more than once"),
        (f"{PREFIX}&catalog=a&catalog=a", "more than once"),
        (f"{PREFIX}@", "hash after '@' is empty"),
        (f"{PREFIX}:", "tag after ':' is empty"),
        (f"{PREFIX}@abc1@abc2", "more than one '@'"),
        (f"{PREFIX}:a:b", "more than one ':'"),
        (f"{PREFIX}:latest@abc1", "not both"),
        (f"{PREFIX}@abc1:latest", "not both"),
        (f"{PREFIX}@abc1%40abc2", "more than one '@'"),
        ("quilt+s3://bkt#package=name", "package name"),
        ("quilt+s3://bkt#package=ns/name/more", "package name"),
        ("quilt+s3://bkt#package=@abc1", "package name"),
        ("quilt+s3://bkt#package=ns/na me", "package name"),
        ("quilt+s3://bkt#package=ns/name%0A", "package name"),
        (f"{PREFIX}&path=%FF", "path= is not percent-encoded UTF-8"),
        (f"{PREFIX}&path=%C3", "path= is not percent-encoded UTF-8"),
        ("quilt+s3://bkt#package=ns/%FF", "package= is not percent-encoded UTF-8"),
        (f"{PREFIX}&path=\ud800", "valid Unicode"),
        (f"{PREFIX}&version=1", "'version' is not one of"),
        (f"{PREFIX}&Path=a", "'Path' is not one of"),
        ("quilt+s3://bkt#pacakge=ns/name", "'pacakge' is not one of"),
        ("t4+file://host/reg#package=ns/name", "host"),
        ("t4+file://reg#package=ns/name", "absolute"),
        ("t4+file:///reg?x=1#package=ns/name", "query"),
        ("t4+file:///reg", "no package="),
    ],
)
def test_invalid_uris(uri: str, why: str) -> None:
    with pytest.raises(InvalidInputError, match=why):
        PackageUri.parse(uri)


def test_unknown_parameters_can_be_passed_over() -> None:
    uri = f"{PREFIX}@abc1&version=1&workflow=%FF&path=a"
    expected = replace(PLAIN, top_hash="abc1", path="a")
    assert PackageUri.parse(uri, ignore_unknown=True) == expected
    with pytest.raises(InvalidInputError, match="no package="):
        PackageUri.parse("quilt+s3://bkt#pacakge=ns/name", ignore_unknown=True)


@pytest.mark.parametrize(
    ("uri", "text"),
    [
        (PLAIN, PREFIX),
        (replace(PLAIN, tag="latest"), PREFIX),
        (replace(PLAIN, tag="v1"), f"{PREFIX}:v1"),
        (replace(PLAIN, top_hash=HASH), f"{PREFIX}@{HASH}"),
        (replace(PLAIN, top_hash="a&path=b"), f"{PREFIX}@a%26path%3Db"),
        (replace(PLAIN, tag="a&path=b"), f"{PREFIX}:a%26path%3Db"),
        (
            replace(PLAIN, path="a/b c/é+?#%&=~.txt"),
            f"{PREFIX}&path=a%2Fb%20c%2F%C3%A9%2B%3F%23%25%26%3D~.txt",
        ),
        (replace(PLAIN, path="dir/"), f"{PREFIX}&path=dir%2F"),
        (
            PackageUri("s3://bkt", "ns/name", HASH, path="a", catalog="open.example.com:80"),
            f"{PREFIX}@{HASH}&path=a&catalog=open.example.com%3A80",
        ),
        (PackageUri("/reg", "ns/name", HASH), f"t4+file:///reg#package=ns/name@{HASH}"),
        (PackageUri("/a b/50%/#", "ns/n"), "t4+file:///a%20b/50%25/%23#package=ns/n"),
        (PackageUri("/%41", "ns/n"), "t4+file:///%2541#package=ns/n"),
    ],
)
def test_printing(uri: PackageUri, text: str) -> None:
    assert str(uri) == text


def _selectors() -> st.SearchStrategy[dict[str, str | None]]:
    tags = texts().filter(lambda text: text != "" and not set("@:") & set(text))
    prefixes = st.builds(lambda text, size: text[:size], top_hashes(), st.integers(1, 64))
    return (
        st.just({})
        | prefixes.map(lambda text: {"top_hash": text})
        | tags.map(lambda text: {"tag": text})
    )


@given(
    registry=st.just("s3://bkt") | local_keys().map(str),
    name=package_names(),
    selector=_selectors(),
    path=st.none() | logical_keys() | logical_keys().map("{}/".format),
    catalog=st.none() | texts().filter(bool),
)
def test_what_is_printed_is_read_back(
    registry: str,
    name: str,
    selector: dict[str, str | None],
    path: str | None,
    catalog: str | None,
) -> None:
    uri = PackageUri(registry, name, path=path, catalog=catalog, **selector)
    text = str(uri)
    assert text.isascii()
    assert PackageUri.is_uri(text)
    read = PackageUri.parse(text)
    # `latest` is what no tag means, so it is not printed.
    assert read == (replace(uri, tag=None) if uri.tag == "latest" else uri)
    assert str(read) == text


@given(local_keys())
def test_a_folder_is_found_again_whatever_its_name(folder: PhysicalKey) -> None:
    read = PackageUri.parse(str(PackageUri(folder.path, "ns/name")))
    assert PhysicalKey.parse(read.registry) == folder


def test_a_real_folder_with_spaces_and_percent_signs(tmp_path: Path) -> None:
    folder = tmp_path / "my data 100% #1 é"
    folder.mkdir()
    (folder / "x").write_bytes(b"1")
    read = PackageUri.parse(str(PackageUri(str(folder), "ns/name", HASH)))
    assert (Path(PhysicalKey.parse(read.registry).path) / "x").read_bytes() == b"1"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("top_hash", text) for text in ("", "a@b", "a:b", "\ud800")),
        *(("tag", text) for text in ("", "a@b", "a:b", "\ud800")),
        *(("name", text) for text in ("", "name", "ns/name\n", "ns/name@x")),
        *(("registry", text) for text in ("", "s3://", "s3://bkt/below", "quilt+s3://bkt")),
        *(("path", "\ud800"), ("catalog", "\ud800")),
    ],
)
def test_parts_are_checked_when_a_uri_is_made(field: str, value: str) -> None:
    with pytest.raises(InvalidInputError):
        replace(PLAIN, **{field: value})


def test_a_hash_and_a_tag_exclude_each_other() -> None:
    with pytest.raises(InvalidInputError, match="not both"):
        PackageUri("s3://bkt", "ns/name", top_hash="abc1", tag="latest")


def test_a_path_or_catalog_that_is_empty_is_none() -> None:
    assert replace(PLAIN, path="", catalog="") == PLAIN


@pytest.mark.parametrize("text", ["s3://bkt", "/quilt+s3://", "quilt+s3:bkt", "ns/name", ""])
def test_other_texts_are_no_uris(text: str) -> None:
    assert not PackageUri.is_uri(text)
