"""Registries, identities and pinned references."""

from __future__ import annotations

import copy
import gc
import json
import pickle
import weakref
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from t4_ops.errors import InvalidInputError
from t4_ops.keys import (
    NOW,
    Dataset,
    PackageRef,
    PackageUri,
    PhysicalKey,
    asset_uri,
    dataset_of,
    is_folder,
    normalize_registry,
    package_of_asset,
)
from tests.strategies import local_keys, package_names, top_hashes

HASH = "2a5a67156ca9238c14d12042db51c5b52260fdd5511b61ea89b58929d6e1769b"


@pytest.mark.parametrize(
    ("given_as", "normalised"),
    [
        ("s3://bkt", "s3://bkt"),
        ("s3://bkt/", "s3://bkt"),
        ("S3://bkt", "s3://bkt"),
        ("/reg", "file:///reg"),
        ("/reg/", "file:///reg"),
        ("//reg", "file:///reg"),
        ("/a/../reg/.", "file:///reg"),
        ("file:///reg/", "file:///reg"),
        ("file://localhost/reg", "file:///reg"),
        ("file:////reg", "file:///reg"),
        ("/", "file:///"),
        ("/a b/é/50%/%41", "file:///a%20b/%C3%A9/50%25/%2541"),
        ("file:///a%20b", "file:///a%20b"),
        (Path("/reg"), "file:///reg"),
    ],
)
def test_a_registry_has_one_spelling(given_as: str | Path, normalised: str) -> None:
    assert normalize_registry(given_as) == normalised
    assert normalize_registry(normalised) == normalised
    assert is_folder(normalised) == normalised.startswith("file://")


def test_a_relative_folder_counts_from_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert normalize_registry("reg") == f"{tmp_path.as_uri()}/reg"


@pytest.mark.parametrize(
    "registry",
    [
        *("", "s3://", "s3:///", "s3://bkt/prefix", "s3://bkt//", "s3://bkt?versionId=1"),
        *("http://host", "file://host/reg", "quilt+s3://bkt#package=a/b", "gs://bkt", "a\0b"),
    ],
)
def test_other_registries_are_refused(registry: str) -> None:
    with pytest.raises(InvalidInputError):
        normalize_registry(registry)


@given(local_keys())
def test_normalising_twice_changes_nothing(folder: PhysicalKey) -> None:
    once = normalize_registry(folder.path)
    assert normalize_registry(once) == once
    assert PhysicalKey.parse(once) == folder


@pytest.mark.parametrize(
    ("registry", "identity", "dataset"),
    [
        ("s3://bkt/", "s3://bkt/ns/name", Dataset("s3://bkt", "ns/name")),
        ("/reg/", "file:///reg/ns/name", Dataset("file", "/reg/ns/name")),
        ("/", "file:///ns/name", Dataset("file", "/ns/name")),
        ("/a b/%", "file:///a%20b/%25/ns/name", Dataset("file", "/a b/%/ns/name")),
    ],
)
def test_a_package_has_one_identity(registry: str, identity: str, dataset: Dataset) -> None:
    assert asset_uri(registry, "ns/name") == identity
    assert dataset_of(registry, "ns/name") == dataset
    assert PackageRef(registry, "ns/name", HASH).identity == identity
    assert HASH not in identity


@pytest.mark.parametrize("function", [asset_uri, dataset_of])
@pytest.mark.parametrize("registry", ["s3://bkt", "/reg"])
def test_an_identity_needs_a_legal_name(function: Any, registry: str) -> None:
    with pytest.raises(InvalidInputError, match="package name"):
        function(registry, "../name")


@given(st.just("s3://bkt") | local_keys().map(lambda key: key.path), package_names(), top_hashes())
def test_a_ref_survives_json_pickle_and_its_uri(registry: str, name: str, top_hash: str) -> None:
    ref = PackageRef(registry, name, top_hash)
    assert PackageRef.from_dict(json.loads(json.dumps(ref.to_dict()))) == ref
    assert pickle.loads(pickle.dumps(ref)) == ref  # noqa: S301 - made here
    uri = PackageUri.parse(ref.uri)
    assert uri.top_hash is not None
    assert PackageRef(uri.registry, uri.name, uri.top_hash) == ref


def test_a_ref_as_a_dict() -> None:
    assert PackageRef("s3://bkt/", "ns/name", HASH).to_dict() == {
        "uri": f"quilt+s3://bkt#package=ns/name@{HASH}",
        "registry": "s3://bkt",
        "name": "ns/name",
        "top_hash": HASH,
    }


def test_the_result_of_a_step_is_a_ref() -> None:
    ref = PackageRef("s3://bkt", "ns/name", HASH)
    result = {**ref.to_dict(), "inputs": [], "files": 3, "size_bytes": 10, "changed": True}
    assert PackageRef.from_dict(result) == ref


@pytest.mark.parametrize("field", ["registry", "name", "top_hash"])
@pytest.mark.parametrize("value", [None, "", "a\nb"])
def test_a_dict_that_is_no_ref_is_refused(field: str, value: str | None) -> None:
    values: dict[str, object] = dict(PackageRef("s3://bkt", "ns/name", HASH).to_dict())
    if value == "a\nb" and field == "registry":
        value = "s3://a\nb"
    values[field] = value
    with pytest.raises(InvalidInputError):
        PackageRef.from_dict(values)
    del values[field]
    with pytest.raises(InvalidInputError, match=f"{field} missing"):
        PackageRef.from_dict(values)


@pytest.mark.parametrize(
    "top_hash", ["latest", HASH[:63], HASH.upper(), f"{HASH}\n", "../" * 21 + "x"]
)
def test_a_ref_is_pinned(top_hash: str) -> None:
    with pytest.raises(InvalidInputError, match="top hash"):
        PackageRef("s3://bkt", "ns/name", top_hash)


def test_a_ref_is_frozen_hashable_and_weakly_referenceable() -> None:
    ref = PackageRef("s3://bkt", "ns/name", HASH)
    assert {ref: 1}[PackageRef("s3://bkt/", "ns/name", HASH)] == 1
    with pytest.raises(FrozenInstanceError):
        ref.name = "ns/other"  # type: ignore[misc]
    weak = weakref.ref(ref)
    assert weak() is ref
    del ref
    gc.collect()
    assert weak() is None


def test_now_is_the_same_one_in_every_process() -> None:
    assert pickle.loads(pickle.dumps(NOW)) is NOW  # noqa: S301
    assert copy.deepcopy({"expected": NOW})["expected"] is NOW


@given(st.sampled_from(["s3://bkt", "file:///reg", "file:///a%20b/reg"]), package_names())
def test_an_identity_says_which_package_it_is_of(registry: str, name: str) -> None:
    assert package_of_asset(asset_uri(registry, name)) == (registry, name)


@pytest.mark.parametrize(
    "uri", ["", "x", "team/raw", "x/team/raw", "s3://team/raw", "s3:///a/b", "s3://b/deep/a/b"]
)
def test_what_is_no_identity_names_no_package(uri: str) -> None:
    with pytest.raises(InvalidInputError):
        package_of_asset(uri)
