"""Browse and install with expectations; browse with a path and a selector."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import t4_ops as t4
from t4_ops import operations as ops
from t4_ops.errors import ExpectationError
from tests.package_support import write_files

FILES = {"a.csv": b"1", "b.txt": b"22", "d/c.csv": b"333", "d/e/f": b"4444"}


@pytest.fixture
def built(tmp_path: Path) -> ops.StepResult:
    folder = write_files(tmp_path / "files", FILES)
    return ops.build("team/raw", folder, meta={"day": 1, "tags": ["x"]}, message="m")


@pytest.mark.parametrize(
    ("asked", "keys"),
    [
        ({}, ["a.csv", "b.txt", "d/c.csv", "d/e/f"]),
        ({"path": "d"}, ["d/c.csv", "d/e/f"]),
        ({"path": "d/"}, ["d/c.csv", "d/e/f"]),
        ({"path": "d/c.csv"}, ["d/c.csv"]),
        ({"selector": "*.csv"}, ["a.csv", "d/c.csv"]),
        ({"selector": ["*.csv", "!/a.csv"]}, ["d/c.csv"]),
        ({"selector": "/d/"}, ["d/c.csv", "d/e/f"]),
        ({"selector": "*.tsv"}, []),
        ({"selector": "*.csv", "path": "d"}, ["d/c.csv"]),
        ({"selector": lambda key, entry: entry.size > 1, "path": "d/"}, ["d/c.csv", "d/e/f"]),
        ({"selector": lambda key, entry: entry.size == 2}, ["b.txt"]),
    ],
)
def test_browse_looks_at_what_is_asked_for(
    built: ops.StepResult, asked: dict[str, Any], keys: list[str]
) -> None:
    seen = ops.browse(built, max_keys=10, **asked)
    assert seen["keys"] == keys
    assert (seen["files"], seen["size_bytes"]) == (len(keys), sum(len(FILES[k]) for k in keys))
    assert seen["top_hash"] == built["top_hash"]
    assert ops.browse(built, max_keys=1, **asked)["keys"] == keys[:1]
    assert "keys" not in ops.browse(built, **asked)


def test_browse_takes_the_path_of_a_uri_and_tells_one_that_is_not_there(
    built: ops.StepResult,
) -> None:
    assert ops.browse(f"{built['uri']}&path=d%2Fe", max_keys=9)["keys"] == ["d/e/f"]
    with pytest.raises(t4.NotFoundError, match="nothing"):
        ops.browse(built, path="nothing")


@pytest.mark.parametrize(
    "expected",
    [
        {},
        {"has": ["a.csv", "d/", "d/e/", "*.txt", "d/**/f"]},
        {"has": "a.csv"},
        {"min_files": 4, "max_files": 4, "min_bytes": 10, "max_bytes": 10},
        {"min_files": "4", "max_bytes": "10", "min_bytes": "", "meta": None, "has": None},
        {"meta": {"day": 1}},
        {"meta": {"tags": ["x"]}, "has": ["d/e/f"]},
    ],
)
def test_what_is_as_expected_passes(
    built: ops.StepResult, expected: dict[str, Any], tmp_path: Path
) -> None:
    assert ops.browse(built, expectations=expected)["files"] == 4
    assert ops.install(built, dest=tmp_path / "x", expectations=expected)["changed"]
    given = ops.Expectations.of(expected)
    assert given is not None
    assert ops.Expectations.of(given.as_dict()) == given


def test_all_that_is_not_as_expected_is_told_and_nothing_is_installed(
    built: ops.StepResult, tmp_path: Path
) -> None:
    expected = {
        "has": ["a.csv", "a.csv/", "d", "no/", "no", "*.tsv"],
        "min_files": 5,
        "max_bytes": 9,
        "meta": {"day": True, "tags": ["x"], "other": 1},
    }
    unmet = (
        "'a.csv/' is missing",
        "'d' is missing",
        "'no/' is missing",
        "'no' is missing",
        "nothing matches '*.tsv'",
        "it has 4 files, expected at least 5",
        "it has 10 bytes, expected at most 9",
        "its metadata has 'day': 1, expected True",
        "its metadata has no 'other'",
    )
    for step in (
        lambda: ops.browse(built, expectations=expected),
        lambda: ops.install(built, dest=tmp_path / "x", expectations=expected),
    ):
        with pytest.raises(ExpectationError) as caught:
            step()
        assert caught.value.unmet == unmet
        assert caught.value.uri == built["uri"]
        assert all(what in str(caught.value) for what in (built["uri"], *unmet))
        assert not caught.value.retryable
    assert not (tmp_path / "x").exists()


def test_a_key_that_looks_like_a_pattern_is_a_key(tmp_path: Path) -> None:
    files = {"data[1].csv": b"", "what?": b"", "a!b": b""}
    built = ops.build("team/odd", write_files(tmp_path / "odd", files))
    ops.browse(built, expectations={"has": list(files)})
    with pytest.raises(ExpectationError, match=r"nothing matches 'data\[2\]"):
        ops.browse(built, expectations={"has": ["data[2].csv", "a!c"]})


def test_expectations_are_of_what_is_looked_at(built: ops.StepResult, tmp_path: Path) -> None:
    ops.browse(built, path="d", expectations={"max_files": 2, "has": ["d/c.csv", "d/e/"]})
    ops.browse(built, selector="*.csv", expectations={"max_files": 2, "has": "d/"})
    for asked in (
        {"path": "d", "expectations": {"has": "a.csv"}},
        {"selector": "*.csv", "expectations": {"has": "b.txt"}},
        {"selector": "*.csv", "expectations": {"has": "d/e/"}},
        {"selector": "*.tsv", "expectations": {"min_files": 1}},
    ):
        with pytest.raises(ExpectationError):
            ops.browse(built, **asked)  # type: ignore[arg-type]
    with pytest.raises(ExpectationError):
        ops.install(built, path="d", dest=tmp_path / "x", expectations={"has": "a.csv"})


@pytest.mark.parametrize(
    "bad",
    [
        {"hass": ["a"]},
        {"has": [7]},
        {"has": [""]},
        {"min_files": -1},
        {"min_files": "many"},
        {"max_bytes": 1.5},
        {"max_files": True},
        {"meta": "x"},
        {"meta": {"k": {1}}},
        [],
        "text",
    ],
)
def test_expectations_that_are_none_are_refused(built: ops.StepResult, bad: Any) -> None:
    with pytest.raises(t4.InvalidInputError):
        ops.browse(built, expectations=bad)
