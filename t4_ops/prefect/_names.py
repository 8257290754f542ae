"""Names of task runs, such as `push-weather/observations@1f3a9c2e`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from t4_ops.keys import PackageRef, PackageUri, validate_name

# As in git: enough digits to tell revisions of one package apart by eye.
_SHORT_HASH: Final = 8
_ARGUMENTS: Final = ("package", "to", "other", "equals")
_NAME_MAX_CHARS: Final = 200


@dataclass(frozen=True)
class RunNamer:
    """Names the runs of one task from their parameters; a task's `task_run_name`.

    A template would do for attributes, but fails on dicts and texts and leaves the run pending.

    Attributes:
        verb: What the task does; the whole name where the parameters tell no package.
    """

    verb: str

    def __call__(self, parameters: dict[str, Any]) -> str:
        """Return the name; whatever the parameters are, there is one."""
        try:
            name, top_hash = _named(_package_in(parameters))
            name = validate_name(parameters.get("name") or name)[:_NAME_MAX_CHARS]
        except Exception:  # noqa: BLE001 (the step itself says what is wrong with a parameter)
            return self.verb
        mark = f"@{top_hash[:_SHORT_HASH]}" if top_hash.isalnum() else ""
        return f"{self.verb}-{name}{mark}"


def _package_in(parameters: dict[str, Any]) -> object:
    """Return the argument that names the revision: tasks call it by what it is to them."""
    return next((parameters[name] for name in _ARGUMENTS if name in parameters), None)


def _named(package: object) -> tuple[str, str]:
    """Return the name and the hash that something tells; empty where it doesn't."""
    if isinstance(package, PackageRef):
        return package.name, package.top_hash
    if isinstance(package, Mapping):
        return str(package.get("name")), str(package.get("top_hash") or "")
    if not isinstance(package, str):
        return "", ""
    if PackageUri.is_uri(package.strip()):
        uri = PackageUri.parse(package.strip())
        return uri.name, uri.top_hash or ""
    name, _, top_hash = package.strip().partition("@")
    return name, top_hash
