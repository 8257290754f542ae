"""Package URIs: `quilt+s3://bucket#package=ns/name@hash&path=...`, read and written.

The grammar is Quilt's; the one addition is `t4+file:///registry#package=...` for folders, which
Quilt's grammar has no form for.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, unquote

from t4_ops.errors import InvalidInputError
from t4_ops.keys.identity import is_folder, normalize_registry
from t4_ops.keys.names import validate_name
from t4_ops.keys.physical import PhysicalKey

_SCHEME: Final = re.compile(r"(quilt\+s3|t4\+file)://", re.IGNORECASE)
_FIELDS: Final = ("package", "path", "catalog")
_LATEST: Final = "latest"


@dataclass(frozen=True)
class PackageUri:
    """What a package URI can say.

    Attributes:
        registry: Normalised registry.
        name: Package name.
        top_hash: Top hash or a prefix of one; None when the URI gives a tag or nothing.
        tag: Tag; None when the URI gives a hash or nothing (which means `latest`).
        path: Logical key, or a directory with a trailing `/`; None for the whole package.
        catalog: Host of a catalog for links; never used for credentials or endpoints.
    """

    registry: str
    name: str
    top_hash: str | None = None
    tag: str | None = None
    path: str | None = None
    catalog: str | None = None

    def __post_init__(self) -> None:
        """Check and normalise.

        Raises:
            InvalidInputError: A part is wrong, or both hash and tag are given.
        """
        object.__setattr__(self, "registry", normalize_registry(self.registry))
        validate_name(self.name)
        if self.top_hash is not None and self.tag is not None:
            raise InvalidInputError("a package URI takes a hash or a tag, not both")
        for field in ("top_hash", "tag"):
            value = getattr(self, field)
            if value == "" or (value is not None and set("@:") & set(value)):
                raise InvalidInputError(
                    f"{value!r} can't be the {field} of a package URI: it must not be empty or"
                    " hold '@' or ':'",
                    key=value,
                )
        for field in ("path", "catalog"):
            object.__setattr__(self, field, getattr(self, field) or None)
        try:
            str(self)
        except UnicodeEncodeError as exc:
            raise InvalidInputError("a part of the package URI is not valid Unicode") from exc

    @staticmethod
    def is_uri(text: str) -> bool:
        """Return whether `text` has the scheme of a package URI."""
        return _SCHEME.match(text) is not None

    @classmethod
    def parse(cls, uri: str, *, ignore_unknown: bool = False) -> PackageUri:
        """Read a package URI.

        Values are percent-decoded exactly once; a `%` that begins no escape stays, `+` is a plus.

        Args:
            uri: The text.
            ignore_unknown: Pass over parameters this grammar does not know, as Quilt's own
                readers do, instead of refusing them.

        Raises:
            InvalidInputError: The text breaks the grammar; the message says where.
        """
        registry, fragment = _split(uri)
        values = _parameters(uri, fragment, ignore_unknown=ignore_unknown)
        if not values.get("package"):
            raise _refused(uri, "it has no package= part")
        name, top_hash, tag = _spec(uri, values["package"])
        path, catalog = values.get("path"), values.get("catalog")
        return cls(registry, name, top_hash=top_hash, tag=tag, path=path, catalog=catalog)

    def __str__(self) -> str:
        """Return the URI so that every parser of the family reads it back."""
        head = f"t4+{self.registry}" if is_folder(self.registry) else f"quilt+{self.registry}"
        text = f"{head}#package={self.name}"
        if self.top_hash is not None:
            text += f"@{quote(self.top_hash, safe='')}"
        elif self.tag is not None and self.tag != _LATEST:
            text += f":{quote(self.tag, safe='')}"
        for field, value in (("path", self.path), ("catalog", self.catalog)):
            if value is not None:
                text += f"&{field}={quote(value, safe='')}"
        return text


def _refused(uri: str, why: str) -> InvalidInputError:
    return InvalidInputError(
        f"{uri!r} is no package URI: {why}; expected quilt+s3://bucket#package=ns/name[@hash]",
        key=uri,
    )


def _split(uri: str) -> tuple[str, str]:
    """Return the registry and the undecoded fragment."""
    match = _SCHEME.match(uri)
    if match is None:
        raise _refused(uri, "its scheme is not quilt+s3:// or t4+file://")
    location, _, fragment = uri[match.end() :].partition("#")
    if match[1].lower() == "t4+file":
        return str(PhysicalKey.parse(f"file://{location}")), fragment
    if not location:
        raise _refused(uri, "it names no bucket")
    if "/" in location or "?" in location:
        raise _refused(uri, "a registry is a bucket's root: '#' must follow the bucket")
    return normalize_registry(f"s3://{location}"), fragment


def _parameters(uri: str, fragment: str, *, ignore_unknown: bool) -> dict[str, str]:
    values: dict[str, str] = {}
    for part in fragment.split("&") if fragment else []:
        field, _, raw = part.partition("=")
        if field not in _FIELDS:
            if ignore_unknown or not part:
                continue
            raise _refused(uri, f"{field!r} is not one of {', '.join(_FIELDS)}")
        if field in values:
            raise _refused(uri, f"{field}= is given more than once")
        try:
            values[field] = unquote(raw, errors="strict")
        except UnicodeDecodeError as exc:
            raise _refused(uri, f"{field}= is not percent-encoded UTF-8") from exc
    return values


def _spec(uri: str, spec: str) -> tuple[str, str | None, str | None]:
    """Return name, hash and tag of `name[@hash|:tag]`."""
    if "@" in spec and ":" in spec:
        raise _refused(uri, "package= takes '@hash' or ':tag', not both")
    for mark, what in (("@", "hash"), (":", "tag")):
        if spec.count(mark) > 1:
            raise _refused(uri, f"package= has more than one {mark!r}")
        if spec.endswith(mark):
            raise _refused(uri, f"the {what} after {mark!r} is empty")
    if "@" in spec:
        name, _, top_hash = spec.partition("@")
        return name, top_hash, None
    name, _, tag = spec.partition(":")
    return name, None, tag or None
