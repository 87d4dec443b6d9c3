"""Split random models in random ways and report every split that is not exact.

``python -m tools.fuzz_split --count 5000`` splits so many models, each in three ways, and takes about six minutes
on two free cores. A split must keep its contract, give the bytes of TFLite Micro, and give them again inside its
planned arenas. Models and stages follow from the seed alone. A model whose split fails is written to build/fuzz/
and ends the run with exit status 1.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tflite_micro import runtime

from fita.tinyml.execute import run_graph
from fita.tinyml.generate import ModelSize, random_inputs, random_model
from fita.tinyml.graph import Graph
from fita.tinyml.reader import read_model
from fita.tinyml.segment import SplitModel
from fita.tinyml.split.arena.run import run_in_arena
from fita.tinyml.split.check import check_split
from fita.tinyml.split.draw import random_stages
from fita.tinyml.split.execute import run_segments, run_split
from fita.tinyml.split.memory import segment_memory
from fita.tinyml.split.partition import partition
from fita.tinyml.split.stage import Stage
from fita.tinyml.tensor import Array

CHUNK = 50
PLANS = 3
ARENA_BYTES = 1 << 21
FINDINGS = Path("build/fuzz")


@dataclass(slots=True)
class Tally:
    """What a chunk of models, or all of them, came to."""

    stages: Counter[str] = field(default_factory=Counter)
    splits: int = 0
    segments: int = 0
    optimal: int = 0
    findings: list[str] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        self.stages += other.stages
        self.splits += other.splits
        self.segments += other.segments
        self.optimal += other.optimal
        self.findings += other.findings


def run_chunk(seed: int, first: int, count: int) -> Tally:
    tally = Tally()
    for number in range(first, first + count):
        random = np.random.default_rng((seed, number))
        operators, side, channels = (int(random.integers(low, high)) for low, high in ((2, 14), (4, 18), (2, 14)))
        data = random_model(
            int(random.integers(2**32)), ModelSize(operators=operators, side=side, channels=channels)
        )
        stages: Sequence[Stage] = ()
        try:
            graph = read_model(data)
            inputs = random_inputs(graph, number)
            wanted = _reference_outputs(data, inputs, len(graph.outputs))
            _compare(run_graph(graph, inputs), wanted)
            for _ in range(PLANS):
                stages = random_stages(graph, random)
                _try(graph, stages, inputs, wanted, tally)
        except Exception:
            tally.findings.append(_keep(data, f"split-{seed}-{number}", stages))
    return tally


def _try(
    graph: Graph, stages: Sequence[Stage], inputs: Sequence[Array], wanted: Sequence[Array], tally: Tally
) -> None:
    split = partition(graph, stages)
    check_split(split)
    _compare(run_split(split, inputs), wanted)
    tally.splits += 1
    tally.stages.update(f"{stage.kind} x{len(stage.shares)}" for stage in stages)
    _run_in_arenas(split, inputs, tally)


def _run_in_arenas(split: SplitModel, inputs: Sequence[Array], tally: Tally) -> None:
    held = run_segments(split, inputs)
    for segment in split.segments:
        plan = segment_memory(segment)
        outputs = run_in_arena(segment, plan, held[segment.index])
        _compare(tuple(outputs.values()), tuple(held[segment.index][tensor] for tensor in outputs))
        tally.segments += 1
        tally.optimal += plan.optimal


def _compare(found: Sequence[Array], wanted: Sequence[Array]) -> None:
    for array, reference in zip(found, wanted, strict=True):
        if array.dtype != reference.dtype or not np.array_equal(array, reference):
            raise AssertionError(f"{np.count_nonzero(array != reference)} elements differ")


def _reference_outputs(data: bytes, inputs: Sequence[Array], count: int) -> list[Array]:
    interpreter = runtime.Interpreter.from_bytes(data, arena_size=ARENA_BYTES)
    for position, array in enumerate(inputs):
        interpreter.set_input(array, position)
    interpreter.invoke()
    return [interpreter.get_output(position) for position in range(count)]


def _keep(data: bytes, name: str, stages: Sequence[Stage]) -> str:
    FINDINGS.mkdir(parents=True, exist_ok=True)
    path = FINDINGS / f"{name}.tflite"
    path.write_bytes(data)
    path.with_suffix(".txt").write_text(f"{stages}\n{traceback.format_exc()}")
    return f"{path}: {traceback.format_exc(limit=0).splitlines()[-1]}"


def _start_worker() -> None:
    os.nice(10)
    warnings.simplefilter("error")


def run(count: int, seed: int, jobs: int) -> Tally:
    """Spread the models over processes."""
    firsts = range(0, count, CHUNK)
    counts = [min(CHUNK, count - first) for first in firsts]
    total = Tally()
    with ProcessPoolExecutor(jobs, initializer=_start_worker) as pool:
        for done, tally in enumerate(pool.map(run_chunk, [seed] * len(counts), firsts, counts), start=1):
            total.add(tally)
            if done % 20 == 0 or done == len(counts):
                print(
                    f"{total.splits} splits, {total.segments} segments, {len(total.findings)} findings", flush=True
                )
    return total


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--count", type=int, default=5_000, help="models, each split in three ways")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    started = time.monotonic()
    total = run(options.count, options.seed, options.jobs)
    print(f"stages: {dict(sorted(total.stages.items()))}")
    print(f"{total.optimal} of {total.segments} arenas proven smallest, {time.monotonic() - started:.0f} s")
    for finding in total.findings:
        print(finding)
    return 1 if total.findings else 0


if __name__ == "__main__":
    sys.exit(main())
