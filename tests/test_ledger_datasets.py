"""Inputs: what users and steps may name, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from t4_ops.errors import InvalidInputError
from t4_ops.keys import PackageRef
from t4_ops.ledger import MAX_INPUTS, Input, parse_inputs
from tests import strategies
from tests.ledger_support import revision, top_hash

REF = PackageRef("s3://bucket", "weather/raw", top_hash("raw"))
SOURCE = {"namespace": "postgres://host:5432", "name": "db.schema.table"}


@pytest.mark.parametrize(
    "value",
    [
        REF,
        REF.uri,
        REF.uri + "&path=a/b",
        REF.to_dict(),
        {**REF.to_dict(), "inputs": [], "files": 3, "size_bytes": 9, "changed": True},
        {"namespace": "s3://bucket", "name": "weather/raw", "version": REF.top_hash},
        Input.of_ref(REF),
    ],
)
def test_a_revision_is_named_in_many_ways_and_is_the_same_input(value: object) -> None:
    (found,) = parse_inputs(value)  # type: ignore[arg-type]

    assert found == Input(
        "s3://bucket", "weather/raw", REF.top_hash, registry="s3://bucket", package="weather/raw"
    )
    assert found.ref == REF
    assert found.to_dict() == REF.to_dict()


def test_a_folder_revision_is_an_openlineage_file_dataset(tmp_path: Path) -> None:
    ref = revision(tmp_path / "ré g", "a/b")

    (found,) = parse_inputs(ref)

    assert (found.namespace, found.name) == ("file", f"{tmp_path}/ré g/a/b")
    assert Input.of_dataset("file", f"{tmp_path}/ré g/a/b", ref.top_hash) == found


@pytest.mark.parametrize(
    ("namespace", "name", "version"),
    [
        ("postgres://host:5432", "db.schema.table", None),
        ("s3://bucket", "raw/file.csv", "3HL4kqtJvjVBH40Nrjfkd"),
        ("s3://bucket", "a/b/c", top_hash("no package name")),
        ("s3://bucket", "a/b", None),
        ("file", "/data/../a/b", top_hash("another spelling")),
        ("file", "b", top_hash("no folder")),
        ("hdfs://a", "a/b", top_hash("no registry")),
    ],
)
def test_a_source_that_is_no_revision_stays_what_it_is(
    namespace: str, name: str, version: str | None
) -> None:
    given_as = {"namespace": namespace, "name": name}
    if version is not None:
        given_as["version"] = version

    (found,) = parse_inputs(given_as)

    assert found == Input(namespace, name, version)
    assert found.ref is None
    assert found.to_dict() == given_as


def test_each_input_counts_once_in_the_order_given() -> None:
    other = PackageRef("s3://bucket", "weather/raw", top_hash("newer"))

    found = parse_inputs([other, REF, SOURCE, REF.to_dict(), other.uri, SOURCE])

    assert [item.to_dict() for item in found] == [other.to_dict(), REF.to_dict(), SOURCE]


def test_no_input_is_no_input() -> None:
    assert parse_inputs(None) == parse_inputs([]) == ()


REGISTRIES = st.sampled_from(["s3://my-bucket", "file:///a/r\u00e9 g", "file:///", "file:///%FF"])


@given(st.builds(PackageRef, REGISTRIES, strategies.package_names(), strategies.top_hashes()))
def test_the_json_form_comes_back(ref: PackageRef) -> None:
    item = Input.of_ref(ref)

    assert parse_inputs(json.loads(json.dumps(item.to_dict()))) == (item,)
    assert Input.of_dataset(*item.dataset, item.version) == item


@pytest.mark.parametrize(
    "value",
    [
        "weather/raw",
        "s3://bucket/key",
        "quilt+s3://bucket#package=weather/raw",
        "quilt+s3://bucket#package=weather/raw@abcdef12",
        "quilt+s3://bucket#package=weather/raw:latest",
        {"registry": "s3://bucket", "name": "weather/raw"},
        {"registry": "s3://bucket", "name": "weather/raw", "top_hash": "abc"},
        {"namespace": "file"},
        {"namespace": "", "name": "x"},
        {"namespace": "file", "name": 3},
        {"namespace": "file", "name": "x", "version": 3},
        {"namespace": "file", "name": "x" * 5000},
        {},
        [None],
        3,
        [["a"]],
    ],
)
def test_what_names_no_input_is_refused(value: object) -> None:
    with pytest.raises(InvalidInputError):
        parse_inputs(value)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "source",
    [
        {"namespace": "postgres://user:hunter2@host:5432", "name": "table"},
        {"namespace": "s3://bucket", "name": "key?X-Amz-Signature=hunter2"},
        {"namespace": "https://hunter2@host", "name": "x"},
    ],
)
def test_a_source_with_a_credential_is_refused_without_repeating_it(source: dict[str, str]) -> None:
    with pytest.raises(InvalidInputError, match="credential") as caught:
        parse_inputs(source)

    assert "hunter2" not in str(caught.value)


def test_a_storage_account_before_the_host_is_no_credential() -> None:
    name = {"namespace": "abfss://container@account.dfs.core.windows.net", "name": "x"}

    assert parse_inputs(name)[0].to_dict() == name


def test_too_many_inputs_are_refused_before_any_work() -> None:
    values = [{"namespace": "file", "name": f"/{n}"} for n in range(MAX_INPUTS + 1)]

    assert len(parse_inputs(values[:-1])) == MAX_INPUTS
    with pytest.raises(InvalidInputError, match=str(MAX_INPUTS)):
        parse_inputs(values)
