"""What the demo says of a step."""

from __future__ import annotations

from t4_ops.operations import StepResult


def result_note(result: StepResult | None) -> str:
    """Return a few words on a step's result."""
    if result is None:
        return ""
    return f"{result['name']}: {result['files']} files, {result['size_bytes']} bytes"
