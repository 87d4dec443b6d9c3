"""From a graph and a chain of stages to segments and the transfers between them."""

from __future__ import annotations

from collections.abc import Sequence

from fita.tinyml.graph import Graph
from fita.tinyml.segment import SplitModel
from fita.tinyml.split.stage import Stage, check_stages


def partition(graph: Graph, stages: Sequence[Stage]) -> SplitModel:
    """The segments of all stages, one for each share, in order, and every transfer between them.

    `SplitError` when the stages are no split of this graph.
    """
    check_stages(graph, stages)
    raise NotImplementedError
