"""What the credentials blocks of prefect-aws mean for us."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Annotated, Any, Final

from pydantic import BeforeValidator

from t4_ops.errors import InvalidInputError

if TYPE_CHECKING:
    from prefect_aws import AwsCredentials, MinIOCredentials
    from prefect_aws.client_parameters import AwsClientParameters

_PACKAGE: Final = "prefect_aws"
_WHO: Final = ("access_key_id", "secret_access_key", "session_token", "profile")
# Options of botocore's `Config` that have a counterpart here, and its name.
_OPTIONS: Final = {
    "connect_timeout": "connect_timeout_s",
    "read_timeout": "read_timeout_s",
}


def credentials_field() -> Any:
    """Return the type of a block's field that holds credentials: which blocks are installed.

    Where prefect-aws is missing only None is legal, and anything else says what to install.
    """
    if importlib.util.find_spec(_PACKAGE) is None:
        return Annotated[None, BeforeValidator(_missing)]
    from prefect_aws.credentials import AwsCredentials, MinIOCredentials

    # MinIO's first: the fields of the other are all optional, so that it would take anything.
    return MinIOCredentials | AwsCredentials | None


def _missing(value: object) -> None:
    if value is not None:
        # ValueError is what pydantic turns into its own error; the value may be a secret.
        raise ValueError("credentials need the package prefect-aws, which is not installed here")


def endpoint_of(credentials: AwsCredentials | MinIOCredentials | None) -> str | None:
    """Return the endpoint that a credentials block names, if there is one and it does."""
    return None if credentials is None else credentials.aws_client_parameters.endpoint_url or None


def s3_fields_of(credentials: AwsCredentials | MinIOCredentials) -> dict[str, Any]:
    """Return the fields of `S3Settings` that a credentials block says something about.

    It says all there is to say about who asks: keys of the environment don't mix with its own.

    Raises:
        InvalidInputError: It asks for what we don't do: connections without verified certificates,
            or plain HTTP by another way than the endpoint's URL.
    """
    from prefect_aws.credentials import MinIOCredentials

    found = dict.fromkeys(_WHO) | _of_parameters(credentials.aws_client_parameters)
    if isinstance(credentials, MinIOCredentials):
        found["access_key_id"] = credentials.minio_root_user
        found["secret_access_key"] = credentials.minio_root_password.get_secret_value()
    elif credentials.assume_role_arn:
        found |= _of_role(credentials)
    elif credentials.aws_access_key_id and credentials.aws_secret_access_key:
        found["access_key_id"] = credentials.aws_access_key_id
        found["secret_access_key"] = credentials.aws_secret_access_key.get_secret_value()
        found["session_token"] = credentials.aws_session_token
    else:
        found["profile"] = credentials.profile_name
    if credentials.region_name:
        found["region"] = credentials.region_name
    return found


def _of_role(credentials: AwsCredentials) -> dict[str, Any]:
    """Return what the role gives now: asked again for each step, so that it does not run out."""
    session = credentials.get_boto3_session()
    keys = session.get_credentials()
    if keys is None:  # a role is only assumed with some
        raise InvalidInputError(f"the role {credentials.assume_role_arn} gives no credentials")
    frozen = keys.get_frozen_credentials()
    return {
        "access_key_id": frozen.access_key,
        "secret_access_key": frozen.secret_key,
        "session_token": frozen.token,
    }


def _of_parameters(parameters: AwsClientParameters) -> dict[str, Any]:
    if parameters.verify is False:
        raise InvalidInputError(
            "the credentials block says verify=False: certificates are always verified; name those"
            " of your own authority in verify_cert_path"
        )
    if not parameters.use_ssl and not parameters.endpoint_url:
        raise InvalidInputError(
            "the credentials block says use_ssl=False without an endpoint: give endpoint_url http://"
        )
    # A path in `verify` is the old way to name them.
    bundle = parameters.verify_cert_path or (
        None if isinstance(parameters.verify, bool) else parameters.verify
    )
    found: dict[str, Any] = {}
    if parameters.endpoint_url:
        found["endpoint_url"] = parameters.endpoint_url
    if bundle is not None:
        found["ca_bundle"] = str(bundle)
    options = parameters.config or {}
    found |= {ours: options[theirs] for theirs, ours in _OPTIONS.items() if theirs in options}
    style = (options.get("s3") or {}).get("addressing_style")
    if style:
        found["addressing_style"] = style
    if _is_unsigned(options.get("signature_version")):
        found["anonymous"] = True
    return found


def _is_unsigned(version: object) -> bool:
    from prefect_aws.client_parameters import UNSIGNED

    return version is UNSIGNED or version == "unsigned"
