"""A graph as one HTML page that needs nothing else: no server, no network, no library.

Names in a graph are other people's. They enter the page as JSON that can't end its element, the
script shows them as text only, and a content security policy lets nothing run but that script.
"""

from __future__ import annotations

import hashlib
import html
import json
import re
from base64 import b64encode
from collections.abc import Iterable
from importlib.resources import files
from typing import Any, Final

from t4_ops.errors import InvalidInputError
from t4_ops.ledger import CodeLocation, Input, Output
from t4_ops.lineage.graphs import Graph, GraphDataset, GraphRun
from t4_ops.lineage.layering import layered
from t4_ops.lineage.placing import Point, placed
from t4_ops.lineage.render import counted, label, printable, short

MAX_PAGE_NODES: Final = 3000
"""Most datasets and runs on a page: more take seconds to lay out, and are no picture any more."""
# Pixels at scale 1: two lines of text; a run is smaller, for revisions are what one looks for.
_DATASET_SIZE: Final = (204.0, 46.0)
_RUN_SIZE: Final = (186.0, 40.0)
# Of one fact, or name: what one reads of a box, in a page that may have thousands of them.
_FACT_MAX_CHARS: Final = 2000
_UNITS: Final = ("bytes", "KB", "MB", "GB", "TB", "PB")
_PLACEHOLDER: Final = re.compile(r"@@([A-Z]+)@@")


def html_page(graph: Graph) -> str:
    """Return a page that shows a graph: pan, zoom, search, click for the facts.

    Raises:
        InvalidInputError: The graph has more than `MAX_PAGE_NODES` datasets and runs, or so many
            edges between distant ones that nobody could follow them.
    """
    style, script = _resource("page.css"), _resource("page.js")
    parts = {
        "TITLE": html.escape(f"Lineage of {label(graph.root.item)}"),
        "POLICY": html.escape(_policy(style, script)),
        "STYLE": style,
        "SCRIPT": script,
        "DATA": _embedded(page_data(graph)),
    }
    # One pass, so that nothing in the data is taken for a placeholder.
    return _PLACEHOLDER.sub(lambda match: parts[match[1]], _resource("page.html"))


def page_data(graph: Graph) -> dict[str, Any]:
    """Return what the page draws: nodes with places and facts, edges with the points they pass.

    Raises:
        InvalidInputError: As for `html_page`.
    """
    count = len(graph.datasets) + len(graph.runs)
    if count > MAX_PAGE_NODES:
        raise InvalidInputError(
            f"the graph has {count} datasets and runs, a page holds {MAX_PAGE_NODES}: limit its"
            " depth, or write JSON"
        )
    sizes = {dataset.id: _DATASET_SIZE for dataset in graph.datasets}
    sizes.update((run.id, _RUN_SIZE) for run in graph.runs)
    drawing = placed(layered(graph.root.id, list(sizes), graph.edges), sizes)
    nodes = [_dataset(dataset) for dataset in graph.datasets] + [_run(run) for run in graph.runs]
    for node in nodes:
        x, y = drawing.centres[node["id"]]
        width, height = sizes[node["id"]]
        node.update(x=round(x - width / 2, 1), y=round(y - height / 2, 1), w=width, h=height)
    return {
        "root": graph.root.id,
        "width": round(drawing.width, 1),
        "height": round(drawing.height, 1),
        "nodes": nodes,
        "edges": [
            {"from": source, "to": target, "points": [_rounded(point) for point in route]}
            for (source, target), route in zip(graph.edges, drawing.routes, strict=True)
        ],
        "unread": [printable(f"{what}: {why}") for what, why in graph.unread.items()],
    }


def _rounded(point: Point) -> list[float]:
    return [round(point[0], 1), round(point[1], 1)]


def _dataset(dataset: GraphDataset) -> dict[str, Any]:
    item, output, ref = dataset.item, dataset.output, dataset.item.ref
    title = item.package or item.name
    place = item.registry or item.namespace
    subtitle = " \u00b7 ".join(part for part in (short(item.version), place) if part)
    facts = [
        ("Package" if ref else "Source", item.package or item.name),
        ("Registry" if ref else "Namespace", place),
        ("Top hash" if ref else "Version", item.version),
        ("URI", ref.uri if ref else None),
        ("Files", _count(output.files) if output else None),
        ("Size", _size(output.size_bytes) if output else None),
        ("Message", output.message if output else None),
        ("Before it", output.parent if output else None),
        ("Columns", _columns(output) if output else None),
        ("Column lineage", _column_lineage(output) if output else None),
        ("Distance", _distance(dataset)),
    ]
    kind = "dataset" if ref else "source"
    return _node(dataset.id, kind, title, _last(title, "/"), subtitle, facts)


def _columns(output: Output) -> str:
    return _joined(
        ", ",
        (
            f"{column.name} ({column.type})" if column.type else column.name
            for column in output.columns
        ),
    )


def _column_lineage(output: Output) -> str:
    return _joined(
        "; ",
        (
            f"{column} <- {_joined(', ', (f'{one.name}.{one.column}' for one in sources))}"
            for column, sources in output.column_lineage
        ),
    )


def _code(code: CodeLocation) -> str:
    """Return where a run's code is, in one line: what ran, at which commit, with which bytes."""
    parts = [f"{code.path}: {code.function}" if code.function else code.path]
    parts += [code.repository or "", code.branch or "", code.commit or ""]
    parts.append(f"SHA-256 {code.sha256}" if code.sha256 else "")
    return ", ".join(part for part in parts if part)


def _parts(inputs: Iterable[Input]) -> str:
    parts = (f"{item.name}: {_joined(', ', item.paths)}" for item in inputs if item.paths)
    return _joined("; ", parts)


def _joined(separator: str, parts: Iterable[str]) -> str:
    """Return parts one after the other, as many as a fact takes, and how many more there are."""
    told: list[str] = []
    room, more = _FACT_MAX_CHARS, 0
    for part in parts:
        room -= len(part) + len(separator)
        if told and room < 0:
            more += 1
        else:
            told.append(_cut(part))
    return separator.join([*told, f"and {more:,} more"] if more else told)


def _cut(text: str) -> str:
    """Return a text that a fact takes, and how many characters more there are."""
    more = len(text) - _FACT_MAX_CHARS
    return text if more <= 0 else f"{text[:_FACT_MAX_CHARS]} ... and {more:,} more characters"


def _distance(dataset: GraphDataset) -> str | None:
    """Return how many runs lie between a dataset and the root; in a circle, both ways."""
    sides = (("upstream", dataset.upstream), ("downstream", dataset.downstream))
    return ", ".join(f"{counted(runs, 'run')} {side}" for side, runs in sides if runs) or None


def _last(name: str, separator: str) -> str:
    """Return the part of a name that tells it from its neighbours, for a box that is small."""
    return name.rstrip(separator).rpartition(separator)[2] or name


def _run(run: GraphRun) -> dict[str, Any]:
    event, info = run.event, run.event.run
    engine = " ".join(part for part in (info.engine, info.engine_version) if part)
    parent, root = info.parent, info.root
    facts = [
        ("Job", info.job_name),
        ("Namespace", info.job_namespace),
        ("Run id", info.run_id),
        ("Engine", engine),
        ("State", event.state),
        ("Time", event.event_time),
        ("Nominal time", info.nominal_time),
        ("Deployment", info.deployment),
        ("Attempt", _count(info.attempt)),
        ("Part of", f"{parent.job_name} ({parent.run_id})" if parent else None),
        ("Root", f"{root.job_name} ({root.run_id})" if root and root != parent else None),
        ("Code", _code(info.code) if info.code else None),
        ("Read", counted(len(event.inputs) + event.omitted_inputs, "dataset")),
        ("Only parts of", _parts(event.inputs)),
        ("Published", counted(len(event.outputs), "revision")),
        ("Error", event.error),
    ]
    when = event.event_time[:16].replace("T", " ")
    subtitle = " \u00b7 ".join(part for part in (info.engine or info.job_namespace, when) if part)
    kind = "run" if event.state == "COMPLETE" else "failed"
    # Airflow's jobs are called `dag.task`, the others `flow/task` or like a script.
    brief = _last(info.job_name, "." if info.engine == "airflow" else "/")
    return _node(run.id, kind, info.job_name, brief, subtitle, facts)


def _node(
    node_id: str,
    kind: str,
    title: str,
    brief: str,
    subtitle: str,
    facts: list[tuple[str, str | None]],
) -> dict[str, Any]:
    known = [[name, _lines(_cut(value))] for name, value in facts if value]
    return {
        "id": node_id,
        "kind": kind,
        "title": printable(_cut(title)),
        "brief": printable(_cut(brief)),
        "subtitle": printable(_cut(subtitle)),
        "facts": known,
    }


def _lines(text: str) -> str:
    """Return text of several lines with nothing in it that would change how the rest is shown."""
    return "\n".join(printable(line) for line in text.splitlines())


def _count(number: int | None) -> str | None:
    return None if number is None else f"{number:,}"


def _size(size_bytes: int | None) -> str | None:
    """Return a size in bytes, and rounded to a unit of powers of 1000 where that is shorter."""
    if size_bytes is None:
        return None
    exact = counted(size_bytes, "byte")
    if size_bytes < 1000:
        return exact
    power = min((len(str(size_bytes)) - 1) // 3, len(_UNITS) - 1)
    return f"{size_bytes / 1000**power:.3g} {_UNITS[power]} ({exact})"


def _embedded(value: dict[str, Any]) -> str:
    """Return JSON that can stand inside a script element: no text in it ends or opens one."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _policy(style: str, script: str) -> str:
    """Return the page's content security policy: this style, this script, nothing else."""
    return (
        f"default-src 'none'; style-src '{_source(style)}'; script-src '{_source(script)}';"
        " base-uri 'none'; form-action 'none'"
    )


def _source(text: str) -> str:
    return "sha256-" + b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _resource(name: str) -> str:
    return files("t4_ops.lineage").joinpath(name).read_text(encoding="utf-8")
