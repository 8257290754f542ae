"""Names of task runs: there is one whatever the parameters are."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from t4_ops import PackageRef, PackageUri
from t4_ops.prefect.tasks import browse_package, build_package, install_package, push_package

HASH = "1f3a9c2e" + "0" * 56
REF = PackageRef("s3://bucket", "team/raw", HASH)


class Broken(Mapping[str, Any]):
    """A mapping that can't be read."""

    def __getitem__(self, key: str) -> Any:
        raise RuntimeError(key)

    def __iter__(self) -> Iterator[str]:
        raise RuntimeError("no keys")

    def __len__(self) -> int:
        return 1


def name_of(step: Any, **parameters: Any) -> str:
    name = step.task_run_name(parameters=parameters)
    assert isinstance(name, str)
    return name


@pytest.mark.parametrize(
    "package",
    [
        REF,
        REF.to_dict(),
        REF.uri,
        f" {REF.uri} ",
        f"team/raw@{HASH}",
        "team/raw@1f3a9c2e",
        str(PackageUri("s3://bucket", "team/raw", top_hash="1f3a9c2e", path="a/b")),
        PackageRef("/data/registry", "team/raw", HASH).uri,
    ],
)
def test_a_pinned_revision_is_told_by_name_and_hash(package: object) -> None:
    assert name_of(push_package, package=package, name=None) == "push-team/raw@1f3a9c2e"
    assert name_of(install_package, package=package, dest="x") == "install-team/raw@1f3a9c2e"


@pytest.mark.parametrize("package", ["team/raw", "quilt+s3://bucket#package=team/raw:latest"])
def test_latest_is_told_by_name(package: str) -> None:
    assert name_of(browse_package, package=package, registry=None) == "browse-team/raw"


def test_a_new_name_counts() -> None:
    assert name_of(build_package, name="team/raw", source="x") == "build-team/raw"
    assert name_of(push_package, package=REF, name="team/copy") == "push-team/copy@1f3a9c2e"


@pytest.mark.parametrize(
    "package",
    [
        None,
        17,
        b"team/raw",
        "",
        "@",
        "no name",
        "a/b\nc",
        "s3://user:secret@bucket",
        "quilt+s3://bucket#package=",
        "{'name': 'team/raw'}",
        {},
        {"name": None, "top_hash": 3},
        {"name": {"deep": []}},
        [REF],
        Broken(),
    ],
)
def test_what_tells_no_package_still_gets_a_name(package: object) -> None:
    assert name_of(push_package, package=package) == "push"


def test_parts_that_are_no_hash_or_too_long_are_left_out() -> None:
    assert name_of(push_package, package="team/raw@\n\n") == "push-team/raw"
    assert len(name_of(build_package, name="a/" + "b" * 5000)) < 250
    assert name_of(build_package, name=7) == "build"
    assert name_of(push_package) == "push"
