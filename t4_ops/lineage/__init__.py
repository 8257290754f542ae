"""Lineage: answered from the registries' own ledgers, without a server or a database."""

from t4_ops.lineage.graph import Direction, Node, Step, Subject, downstream, runs_of, upstream
from t4_ops.lineage.render import label, render, tree

__all__ = [
    "Direction",
    "Node",
    "Step",
    "Subject",
    "downstream",
    "label",
    "render",
    "runs_of",
    "tree",
    "upstream",
]
