"""What an event says about a run's inputs and outputs, in OpenLineage's classes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, Final

from t4_ops.ledger.columns import Column, ColumnLineage
from t4_ops.ledger.datasets import Input, Output
from t4_ops.ledger.producing import PACKAGE_FACET, PACKAGE_SCHEMA, producer
from t4_ops.ledger.text import clean

_MESSAGE_MAX_CHARS: Final = 1000
_COLUMN_MAX_CHARS: Final = 256


def input_dataset(item: Input) -> Any:
    """Return one input."""
    from openlineage.client.event_v2 import InputDataset

    return InputDataset(
        namespace=item.namespace,
        name=item.name,
        facets=_version_facets(item.version),
        inputFacets=_subset_facets(item.paths),
    )


def _version_facets(version: str | None) -> dict[str, Any]:
    from openlineage.client.facet_v2 import dataset_version_dataset

    if version is None:
        return {}
    facet = dataset_version_dataset.DatasetVersionDatasetFacet(
        datasetVersion=version, producer=producer()
    )
    return {"version": facet}


def _subset_facets(paths: Sequence[str]) -> dict[str, Any] | None:
    from openlineage.client.facet_v2 import base_subset_dataset as subset

    if not paths:
        return None
    condition = subset.LocationSubsetCondition(locations=list(paths))
    facet = subset.InputSubsetInputDatasetFacet(inputCondition=condition, producer=producer())
    return {"subset": facet}


def output_dataset(output: Output, secrets: Sequence[str]) -> Any:
    """Return one output; credentials in its message are hidden."""
    from openlineage.client.event_v2 import OutputDataset
    from openlineage.client.facet_v2 import output_statistics_output_dataset

    item = Input.of_ref(output.ref)
    facets = _version_facets(item.version)
    facets[PACKAGE_FACET] = _package_facet_class()(
        uri=output.ref.uri,
        changed=output.changed,
        parentTopHash=output.parent,
        message=None
        if output.message is None
        else clean(output.message, _MESSAGE_MAX_CHARS, secrets),
        producer=producer(),
    )
    if output.changed:
        facets["lifecycleStateChange"] = _lifecycle_facet(is_new=output.parent is None)
    if output.columns:
        facets["schema"] = _schema_facet(output.columns)
    if output.column_lineage:
        facets["columnLineage"] = _column_lineage_facet(output.column_lineage)
    statistics = output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(
        size=output.size_bytes, fileCount=output.files, producer=producer()
    )
    return OutputDataset(
        namespace=item.namespace,
        name=item.name,
        facets=facets,
        outputFacets={"outputStatistics": statistics},
    )


def plain_output_dataset(item: Input, files: int | None, size_bytes: int | None) -> Any:
    """Return a revision as an output, with no more than its version and its size."""
    from openlineage.client.event_v2 import OutputDataset
    from openlineage.client.facet_v2 import output_statistics_output_dataset

    statistics = output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(
        size=size_bytes, fileCount=files, producer=producer()
    )
    return OutputDataset(
        namespace=item.namespace,
        name=item.name,
        facets=_version_facets(item.version),
        outputFacets={"outputStatistics": statistics},
    )


def _lifecycle_facet(*, is_new: bool) -> Any:
    from openlineage.client.facet_v2 import lifecycle_state_change_dataset as lifecycle

    change = lifecycle.LifecycleStateChange.CREATE
    if not is_new:
        change = lifecycle.LifecycleStateChange.OVERWRITE
    return lifecycle.LifecycleStateChangeDatasetFacet(
        lifecycleStateChange=change, producer=producer()
    )


def _schema_facet(columns: Sequence[Column]) -> Any:
    from openlineage.client.facet_v2 import schema_dataset

    return schema_dataset.SchemaDatasetFacet(fields=_fields(columns), producer=producer())


def _fields(columns: Sequence[Column]) -> list[Any] | None:
    from openlineage.client.facet_v2 import schema_dataset

    fields = [
        schema_dataset.SchemaDatasetFacetFields(
            name=clean(column.name, _COLUMN_MAX_CHARS),
            type=column.type,
            fields=_fields(column.columns),
        )
        for column in columns
    ]
    return fields or None


def _column_lineage_facet(lineage: ColumnLineage) -> Any:
    from openlineage.client.facet_v2 import column_lineage_dataset as column_lineage

    fields = {
        column: column_lineage.Fields(
            inputFields=[
                column_lineage.InputField(
                    namespace=source.namespace, name=source.name, field=source.column
                )
                for source in sources
            ]
        )
        for column, sources in lineage
    }
    return column_lineage.ColumnLineageDatasetFacet(fields=fields, producer=producer())


@cache
def _package_facet_class() -> Any:
    """Return our facet's class; inside a function because its base is slow to import."""
    import attr
    from openlineage.client.facet_v2 import DatasetFacet

    @attr.define
    class T4PackageDatasetFacet(DatasetFacet):
        """What our readers want to know of a published revision."""

        uri: str
        changed: bool
        parentTopHash: str | None = None  # OpenLineage's facets are in camelCase
        message: str | None = None

        @staticmethod
        def _get_schema() -> str:
            return f"{PACKAGE_SCHEMA}#/$defs/T4PackageDatasetFacet"

    return T4PackageDatasetFacet
