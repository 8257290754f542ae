"""Connections of type `t4`: which registry, and how to reach it.

    hook = T4Hook("team_registry")
    t4.Package.browse("team/raw", settings=hook.settings)

Operators take `t4_conn_id=` and need no hook. In a `@task` it gives the connection's settings,
which every call of the library takes.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import Any

from airflow.sdk import BaseHook

from t4_ops import Settings, load_settings
from t4_ops.errors import T4Error


class T4Hook(BaseHook):
    """A registry, and how Airflow reaches it.

    Args:
        t4_conn_id: The connection; None or empty text: the settings of the worker.
        registry: Another registry of the same storage.
        **kwargs: Arguments of every hook.
    """

    conn_name_attr = "t4_conn_id"
    default_conn_name = "t4_default"
    conn_type = "t4"
    hook_name = "T4 registry"

    def __init__(
        self,
        t4_conn_id: str | None = default_conn_name,
        registry: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.t4_conn_id = t4_conn_id
        self.registry = registry

    @cached_property
    def settings(self) -> Settings:
        """The settings that reach the registry, which is their default one.

        Raises:
            AirflowNotFoundException: There is no such connection.
            InvalidInputError: The connection, or a setting of the worker, is not right.
        """
        return self._settings(may_ask_sts=True)

    def get_conn(self) -> Settings:
        """Return the settings: a registry has no connection that would be kept open."""
        return self.settings

    def test_connection(self) -> tuple[bool, str]:
        """Look at the registry, and say what is wrong if that fails.

        One listing is asked for, with short time-outs; STS is not asked, and nothing is written.
        """
        from t4_ops.operations import probe

        try:
            found = probe(settings=self._settings(may_ask_sts=False))
        except T4Error as exc:
            return False, exc.message
        if not found.exists:
            return True, f"{found.registry} is not there yet: the first publication makes it"
        return True, f"{found.registry} can be read: {found.namespaces} namespaces of packages"

    def _settings(self, *, may_ask_sts: bool) -> Settings:
        # A bar would break up the lines of a task's log; the steps log progress instead.
        overrides: dict[str, Any] = {"progress": False}
        if not self.t4_conn_id:
            if self.registry:
                overrides["registry"] = self.registry
            return load_settings(**overrides)
        from t4_ops.airflow._connection import settings_of

        conn = self.get_connection(self.t4_conn_id)
        settings = settings_of(conn, may_ask_sts=may_ask_sts, overrides=overrides)
        return replace(settings, registry=self.registry) if self.registry else settings
