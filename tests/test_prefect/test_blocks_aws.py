"""What the credentials blocks of prefect-aws mean, against a real server.

prefect-aws pins boto3, so it is no part of the suite's environment; `make compat-prefect` has it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from prefect.blocks.core import Block

from demo.seaweedfs import SeaweedFS
from t4_ops.errors import InvalidInputError
from t4_ops.operations import build
from t4_ops.prefect.blocks import T4Registry

prefect_aws = pytest.importorskip("prefect_aws", reason="needs prefect-aws: make compat-prefect")


@pytest.fixture
def keys(s3_server: SeaweedFS, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The server's keys, with others in the environment that must not be used."""
    monkeypatch.setenv("T4_S3_ACCESS_KEY_ID", "wrong")
    monkeypatch.setenv("T4_S3_SECRET_ACCESS_KEY", "wrong")
    return s3_server.environ()


def credentials(kind: str, keys: dict[str, str], url: str | None) -> Any:
    parameters = {"endpoint_url": url}
    if kind == "minio":
        return prefect_aws.MinIOCredentials(
            minio_root_user=keys["AWS_ACCESS_KEY_ID"],
            minio_root_password=keys["AWS_SECRET_ACCESS_KEY"],
            aws_client_parameters=parameters,
        )
    return prefect_aws.AwsCredentials(
        aws_access_key_id=keys["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=keys["AWS_SECRET_ACCESS_KEY"],
        region_name=keys.get("AWS_DEFAULT_REGION"),
        aws_client_parameters=parameters,
    )


@pytest.mark.usefixtures("prefect_server")
@pytest.mark.parametrize("kind", ["aws", "minio"])
def test_a_stored_block_reaches_the_bucket(
    kind: str, keys: dict[str, str], s3_server: SeaweedFS, unversioned_bucket: str, tmp_path: Path
) -> None:
    (tmp_path / "a.txt").write_text("first")
    held = credentials(kind, keys, s3_server.endpoint_url)
    held.save(f"keys-{kind}", overwrite=True)
    T4Registry(url=f"s3://{unversioned_bucket}", credentials=held).save(kind, overwrite=True)
    block = Block.load(f"t4-registry/{kind}")
    assert isinstance(block, T4Registry)
    settings = block.settings()
    assert keys["AWS_SECRET_ACCESS_KEY"] not in repr(block) + repr(settings) + str(block)
    built = build("team/raw", tmp_path / "a.txt", settings=settings)
    assert built["registry"] == f"s3://{unversioned_bucket}"


def test_the_registrys_own_endpoint_and_region_win() -> None:
    held = prefect_aws.AwsCredentials(
        region_name="eu-west-1", aws_client_parameters={"endpoint_url": "http://one:1"}
    )
    block = T4Registry(url="s3://bucket", endpoint_url="http://two:2", credentials=held)
    s3 = block.settings().s3_for("s3://bucket")
    assert (s3.endpoint_url, s3.region) == ("http://two:2", "eu-west-1")


def test_options_that_have_a_counterpart_count(tmp_path: Path) -> None:
    bundle = tmp_path / "ca.pem"
    bundle.write_text("")
    held = prefect_aws.AwsCredentials(
        profile_name="lab",
        aws_client_parameters={
            "verify_cert_path": str(bundle),
            "config": {"read_timeout": 7, "s3": {"addressing_style": "path"}},
        },
    )
    s3 = T4Registry(url="s3://bucket", credentials=held).settings().s3_for("s3://bucket")
    assert (s3.profile, s3.ca_bundle, s3.read_timeout_s) == ("lab", str(bundle), 7)
    assert s3.addressing_style == "path"


@pytest.mark.parametrize("parameters", [{"verify": False}, {"use_ssl": False}])
def test_unsafe_connections_are_refused(parameters: dict[str, Any]) -> None:
    held = prefect_aws.AwsCredentials(aws_client_parameters=parameters)
    with pytest.raises(InvalidInputError, match="credentials block says"):
        T4Registry(url="s3://bucket", credentials=held).settings()
