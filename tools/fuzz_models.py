"""Feed damaged .tflite files to the Reader and report every answer that is neither a graph nor a `ModelError`.

``python -m tools.fuzz_models --inputs 1000000`` takes about a quarter of an hour on two free cores. Inputs follow
from the seed alone. One that crashes, hangs or takes too much memory is written to build/fuzz/ and ends the run
with exit status 1.
"""

from __future__ import annotations

import argparse
import os
import resource
import signal
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fita.tinyml.decode import flatbuffer
from fita.tinyml.draw.damage import damaged
from fita.tinyml.errors import ModelError
from fita.tinyml.generate import ModelSize, random_file_model
from fita.tinyml.reader import read_model

CHUNK = 5_000
CORPUS = 150
DEADLINE_S = 10
MEMORY_MAX_BYTES = 1 << 30
"""Of address space beyond what a worker has when it starts."""
FINDINGS = Path("build/fuzz")


@dataclass(slots=True)
class Tally:
    """What a chunk of inputs, or all of them, came to."""

    answers: Counter[str] = field(default_factory=Counter)
    slowest_s: float = 0.0
    rss_max_bytes: int = 0
    findings: list[str] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        self.answers += other.answers
        self.slowest_s = max(self.slowest_s, other.slowest_s)
        self.rss_max_bytes = max(self.rss_max_bytes, other.rss_max_bytes)
        self.findings += other.findings


class DeadlineError(Exception):
    """An input took longer than DEADLINE_S."""


def _expire(_signal: int, _frame: object) -> None:
    raise DeadlineError


def inputs(seed: int, chunk: int, count: int) -> Iterator[bytes]:
    """The damaged files of one chunk."""
    random = np.random.default_rng((seed, chunk))
    records = [random_file_model(int(random.integers(2**32)), ModelSize(operators=4)) for _ in range(CORPUS)]
    models = [flatbuffer.write(record) for record in records]
    for _ in range(count):
        yield damaged(models, records, random)


def run_chunk(seed: int, chunk: int, count: int) -> Tally:
    tally = Tally()
    for number, data in enumerate(inputs(seed, chunk, count)):
        started = time.perf_counter()
        answer = _answer(data)
        tally.slowest_s = max(tally.slowest_s, time.perf_counter() - started)
        if answer in ("graph", "ModelFormatError", "UnsupportedModelError"):
            tally.answers[answer] += 1
        else:
            tally.answers["FINDING"] += 1
            tally.findings.append(_keep(data, f"{seed}-{chunk}-{number}", answer))
    tally.rss_max_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return tally


def _answer(data: bytes) -> str:
    signal.setitimer(signal.ITIMER_REAL, DEADLINE_S)
    try:
        read_model(data)
    except ModelError as error:
        return type(error).__name__
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return "graph"


def _keep(data: bytes, name: str, answer: str) -> str:
    FINDINGS.mkdir(parents=True, exist_ok=True)
    path = FINDINGS / f"{name}.tflite"
    path.write_bytes(data)
    return f"{path}: {answer}"


def _start_worker() -> None:
    os.nice(10)
    warnings.simplefilter("error")
    signal.signal(signal.SIGALRM, _expire)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MEMORY_MAX_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def run(count: int, seed: int, jobs: int) -> Tally:
    """Spread the inputs over processes; a worker that dies raises `BrokenProcessPool`."""
    chunks = [(number, min(CHUNK, count - number * CHUNK)) for number in range(-(-count // CHUNK))]
    total = Tally()
    with ProcessPoolExecutor(jobs, initializer=_start_worker) as pool:
        numbers, counts = zip(*chunks, strict=True)
        for done, tally in enumerate(pool.map(run_chunk, [seed] * len(chunks), numbers, counts), start=1):
            total.add(tally)
            if done % 20 == 0 or done == len(chunks):
                print(f"{sum(total.answers.values())} inputs: {dict(total.answers)}", flush=True)
    return total


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    started = time.monotonic()
    total = run(options.inputs, options.seed, options.jobs)
    print(
        f"slowest {total.slowest_s * 1000:.0f} ms, largest process {total.rss_max_bytes / 2**20:.0f} MiB,"
        f" {time.monotonic() - started:.0f} s"
    )
    for finding in total.findings:
        print(finding)
    return 1 if total.findings else 0


if __name__ == "__main__":
    sys.exit(main())
