"""What a format handler is, and what serialising an object gives."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Serialized:
    """An object as bytes, with what has to be remembered to read it again.

    Attributes:
        data: The content of the file, compressed if the key says so.
        meta: JSON values to merge into the entry's metadata, in quilt3's shape:
            `{"format": {"name": ..., "opts"?: {...}}, "target": ...}`.
    """

    data: bytes
    meta: dict[str, object]


class FormatHandler(ABC):
    """One file format: which objects and extensions it takes, and how it converts them.

    A handler never unpickles, keeps no state between calls, and imports heavy libraries inside
    its methods only. It may raise anything: the caller turns what isn't one of our errors into
    `InvalidInputError` (writing) or `FormatError` (reading), with the key in the message.

    Attributes:
        name: Name of the format as remembered in metadata (quilt3's name where both have it).
        aliases: Other names under which stored metadata may mention it.
        extensions: Lower-case extensions without the dot; the first is the preferred one.
        opts: Names of the options it knows.
        accepts: The objects it can write, in words, for error messages.
    """

    name: str
    aliases: tuple[str, ...] = ()
    extensions: tuple[str, ...]
    opts: tuple[str, ...] = ()
    accepts: str

    @abstractmethod
    def handles(self, obj: object) -> bool:
        """Whether `obj` is of a type that this format can write; imports nothing."""

    @abstractmethod
    def serialize(
        self, obj: object, *, extension: str, opts: Mapping[str, object]
    ) -> tuple[bytes, dict[str, object]]:
        """Write `obj`, the same bytes for the same object on every call.

        Args:
            obj: An object that `handles` said yes to.
            extension: Lower-case extension of the key, "" if it has none.
            opts: The caller's options; only known names, checked by `check_opts`.

        Returns:
            The bytes, and the JSON values to remember beside the format's name (usually
            `{"opts": {...}}`, or `{}`).
        """

    @abstractmethod
    def deserialize(
        self, data: bytes, *, extension: str, opts: Mapping[str, object], max_size_bytes: int
    ) -> object:
        """Read an object.

        Args:
            data: The content of the file, already decompressed.
            extension: Lower-case extension of the key, "" if it has none.
            opts: Remembered options overlaid by the caller's; only known names, checked.
            max_size_bytes: Refuse what would grow beyond this when it is decoded.

        Returns:
            The object.
        """

    def check_opts(self, opts: Mapping[str, object]) -> None:  # noqa: B027
        """Check the values of options; a format without options has nothing to check.

        Raises:
            InvalidInputError: An option has a value that can't work.
        """


class PlainHandler(FormatHandler):
    """A format without options, whose bytes depend on the object alone."""

    @abstractmethod
    def encode(self, obj: object) -> bytes:
        """Write `obj`, the same bytes on every call."""

    @abstractmethod
    def decode(self, data: bytes) -> object:
        """Read an object."""

    def serialize(
        self,
        obj: object,
        *,
        extension: str,  # noqa: ARG002
        opts: Mapping[str, object],  # noqa: ARG002
    ) -> tuple[bytes, dict[str, object]]:
        """Write `obj`; there is nothing to remember but the name."""
        return self.encode(obj), {}

    def deserialize(
        self,
        data: bytes,
        *,
        extension: str,  # noqa: ARG002
        opts: Mapping[str, object],  # noqa: ARG002
        max_size_bytes: int,  # noqa: ARG002
    ) -> object:
        """Read an object; it stands in the file at its full size, so no bound is needed."""
        return self.decode(data)


def is_loaded_instance(obj: object, module_name: str, class_name: str) -> bool:
    """Whether `obj` is an instance of a class of a module that may not be loaded.

    An instance can only exist once its module is loaded, so nothing needs to be imported.

    Args:
        obj: Any object.
        module_name: Dotted name, such as "pandas".
        class_name: Name of the class in that module.
    """
    loaded = getattr(sys.modules.get(module_name), class_name, None)
    return isinstance(loaded, type) and isinstance(obj, loaded)
