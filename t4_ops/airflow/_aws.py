"""Credentials, region and endpoint from an AWS connection of Airflow."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any, Final

from airflow.sdk import BaseHook, Connection

from t4_ops.errors import InvalidInputError

# What an AWS connection says that needs nobody's help to be understood. Source: the documentation
# of the connection type `aws` in Airflow's amazon provider 9.39.
_PLAIN: Final = {
    "aws_access_key_id": "access_key_id",
    "aws_secret_access_key": "secret_access_key",
    "aws_session_token": "session_token",
    "region_name": "region",
    "endpoint_url": "endpoint_url",
    "profile_name": "profile",
}
_PROVIDER: Final = "apache-airflow-providers-amazon"


def borrowed(aws_conn_id: str, *, may_ask_sts: bool = True) -> dict[str, str]:
    """Return fields of `S3Settings` that an AWS connection tells.

    A connection with plain keys, or none, is read here. One that takes on a role is left to the
    amazon provider: the keys are those of the moment.

    Args:
        aws_conn_id: The connection.
        may_ask_sts: Whether a role may be taken on.

    Raises:
        AirflowNotFoundException: There is no such connection.
        InvalidInputError: It needs the amazon provider, which is not installed; or a role, which
            may not be taken on now.
    """
    conn = BaseHook.get_connection(aws_conn_id)
    extra = {key: value for key, value in conn.extra_dejson.items() if value not in (None, "", {})}
    service = (extra.pop("service_config", None) or {}).get("s3") or {}
    unknown = sorted(extra.keys() - _PLAIN.keys())
    if unknown:
        return _through_the_provider(aws_conn_id, unknown, service, may_ask_sts=may_ask_sts)
    found = {_PLAIN[key]: str(value) for key, value in extra.items()}
    return {**found, **_login(conn), **_endpoint(service)}


def _login(conn: Connection) -> dict[str, str]:
    if not (conn.login and conn.password):
        return {}
    return {"access_key_id": conn.login, "secret_access_key": conn.password}


def _endpoint(service: dict[str, Any]) -> dict[str, str]:
    return {"endpoint_url": service["endpoint_url"]} if service.get("endpoint_url") else {}


def _through_the_provider(
    aws_conn_id: str, unknown: list[str], service: dict[str, Any], *, may_ask_sts: bool
) -> dict[str, str]:
    if not may_ask_sts:
        raise InvalidInputError(
            f"the AWS connection {aws_conn_id!r} has {', '.join(unknown)}, so that its keys come"
            " from STS, which this test does not ask: test that connection by itself, and this one"
            " by running a task",
            key=aws_conn_id,
        )
    if find_spec("airflow.providers.amazon") is None:
        raise InvalidInputError(
            f"the AWS connection {aws_conn_id!r} has {', '.join(unknown)}, which needs"
            f" {_PROVIDER}: install it, or use a connection with an access key",
            key=aws_conn_id,
        )
    from airflow.providers.amazon.aws.hooks.base_aws import AwsBaseHook

    hook = AwsBaseHook(aws_conn_id=aws_conn_id, client_type="s3")
    keys = hook.get_credentials()  # masked in logs by the provider
    found = {
        "access_key_id": keys.access_key,
        "secret_access_key": keys.secret_key,
        "session_token": keys.token,
        "region": hook.region_name,
        "endpoint_url": hook.conn_config.get_service_endpoint_url("s3"),
    }
    return {**{key: value for key, value in found.items() if value}, **_endpoint(service)}
