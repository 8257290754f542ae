"""Package names, logical keys, top hashes: what is let in and what is not."""

from __future__ import annotations

from dataclasses import fields
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from t4_ops.errors import InvalidInputError
from t4_ops.keys import (
    Limits,
    is_reserved,
    is_top_hash,
    logical_key_problem,
    tree_order,
    validate_hash_prefix,
    validate_logical_key,
    validate_name,
    validate_top_hash,
)
from tests.strategies import illegal_logical_keys, logical_keys, package_names, top_hashes

HASH = "2a5a67156ca9238c14d12042db51c5b52260fdd5511b61ea89b58929d6e1769b"


@given(package_names())
def test_legal_names_are_returned_as_they_are(name: str) -> None:
    assert validate_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        *("", "/", "a", "a/", "/a", "a/b/c", "a//b", "a b/c", "a.b/c", "../b", "a/..", "a/b@c"),
        # Other clients let these through: `$` matches before a final newline, `\w` is Unicode.
        *("a/b\n", "é/b", "a/名", "a/b²", "a/b\0", "a\\b"),
        *(None, 3, b"a/b", ["a/b"]),
    ],
)
def test_other_names_are_refused(name: object) -> None:
    with pytest.raises(InvalidInputError, match="no package name") as caught:
        validate_name(name)
    assert caught.value.key == str(name)


@given(top_hashes())
def test_full_hashes_are_top_hashes_and_prefixes_of_themselves(top_hash: str) -> None:
    assert validate_top_hash(top_hash) == top_hash
    assert validate_hash_prefix(top_hash) == top_hash
    assert is_top_hash(top_hash)


@pytest.mark.parametrize(
    "text",
    [
        *("", HASH[:63], HASH + "0", HASH.upper(), HASH[:63] + "g", HASH + "\n", " " + HASH[1:]),
        # 64 characters, which is all that quilt3 asks for; a pointer may hold such a text.
        "../" * 21 + "x",
        "x" * 64,
        HASH[:63] + "\u0661",
        *(None, 64, HASH.encode()),
    ],
)
def test_a_text_of_64_characters_is_not_yet_a_top_hash(text: object) -> None:
    with pytest.raises(InvalidInputError, match="64 lower-case hex digits"):
        validate_top_hash(text)
    if isinstance(text, str):
        assert not is_top_hash(text)


@pytest.mark.parametrize("digits", [6, 7, 63, 64])
def test_a_prefix_has_6_to_64_digits(digits: int) -> None:
    assert validate_hash_prefix(HASH[:digits]) == HASH[:digits]


@pytest.mark.parametrize(
    "prefix", ["", HASH[:5], HASH + "0", "2A5A67", "2a5a6g", "2a5a67\n", "../../..", "latest", None]
)
def test_other_prefixes_are_refused(prefix: object) -> None:
    with pytest.raises(InvalidInputError, match="6 to 64 lower-case hex digits"):
        validate_hash_prefix(prefix)


@given(logical_keys())
def test_legal_keys_are_returned_as_they_are(key: str) -> None:
    assert logical_key_problem(key) is None
    assert validate_logical_key(key) == key


@given(illegal_logical_keys())
def test_illegal_keys_are_refused(key: str) -> None:
    problem = logical_key_problem(key)
    assert problem
    with pytest.raises(InvalidInputError) as caught:
        validate_logical_key(key)
    assert problem in caught.value.message
    assert caught.value.key == key


@pytest.mark.parametrize(
    ("key", "problem"),
    [
        ("", "empty"),
        ("../x", "component '..'"),
        ("a/../../x", "component '..'"),
        ("a/..", "component '..'"),
        ("a/./b", "component '.'"),
        (".", "component '.'"),
        ("/etc/passwd", "component ''"),
        ("a//b", "component ''"),
        ("a/", "component ''"),
        ("/", "component ''"),
        ("..\\x", "backslash"),
        ("C:/x", "drive letter"),
        ("c:x", "drive letter"),
        ("a\0b", "control character"),
        ("a\nb", "control character"),
        ("a\x1bb", "control character"),
        ("a\x7fb", "control character"),
        ("a\x9bb", "control character"),
        ("a\ud83d", "valid UTF-8"),
        ("\udcff", "valid UTF-8"),
        (7, "int, not text"),
        (None, "NoneType, not text"),
        (b"a", "bytes, not text"),
    ],
)
def test_the_problem_is_named(key: object, problem: str) -> None:
    found = logical_key_problem(key)
    assert found is not None
    assert problem in found
    with pytest.raises(InvalidInputError, match="is refused"):
        validate_logical_key(key)


@pytest.mark.parametrize("letter", ["k", "é", "名", "😀"])
def test_the_length_of_a_key_counts_in_bytes(letter: str) -> None:
    width = len(letter.encode())
    fits = letter * (1024 // width) + "k" * (1024 % width)
    assert logical_key_problem(fits) is None
    assert logical_key_problem(fits + "k") == "it is 1025 bytes long, more than 1024"


def test_the_depth_of_a_key_is_bounded() -> None:
    assert logical_key_problem("/".join("d" * 200)) is None
    assert logical_key_problem("/".join("d" * 201)) == "it is 201 levels deep, more than 200"


def test_the_bounds_are_settings() -> None:
    limits = Limits(key_bytes=10, depth=2)
    assert logical_key_problem("abcd/efghi", limits) is None
    assert logical_key_problem("abcd/efghij", limits) == "it is 11 bytes long, more than 10"
    assert logical_key_problem("a/b/c", limits) == "it is 3 levels deep, more than 2"
    with pytest.raises(InvalidInputError, match="3 levels deep"):
        validate_logical_key("a/b/c", limits)


@pytest.mark.parametrize("name", [field.name for field in fields(Limits)])
def test_a_bound_that_nothing_passes_is_refused(name: str) -> None:
    with pytest.raises(InvalidInputError, match=name):
        Limits(**{name: 0})


@pytest.mark.parametrize(
    "key", [".quilt", ".quilt/packages/x", "a/.t4/b", "a/.T4", ".Quilt/x", ".t4"]
)
def test_folders_of_registries_are_reserved(key: str) -> None:
    assert is_reserved(key)


@pytest.mark.parametrize("key", ["quilt", ".quiltx", "a.quilt", "a/.t4x/b", "t4/.quilt.txt"])
def test_similar_names_are_not_reserved(key: str) -> None:
    assert not is_reserved(key)


def test_the_order_is_the_tree_walk_not_the_order_of_strings() -> None:
    keys = ["a!", "a-b", "a.b", "a", "a/b", "a/b-c", "a/b/c", "a0", "\U00010000", "\uffff", "é"]
    ordered = sorted(keys, key=tree_order)
    assert ordered == [
        *("a", "a/b", "a/b/c", "a/b-c", "a!", "a-b", "a.b", "a0", "é", "\uffff", "\U00010000")
    ]
    assert ordered != sorted(keys)


@given(st.lists(logical_keys(), min_size=2, max_size=8))
def test_the_order_is_that_of_lists_of_components(keys: list[str]) -> None:
    assert sorted(keys, key=tree_order) == sorted(keys, key=lambda key: key.split("/"))
    for one, other in pairwise(keys):
        assert (tree_order(one) == tree_order(other)) == (one == other)
