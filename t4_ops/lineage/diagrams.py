"""A graph as a Mermaid flowchart, for Markdown pages and issue trackers."""

from __future__ import annotations

from typing import Final

from t4_ops.lineage.graphs import Graph, GraphDataset, GraphRun
from t4_ops.lineage.render import label, printable

# What would end or begin something in Mermaid's labels or in the HTML it makes of them. Source:
# Mermaid's flowchart syntax, "entity codes to escape characters".
_CODES: Final = {ord(char): f"#{ord(char)};" for char in "\"'`#&;<>[](){}|\\@%~$"}
_STYLES: Final = (
    "classDef dataset fill:#e8f0fe,stroke:#3367d6,color:#10264f",
    "classDef source fill:#e6f4ea,stroke:#2e7d46,color:#0d3018",
    "classDef run fill:#f4f4f6,stroke:#8a8f98,color:#22252a",
    "classDef failed fill:#fce8e6,stroke:#c5221f,color:#5c0f0d",
    "classDef root stroke-width:3px",
)


def mermaid(graph: Graph) -> str:
    """Return a graph as a Mermaid flowchart, left to right.

    Names are other people's, so every character that has a meaning to Mermaid or HTML is encoded.
    Mermaid itself refuses charts of more than 500 edges or 50,000 characters unless it is
    configured otherwise (its `maxEdges` and `maxTextSize`).
    """
    lines = ["flowchart LR"]
    lines += [f"  {_dataset(dataset)}" for dataset in graph.datasets]
    lines += [f"  {_run(run)}" for run in graph.runs]
    lines += [f"  {source} --> {target}" for source, target in graph.edges]
    lines += [f"  {style}" for style in _STYLES]
    lines.append(f"  class {graph.root.id} root")
    return "\n".join(lines) + "\n"


def _dataset(dataset: GraphDataset) -> str:
    kind = "source" if dataset.item.ref is None else "dataset"
    return f'{dataset.id}["{_escaped(label(dataset.item))}"]:::{kind}'


def _run(run: GraphRun) -> str:
    event = run.event
    text = f"{event.run.engine or event.run.job_namespace}: {event.run.job_name}"
    kind = "run" if event.state == "COMPLETE" else "failed"
    # `<br/>` is Mermaid's own line break; names can't hold one after the escaping.
    return f'{run.id}(["{_escaped(text)}<br/>{_escaped(event.event_time)}"]):::{kind}'


def _escaped(text: str) -> str:
    return printable(text).translate(_CODES)
