"""The stores keep the contract: a folder, a bucket with versions, a bucket without."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from demo.seaweedfs import REGION, SeaweedFS
from t4_ops.settings import S3Settings, Settings
from tests.contracts import Place, StoreContract

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


@dataclass
class Folder:
    """A folder, looked at with plain file access."""

    root: Path
    settings: Settings
    is_versioned: bool = False

    @property
    def url(self) -> str:
        return f"file://{self.root}"

    @property
    def missing_url(self) -> str:
        return f"file://{self.root}/not/there"

    def raw_put(self, key: str, data: bytes) -> None:
        path = self.root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def raw_get(self, key: str) -> bytes | None:
        path = self.root / key
        return path.read_bytes() if path.exists() else None

    def raw_list(self) -> list[str]:
        found = os.walk(self.root)
        files = [Path(folder, name) for folder, _, names in found for name in names]
        keys = [str(path.relative_to(self.root)) for path in files]
        return sorted(key for key in keys if key != ".t4/v1/lock")

    def raw_leftovers(self) -> list[str]:
        return [key for key in self.raw_list() if ".t4-" in key]


class TestFolder(StoreContract):
    @pytest.fixture
    def place(self, tmp_path: Path) -> Place:
        return Folder(tmp_path / "registry", Settings(registry=str(tmp_path / "registry")))


@dataclass
class Bucket:
    """A bucket, looked at with boto3."""

    name: str
    client: S3Client
    settings: Settings
    is_versioned: bool

    @property
    def url(self) -> str:
        return f"s3://{self.name}"

    @property
    def missing_url(self) -> str:
        return f"s3://{self.name}-is-not-there"

    def raw_put(self, key: str, data: bytes) -> None:
        self.client.put_object(Bucket=self.name, Key=key, Body=data)

    def raw_get(self, key: str) -> bytes | None:
        try:
            return self.client.get_object(Bucket=self.name, Key=key)["Body"].read()
        except self.client.exceptions.NoSuchKey:
            return None

    def raw_list(self) -> list[str]:
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.name)
        return sorted(item["Key"] for page in pages for item in page.get("Contents", []))

    def raw_leftovers(self) -> list[str]:
        reply = self.client.list_multipart_uploads(Bucket=self.name)
        return [upload["Key"] for upload in reply.get("Uploads", [])]


def _bucket(server: SeaweedFS, name: str, *, is_versioned: bool) -> Bucket:
    import boto3
    from botocore.config import Config

    client = boto3.client(
        "s3",
        endpoint_url=server.endpoint_url,
        region_name=REGION,
        aws_access_key_id=server.access_key,
        aws_secret_access_key=server.secret_key,
        config=Config(s3={"addressing_style": "path"}),
    )
    s3 = S3Settings(
        endpoint_url=server.endpoint_url,
        region=REGION,
        access_key_id=server.access_key,
        secret_access_key=server.secret_key,
    )
    return Bucket(name, client, Settings(s3=s3), is_versioned)


class TestVersionedBucket(StoreContract):
    @pytest.fixture
    def place(self, s3_server: SeaweedFS, versioned_bucket: str) -> Place:
        return _bucket(s3_server, versioned_bucket, is_versioned=True)


class TestUnversionedBucket(StoreContract):
    @pytest.fixture
    def place(self, s3_server: SeaweedFS, unversioned_bucket: str) -> Place:
        return _bucket(s3_server, unversioned_bucket, is_versioned=False)
