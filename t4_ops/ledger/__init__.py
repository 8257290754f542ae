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

from t4_ops.ledger.datasets import MAX_INPUTS, Input, InputLike, Output, parse_inputs
from t4_ops.ledger.events import State
from t4_ops.ledger.layout import Role
from t4_ops.ledger.reading import Event, events_for, merge_runs, read_event
from t4_ops.ledger.runs import JobRun, RunInfo, current_run, use_run
from t4_ops.ledger.writing import RecordedEvent, StoreOpener, record

__all__ = [
    "MAX_INPUTS",
    "Event",
    "Input",
    "InputLike",
    "JobRun",
    "Output",
    "RecordedEvent",
    "Role",
    "RunInfo",
    "State",
    "StoreOpener",
    "current_run",
    "events_for",
    "merge_runs",
    "parse_inputs",
    "read_event",
    "record",
    "use_run",
]
