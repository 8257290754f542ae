"""Reading revisions: install, browse, verify, diff."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import XComArg

from t4_ops import operations
from t4_ops.airflow._values import amount, count, flag, parsed
from t4_ops.airflow.operators._base import PackageOperator

if TYPE_CHECKING:
    from t4_ops import Settings
    from t4_ops.airflow.operators._base import CountArg, FlagArg, PackageArg, TextArg
    from t4_ops.operations import ExpectationsLike, RunInfo


class InstallPackageOperator(PackageOperator):
    """Bring a revision's files into a folder of the worker, every byte verified.

    The folder is on the machine that ran the task: other workers see it only if it is shared, and
    a step that finds itself on another one says so.

    Args:
        package: The revision: `push.output`, a template that renders to a step's result, a package
            URI, or `ns/name[@hash]`.
        dest: Folder; None or empty text is `<install_dir>/<ns>/<name>`.
        path: Only this file, or what lies below this directory.
        expectations: What the files must be like: `has` (logical keys, directories with their `/`),
            `min_files`, `max_files`, `min_bytes`, `max_bytes`, `meta`.
        registry: Where `ns/name` is; None or empty text is the one of the connection.
        **kwargs: Arguments of `PackageOperator`, such as `t4_conn_id`, and of every operator.
    """

    custom_operator_name = "T4 install"
    template_fields: Sequence[str] = (
        "package",
        "dest",
        "path",
        "expectations",
        "registry",
        "t4_conn_id",
    )

    def __init__(
        self,
        *,
        package: PackageArg,
        dest: TextArg = None,
        path: TextArg = None,
        expectations: ExpectationsLike | TextArg = None,
        registry: TextArg = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.package: Any = package
        self.dest: Any = dest
        self.path: Any = path
        self.expectations: Any = expectations
        self.registry: Any = registry

    def _step(self, run: RunInfo, settings: Settings, stop: threading.Event) -> Mapping[str, Any]:
        return operations.install(
            self.package,
            dest=self.dest or None,
            path=self.path or None,
            expectations=parsed(self.expectations) or None,
            registry=self.registry or None,
            run=run,
            settings=settings,
            stop=stop,
        )


class BrowsePackageOperator(PackageOperator):
    """Pin a revision and prove its manifest, without fetching its files.

    Args:
        package: A package URI, `ns/name[@hash]`, a step's result or a template that renders to one.
        path: Only this file, or what lies below this directory.
        selector: Only these files: patterns as in a `.gitignore`.
        expectations: What is selected must be like this; see `InstallPackageOperator`.
        max_keys: How many logical keys the result lists, as `keys`; 0: no such item.
        registry: Where `ns/name` is; None or empty text is the one of the connection.
        **kwargs: Arguments of `PackageOperator`, such as `t4_conn_id`, and of every operator.
    """

    custom_operator_name = "T4 browse"
    template_fields: Sequence[str] = (
        "package",
        "path",
        "selector",
        "expectations",
        "max_keys",
        "registry",
        "t4_conn_id",
    )

    def __init__(
        self,
        *,
        package: PackageArg,
        path: TextArg = None,
        selector: str | Sequence[str] | XComArg | None = None,
        expectations: ExpectationsLike | TextArg = None,
        max_keys: CountArg = 0,
        registry: TextArg = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.package: Any = package
        self.path: Any = path
        self.selector: Any = selector
        self.expectations: Any = expectations
        self.max_keys: Any = max_keys
        self.registry: Any = registry

    def _step(self, run: RunInfo, settings: Settings, stop: threading.Event) -> Mapping[str, Any]:  # noqa: ARG002
        # It reads two small objects: there is nothing to give up.
        return operations.browse(
            self.package,
            path=self.path or None,
            selector=parsed(self.selector) or None,
            expectations=parsed(self.expectations) or None,
            max_keys=count(self.max_keys, "max_keys") or None,
            registry=self.registry or None,
            run=run,
            settings=settings,
        )


class VerifyPackageOperator(PackageOperator):
    """Read and hash what a revision promises, in the registry or where it was installed.

    Args:
        package: The revision: a step's result, a template that renders to one, a package URI, or
            `ns/name[@hash]`.
        dest: The folder it was installed in; None or empty text: every object in the registry.
        path: Only this file, or what lies below this directory.
        extra_files_ok: Whether the folder may hold other files too.
        fail: Whether the task fails if something is not as promised; else the result says so
            (`ok`, `bad`, `bad_keys`), and what follows decides.
        max_keys: How many bad keys the result lists.
        registry: Where `ns/name` is; None or empty text is the one of the connection.
        **kwargs: Arguments of `PackageOperator`, such as `t4_conn_id`, and of every operator.
    """

    custom_operator_name = "T4 verify"
    ui_color = "#f3f0dc"
    template_fields: Sequence[str] = (
        "package",
        "dest",
        "path",
        "extra_files_ok",
        "fail",
        "max_keys",
        "registry",
        "t4_conn_id",
    )

    def __init__(
        self,
        *,
        package: PackageArg,
        dest: TextArg = None,
        path: TextArg = None,
        extra_files_ok: FlagArg = False,
        fail: FlagArg = True,
        max_keys: CountArg = 100,
        registry: TextArg = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.package: Any = package
        self.dest: Any = dest
        self.path: Any = path
        self.extra_files_ok: Any = extra_files_ok
        self.fail: Any = fail
        self.max_keys: Any = max_keys
        self.registry: Any = registry

    def _step(self, run: RunInfo, settings: Settings, stop: threading.Event) -> Mapping[str, Any]:
        return operations.verify(
            self.package,
            dest=self.dest or None,
            path=self.path or None,
            extra_files_ok=flag(self.extra_files_ok, "extra_files_ok"),
            fail=flag(self.fail, "fail"),
            max_keys=count(self.max_keys, "max_keys"),
            registry=self.registry or None,
            run=run,
            settings=settings,
            stop=stop,
        )

    def _facts(self, result: Mapping[str, Any]) -> str:
        state = "all as promised" if result["ok"] else f"{result['bad']} bad"
        return f"{state}, {amount(result)}"


class DiffPackagesOperator(PackageOperator):
    """Compare two revisions by their manifests.

    Args:
        package: The newer one: a step's result, a template that renders to one, a package URI, or
            `ns/name[@hash]`.
        other: The older one, in the same forms; None or empty text: the revision before.
        registry: Where `ns/name` is; None or empty text is the one of the connection.
        max_keys: How many keys of each kind the result lists.
        **kwargs: Arguments of `PackageOperator`, such as `t4_conn_id`, and of every operator.
    """

    custom_operator_name = "T4 diff"
    ui_color = "#f3f0dc"
    template_fields: Sequence[str] = ("package", "other", "registry", "max_keys", "t4_conn_id")

    def __init__(
        self,
        *,
        package: PackageArg,
        other: PackageArg | None = None,
        registry: TextArg = None,
        max_keys: CountArg = 100,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.package: Any = package
        self.other: Any = other
        self.registry: Any = registry
        self.max_keys: Any = max_keys

    def _step(self, run: RunInfo, settings: Settings, stop: threading.Event) -> Mapping[str, Any]:  # noqa: ARG002
        # It reads two manifests: there is nothing to give up.
        options: dict[str, Any] = {
            "registry": self.registry or None,
            "max_keys": count(self.max_keys, "max_keys"),
            "settings": settings,
        }
        if self.other:
            return operations.diff(self.other, self.package, **options)
        return operations.changes(self.package, **options)

    def _facts(self, result: Mapping[str, Any]) -> str:
        return ", ".join(f"{result[kind]} {kind}" for kind in ("added", "modified", "deleted"))

    def _about(self, result: Mapping[str, Any]) -> str:
        return f"{result['new']} after {result['old'] or 'nothing'}"
