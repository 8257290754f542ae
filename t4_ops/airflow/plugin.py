"""What Airflow loads into every one of its processes: a macro, which imports when called."""

from __future__ import annotations

from typing import Any

from airflow.plugins_manager import AirflowPlugin


def package_of(events: Any, name: Any = None) -> dict[str, str]:
    """Return the revision that asset events are about; see `t4_ops.airflow.assets.package_of`."""
    from t4_ops.airflow import assets

    return assets.package_of(events, name)


class T4Plugin(AirflowPlugin):
    """The macro `macros.t4_ops.package_of`."""

    name = "t4_ops"
    macros: list[Any] = [package_of]  # noqa: RUF012 (as its base class has it)
