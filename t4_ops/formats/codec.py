"""Serialise and deserialise: the front of this room."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from t4_ops.errors import FormatError, InvalidInputError
from t4_ops.formats.base import FormatHandler, Serialized
from t4_ops.formats.compression import compress, decompress, is_compressed
from t4_ops.formats.extensions import split_extension
from t4_ops.formats.handlers import is_serializable, reader_for, writer_for

__all__ = ["DEFAULT_MAX_SIZE_BYTES", "deserialize", "is_serializable", "serialize"]

DEFAULT_MAX_SIZE_BYTES: Final = 2 * 1024**3


def serialize(
    obj: object, logical_key: str, *, opts: Mapping[str, object] | None = None
) -> Serialized:
    """Turn an object into the content of a file.

    The format follows from the key's extension and the object's type; the same object gives the
    same bytes in every process. A key that ends in `.gz` or `.zst` gets compressed content.

    Args:
        obj: The object.
        logical_key: Its key, such as `tables/x.csv.gz`.
        opts: Options of the format; they are remembered in the metadata.

    Raises:
        InvalidInputError: No format fits, an option is wrong, or the object holds what the
            format can't. The message says what would work.
    """
    extension, codec = split_extension(logical_key)
    handler = writer_for(obj, extension, logical_key)
    with _told(logical_key, f"can't be written as {handler.name}", InvalidInputError):
        chosen = _checked(handler, opts)
        data, remembered = handler.serialize(obj, extension=extension, opts=chosen)
        described = {"format": {**remembered, "name": handler.name}, "target": handler.name}
        # What is stored is JSON, so a tuple given as an option is remembered as a list.
        meta: dict[str, object] = json.loads(json.dumps(described, allow_nan=False))
    if codec:
        if isinstance(obj, bytes) and is_compressed(obj, codec):
            raise InvalidInputError(
                f"{logical_key}: these bytes are {codec} data already and would be compressed "
                "twice; give the content, write it to a file and set its path, or use .bin",
                key=logical_key,
            )
        data = compress(data, codec)
    return Serialized(data, meta)


def deserialize(
    data: bytes,
    logical_key: str,
    meta: Mapping[str, object] | None = None,
    *,
    opts: Mapping[str, object] | None = None,
    max_size_bytes: int = DEFAULT_MAX_SIZE_BYTES,
) -> object:
    """Turn the content of a file into an object. Nothing is unpickled.

    The format is the one remembered in the metadata, else that of the key's extension. Options
    given here win over those remembered.

    Args:
        data: The content.
        logical_key: Its key.
        meta: The entry's metadata, as quilt3 or `serialize` wrote it.
        opts: Options of the format.
        max_size_bytes: Refuse content that decompresses or decodes to more than this.

    Raises:
        InvalidInputError: An option given here is wrong.
        FormatError: The format is unknown, the data can't be read, or it grows too large.
    """
    extension, codec = split_extension(logical_key)
    name, remembered = _remembered(meta or {}, logical_key)
    handler = reader_for(name, extension, logical_key)
    known = {option: value for option, value in remembered.items() if option in handler.opts}
    with _told(logical_key, f"can't be read as {handler.name}", InvalidInputError):
        chosen = _checked(handler, opts)
    with _told(logical_key, f"can't be read as {handler.name}", FormatError):
        if codec:
            data = decompress(data, codec, max_size_bytes)
        used = {**known, **chosen}
        _check_remembered(handler, used)
        return handler.deserialize(
            data, extension=extension, opts=used, max_size_bytes=max_size_bytes
        )


def _checked(handler: FormatHandler, opts: Mapping[str, object] | None) -> dict[str, object]:
    chosen = dict(opts or {})
    if unknown := sorted(set(chosen) - set(handler.opts)):
        allowed = ", ".join(sorted(handler.opts)) or "none"
        raise InvalidInputError(f"unknown option(s) {', '.join(unknown)}; it takes {allowed}")
    handler.check_opts(chosen)
    return chosen


def _check_remembered(handler: FormatHandler, opts: Mapping[str, object]) -> None:
    try:
        handler.check_opts(opts)
    except InvalidInputError as error:
        raise FormatError(f"in its metadata, {error.message}; override it with opts") from error


def _remembered(meta: Mapping[str, object], key: str) -> tuple[str | None, Mapping[str, object]]:
    """Name and options of the format in an entry's metadata; `target` is Quilt's older form."""
    described = meta.get("format")
    if described is None:
        described = {}
    if not isinstance(described, Mapping):
        raise FormatError(f"{key}: 'format' in its metadata is {described!r}, no object", key=key)
    name = described.get("name") or meta.get("target")
    opts = described.get("opts") or {}
    if not isinstance(name, str | None) or not isinstance(opts, Mapping):
        raise FormatError(f"{key}: 'format' in its metadata is malformed: {described!r}", key=key)
    return name, opts


@contextmanager
def _told(
    key: str, what: str, error_class: type[InvalidInputError] | type[FormatError]
) -> Iterator[None]:
    """Name the key in our errors, and turn those of other libraries into ours."""
    try:
        yield
    except FormatError as error:
        raise FormatError(f"{key}: {what}: {error.message}", key=key, line=error.line) from error
    except InvalidInputError as error:
        raise InvalidInputError(f"{key}: {what}: {error.message}", key=key) from error
    except (ImportError, MemoryError):
        # A missing library or too little memory is no fault of the file or the object.
        raise
    except Exception as error:
        raise error_class(f"{key}: {what}: {type(error).__name__}: {error}", key=key) from error
