"""What Airflow's provider manager asks for: a dict, read in every Airflow process."""

from __future__ import annotations

from typing import Any

_INTEGRATION = "T4 data packages"


def get_provider_info() -> dict[str, Any]:
    """Return the provider's description.

    The version is not in it: Airflow takes that from the installed distribution.
    Keys: `airflow/provider_info.schema.json` of Airflow 3.3.
    """
    return {
        "package-name": "t4-ops",
        "name": _INTEGRATION,
        "description": "Versioned, verified data packages (T4/Quilt format), with lineage.",
        "integrations": [{"integration-name": _INTEGRATION, "tags": ["software"]}],
        "operators": [_modules("operators")],
        "sensors": [_modules("sensors")],
        "triggers": [_modules("triggers")],
        "hooks": [_modules("hook")],
        "bundles": [_modules("bundle")],
        "task-decorators": [
            {"name": "package", "class-name": "t4_ops.airflow.decorators.package_task"}
        ],
        "extra-links": ["t4_ops.airflow.links.RevisionLink"],
        "config": _config(),
        "connection-types": [_connection_type()],
    }


def _modules(*names: str) -> dict[str, Any]:
    return {
        "integration-name": _INTEGRATION,
        "python-modules": [f"t4_ops.airflow.{name}" for name in names],
    }


def _connection_type() -> dict[str, Any]:
    """Return the form of a connection: shown without importing the hook."""
    return {
        "connection-type": "t4",
        "hook-class-name": "t4_ops.airflow.hook.T4Hook",
        "hook-name": "T4 registry",
        "ui-field-behaviour": {
            "hidden-fields": ["schema", "port"],
            "relabeling": {
                "host": "Registry",
                "login": "Access key ID",
                "password": "Secret access key",
            },
            "placeholders": {
                "host": "s3://bucket, or the absolute path of a folder",
                "login": "empty: the AWS connection below, else the worker's own credentials",
            },
        },
        "conn-fields": {
            "aws_conn_id": _field("AWS connection to borrow keys, region and endpoint from"),
            "region": _field("Region"),
            "endpoint_url": _field("Endpoint, for servers that are not Amazon's"),
            "session_token": _field("Session token", format="password"),
            "addressing_style": _field(
                "Addressing of buckets", enum=["auto", "path", "virtual"], default="auto"
            ),
            "anonymous": {
                "label": "Unsigned requests, for public buckets",
                "schema": {"type": "boolean", "default": False},
            },
            "read_only": {
                "label": "Read only: nothing in the registry may be changed",
                "schema": {"type": "boolean", "default": False},
            },
        },
    }


def _field(label: str, **schema: Any) -> dict[str, Any]:
    return {"label": label, "schema": {"type": ["string", "null"], **schema}}


def _config() -> dict[str, Any]:
    return {
        "t4_ops": {
            "description": "T4 data packages.",
            "options": {
                "revision_url": {
                    "description": (
                        "Page that shows a revision, for the button beside a task. {registry},"
                        " {bucket}, {name}, {top_hash} and {uri} are filled in."
                    ),
                    "version_added": "0.1.0",
                    "type": "string",
                    "example": "https://catalog.example.com/b/{bucket}/packages/{name}/tree/{top_hash}",
                    "default": "",
                }
            },
        }
    }
