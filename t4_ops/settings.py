"""Settings: one frozen value, read from the environment and a file, then passed down.

Nothing is read at import. `T4_*` variables win over the file, arguments win over both. Names of
variables follow the fields: `T4_REGISTRY`, `T4_WORKERS`, `T4_S3_ENDPOINT_URL`, `T4_LIMITS_DEPTH`.
"""

from __future__ import annotations

import json
import math
import os
import threading
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal, get_args, get_type_hints
from urllib.parse import urlsplit

from t4_ops.errors import InvalidInputError
from t4_ops.keys import DEFAULT_LIMITS, Limits, PhysicalKey, is_folder, normalize_registry

APP_NAME: Final = "t4_ops"
CONFIG_FILE_VARIABLE: Final = "T4_CONFIG_FILE"

LineageMode = Literal["required", "best-effort", "off"]
Versioning = Literal["auto", "enabled", "off"]
AddressingStyle = Literal["auto", "path", "virtual"]


@dataclass(frozen=True, kw_only=True)
class S3Settings:
    """How to reach one S3 server. What is None is left to boto3's own chain.

    Attributes:
        endpoint_url: Server, for MinIO-like ones.
        region: Region name.
        profile: Profile of the shared AWS configuration files.
        access_key_id: Access key; with `secret_access_key` it replaces boto3's chain.
        secret_access_key: Secret key; never shown.
        session_token: Session token; never shown.
        anonymous: Send unsigned requests, for public buckets.
        addressing_style: `path`, `virtual`, or `auto` (path with an endpoint, else virtual).
        ca_bundle: File with certificate authorities.
        proxy_url: HTTP proxy.
        connect_timeout_s: Seconds to wait for a connection.
        read_timeout_s: Seconds to wait for the next bytes.
        max_attempts: Tries for one request, the first included.
        versioning: Whether the bucket keeps versions; `auto` asks it once.
        sse: Server-side encryption of new objects: `AES256` or `aws:kms`.
        kms_key_id: KMS key of new objects (implies `aws:kms`).
        acl: Canned ACL of new objects.
        storage_class: Storage class of new objects.
        tags: Tags of new objects.
    """

    endpoint_url: str | None = None
    region: str | None = None
    profile: str | None = None
    access_key_id: str | None = field(default=None, repr=False)
    secret_access_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)
    anonymous: bool = False
    addressing_style: AddressingStyle = "auto"
    ca_bundle: str | None = None
    proxy_url: str | None = field(default=None, repr=False)
    connect_timeout_s: float = 10.0
    read_timeout_s: float = 60.0
    max_attempts: int = 5
    versioning: Versioning = "auto"
    sse: str | None = None
    kms_key_id: str | None = None
    acl: str | None = None
    storage_class: str | None = None
    tags: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        """Refuse what could only fail later, or show a secret.

        Raises:
            InvalidInputError: Half of a key pair, an endpoint that is no plain HTTP URL, or a
                number out of range.
        """
        if (self.access_key_id is None) != (self.secret_access_key is None):
            raise InvalidInputError("access_key_id and secret_access_key must be given together")
        if self.endpoint_url is not None and (
            not _is_http_url(self.endpoint_url) or "@" in self.endpoint_url
        ):
            raise InvalidInputError(
                "endpoint_url must be http://host[:port] or https://..., without user and"
                " password: give those as access_key_id and secret_access_key"
            )
        if self.proxy_url is not None and not _is_http_url(self.proxy_url):
            # Not shown: it may hold a password.
            raise InvalidInputError("proxy_url must be http://[user:password@]host:port")
        for name in ("connect_timeout_s", "read_timeout_s", "max_attempts"):
            value = getattr(self, name)
            # NaN fails this too.
            if not 0 < value < math.inf:
                raise InvalidInputError(f"{name} is {value}: it must be above 0")


def _is_http_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        # Reading the port checks it.
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything that can be configured.

    Attributes:
        registry: Default registry: a folder in the user's data directory unless set.
        local_registry: Folder registry that installs are noted in: `registry` if it is a folder,
            else one in the user's data directory.
        install_dir: Folder below which packages are installed as `<ns>/<name>`.
        lineage: `required` (a step whose lineage can't be recorded fails), `best-effort`, `off`.
        lineage_registry: Where steps without an output record their lineage.
        lineage_timeout_s: Seconds to wait for an OpenLineage transport to take an event.
        workers: Threads that move and hash objects.
        cache_bytes: How large the cache of contents may become that reads of buckets leave on this
            machine; 0: there is none.
        cache_dir: Its folder; one in the user's cache directory unless set.
        progress: Show a progress bar when stderr is a terminal.
        limits: Bounds on keys, records and decompressed sizes.
        s3: How to reach S3.
        registries: Replacements of `s3` for single registries, by normalised URL.
        read_only: Registries that nothing may be changed in.
    """

    registry: str = ""
    local_registry: str = ""
    install_dir: str = ""
    lineage: LineageMode = "required"
    lineage_registry: str | None = None
    lineage_timeout_s: float = 10.0
    workers: int = 16
    cache_bytes: int = 0
    cache_dir: str = ""
    progress: bool = True
    limits: Limits = DEFAULT_LIMITS
    s3: S3Settings = S3Settings()
    registries: tuple[tuple[str, S3Settings], ...] = ()
    read_only: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Fill in the user's data directory and normalise URLs.

        Raises:
            InvalidInputError: A registry is none, or a number is out of range.
        """
        registry = self.registry or str(_data_dir() / "registry")
        registry = normalize_registry(registry)
        object.__setattr__(self, "registry", registry)
        local = self.local_registry or (
            registry if is_folder(registry) else _data_dir() / "registry"
        )
        object.__setattr__(self, "local_registry", normalize_registry(local))
        if not is_folder(self.local_registry):
            raise InvalidInputError(f"local_registry {self.local_registry} is no folder")
        install_dir = PhysicalKey.of_path(self.install_dir or _data_dir() / "installed").path
        object.__setattr__(self, "install_dir", install_dir)
        cache_dir = PhysicalKey.of_path(self.cache_dir or _cache_dir()).path
        object.__setattr__(self, "cache_dir", cache_dir)
        if self.cache_bytes < 0:
            raise InvalidInputError(f"cache_bytes is {self.cache_bytes}: it must be 0 or more")
        if self.lineage_registry:
            lineage_registry = normalize_registry(self.lineage_registry)
            object.__setattr__(self, "lineage_registry", lineage_registry)
        if self.workers < 1:
            raise InvalidInputError(f"workers is {self.workers}: it must be 1 or more")
        if not 0 < self.lineage_timeout_s <= threading.TIMEOUT_MAX:
            raise InvalidInputError(
                f"lineage_timeout_s is {self.lineage_timeout_s}: it must be above 0 and at most"
                f" {threading.TIMEOUT_MAX:.0f}"
            )
        named = tuple((normalize_registry(url), s3) for url, s3 in self.registries)
        object.__setattr__(self, "registries", named)
        object.__setattr__(self, "read_only", tuple(map(normalize_registry, self.read_only)))

    def s3_for(self, registry: str) -> S3Settings:
        """Return how to reach a bucket: its own settings where given, else the common ones."""
        return dict(self.registries).get(normalize_registry(registry), self.s3)


_GROUPS: Final[Mapping[str, type]] = {"s3": S3Settings, "limits": Limits}


def _data_dir() -> Path:
    from platformdirs import user_data_path

    return user_data_path(APP_NAME)


def _cache_dir() -> Path:
    from platformdirs import user_cache_path

    return user_cache_path(APP_NAME) / "contents"


def config_path(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the file that settings are read from and written to."""
    if named := environ.get(CONFIG_FILE_VARIABLE):
        return Path(named).expanduser()
    from platformdirs import user_config_path

    return user_config_path(APP_NAME) / "config.toml"


def load_settings(environ: Mapping[str, str] = os.environ, **overrides: Any) -> Settings:
    """Return the settings of the file, the environment and the arguments, later ones winning.

    Args:
        environ: The environment.
        **overrides: Fields of `Settings`, taken as they are.

    Raises:
        InvalidInputError: The file is no TOML, a name is unknown, or a value does not fit.
    """
    path = config_path(environ)
    known = _hints(Settings)
    if unknown := sorted(overrides.keys() - known):
        raise InvalidInputError(f"{', '.join(unknown)}: no such setting; known: {sorted(known)}")
    return _settings(_file_bytes(path), path, environ, overrides)


def _file_bytes(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() else b""


def _settings(
    data: bytes, path: Path, environ: Mapping[str, str], overrides: Mapping[str, Any]
) -> Settings:
    try:
        table = tomllib.loads(data.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise InvalidInputError(f"{path} is no TOML file: {exc}", key=str(path)) from exc
    filed = _from_table(Settings, table, str(path))
    found = _from_environment(Settings, environ, "T4_")
    # Both sources are joined before a group is made: one may hold half of a pair of keys.
    groups = {name: cls(**{**filed.get(name, {}), **found[name]}) for name, cls in _GROUPS.items()}
    return Settings(**{**filed, **found, **groups, **overrides})


@cache
def _hints(cls: type) -> Mapping[str, Any]:
    """Return the types of a class's fields; finding them takes nine tenths of reading settings."""
    return get_type_hints(cls)


def _from_table(cls: type, table: Any, where: str) -> dict[str, Any]:
    """Return the checked values of a table; those of a group stay a dict."""
    hints = _hints(cls)
    values: dict[str, Any] = {}
    for name, raw in _mapping(table, where).items():
        if name not in hints:
            raise InvalidInputError(f"{where}: {name!r} is no setting; known: {sorted(hints)}")
        inner = f"{where}: [{name}]"
        if name in _GROUPS:
            values[name] = _from_table(_GROUPS[name], raw, inner)
        elif name == "registries":
            values[name] = tuple(
                (url, S3Settings(**_from_table(S3Settings, item, f"{inner} {url}")))
                for url, item in _mapping(raw, inner).items()
            )
        elif name == "tags":
            values[name] = tuple((key, str(value)) for key, value in _mapping(raw, inner).items())
        elif name == "read_only":
            if not isinstance(raw, list) or not all(isinstance(url, str) for url in raw):
                raise InvalidInputError(f"{where}: read_only must be a list of registries")
            values[name] = tuple(raw)
        else:
            values[name] = _checked(hints[name], name, raw, where)
    return values


def _mapping(raw: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(raw, Mapping):
        raise InvalidInputError(f"{where} must be a table")
    return raw


def _from_environment(cls: type, environ: Mapping[str, str], prefix: str) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, hint in _hints(cls).items():
        variable = f"{prefix}{name.upper()}"
        if name in _GROUPS:
            values[name] = _from_environment(_GROUPS[name], environ, f"{variable}_")
        elif name == "tags" and variable in environ:
            pairs = [pair.partition("=") for pair in environ[variable].split(",") if pair]
            values[name] = tuple((key, value) for key, _, value in pairs)
        elif name == "read_only" and variable in environ:
            given = (url.strip() for url in environ[variable].split(","))
            values[name] = tuple(url for url in given if url)
        elif name != "registries" and variable in environ:
            values[name] = _parsed(hint, variable, environ[variable])
    return values


def _parsed(hint: Any, variable: str, text: str) -> Any:
    """Return a variable's text as the type of its field; empty text clears an optional one."""
    if hint is bool:
        if text.lower() in ("1", "true", "yes", "on"):
            return True
        if text.lower() in ("0", "false", "no", "off", ""):
            return False
        raise InvalidInputError(f"{variable}={text!r}: use true or false")
    if hint in (int, float):
        try:
            return hint(text)
        except ValueError as exc:
            raise InvalidInputError(f"{variable}={text!r} is no number") from exc
    if not text and type(None) in get_args(hint):
        return None
    return _checked(hint, variable, text, "environment")


def _checked(hint: Any, name: str, raw: Any, where: str) -> Any:
    choices = get_args(hint)
    if choices and all(isinstance(choice, str) for choice in choices):
        if raw not in choices:
            raise InvalidInputError(f"{where}: {name}={raw!r}; choose one of {choices}")
        return raw
    wanted = tuple(c for c in choices if isinstance(c, type)) or (hint,)
    if float in wanted:
        wanted += (int,)
    if not isinstance(raw, wanted) or (isinstance(raw, bool) and bool not in wanted):
        # The value is not shown: it may be a secret that lacks its quotes.
        kinds = " or ".join(kind.__name__ for kind in wanted if kind is not type(None))
        raise InvalidInputError(f"{where}: {name} must be {kinds}, not {type(raw).__name__}")
    return raw


def config(**changes: Any) -> Settings:
    """Return the settings in force, after writing the given ones into the user's file.

    `t4.config()` only reads; `t4.config(registry="s3://bucket")` writes; None removes a setting.

    Raises:
        InvalidInputError: A name is unknown, or a value does not fit; nothing was written.
    """
    if changes:
        save_settings(changes)
    return load_settings()


def save_settings(changes: Mapping[str, Any], environ: Mapping[str, str] = os.environ) -> Path:
    """Write top-level settings into the configuration file, keeping what else it holds.

    Args:
        changes: Field of `Settings` to text, number or truth value; None removes it.
        environ: The environment, for the file's place.

    Returns:
        The file. A new one is readable by its owner only, because it may come to hold secrets.

    Raises:
        InvalidInputError: A name is unknown, a value does not fit, or it is a table.
    """
    path = config_path(environ)
    known = sorted(_hints(Settings).keys() - {*_GROUPS, "registries", "read_only"})
    if unknown := sorted(changes.keys() - set(known)):
        raise InvalidInputError(f"{', '.join(unknown)} can't be set here; known: {known}")
    # Bytes that are no UTF-8 must reach the check below, which says so.
    text = _file_bytes(path).decode(errors="surrogateescape").rstrip()
    lines = text.split("\n") if text else []
    first_table = next((i for i, line in enumerate(lines) if line.lstrip().startswith("[")), None)
    top, rest = lines[:first_table], [] if first_table is None else lines[first_table:]
    top = [line for line in top if line.partition("=")[0].strip() not in changes]
    top += [f"{name} = {_toml(value)}" for name, value in changes.items() if value is not None]
    data = "\n".join([*top, *rest, ""]).encode(errors="surrogateescape")
    _settings(data, path, {}, {})
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    temporary.touch(mode=0o600)
    temporary.write_bytes(data)
    if path.exists():
        temporary.chmod(path.stat().st_mode)
    temporary.replace(path)
    return path


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return str(value)
    if not isinstance(value, str):
        raise InvalidInputError(f"a setting is text, a number or a truth value, not {value!r}")
    # TOML reads JSON's escapes; of the characters JSON leaves, it refuses only DEL.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
