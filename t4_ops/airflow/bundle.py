"""DAG code that is shipped as a data package: `[dag_processor] dag_bundle_config_list`.

    [{"name": "team", "classpath": "t4_ops.airflow.bundle.T4DagBundle",
      "kwargs": {"package": "team/dags", "registry": "s3://bucket"}}]

The version of the bundle is the package's top hash, so a run that began with one revision ends with
it, whatever is pushed meanwhile.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from airflow.dag_processing.bundles.base import BaseDagBundle, BundleVersion

from t4_ops import Settings, operations
from t4_ops.errors import InvalidInputError
from t4_ops.keys import PackageRef, normalize_registry

_KEPT: Final = 2
"""Copies of the DAG processor: one that it reads, one that a child of it may still read."""


class T4DagBundle(BaseDagBundle):
    """A package, or a folder in it, as a bundle of DAGs.

    Every byte is verified while it is brought; a copy is there whole or not at all.

    Args:
        package: Package name, `ns/name`.
        registry: Where; None is the one of the connection.
        t4_conn_id: Connection of type `t4`; None: the settings of each machine.
        subdir: The directory in the package that holds the DAGs; None: its root.
        **kwargs: Arguments of every bundle, such as `name` and `refresh_interval`.
    """

    supports_versioning = True

    def __init__(
        self,
        *,
        package: str,
        registry: str | None = None,
        t4_conn_id: str | None = None,
        subdir: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.package = package
        self.registry = registry
        self.t4_conn_id = t4_conn_id
        self.subdir = (subdir or "").strip("/")
        self._top_hash: str | None = self.version

    def initialize(self) -> None:
        """Bring the revision that was asked for, or the newest one.

        Raises:
            NotFoundError: There is no such package or revision.
            IntegrityError: What is stored is not what was published.
        """
        with self.lock():
            self._bring(self.version or self._newest())
        super().initialize()

    def refresh(self) -> None:
        """Bring the newest revision.

        Raises:
            InvalidInputError: The bundle is pinned to a version.
        """
        if self.version:
            raise InvalidInputError(f"bundle {self.name!r} is pinned to {self.version}")
        with self.lock():
            self._bring(self._newest())
            self._remove_old()

    def get_current_version(self) -> BundleVersion:
        """Return the top hash of the revision that `path` holds."""
        top_hash = self._top_hash or self._newest()
        ref = PackageRef(self._url, self.package, top_hash)
        return BundleVersion(version=top_hash, data={"uri": ref.uri})

    @property
    def path(self) -> Path:
        """The folder of the DAGs."""
        folder = self._folder(self._top_hash) if self._top_hash else self._copies
        return folder / self.subdir if self.subdir else folder

    @cached_property
    def _settings(self) -> Settings:
        from t4_ops.airflow.hook import T4Hook

        # Nobody's run: code is brought before the task that it belongs to exists.
        settings = T4Hook(self.t4_conn_id).settings
        return replace(settings, lineage="off", local_registry=str(self.base_dir / "registry"))

    @property
    def _url(self) -> str:
        return normalize_registry(self.registry or self._settings.registry)

    @property
    def _copies(self) -> Path:
        # Airflow removes versions that no task has used for long; of the DAG processor's own
        # copies it knows nothing.
        return self.versions_dir if self.version else self.base_dir / "latest"

    def _folder(self, top_hash: str) -> Path:
        return self._copies / top_hash

    def _newest(self) -> str:
        # Asked anew: keys of a role may have ended since the last refresh.
        self.__dict__.pop("_settings", None)
        return operations.resolve(
            self.package, self.registry or None, settings=self._settings
        ).top_hash

    def _bring(self, top_hash: str) -> None:
        target = self._folder(top_hash)
        if not target.is_dir():
            target.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".new-", dir=target.parent) as folder:
                ref = PackageRef(self._url, self.package, top_hash)
                operations.install(ref, dest=Path(folder) / "it", settings=self._settings)
                os.replace(Path(folder) / "it", target)
        self._top_hash = top_hash

    def _remove_old(self) -> None:
        """Keep the newest copies; what a killed processor left goes too."""
        known = sorted(self._copies.iterdir(), key=lambda folder: folder.stat().st_mtime)
        others = [folder for folder in known if folder.name != self._top_hash]
        for folder in others[: max(0, len(others) - _KEPT + 1)]:
            shutil.rmtree(folder, ignore_errors=True)
