"""Random stages over a graph, for tests, fuzzing and benchmarks: every kind, cut anywhere, in uneven shares."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from fita.tinyml.graph import Graph
from fita.tinyml.operator import Conv2D, FullyConnected
from fita.tinyml.split.stage import Share, Stage, StageKind, share_length

_SHARES_MAX = 4


def random_stages(graph: Graph, random: np.random.Generator) -> tuple[Stage, ...]:
    """Stages that `check_stages` takes."""
    end = len(graph.operators)
    share = random.uniform(0.0, 1.0)
    cuts = [0, *(cut for cut in range(1, end) if random.random() < share), end]
    stages: list[Stage] = []
    for first, last in pairwise(cuts):
        stages.append(random_stage(graph, random, first, last))
        if stages[-1].kind is StageKind.INPUT_CHANNELS and (last == end or random.random() < 0.3):
            stages.append(random_stage(graph, random, last, last))
    return tuple(stages)


def random_stage(graph: Graph, random: np.random.Generator, first: int, last: int) -> Stage:
    """A stage over these operators, of a kind that they allow."""
    kinds = [StageKind.WHOLE, StageKind.ROWS, StageKind.OUTPUT_CHANNELS]
    if first < last and isinstance(graph.operators[last - 1], Conv2D | FullyConnected):
        kinds += [StageKind.INPUT_CHANNELS] * 3
    kind = kinds[int(random.integers(len(kinds)))]
    length = share_length(graph, Stage(first=first, last=last, kind=kind))
    count = int(random.integers(1, min(length, _SHARES_MAX) + 1))
    inner = random.permutation(np.arange(1, length))[: count - 1]
    edges = [0, *sorted(int(edge) for edge in inner), length]
    shares = tuple(Share(start=a, stop=b) for a, b in pairwise(edges))
    return Stage(first=first, last=last, kind=kind, shares=shares)
