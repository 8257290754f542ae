"""The ledger: which run made which revision from which, kept in the registry itself.

Layout, below the root of a registry:

```
.t4/v1/lineage/events/<event_id>.json                              an OpenLineage run event
.t4/v1/lineage/outputs/<dataset digest>/<version>/<event_id>       empty: that event published it
.t4/v1/lineage/inputs/<dataset digest>/<version>/<event_id>        empty: that event read it
```

The digest is the SHA-256 of the dataset's namespace, a newline and its name; the version is the top
hash, `unversioned`, or the SHA-256 of another version. Markers are written first and the event
last, each created once: a marker without its event says nothing.
"""

from t4_ops.ledger.code import CodeLocation, code_of, code_of_file
from t4_ops.ledger.column_lineage import ColumnLineageLike, parse_column_lineage
from t4_ops.ledger.columns import Column, ColumnLineage, ColumnSource
from t4_ops.ledger.current import current, enter, internal, leave, note_read
from t4_ops.ledger.dataset_facets import input_dataset, plain_output_dataset
from t4_ops.ledger.datasets import MAX_INPUTS, Input, InputLike, Output, parse_inputs
from t4_ops.ledger.events import State
from t4_ops.ledger.finding import Orchestrator, Outcome, Sender, outcome_of
from t4_ops.ledger.gathering import Gathered
from t4_ops.ledger.layout import Role
from t4_ops.ledger.parsing import Event
from t4_ops.ledger.publishing import close, note_fetched, note_published
from t4_ops.ledger.reading import event_ids_for, merge_runs, oldest_first, read_event
from t4_ops.ledger.repairing import GRACE_S, Repair, repair
from t4_ops.ledger.runs import JobRun, RunInfo
from t4_ops.ledger.writing import RecordedEvent, StoreOpener, record

__all__ = [
    "GRACE_S",
    "MAX_INPUTS",
    "CodeLocation",
    "Column",
    "ColumnLineage",
    "ColumnLineageLike",
    "ColumnSource",
    "Event",
    "Gathered",
    "Input",
    "InputLike",
    "JobRun",
    "Orchestrator",
    "Outcome",
    "Output",
    "RecordedEvent",
    "Repair",
    "Role",
    "RunInfo",
    "Sender",
    "State",
    "StoreOpener",
    "close",
    "code_of",
    "code_of_file",
    "current",
    "enter",
    "event_ids_for",
    "input_dataset",
    "internal",
    "leave",
    "merge_runs",
    "note_fetched",
    "note_published",
    "note_read",
    "oldest_first",
    "outcome_of",
    "parse_column_lineage",
    "parse_inputs",
    "plain_output_dataset",
    "read_event",
    "record",
    "repair",
]
