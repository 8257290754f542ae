"""From a connection of type `t4` to `Settings`."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any, Final

from airflow.sdk import Connection

from t4_ops import S3Settings, Settings, load_settings
from t4_ops.airflow._aws import borrowed
from t4_ops.airflow._values import flag
from t4_ops.errors import InvalidInputError

_OURS: Final = {"aws_conn_id", "read_only"}
_IN_LOGIN: Final = {"access_key_id": "login", "secret_access_key": "password"}
_S3: Final = {field.name for field in fields(S3Settings)} - _IN_LOGIN.keys()
_FALSE: Final = ("", "0", "false", "no", "off")  # as in variables of the environment
# As whom requests are signed. Of two sources, or of one and boto3's chain, only one may say so: a
# key with the session token or the profile of somebody else is nobody's.
_WHO: Final = ("access_key_id", "secret_access_key", "session_token", "profile", "anonymous")


def settings_of(
    conn: Connection, *, may_ask_sts: bool = True, overrides: Mapping[str, Any] | None = None
) -> Settings:
    """Return the settings of the worker, with what a connection says in their place.

    `host` is the registry, `login` and `password` are the access key, and `extra` holds fields of
    `S3Settings`, `aws_conn_id` and `read_only`.

    Args:
        conn: The connection.
        may_ask_sts: Whether a role of a borrowed AWS connection may be taken on.
        overrides: Fields of `Settings` that are known better.

    Raises:
        InvalidInputError: A field is unknown or does not fit; what is secret is not shown.
        AirflowNotFoundException: There is no such AWS connection.
    """
    extra = _extra(conn)
    registry = registry_of(conn)
    said = _over({}, _over(_borrowed(extra, may_ask_sts=may_ask_sts), _own(conn, extra)))
    environ = {**os.environ, **{f"T4_S3_{name.upper()}": value for name, value in said.items()}}
    if registry:
        environ["T4_REGISTRY"] = registry
    try:
        settings = _named(load_settings(environ, **(overrides or {})), said)
        if flag(extra.get("read_only", False), "read_only"):
            known = (*settings.read_only, settings.registry)
            settings = replace(settings, read_only=known)
    except InvalidInputError as exc:
        message = re.sub(r"\bT4_S3_([A-Z_0-9]+)", lambda found: found[1].lower(), exc.message)
        raise InvalidInputError(f"connection {conn.conn_id!r}: {message}", key=exc.key) from None
    return settings


def _over(base: Mapping[str, str], said: Mapping[str, str]) -> dict[str, str]:
    """Return what a connection says over what holds without it; who asks is said by one alone."""
    is_nobody = said.get("anonymous", "").lower() not in _FALSE
    is_somebody = is_nobody or {"access_key_id", "profile"} & said.keys()
    return {**base, **(dict.fromkeys(_WHO, "") if is_somebody else {}), **said}


def _named(settings: Settings, said: Mapping[str, str]) -> Settings:
    """Return settings in which the registry is reached as the connection says.

    The worker's file may name the same registry, with settings of its own, which come before the
    common ones.
    """
    own = dict(settings.registries).get(settings.registry)
    if own is None:
        return settings
    s3 = replace(own, **{name: getattr(settings.s3, name) for name in said})
    return replace(settings, registries=(*settings.registries, (settings.registry, s3)))


def registry_of(conn: Connection) -> str | None:
    """Return the registry that a connection names; None: it names none.

    A form holds it as it is written; what Airflow makes of a URI such as `t4://bucket`,
    `t4://s3://bucket` or `t4:///data/registry` is put together again.

    Raises:
        InvalidInputError: It is a path that depends on the current folder.
    """
    host, path = (conn.host or "").strip(), (conn.schema or "").strip("/")
    if "://" in host or host.startswith("/"):
        return f"{host.rstrip('/')}/{path}" if path else host
    if not host:
        return f"/{path}" if path else None
    if "/" in host:
        raise InvalidInputError(
            f"connection {conn.conn_id!r}: registry {host!r} is neither s3://bucket nor an absolute"
            " path",
            key=host,
        )
    return f"s3://{host}/{path}" if path else f"s3://{host}"


def _extra(conn: Connection) -> dict[str, Any]:
    extra = {key: value for key, value in conn.extra_dejson.items() if value not in (None, "")}
    if unknown := sorted(extra.keys() - _S3 - _OURS):
        raise InvalidInputError(
            f"connection {conn.conn_id!r}: extra has no {', '.join(unknown)}; known:"
            f" {sorted(_S3 | _OURS)}, the access key is in login and password"
        )
    return extra


def _own(conn: Connection, extra: Mapping[str, Any]) -> dict[str, str]:
    if bool(conn.login) != bool(conn.password):
        raise InvalidInputError(
            f"connection {conn.conn_id!r}: login (access key) and password (secret key) must be"
            " given together"
        )
    said = {name: _text(extra[name]) for name in sorted(_S3 & extra.keys())}
    if conn.login and conn.password:
        said |= {"access_key_id": conn.login, "secret_access_key": conn.password}
    return said


def _borrowed(extra: Mapping[str, Any], *, may_ask_sts: bool) -> dict[str, str]:
    aws_conn_id = extra.get("aws_conn_id")
    return borrowed(str(aws_conn_id), may_ask_sts=may_ask_sts) if aws_conn_id else {}


def _text(value: object) -> str:
    """Return a value as an environment variable would hold it: URIs know no other form."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return ",".join(f"{key}={item}" for key, item in value.items())
    return str(value)
