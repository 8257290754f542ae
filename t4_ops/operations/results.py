"""What steps take and give: references to packages, and small results of JSON values."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NotRequired, TypedDict

from t4_ops.errors import InvalidInputError
from t4_ops.keys import PackageRef, PackageUri, RegistryLike, is_folder, normalize_registry
from t4_ops.ledger import (
    ColumnLineage,
    ColumnLineageLike,
    Input,
    InputLike,
    parse_column_lineage,
    parse_inputs,
)
from t4_ops.operations.hosts import HOST, check_registry_is_here
from t4_ops.package import open_registry
from t4_ops.settings import Settings, load_settings

PackageLike = PackageRef | PackageUri | Mapping[str, Any] | str
"""What names a revision: see `pinned`."""
MAX_RESULT_INPUTS: Final = 1_000
"""Most inputs that a result carries, some 200 kB: orchestrators keep results in their databases."""


class StepResult(TypedDict):
    """What every step returns: JSON scalars and one list, small whatever the package holds.

    Attributes:
        uri: Package URI with the full top hash.
        registry: Normalised registry.
        name: Package name.
        top_hash: Full top hash.
        inputs: What the revision was made from, for the lineage of the next step; the first 1,000.
        files: Number of entries.
        size_bytes: Their size.
        changed: False if the step found its work done.
        host: The machine that ran the step; only where the registry is a local folder.
        path: What of the revision a step read, where that was not all: a file, or a directory with
            its `/`.
    """

    uri: str
    registry: str
    name: str
    top_hash: str
    inputs: list[dict[str, str]]
    files: int
    size_bytes: int
    changed: bool
    host: NotRequired[str]
    path: NotRequired[str]


class InstallResult(StepResult):
    """A `StepResult` and where the files are.

    Attributes:
        dest: Absolute path of the folder, on the machine `host`, which is always told here.
        dest_stat: Its inode number and when it last changed, unix nanoseconds: they tell it from a
            folder of the same path on another machine.
    """

    dest: str
    dest_stat: list[int]


class BrowseResult(StepResult):
    """A `StepResult`; files and bytes are those of what was selected.

    Attributes:
        keys: The first of their logical keys, as many as were asked for; not there unless asked.
        is_selected: True where a selector chose them; else not there.
    """

    keys: NotRequired[list[str]]
    is_selected: NotRequired[bool]


def as_given(package: PackageLike) -> PackageLike:
    """Return what names a revision, the text of a step's result read as that result.

    Raises:
        InvalidInputError: The text begins like a result and is none.
    """
    if not isinstance(package, str) or not package.lstrip().startswith("{"):
        return package
    value = literal(package)
    if not isinstance(value, Mapping):
        raise InvalidInputError(f"{package[:200]!r} is no step's result")
    return value


def inputs_of(values: InputLike | Iterable[InputLike] | None) -> tuple[Input, ...]:
    """Return inputs from what users and steps name them by, or the text that templates make of it.

    Raises:
        InvalidInputError: A value names no input.
    """
    return () if values is None else parse_inputs(list(_rendered(values)))


def carried_inputs(values: Any) -> tuple[Input, ...]:
    """Return the inputs that a step's result carries, however many: who records them counts them.

    Raises:
        InvalidInputError: A value names no input.
    """
    if values is None:
        return ()
    return tuple(item for value in _rendered(values) for item in parse_inputs(value))


def columns_of(mapping: ColumnLineageLike | None) -> ColumnLineage:
    """Return column lineage from what users give, or the text that templates make of its inputs.

    Raises:
        InvalidInputError: It is no such mapping.
    """
    return parse_column_lineage(mapping, as_given)


def _rendered(values: Any) -> Iterator[Any]:
    if isinstance(values, str) and values.lstrip().startswith(("{", "[", "(")):
        values = literal(values)
    if isinstance(values, list | tuple):
        for value in values:
            yield from _rendered(value)
    elif isinstance(values, str | Mapping) or not isinstance(values, Iterable):
        yield values
    else:
        yield from _rendered(list(values))


def path_in(package: PackageLike) -> str | None:
    """Return the path inside the package that a package URI names, if it is one and does."""
    if isinstance(package, str) and PackageUri.is_uri(package.strip()):
        package = PackageUri.parse(package.strip())
    return package.path if isinstance(package, PackageUri) else None


def pinned(
    package: PackageLike, settings: Settings, registry: RegistryLike | None = None
) -> PackageRef:
    """Return the revision that something names, its top hash known.

    Args:
        package: A `PackageRef`; a step's result; a package URI, as text or parsed; `ns/name` or
            `ns/name@hash`; or the text of a step's result, as templates render it.
        settings: Settings.
        registry: Where `ns/name` is; None is the default registry.

    Raises:
        InvalidInputError: It is none of these, or names a tag other than `latest`.
        NotFoundError: There is no such package or revision, or only on another machine.
    """
    package = as_given(package)
    if isinstance(package, PackageRef):
        return package
    if isinstance(package, str):
        package = uri_of(package.strip(), settings, registry)
    if isinstance(package, PackageUri):
        return _resolved(package, settings)
    if isinstance(package, Mapping):
        return _given(package, settings)
    raise InvalidInputError(
        f"{package!r} names no package: give a step's result, a package URI or 'ns/name[@hash]'"
    )


def _given(result: Mapping[str, Any], settings: Settings) -> PackageRef:
    """Return the revision of a step's result, which may have been made on another machine."""
    ref = PackageRef.from_dict(result)
    if HOST in result and is_folder(ref.registry):
        is_there = open_registry(ref.registry, settings).manifests.exists(ref.top_hash)
        check_registry_is_here(result, ref, is_there=is_there)
    return ref


def uri_of(text: str, settings: Settings, registry: RegistryLike | None) -> PackageUri:
    """Return the package URI that text is, or `ns/name[@hash]` stands for.

    Raises:
        InvalidInputError: It is neither.
    """
    if PackageUri.is_uri(text):
        return PackageUri.parse(text)
    name, mark, top_hash = text.partition("@")
    if mark and not top_hash:
        raise InvalidInputError(f"{text!r} has no hash after '@'", key=text)
    return PackageUri(
        normalize_registry(registry or settings.registry), name, top_hash=top_hash or None
    )


def literal(text: str) -> Any:
    """Return the value of a step's result, or of several, that was rendered as text.

    Templates give Python's form unless they are asked for native objects; JSON comes from
    command lines. Only literals are read.

    Raises:
        InvalidInputError: It is no literal.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError) as exc:
        raise InvalidInputError(f"{text[:200]!r} is no step's result") from exc


def rendered(value: Any) -> Any:
    """Return the mapping or list that a template has rendered as text; all else as it is.

    A list is one of texts and mappings, as steps take them: `[1]` is a pattern of file names.
    """
    if not isinstance(value, str) or not value.lstrip().startswith(("{", "[", "(")):
        return value
    try:
        found = literal(value)
    except InvalidInputError:
        return value
    is_list = isinstance(found, list | tuple) and all(isinstance(x, str | Mapping) for x in found)
    return found if is_list or isinstance(found, Mapping) else value


def _resolved(uri: PackageUri, settings: Settings) -> PackageRef:
    if uri.tag not in (None, "latest"):
        raise InvalidInputError(
            f"{uri} names the tag {uri.tag!r}; the only tag there is is 'latest'", key=str(uri)
        )
    registry = open_registry(uri.registry, settings)
    top_hash = registry.pointers.resolve(uri.name, uri.top_hash)
    return PackageRef(uri.registry, uri.name, top_hash)


def resolve(
    package: PackageLike, registry: RegistryLike | None = None, *, settings: Settings | None = None
) -> PackageRef:
    """Return the revision that a package URI, `ns/name[@hash]` or a step's result names, pinned.

    Args:
        package: What names it.
        registry: Where `ns/name` is; None is the default registry.
        settings: Settings; None loads the user's.

    Raises:
        InvalidInputError: It names no package.
        NotFoundError: There is no such package or revision.
    """
    return pinned(package, settings or load_settings(), registry)
