"""Caching by content: what was computed from the same revisions is not computed again.

For tasks that only compute, `@task(cache_policy=BY_CONTENT)`: the key is made of the top hashes of
the packages among the arguments, the other arguments, and the function's code. It is the same in
every flow and on every machine, so that a result storage they share makes them share results.
Steps that move a pointer or fill a folder are never cached: they find their work done instead.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from types import CellType, CodeType
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from prefect.cache_policies import CachePolicy

from t4_ops.errors import T4Error
from t4_ops.keys import PackageRef, PackageUri, is_folder, is_package_name, is_top_hash
from t4_ops.prefect._reach import RegistryBlock
from t4_ops.prefect.revisions import plain
from t4_ops.settings import load_settings

if TYPE_CHECKING:
    from prefect.context import TaskRunContext

_PREFIX: Final = "t4-content"
_REF_FIELDS: Final = ("registry", "name", "top_hash")
# What a step says of the whole revision, which its top hash says already,
_COUNTS: Final = ("files", "size_bytes")
# or of its own run, so that one revision has one key whichever step returned it.
_FOLLOWS: Final = frozenset(
    {*_REF_FIELDS, *_COUNTS, "uri", "inputs", "changed", "host", "dest_stat", "previous"}
)
_log = logging.getLogger("t4_ops.prefect")


class _NoKeyError(Exception):
    """An argument has no content that could be named, or the code can't be told."""


@dataclass
class ByContent(CachePolicy):
    """A cache policy for tasks whose result follows from their arguments and their code.

    A package counts by its name and top hash, wherever it lies; it may be a task's result, a
    `PackageRef`, a step's result as dict, a package URI or `ns/name@<top hash>`. A call is not
    cached if an argument names no fixed content: a package without a full top hash (`ns/name` too),
    a path or URL, whose files may change, or an object that is neither a package nor a registry
    nor made of texts, numbers, truth values, bytes, lists and mappings.

    Attributes:
        with_place: Whether the registry counts too, for tasks that look at what lies there.
    """

    with_place: bool = False

    def compute_key(
        self,
        task_ctx: TaskRunContext,
        inputs: dict[str, Any],
        flow_parameters: dict[str, Any],  # noqa: ARG002 (Prefect passes all)
        **kwargs: Any,  # noqa: ARG002
    ) -> str | None:
        """Return the key of one call; None: it is not cached."""
        task = task_ctx.task
        try:
            told = [_code_of(task, self._content), task.name, self._content(inputs)]
        except (_NoKeyError, RecursionError) as exc:
            _log.info("%s is not cached: %s", task.name, exc)
            return None
        return f"{_PREFIX}/{_digest(json.dumps(told, sort_keys=True))}"

    def _content(self, value: Any) -> Any:
        """Return JSON that tells a value from every other one; kinds are told apart by a mark."""
        match value:
            case None | bool() | int():
                return value
            case float():
                return ["float", value.hex()]
            case str():
                return self._text(value)
            case date() | timedelta() | Decimal() | UUID():
                return [type(value).__name__, str(value)]
            case bytes():
                return ["bytes", hashlib.sha256(value).hexdigest()]
            case PackageRef():
                return self._revision(value, plain(value))
            case PackageUri():
                return self._uri(value)
            case RegistryBlock():
                # Prefect's own hash of a block leaves its secrets out; where it leads is enough.
                return ["registry", value.url, value.endpoint]
        return self._collection(value)

    def _collection(self, value: Any) -> Any:
        match value:
            case Mapping():
                return self._mapping(value)
            case list() | tuple():
                return ["list", [self._content(item) for item in value]]
            case set() | frozenset():
                parts = [json.dumps(self._content(item), sort_keys=True) for item in value]
                return ["set", sorted(parts)]
        raise _NoKeyError(f"{type(value).__name__} names no fixed content")

    def _text(self, text: str) -> Any:
        bare = text.strip()
        try:
            if PackageUri.is_uri(bare):
                return self._uri(PackageUri.parse(bare))
            name, _, top_hash = bare.partition("@")
            if is_package_name(name):
                return self._uri(PackageUri(load_settings().registry, name, top_hash=top_hash))
        except T4Error as exc:
            raise _NoKeyError(str(exc)) from exc
        if _names_files(bare):
            raise _NoKeyError(f"{text!r} names files that may change")
        return text

    def _uri(self, uri: PackageUri) -> Any:
        if uri.top_hash is None or not is_top_hash(uri.top_hash):
            raise _NoKeyError(f"{str(uri)!r} pins no revision")
        ref = PackageRef(uri.registry, uri.name, uri.top_hash)
        return self._revision(ref, {"path": uri.path} if uri.path else {})

    def _mapping(self, value: Mapping[Any, Any]) -> Any:
        if all(value.get(name) for name in _REF_FIELDS):
            try:
                ref = PackageRef.from_dict(value)
            except T4Error:
                pass
            else:
                return self._revision(ref, value)
        # A key in `ns/name` form names no package: logical keys look so.
        pairs = [
            [key if isinstance(key, str) else self._content(key), self._content(item)]
            for key, item in value.items()
        ]
        return ["mapping", sorted(pairs, key=lambda pair: json.dumps(pair[0], sort_keys=True))]

    def _revision(self, ref: PackageRef, said: Any) -> list[Any]:
        """Return what of a revision counts, and what is said of it besides.

        Args:
            ref: The revision.
            said: A step's result, or any other mapping: a folder, a selection of keys, a verdict.
        """
        place = [ref.registry, _endpoint(ref.registry)] if self.with_place else None
        more = _more(said)
        # A folder is told by its name: what fills it is the revision, and how much of it.
        told = [[key, _json(more[key])] for key in sorted(more)]
        return ["package", place, ref.name, ref.top_hash, told]


def _more(said: Any) -> dict[str, Any]:
    """Return what is said of a revision that does not follow from it, nor tells of the run only."""
    if not isinstance(said, Mapping):
        return {}
    more = {key: said[key] for key in said if key not in _FOLLOWS and said[key] not in (None, "")}
    if not all(isinstance(key, str) for key in said):
        raise _NoKeyError("a package with other keys than texts")
    return more | {key: said[key] for key in _COUNTS if more and key in said}


def _json(value: Any) -> str:
    try:
        return json.dumps(value, sort_keys=True)
    except (TypeError, ValueError) as exc:
        raise _NoKeyError(f"{type(value).__name__} names no fixed content") from exc


def _endpoint(registry: str) -> str | None:
    return None if is_folder(registry) else load_settings().s3_for(registry).endpoint_url


def _names_files(text: str) -> bool:
    """Return whether a text leads to files: an object or prefix in a bucket, or what is here."""
    if text.startswith("s3://"):
        has_key = bool(text.removeprefix("s3://").partition("/")[2].strip("/"))
        return has_key and "versionId=" not in text
    if text.startswith("file://"):
        return True
    is_path = os.path.isabs(text) or text.startswith(("./", "../", "~"))
    return (is_path or "/" in text) and os.path.lexists(os.path.expanduser(text))


def _code_of(task: Any, content: Callable[[Any], Any]) -> list[Any]:
    """Return what tells a task's function: its source, and what it closes over.

    Args:
        task: The task. Prefect keeps the source with it, so that it is there on other machines too.
        content: Returns what tells a value that is no function.
    """
    source = getattr(task, "source_code", None) or _source(task.fn)
    return [_digest(source), _closed_over(task.fn, content)]


def _closed_over(function: Any, content: Callable[[Any], Any]) -> list[Any]:
    cells = getattr(function, "__closure__", None) or ()
    return [_value_of(_cell_content(cell), content) for cell in cells]


def _value_of(value: Any, content: Callable[[Any], Any]) -> Any:
    """Return what tells a value that code uses; of a function also its defaults."""
    if not inspect.isfunction(value):
        return content(value)
    told: list[Any] = ["function", _digest(_source(value)), _closed_over(value, content)]
    told.append([_value_of(default, content) for default in value.__defaults__ or ()])
    named = sorted((value.__kwdefaults__ or {}).items())
    told.append([[name, _value_of(default, content)] for name, default in named])
    # The source of a lambda is the line it stands in, where others may stand too.
    return [*told, _bytecode(value.__code__)] if value.__name__ == "<lambda>" else told


def _cell_content(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError as exc:
        raise _NoKeyError("it closes over a variable that is not set yet") from exc


def _bytecode(code: CodeType) -> list[Any]:
    constants = [
        _bytecode(item) if isinstance(item, CodeType) else repr(item) for item in code.co_consts
    ]
    names = [*code.co_names, *code.co_varnames, *code.co_freevars]
    return [_digest(code.co_code.hex()), constants, names]


BY_CONTENT: Final = ByContent()
"""For tasks that compute something from packages."""
BY_CONTENT_AND_PLACE: Final = ByContent(with_place=True)
"""For tasks that look at what lies in a registry, such as `verify_package`."""


def _source(function: Any) -> str:
    try:
        return inspect.getsource(function)
    except (OSError, TypeError) as exc:
        raise _NoKeyError("the source of its code is not there") from exc


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
