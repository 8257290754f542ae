"""Formats that other packages bring, found by entry point.

A package offers one under the group `t4_ops.formats`; the entry point is called like the format
and names a `FormatHandler`, or a class of one that takes no arguments.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Final

from t4_ops.errors import T4Error
from t4_ops.formats.base import FormatHandler

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP: Final = "t4_ops.formats"


@dataclass(frozen=True, slots=True)
class PlugIns:
    """What the installed packages offer.

    Attributes:
        handlers: Those that could be loaded.
        broken: Format -> what happened, for those that could not.
    """

    handlers: tuple[FormatHandler, ...]
    broken: Mapping[str, tuple[str, Exception]]

    def raise_if_broken(self, wanted: str, key: str, error_class: type[T4Error]) -> None:
        """Tell about the broken plug-in that would have brought a format.

        Args:
            wanted: Name or extension of the format.
            key: The logical key, for the message.
            error_class: What to raise.
        """
        if wanted in self.broken:
            origin, error = self.broken[wanted]
            raise error_class(
                f"{key}: the plug-in for the format {wanted!r} ({origin}) can't be loaded: "
                f"{type(error).__name__}: {error}; repair or uninstall it",
                key=key,
            ) from error


@cache
def plug_ins() -> PlugIns:
    """Load all plug-ins, on the first call only."""
    # Here and not at the top: it is a sixth of what `import t4_ops` would cost.
    from importlib.metadata import entry_points

    handlers: list[FormatHandler] = []
    broken: dict[str, tuple[str, Exception]] = {}
    for point in entry_points(group=GROUP):
        try:
            handlers.append(_load(point))
        # A plug-in is foreign code and may fail in any way; that must not break other formats.
        # raise_if_broken raises it when its own format is asked for.
        except Exception as error:  # noqa: BLE001
            origin = point.value if point.dist is None else f"{point.value} of {point.dist.name}"
            broken[point.name] = (origin, error)
    return PlugIns(tuple(handlers), broken)


def _load(point: EntryPoint) -> FormatHandler:
    offered = point.load()
    handler = offered() if isinstance(offered, type) else offered
    if not isinstance(handler, FormatHandler):
        raise TypeError(f"{point.value} is no FormatHandler but a {type(handler).__name__}")
    return handler
