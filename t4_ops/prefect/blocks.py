"""The Prefect block of a registry: where it is and how to reach it, kept by Prefect's server.

An entry point of `prefect.collections`. Importing it loads prefect-aws where that is installed, so
the tasks don't: they know a registry block by what it can do.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

from prefect.blocks.core import Block
from pydantic import ConfigDict, Field, HttpUrl, field_validator, model_validator

from t4_ops.keys import normalize_registry
from t4_ops.prefect._credentials import credentials_field, endpoint_of, s3_fields_of
from t4_ops.settings import S3Settings, Settings, load_settings

if TYPE_CHECKING:
    _Credentials = Any
else:
    _Credentials = credentials_field()


class T4Registry(Block):
    """A registry of data packages: a bucket or a folder, and how to reach it.

    Give it to a task of `t4_ops.prefect.tasks` as `registry=`. Without credentials, boto3 finds
    them in its usual places; with prefect-aws installed, `credentials` may be an AWS Credentials
    or a MinIO Credentials block, whose endpoint, region and certificates count too.

    Example:
        Push to a registry that is stored as a block:
        ```python
        from t4_ops.prefect.blocks import T4Registry
        from t4_ops.prefect.tasks import build_package, push_package

        registry = T4Registry.load("BLOCK_NAME")
        ```
    """

    # What a wrong value looks like may tell a secret.
    model_config = ConfigDict(hide_input_in_errors=True)

    _block_type_name = "T4 Registry"
    _block_type_slug = "t4-registry"
    _documentation_url = HttpUrl("https://docs.prefect.io/v3/concepts/blocks")

    url: str = Field(
        title="URL", description="The registry: s3://bucket, or the absolute path of a folder."
    )
    endpoint_url: str | None = Field(
        default=None,
        title="Endpoint URL",
        description="The S3 server, such as http://minio:9000; empty for Amazon's own.",
    )
    region: str | None = Field(default=None, description="The region, such as eu-central-1.")
    credentials: _Credentials = Field(
        default=None,
        description="Credentials of prefect-aws; empty for those that boto3 finds by itself.",
    )

    @field_validator("url")
    @classmethod
    def _registry(cls, value: str) -> str:
        return normalize_registry(value)

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        """Refuse what could only fail later, when a task wants to use it."""
        S3Settings(endpoint_url=self.endpoint_url or None, region=self.region or None)
        return self

    @property
    def endpoint(self) -> str | None:
        """The S3 server it leads to; None: Amazon's, or the one of the user's settings."""
        return self.endpoint_url or endpoint_of(self.credentials)

    def settings(self) -> Settings:
        """Return the user's settings with this registry as the default one.

        Raises:
            InvalidInputError: The credentials ask for what we don't do.
        """
        return replace(self.extend(load_settings(progress=False)), registry=self.url)

    def extend(self, settings: Settings) -> Settings:
        """Return settings that also know how to reach this registry.

        Raises:
            InvalidInputError: The credentials ask for what we don't do.
        """
        fields = {} if self.credentials is None else s3_fields_of(self.credentials)
        own = {"endpoint_url": self.endpoint_url, "region": self.region}
        fields |= {name: value for name, value in own.items() if value}
        others = [(url, s3) for url, s3 in settings.registries if url != self.url]
        mine = replace(settings.s3_for(self.url), **fields)
        return replace(settings, registries=(*others, (self.url, mine)))
