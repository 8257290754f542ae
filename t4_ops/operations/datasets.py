"""A step's result in OpenLineage's words, for orchestrators that send events of their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from t4_ops.ledger import Input, input_dataset, parse_inputs, plain_output_dataset


def openlineage_datasets(
    result: Mapping[str, Any], *, publishes: bool
) -> tuple[list[Any], list[Any]]:
    """Return a step's inputs and outputs as the OpenLineage client's datasets.

    They are those of the registry's own events, under the same names and versions; no storage is
    asked.

    Args:
        result: What the step returned.
        publishes: Whether the revision it names was published by the step, else it was read.

    Raises:
        InvalidInputError: It is no step's result.
    """
    if "old" in result and "new" in result:
        read = [uri for uri in (result["old"], result["new"]) if uri]
        return [input_dataset(item) for item in parse_inputs(read)], []
    item = Input.from_dict(result)
    if not publishes:
        return [input_dataset(item)], []
    inputs = [input_dataset(source) for source in parse_inputs(result.get("inputs") or None)]
    return inputs, [plain_output_dataset(item, result.get("files"), result.get("size_bytes"))]
