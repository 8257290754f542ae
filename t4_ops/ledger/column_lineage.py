"""Column lineage as users give it: a mapping of columns to columns of the inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeAlias

from t4_ops.errors import InvalidInputError
from t4_ops.keys import PackageRef, PackageUri, dataset_of
from t4_ops.ledger.columns import ColumnLineage, ColumnSource, column_name
from t4_ops.ledger.datasets import Input

MAX_COLUMNS: Final = 10_000
"""Most columns of a mapping, and most sources of all of them together."""

ColumnLineageLike: TypeAlias = Mapping[str, Any]
"""What a user gives for it: see `parse_column_lineage`."""


def parse_column_lineage(
    mapping: ColumnLineageLike | None, as_given: Callable[[Any], Any] = lambda dataset: dataset
) -> ColumnLineage:
    """Return column lineage from what users give.

    Args:
        mapping: Column of the output to its sources: one or a list of `(input, column)` pairs or
            `{"namespace": ..., "name": ..., "field": ...}` mappings, as OpenLineage has them. An
            input is a `PackageRef`, a step's result, a package URI (with or without a hash), or a
            mapping with `namespace` and `name`.
        as_given: Turns what stands for an input, such as the text of a rendered template, into one
            of these.

    Raises:
        InvalidInputError: It is no such mapping, or has more than `MAX_COLUMNS` sources.
    """
    if mapping is None:
        return ()
    if not isinstance(mapping, Mapping):
        raise InvalidInputError(
            f"column lineage is a mapping of columns to their sources, not {type(mapping).__name__}"
        )
    found = tuple(
        (
            column_name(column),
            tuple(dict.fromkeys(_source(source, as_given) for source in _each(sources))),
        )
        for column, sources in mapping.items()
    )
    count = max(len(found), sum(len(sources) for _, sources in found))
    if count > MAX_COLUMNS:
        raise InvalidInputError(
            f"column lineage with {count} columns or sources is more than {MAX_COLUMNS}"
        )
    return found


def _each(sources: Any) -> Iterable[Any]:
    if isinstance(sources, Mapping | ColumnSource) or _is_pair(sources):
        return (sources,)
    if isinstance(sources, str) or not isinstance(sources, Iterable):
        raise _no_source(sources)
    return sources


def _is_pair(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) == 2 and isinstance(value[1], str)


def _source(value: Any, as_given: Callable[[Any], Any]) -> ColumnSource:
    if isinstance(value, ColumnSource):
        return value
    if _is_pair(value):
        return _column_of(as_given(value[0]), value[1])
    if isinstance(value, Mapping) and "field" in value:
        return _column_of({k: v for k, v in value.items() if k != "field"}, value["field"])
    raise _no_source(value)


def _column_of(dataset: Any, column: str) -> ColumnSource:
    if isinstance(dataset, str) and PackageUri.is_uri(dataset):
        # Columns belong to a dataset whatever its version, so the hash may be left out.
        uri = PackageUri.parse(dataset)
        return ColumnSource(*dataset_of(uri.registry, uri.name), column)
    if isinstance(dataset, PackageRef):
        dataset = Input.of_ref(dataset)
    elif isinstance(dataset, Mapping):
        dataset = Input.from_dict(dataset)
    if not isinstance(dataset, Input):
        raise _no_source(dataset)
    return ColumnSource(dataset.namespace, dataset.name, column)


def _no_source(value: object) -> InvalidInputError:
    return InvalidInputError(
        f"{type(value).__name__} names no column of an input: give (input, column), or a mapping"
        " with namespace, name and field"
    )
