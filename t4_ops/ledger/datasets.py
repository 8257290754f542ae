"""What a run reads and writes: inputs and outputs, as arguments, results and datasets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, TypeAlias, cast

from t4_ops.errors import InvalidInputError
from t4_ops.keys import Dataset, PackageRef, PackageUri, PhysicalKey, dataset_of, is_top_hash
from t4_ops.ledger.columns import Column, ColumnLineage
from t4_ops.ledger.text import required_text

MAX_INPUTS: Final = 20_000
"""Most inputs of one run; an event names fewer, or less of each, where it would grow too large."""
# Linux's longest path; S3 keys are shorter.
_NAME_MAX_BYTES: Final = 4096
_NAMESPACE_MAX_BYTES: Final = 1024
_VERSION_MAX_BYTES: Final = 1024
_DATASET_FIELDS: Final = ("namespace", "name", "version")


@dataclass(frozen=True, slots=True)
class Input:
    """One dataset, perhaps at a version: a revision of a package, or any other source.

    Attributes:
        namespace: OpenLineage namespace, such as `s3://bucket`, `file` or `postgres://host:5432`.
        name: OpenLineage name inside the namespace.
        version: Version read; the top hash for packages. None: unknown.
        registry: Normalised registry when it is a package, else None.
        package: Package name when it is a package, else None.
        paths: Keys and directories (ending in `/`) of the package that were read; empty: all of it,
            or nobody knows. Two inputs that differ in this only are equal.
    """

    namespace: str
    name: str
    version: str | None = None
    registry: str | None = None
    package: str | None = None
    paths: tuple[str, ...] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        """Check the parts.

        Raises:
            InvalidInputError: One is missing, too long, or holds a credential.
        """
        required_text(self.namespace, "the namespace of a dataset", _NAMESPACE_MAX_BYTES)
        required_text(self.name, "the name of a dataset", _NAME_MAX_BYTES)
        if self.version is not None:
            required_text(self.version, "the version of a dataset", _VERSION_MAX_BYTES)

    @classmethod
    def of_ref(cls, ref: PackageRef, paths: Iterable[str] = ()) -> Input:
        """Return the input for a revision, or for some paths of it."""
        dataset = dataset_of(ref.registry, ref.name)
        return cls(
            dataset.namespace, dataset.name, ref.top_hash, ref.registry, ref.name, tuple(paths)
        )

    @classmethod
    def of_dataset(cls, namespace: str, name: str, version: str | None = None) -> Input:
        """Return the input for a dataset; one that is a package at a top hash becomes that package.

        Raises:
            InvalidInputError: A part is missing, too long, or holds a credential.
        """
        source = cls(namespace, name, version)
        ref = _package_at(namespace, name, version)
        return source if ref is None else cls.of_ref(ref)

    @classmethod
    def from_dict(cls, value: Mapping[str, object]) -> Input:
        """Read the JSON form, a step's result, or an OpenLineage dataset.

        Raises:
            InvalidInputError: It is none of these, or a part is wrong.
        """
        if value.get("top_hash"):
            return cls.of_ref(PackageRef.from_dict(value))
        if "namespace" not in value or "name" not in value:
            raise InvalidInputError(
                f"no input: a mapping with {sorted(map(str, value))} is neither a step's result"
                " (registry, name, top_hash) nor a dataset (namespace, name)"
            )
        # Whatever stands in a mapping is checked when the input is made.
        parts = cast("tuple[str, str, str | None]", tuple(map(value.get, _DATASET_FIELDS)))
        return cls.of_dataset(*parts)

    @property
    def ref(self) -> PackageRef | None:
        """The revision, when it is one."""
        if self.registry is None or self.package is None or self.version is None:
            return None
        return PackageRef(self.registry, self.package, self.version)

    @property
    def dataset(self) -> Dataset:
        """The dataset, without its version."""
        return Dataset(self.namespace, self.name)

    def to_dict(self) -> dict[str, str]:
        """Return the JSON form that steps hand on in `inputs`."""
        ref = self.ref
        if ref is not None:
            return ref.to_dict()
        known = zip(_DATASET_FIELDS, (*self.dataset, self.version), strict=True)
        return {name: value for name, value in known if value is not None}


@dataclass(frozen=True, slots=True)
class Output:
    """One revision that a run published.

    Attributes:
        ref: The revision.
        files: Entries in it; None: unknown.
        size_bytes: Their size; None: unknown.
        changed: False if the step found its work done.
        message: The package's message.
        parent: Top hash that `latest` held before; None: there was none.
        columns: Columns of the table in it, where that is cheap to know.
        column_lineage: What its columns were made from, where the user says so.
    """

    ref: PackageRef
    files: int | None = None
    size_bytes: int | None = None
    changed: bool = True
    message: str | None = None
    parent: str | None = None
    columns: tuple[Column, ...] = ()
    column_lineage: ColumnLineage = ()


def merged_inputs(inputs: Iterable[Input]) -> tuple[Input, ...]:
    """Return each input once, with all its paths that were read; none stands for all of it."""
    found: dict[Input, Input] = {}
    for item in inputs:
        before = found.get(item)
        if before is None:
            found[item] = item
        elif before.paths:
            paths = (*before.paths, *item.paths) if item.paths else ()
            found[item] = replace(item, paths=tuple(dict.fromkeys(paths)))
    return tuple(found.values())


InputLike: TypeAlias = PackageRef | Input | str | Mapping[str, object]
"""What names one input: see `parse_inputs`."""


def parse_inputs(values: InputLike | Iterable[InputLike] | None) -> tuple[Input, ...]:
    """Return inputs from what users and steps name them by, each once, in the order given.

    Args:
        values: One or several of: a `PackageRef`; a step's result; a package URI with a full top
            hash; a mapping with `namespace` and `name`, perhaps `version`, for a source that is no
            package. None is no input.

    Raises:
        InvalidInputError: A value is none of these, or there are more than `MAX_INPUTS`.
    """
    if values is None:
        return ()
    if isinstance(values, PackageRef | Input | str | Mapping):
        values = (values,)
    if not isinstance(values, Iterable):
        raise _no_input(values)
    found = merged_inputs(_parse(value) for value in values)
    if len(found) > MAX_INPUTS:
        raise InvalidInputError(
            f"{len(found)} inputs are more than {MAX_INPUTS}: name the packages or folders that"
            " hold them instead"
        )
    return found


def _parse(value: object) -> Input:
    if isinstance(value, Input):
        return value
    if isinstance(value, PackageRef):
        return Input.of_ref(value)
    if isinstance(value, Mapping):
        return Input.from_dict(value)
    if isinstance(value, str) and PackageUri.is_uri(value):
        uri = PackageUri.parse(value)
        if uri.top_hash is None or not is_top_hash(uri.top_hash):
            raise InvalidInputError(
                f"{value!r} names no revision: an input needs the full top hash; resolve it first",
                key=value,
            )
        return Input.of_ref(PackageRef(uri.registry, uri.name, uri.top_hash))
    raise _no_input(value)


def _no_input(value: object) -> InvalidInputError:
    return InvalidInputError(
        f"{type(value).__name__} is no input: give a package reference, a step's result, a package"
        " URI with its top hash, or {'namespace': ..., 'name': ...} for another source"
    )


def _package_at(namespace: str, name: str, version: str | None) -> PackageRef | None:
    """Return the revision that a dataset is: the reverse of `dataset_of`."""
    if version is None or not is_top_hash(version):
        return None
    registry, package = namespace, name
    if namespace == "file":
        folder, *last = name.rsplit("/", 2)
        if len(last) != 2:
            return None
        registry, package = str(PhysicalKey.of_path(folder or "/")), "/".join(last)
    elif not namespace.startswith("s3://"):
        return None
    try:
        ref = PackageRef(registry, package, version)
    except InvalidInputError:
        return None
    # Another spelling of the same place ("/a/../b") is another dataset to OpenLineage.
    return ref if dataset_of(ref.registry, ref.name) == (namespace, name) else None
