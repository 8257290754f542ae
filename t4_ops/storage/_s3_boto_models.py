"""botocore's descriptions of services, read quickly: most of what a first connection costs.

Measured with botocore 1.44.5, of a connection's 210 ms: `json` took 80 ms where msgspec takes 30,
and looking into each of 450 folders for a description of S3, twice, 20 ms. Most of the 30 ms went
into what nobody looks at, endpoints of 400 services and shapes of 110 operations; since they are
left as text until somebody does, a process's first listing takes 0.74 of the time (median of 24
pairs).
"""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable, ItemsView, Iterator, Mapping, ValuesView
from functools import cache
from pathlib import Path
from typing import Any, Final

import msgspec
from botocore.loaders import JSONFileLoader, Loader


def _packed(path: Path) -> bytes:
    return gzip.decompress(path.read_bytes())


# Endings of botocore's own files. Older releases ship them unpacked.
_READERS: Final[tuple[tuple[str, Callable[[Path], bytes]], ...]] = (
    (".json", Path.read_bytes),
    (".json.gz", _packed),
)


class _Unread(dict[str, Any]):
    """An object whose values are decoded when somebody asks for them; a `dict` for botocore.

    Whoever copies it gets them decoded too: with an `__iter__` of its own, `dict(unread)` comes
    here for each. Only what reads a `dict` without asking it sees text: `OrderedDict() == unread`,
    `popitem`, `repr`.
    """

    def __getitem__(self, key: str) -> Any:
        value = super().__getitem__(key)
        if isinstance(value, msgspec.Raw):
            try:
                value = msgspec.json.decode(value)
            except msgspec.DecodeError:
                # Numbers out of range: passed over until now, and no error for `json`.
                value = json.loads(bytes(value))
            self[key] = value
        return value

    def __iter__(self) -> Iterator[str]:
        return super().__iter__()

    def get(self, key: str, default: Any = None) -> Any:
        try:
            return self[key]
        except KeyError:
            return default

    def setdefault(self, key: str, default: Any = None) -> Any:
        super().setdefault(key, default)
        return self[key]

    def pop(self, key: str, *default: Any) -> Any:
        self.get(key)
        return super().pop(key, *default)

    def items(self) -> ItemsView[str, Any]:  # type: ignore[override]
        return ItemsView(self)

    def values(self) -> ValuesView[Any]:  # type: ignore[override]
        return ValuesView(self)

    def __eq__(self, other: object) -> bool:
        return dict(self) == other

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = None


_Members = dict[str, msgspec.Raw]
# Anything else is left to `json`, like all that these two don't take.
_SERVICE: Final = msgspec.json.Decoder(dict[str, _Members | str])
_ENDPOINTS: Final = msgspec.json.Decoder(dict[str, list[_Members] | int])
_SERVICES: Final = msgspec.json.Decoder(_Members)


# As text: what is passed over is not looked at for wrong bytes.
def _service(data: bytes) -> dict[str, Any]:
    return {
        key: _Unread(value) if isinstance(value, dict) else value
        for key, value in _SERVICE.decode(str(data, "utf-8")).items()
    }


def _endpoints(data: bytes) -> dict[str, Any]:
    return {
        key: [_partition(members) for members in value] if isinstance(value, list) else value
        for key, value in _ENDPOINTS.decode(str(data, "utf-8")).items()
    }


def _partition(members: _Members) -> dict[str, Any]:
    return {
        key: _Unread(_SERVICES.decode(value)) if key == "services" else msgspec.json.decode(value)
        for key, value in members.items()
    }


# File -> what decodes it, for those of which hardly anything is looked at.
_DECODERS: Final[Mapping[str, Callable[[bytes], Any]]] = {
    "endpoints": _endpoints,
    "service-2": _service,
}


class _Files(JSONFileLoader):
    """Decodes files as botocore does, but to dictionaries, which keep their order too."""

    def load_file(self, file_path: str) -> Any:
        """Return what a file holds, given its path without an ending; None if there is none."""
        decode = _DECODERS.get(os.path.basename(file_path), msgspec.json.decode)
        for ending, read in _READERS:
            try:
                return decode(read(Path(file_path + ending)))
            except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
                continue
            except msgspec.DecodeError:
                # `json` takes more, and its errors are what botocore's callers expect.
                break
        return super().load_file(file_path)


class _Models(Loader):
    FILE_LOADER_CLASS = _Files

    def list_available_services(self, type_name: str) -> list[str]:  # noqa: ARG002 - botocore's
        """Return all folders of services, without a look at what each describes.

        botocore asks whether the one it wants is among them, and looks into that one next.
        """
        found: set[str] = set()
        for path in filter(os.path.isdir, self.search_paths):
            with os.scandir(path) as entries:
                found.update(entry.name for entry in entries if entry.is_dir())
        return sorted(found)


@cache
def models(data_path: str | None) -> Loader:
    """Return what reads the descriptions, and keeps what it has read for this process.

    Args:
        data_path: Folders to look into first, as botocore's `data_path` names them.
    """
    folders = data_path.split(os.pathsep) if data_path else []
    return _Models([os.path.expanduser(os.path.expandvars(folder)) for folder in folders])
