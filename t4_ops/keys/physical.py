"""Physical keys: where the bytes of an entry lie."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, quote_from_bytes, quote_plus, unquote, unquote_to_bytes

from t4_ops.errors import InvalidInputError

_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
# S3 bucket names as AWS defines them, and the older ones with capitals and underscores.
_BUCKET: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")


@dataclass(frozen=True, slots=True)
class PhysicalKey:
    """The place of one object: a file, or an S3 object and perhaps one version of it.

    Attributes:
        bucket: The S3 bucket; None for a local file.
        path: The S3 key, not encoded; for a file its absolute path.
        version_id: The S3 version; None for "whatever is there" and for files. `"null"` is a
            version of its own: the one an object got before versioning was enabled.
    """

    bucket: str | None
    path: str
    version_id: str | None = None

    @property
    def is_local(self) -> bool:
        """Whether this is a file."""
        return self.bucket is None

    @classmethod
    def parse(cls, url: str) -> PhysicalKey:
        """Read `s3://bucket/key[?versionId=]` or `file:///absolute/path`.

        Raises:
            InvalidInputError: Another scheme, a missing part, another query, a fragment, a
                relative path, or text that is not percent-encoded UTF-8.
        """
        match = _SCHEME.match(url)
        scheme = match[1].lower() if match else ""
        try:
            url.encode()
        except UnicodeEncodeError as exc:
            raise InvalidInputError(f"{url!r} is not valid Unicode", key=url) from exc
        if scheme == "s3":
            return cls._parse_s3(url, url[len("s3://") :])
        if scheme == "file":
            return cls._parse_file(url, url[len("file://") :])
        raise InvalidInputError(f"{url!r} is no s3:// or file:// URL", key=url)

    @classmethod
    def _parse_s3(cls, url: str, rest: str) -> PhysicalKey:
        if "#" in rest:
            raise InvalidInputError(f"{url!r} has a fragment: write '#' in a key as %23", key=url)
        location, _, query = rest.partition("?")
        bucket, _, encoded = location.partition("/")
        if "@" in bucket:
            # Not shown: what is before it may be a password.
            place = f"s3://{location.rpartition('@')[2]}"
            raise InvalidInputError(
                "an s3:// URL holds no user or password: give the bucket only", key=place
            )
        if not _BUCKET.fullmatch(bucket):
            raise InvalidInputError(f"{url!r} names no bucket", key=url)
        name, _, version = query.partition("=")
        if query and (name != "versionId" or not version or "&" in version):
            raise InvalidInputError(
                f"{url!r} has a query other than versionId: write '?' in a key as %3F", key=url
            )
        try:
            path = unquote(encoded, errors="strict")
            # In a query, unlike in a path, a plus is a space.
            version_id = unquote(version.replace("+", " "), errors="strict") or None
        except UnicodeDecodeError as exc:
            raise InvalidInputError(f"{url!r} is not percent-encoded UTF-8", key=url) from exc
        return cls(bucket, path, version_id)

    @classmethod
    def _parse_file(cls, url: str, rest: str) -> PhysicalKey:
        host, slash, encoded = rest.partition("/")
        if host not in ("", "localhost") or not slash:
            raise InvalidInputError(
                f"{url!r} must be file:///absolute/path, without a host", key=url
            )
        if "?" in encoded or "#" in encoded:
            raise InvalidInputError(f"{url!r} has a query or fragment: encode '?' and '#'", key=url)
        return cls.of_path(os.fsdecode(b"/" + unquote_to_bytes(encoded)))

    @classmethod
    def of_path(cls, path: str | os.PathLike[str]) -> PhysicalKey:
        """Return the key of a local file; `~` is expanded, relative paths count from here.

        Raises:
            InvalidInputError: The path is empty, holds NUL, or can't be a file name here.
        """
        text = os.fspath(path)
        if not text or "\0" in text:
            raise InvalidInputError(f"{text!r} is no path", key=text)
        try:
            os.fsencode(text)
        except UnicodeEncodeError as exc:
            raise InvalidInputError(f"{text!r} can't be a file name here", key=text) from exc
        # Unlike pathlib, these leave symlinks alone, and a file called `~$draft.docx` too.
        absolute = os.path.abspath(os.path.expanduser(text))
        # POSIX lets a path begin with two slashes; that would be a second name of one registry.
        return cls(None, "/" + absolute.lstrip("/"))

    @classmethod
    def of(cls, source: str | os.PathLike[str]) -> PhysicalKey:
        """Return the key of what a user names: a URL, or else a local path."""
        if isinstance(source, str) and _SCHEME.match(source):
            return cls.parse(source)
        return cls.of_path(source)

    def join(self, relative: str) -> PhysicalKey:
        """Return the key of `relative` below this one."""
        separator = "/" if self.path and not self.path.endswith("/") else ""
        return PhysicalKey(self.bucket, f"{self.path}{separator}{relative}")

    def __str__(self) -> str:
        """Return the URL, encoded as quilt3 does: `/`, letters, digits and `_.-~` stay."""
        if self.bucket is None:
            return "file://" + quote_from_bytes(os.fsencode(self.path))
        query = "" if self.version_id is None else "?versionId=" + quote_plus(self.version_id)
        return f"s3://{self.bucket}/{quote(self.path)}{query}"
