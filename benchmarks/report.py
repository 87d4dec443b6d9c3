"""What every benchmark prints: a table for people, or one JSON object with every figure and its unit."""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
from collections.abc import Sequence

import msgspec
from rich.console import Console
from rich.table import Table


class Figure(msgspec.Struct, frozen=True, omit_defaults=True):
    """One measured number. `target` is what it should be, in words (``<= 6``); empty without a target."""

    name: str
    value: float
    unit: str
    target: str = ""


class Report(msgspec.Struct, frozen=True):
    """All figures of one run and the machine they hold for."""

    benchmark: str
    machine: str
    figures: list[Figure]


def machine() -> str:
    """The processor, its cores and the interpreter, in one line."""
    model = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            model = next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    cores = len(os.sched_getaffinity(0))
    return f"{model}, {cores} cores, Python {platform.python_version()}, {platform.system()} {platform.release()}"


def parser(description: str | None) -> argparse.ArgumentParser:
    """A parser with the option that all benchmarks have."""
    made = argparse.ArgumentParser(description=(description or "").split("\n", 1)[0])
    made.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    return made


def emit(benchmark: str, figures: Sequence[Figure], *, as_json: bool) -> None:
    """Print the report."""
    report = Report(benchmark, machine(), list(figures))
    if as_json:
        sys.stdout.write(msgspec.json.encode(report).decode() + "\n")
        return
    table = Table(
        "FIGURE", "VALUE", "UNIT", "TARGET", box=None, pad_edge=False, title=f"{benchmark} on {report.machine}"
    )
    for figure in figures:
        table.add_row(
            figure.name,
            f"{figure.value:,.4g}" if abs(figure.value) < 1000 else f"{figure.value:,.0f}",
            figure.unit,
            figure.target,
        )
    Console(width=140).print(table)


def median_and_p99(name: str, values: Sequence[float], unit: str) -> list[Figure]:
    """The median and the 99th percentile (nearest rank) of at least one value."""
    ordered = sorted(values)
    rank = min(len(ordered) - 1, round(0.99 * (len(ordered) - 1)))
    return [
        Figure(f"{name}, median of {len(ordered)}", statistics.median(ordered), unit),
        Figure(f"{name}, p99 of {len(ordered)}", ordered[rank], unit),
    ]
