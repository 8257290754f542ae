"""The same steps on buckets of a real server."""

from pathlib import Path
from typing import Any

import pytest
from prefect import flow

from demo.seaweedfs import SeaweedFS
from t4_ops.lineage import runs_of
from t4_ops.prefect.tasks import browse_package, build_package, install_package, push_package
from tests.test_prefect.support import files_of

pytestmark = pytest.mark.usefixtures("prefect_server")


@flow
def to_bucket(source: Path, registry: str, bucket: str, dest: Path) -> list[Any]:
    built = build_package("team/raw", source, registry=registry, message="m")
    pushed = push_package(built, registry=bucket)
    browsed = browse_package("team/raw", registry=bucket)
    return [built, pushed, browsed, install_package(browsed, dest=dest)]


@pytest.mark.parametrize("kind", ["versioned_bucket", "unversioned_bucket"])
def test_a_package_goes_to_a_bucket_and_back(
    kind: str,
    request: pytest.FixtureRequest,
    s3_env: SeaweedFS,
    source: Path,
    registry: str,
    tmp_path: Path,
) -> None:
    bucket = f"s3://{request.getfixturevalue(kind)}"
    first = to_bucket(source, registry, bucket, tmp_path / "out")
    again = to_bucket(source, registry, bucket, tmp_path / "out")

    built, pushed, browsed, installed = first
    assert len({result.top_hash for result in first + again}) == 1
    assert {pushed.registry, browsed.registry, installed.registry} == {bucket}
    assert [result.changed for result in first] == [True, True, False, True]
    assert [result.changed for result in again] == [False] * 4
    assert files_of(tmp_path / "out") == files_of(source)
    event = runs_of(pushed)[0]
    assert event.run.engine == "prefect"
    assert built.uri in [item.ref.uri for item in event.inputs if item.ref]
