"""What an event says, read from its JSON: ours, and those of other OpenLineage writers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from t4_ops.errors import FormatError, InvalidInputError
from t4_ops.ledger.code import CodeLocation
from t4_ops.ledger.columns import Column, ColumnLineage, ColumnSource
from t4_ops.ledger.datasets import Input, Output
from t4_ops.ledger.producing import CODE_FACET, PACKAGE_FACET, RUN_FACET
from t4_ops.ledger.runs import JobRun, RunInfo

# Other writers may nest columns as deep as they like; nobody reads further.
_COLUMN_MAX_DEPTH: Final = 16
# JSON numbers have no bound; what does not fit a signed 64-bit number is no count or size.
_COUNT_LIMIT: Final = 2**63


@dataclass(frozen=True)
class Event:
    """A recorded event.

    Attributes:
        event_id: Its derived id.
        state: OpenLineage event type: `COMPLETE`, `FAIL`.
        event_time: When, ISO 8601.
        run: The run.
        inputs: What it read.
        outputs: The revisions it published.
        error: Why it failed.
        omitted_inputs: How many inputs more there were than the event names.
    """

    event_id: str
    state: str
    event_time: str
    run: RunInfo
    inputs: tuple[Input, ...]
    outputs: tuple[Output, ...]
    error: str | None = None
    omitted_inputs: int = 0

    @classmethod
    def parse(cls, data: bytes, key: str) -> Event:
        """Read an OpenLineage run event.

        Facets that are unknown are passed over and those that are missing leave their field empty.

        Args:
            data: The JSON text.
            key: Where it was read from: its last component is the event's id.

        Raises:
            FormatError: It is no run event.
        """
        try:
            document = json.loads(data)
            return cls._of(document, key.rpartition("/")[2].removesuffix(".json"))
        except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as exc:
            reason = f"{type(exc).__name__}: {exc}"[:200]
            raise FormatError(
                f"{key} is no OpenLineage run event ({reason}): restore it from a backup, or delete"
                " it and run its step again",
                key=key,
            ) from exc

    @classmethod
    def _of(cls, document: Any, event_id: str) -> Event:
        facets = _table(document["run"].get("facets"))
        outputs = (_output(item) for item in document.get("outputs") or ())
        return cls(
            event_id=event_id,
            state=str(document.get("eventType") or "OTHER"),
            event_time=str(document["eventTime"]),
            run=_run(document, facets),
            inputs=tuple(_input(item) for item in document.get("inputs") or ()),
            outputs=tuple(output for output in outputs if output is not None),
            error=_text(_table(facets.get("errorMessage")).get("message")),
            omitted_inputs=_count(_table(facets.get(RUN_FACET)).get("omittedInputs")) or 0,
        )


def _table(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _rows(value: Any) -> list[Mapping[str, Any]]:
    return [_table(row) for row in value] if isinstance(value, list) else []


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _count(value: Any) -> int | None:
    # JSON's true is an int to Python.
    is_count = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _COUNT_LIMIT
    return value if is_count else None


def _run(document: Mapping[str, Any], facets: Mapping[str, Any]) -> RunInfo:
    engine = _table(facets.get("processing_engine"))
    parent = _table(facets.get("parent"))
    job = document["job"]
    above = _job_run(parent)
    run = RunInfo(
        run_id=document["run"]["runId"],
        job_namespace=job["namespace"],
        job_name=job["name"],
        parent=above,
        root=_job_run(_table(parent.get("root"))) if above else None,
        attempt=_count(_table(facets.get(RUN_FACET)).get("attempt")) or 1,
        engine=_text(engine.get("name")),
        engine_version=_text(engine.get("version")),
        code=_code(_table(job.get("facets"))),
        deployment=_text(_table(facets.get(RUN_FACET)).get("deployment")),
    )
    return _at(run, _text(_table(facets.get("nominalTime")).get("nominalStartTime")))


def _job_run(facet: Mapping[str, Any]) -> JobRun | None:
    """Return the run that a facet names; one that we would not write ourselves is passed over."""
    run, job = _table(facet.get("run")), _table(facet.get("job"))
    try:
        return JobRun(run_id=run["runId"], job_namespace=job["namespace"], job_name=job["name"])
    except (KeyError, InvalidInputError):
        return None


def _at(run: RunInfo, nominal_time: str | None) -> RunInfo:
    """Return a run with the time it is for; a time that we would not write is passed over."""
    try:
        return replace(run, nominal_time=nominal_time)
    except InvalidInputError:
        return run


def _code(facets: Mapping[str, Any]) -> CodeLocation | None:
    ours, location = _table(facets.get(CODE_FACET)), _table(facets.get("sourceCodeLocation"))
    path = _text(ours.get("path")) or _text(location.get("path")) or _text(location.get("url"))
    if path is None:
        return None
    return CodeLocation(
        path=path,
        function=_text(ours.get("function")),
        sha256=_text(ours.get("sha256")),
        repository=_text(location.get("repoUrl")),
        commit=_text(ours.get("commit")) or _text(location.get("version")),
        branch=_text(location.get("branch")),
    )


def _input(item: Any) -> Input:
    version = _table(_table(item.get("facets")).get("version")).get("datasetVersion")
    found = Input.from_dict(
        {"namespace": item["namespace"], "name": item["name"], "version": version}
    )
    subset = _table(_table(item.get("inputFacets")).get("subset"))
    locations = _table(subset.get("inputCondition")).get("locations")
    paths = tuple(filter(None, map(_text, locations))) if isinstance(locations, list) else ()
    return replace(found, paths=paths)


def _output(item: Any) -> Output | None:
    """Return an output, or None for a dataset that is no package: other writers may add some."""
    ref = _input(item).ref
    if ref is None:
        return None
    facets = _table(item.get("facets"))
    package = _table(facets.get(PACKAGE_FACET))
    statistics = _table(_table(item.get("outputFacets")).get("outputStatistics"))
    return Output(
        ref,
        files=_count(statistics.get("fileCount")),
        size_bytes=_count(statistics.get("size")),
        changed=package.get("changed") is not False,
        message=_text(package.get("message")),
        parent=_text(package.get("parentTopHash")),
        columns=tuple(_columns(_table(facets.get("schema")).get("fields"))),
        column_lineage=_column_lineage(_table(_table(facets.get("columnLineage")).get("fields"))),
    )


def _columns(fields: Any, depth: int = 0) -> Iterator[Column]:
    if depth == _COLUMN_MAX_DEPTH:
        return
    for field in _rows(fields):
        name = _text(field.get("name"))
        if name is not None:
            inner = tuple(_columns(field.get("fields"), depth + 1))
            yield Column(name, _text(field.get("type")), inner)


def _column_lineage(fields: Mapping[str, Any]) -> ColumnLineage:
    return tuple(
        (column, tuple(_column_sources(_table(of).get("inputFields"))))
        for column, of in fields.items()
    )


def _column_sources(fields: Any) -> Iterator[ColumnSource]:
    for field in _rows(fields):
        namespace, name = _text(field.get("namespace")), _text(field.get("name"))
        try:
            if namespace is not None and name is not None:
                yield ColumnSource(namespace, name, field.get("field", ""))
        except InvalidInputError:
            # A name that we would not write ourselves is passed over like an unknown facet.
            continue
