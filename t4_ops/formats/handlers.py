"""Which handler reads or writes what: registered ones first, then ours, then plug-ins."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from t4_ops.errors import FormatError, InvalidInputError
from t4_ops.formats.arrays import NumpyHandler
from t4_ops.formats.arrow import ArrowHandler
from t4_ops.formats.base import FormatHandler
from t4_ops.formats.delimited import DelimitedHandler
from t4_ops.formats.json_values import JsonHandler, JsonLinesHandler
from t4_ops.formats.parquet import ParquetHandler
from t4_ops.formats.plain import BytesHandler, TextHandler
from t4_ops.formats.plugins import plug_ins

_BYTES: Final = BytesHandler()

# For a key without extension the first that takes the object is used: quilt3's choices
# (DataFrame -> parquet, str -> utf-8, list -> json), and .npz for a dict of arrays.
_BUILT_IN: Final[tuple[FormatHandler, ...]] = (
    ParquetHandler(),
    DelimitedHandler(),
    ArrowHandler(),
    NumpyHandler(),
    TextHandler(),
    _BYTES,
    JsonHandler(),
    JsonLinesHandler(),
)

_registered: list[FormatHandler] = []


def register(handler: FormatHandler) -> None:
    """Add a format for this process; it goes before all others.

    Args:
        handler: The handler; registering it again only moves it to the front.

    Raises:
        InvalidInputError: It is no `FormatHandler` (or a class instead of an instance).
    """
    if not isinstance(handler, FormatHandler):
        raise InvalidInputError(f"register takes an instance of FormatHandler, not {handler!r}")
    if handler in _registered:
        _registered.remove(handler)
    _registered.insert(0, handler)


def writer_for(obj: object, extension: str, key: str) -> FormatHandler:
    """The handler that writes `obj` at a key.

    Args:
        obj: The object.
        extension: Lower-case extension of the key, "" if it has none.
        key: The logical key, for messages.

    Raises:
        InvalidInputError: None fits; the message names what would.
    """
    # Plug-ins are loaded only if nothing else fits.
    for handlers in (_own, _with_plug_ins):
        for handler in handlers():
            if handler.handles(obj) and (not extension or extension in handler.extensions):
                return handler
    plug_ins().raise_if_broken(extension, key, InvalidInputError)
    if isinstance(obj, bytes) and not _taking(extension):
        return _BYTES
    raise InvalidInputError(_no_writer_message(obj, extension, key), key=key)


def reader_for(name: str | None, extension: str, key: str) -> FormatHandler:
    """The handler that reads the file at a key.

    Args:
        name: Name of the format as remembered in metadata, if it is.
        extension: Lower-case extension of the key, "" if it has none.
        key: The logical key, for messages.

    Raises:
        FormatError: The format is unknown.
    """
    for handlers in (_own, _with_plug_ins):
        fitting = [
            handler
            for handler in handlers()
            if (extension in handler.extensions if name is None else _is_called(handler, name))
        ]
        if fitting:
            # Of two that share a name, the one that also knows the extension.
            return min(fitting, key=lambda handler: extension not in handler.extensions)
    plug_ins().raise_if_broken(extension if name is None else name, key, FormatError)
    what = f"the format {name!r}" if name is not None else f"files ending in {extension!r}"
    if name is None and not extension:
        what = "files without an extension and without format metadata"
    known = sorted({handler.name for handler in _with_plug_ins()})
    raise FormatError(
        f"{key}: no handler is known for {what}; known formats are {', '.join(known)}; "
        "register a handler, or take the bytes as they are",
        key=key,
    )


def is_serializable(obj: object) -> bool:
    """Whether some format takes objects of this type; what is inside isn't looked at.

    Args:
        obj: Any object.
    """
    return any(
        handler.handles(obj) for handlers in (_own, _with_plug_ins) for handler in handlers()
    )


def preferred_extension(obj: object) -> str | None:
    """The extension that objects of this type are written with where nobody says one.

    Args:
        obj: Any object.

    Returns:
        The preferred one of the first format that takes it; None if none does.
    """
    for handler in _with_plug_ins():
        if handler.handles(obj):
            return handler.extensions[0]
    return None


def _own() -> tuple[FormatHandler, ...]:
    return (*_registered, *_BUILT_IN)


def _with_plug_ins() -> tuple[FormatHandler, ...]:
    return (*_own(), *plug_ins().handlers)


def _is_called(handler: FormatHandler, name: str) -> bool:
    return name == handler.name or name in handler.aliases


def _taking(extension: str) -> list[FormatHandler]:
    return [handler for handler in _with_plug_ins() if extension in handler.extensions]


def _no_writer_message(obj: object, extension: str, key: str) -> str:
    type_name = type(obj).__name__
    at = f"a .{extension} file" if extension else "a file without extension"
    parts = [f"{key}: {type_name} can't be stored as {at}"]
    if takes := _taking(extension):
        parts.append(f".{extension} takes {_words(handler.accepts for handler in takes)}")
    if fits := [handler for handler in _with_plug_ins() if handler.handles(obj)]:
        extensions = sorted({f".{name}" for handler in fits for name in handler.extensions})
        parts.append(f"{type_name} can be stored as {' '.join(extensions)}")
    else:
        accepted = _words(handler.accepts for handler in _with_plug_ins())
        parts.append(f"what can be stored is {accepted}; or write it to a file and set its path")
    return "; ".join(parts)


def _words(phrases: Iterable[str]) -> str:
    return "; ".join(dict.fromkeys(phrases))
