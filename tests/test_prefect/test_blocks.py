"""The block of a registry: Prefect's own standard tests, and what it means for the tasks."""

from __future__ import annotations

import importlib.util
from importlib.metadata import entry_points
from typing import Any

import pytest
from prefect.blocks.core import Block
from prefect.testing.standard_test_suites.blocks import BlockStandardTestSuite
from pydantic import ValidationError

import t4_ops as t4
from t4_ops.prefect.blocks import T4Registry

HAS_AWS = importlib.util.find_spec("prefect_aws") is not None


class TestStandard(BlockStandardTestSuite):
    @pytest.fixture
    def block(self) -> type[Block]:
        return T4Registry

    def test_has_a_valid_image(self, block: type[Block]) -> None:
        """The suite would fetch a logo: there is no public place for one, so there is none."""
        assert block._logo_url is None


def test_prefect_finds_it_by_its_entry_point() -> None:
    (point,) = entry_points(group="prefect.collections", name="t4_ops")
    assert point.load().T4Registry is T4Registry


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"url": "s3://bucket/below"}, "whole bucket"),
        ({"url": "s3://user:hunter2@bucket"}, "password"),
        ({"url": "s3://bucket", "endpoint_url": "http://user:hunter2@host"}, "endpoint_url"),
        ({}, "url"),
    ],
)
def test_a_wrong_value_is_told_at_once_and_not_shown(values: Any, told: str) -> None:
    with pytest.raises(ValidationError) as caught:
        T4Registry(**values)
    assert told in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_it_is_a_way_to_one_registry_beside_the_users_settings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("T4_S3_REGION", "eu-north-1")
    monkeypatch.setenv("T4_S3_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("T4_S3_SECRET_ACCESS_KEY", "a made-up secret")
    plain = T4Registry(url="s3://one").settings()
    assert plain.registry == "s3://one"
    assert plain.progress is False
    assert plain.s3_for("s3://one") == plain.s3
    block = T4Registry(url="s3://two", endpoint_url="http://127.0.0.1:9000")
    both = block.extend(plain)
    assert both.registry == "s3://one"
    assert both.s3_for("s3://two").endpoint_url == "http://127.0.0.1:9000"
    assert both.s3_for("s3://two").region == "eu-north-1"
    assert both.s3_for("s3://one").endpoint_url is None
    assert len(block.extend(both).registries) == 2


def test_a_folder_is_a_registry_too(tmp_path: Any) -> None:
    block = T4Registry(url=str(tmp_path))
    assert block.url == tmp_path.as_uri()
    built = t4.Package().set("a", b"1").build("team/raw", block.url)
    assert t4.resolve("team/raw", settings=block.settings()).top_hash == built


@pytest.mark.usefixtures("prefect_server")
def test_it_is_saved_and_loaded(tmp_path: Any) -> None:
    made = T4Registry(url="s3://bucket", endpoint_url="http://127.0.0.1:9000", region="x")
    made.save("prod", overwrite=True)
    loaded: Any = T4Registry.load("prod")
    assert (loaded.url, loaded.endpoint_url, loaded.region) == (made.url, made.endpoint_url, "x")
    found = Block.load("t4-registry/prod")
    assert isinstance(found, T4Registry)
    assert found.settings() == made.settings()


@pytest.mark.skipif(HAS_AWS, reason="what is told where prefect-aws is missing")
def test_credentials_without_prefect_aws_say_what_to_install() -> None:
    with pytest.raises(ValidationError, match="prefect-aws") as caught:
        T4Registry(url="s3://bucket", credentials={"aws_secret_access_key": "hunter2"})
    assert "hunter2" not in str(caught.value)
