"""Lineage: answered from the registries' own ledgers, without a server or a database."""

from t4_ops.lineage.diagrams import mermaid
from t4_ops.lineage.freshness import Found, Impact, Staleness, impact, stale
from t4_ops.lineage.graphs import Graph, GraphDataset, GraphRun, graph
from t4_ops.lineage.heldfiles import origin_of_file
from t4_ops.lineage.origins import Holder, Origin, origin
from t4_ops.lineage.pages import html_page
from t4_ops.lineage.render import label, render, tree
from t4_ops.lineage.reports import render_impact, render_origin, render_stale
from t4_ops.lineage.running import Repair, Run, attach, repair, run
from t4_ops.lineage.standing import Standing, State
from t4_ops.lineage.walks import Direction, Node, Step, Subject, downstream, runs_of, upstream

__all__ = [
    "Direction",
    "Found",
    "Graph",
    "GraphDataset",
    "GraphRun",
    "Holder",
    "Impact",
    "Node",
    "Origin",
    "Repair",
    "Run",
    "Staleness",
    "Standing",
    "State",
    "Step",
    "Subject",
    "attach",
    "downstream",
    "graph",
    "html_page",
    "impact",
    "label",
    "mermaid",
    "origin",
    "origin_of_file",
    "render",
    "render_impact",
    "render_origin",
    "render_stale",
    "repair",
    "run",
    "runs_of",
    "stale",
    "tree",
    "upstream",
]
