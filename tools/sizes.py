"""Hold the sizes that CONTRIBUTING.md promises: files, functions, classes, packages.

``python -m tools.sizes`` prints every violation and exits 1 when there is one.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from statistics import median

FILE_LINES = 600
DEVICE_FILE_LINES = 250
FUNCTION_LINES = 60
FUNCTION_LINES_P90 = 30
FUNCTION_LINES_MEDIAN = 10
CLASS_LINES = 300
PUBLIC_METHODS = 15
PACKAGE_FILES = 12

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef


def tracked_files() -> list[Path]:
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.py", "*.go"],
        check=True, capture_output=True, text=True,
    ).stdout.split()  # fmt: skip
    return [path for path in map(Path, listing) if path.is_file()]


def span(node: ast.stmt) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def class_violations(path: Path, node: ast.ClassDef) -> Iterator[str]:
    public = [n for n in node.body if isinstance(n, FunctionNode) and not n.name.startswith("_")]
    if span(node) > CLASS_LINES:
        yield f"{path}:{node.lineno}: class {node.name} has {span(node)} lines, at most {CLASS_LINES}"
    if len(public) > PUBLIC_METHODS and path.parts[0] == "src":
        yield f"{path}:{node.lineno}: class {node.name} has {len(public)} public methods, at most {PUBLIC_METHODS}"


def file_violations(path: Path, lengths: list[int]) -> Iterator[str]:
    text = path.read_text(encoding="utf-8")
    limit = DEVICE_FILE_LINES if path.parts[0] == "device" else FILE_LINES
    lines = text.count("\n")
    if lines > limit:
        yield f"{path}: {lines} lines, at most {limit}"
    if path.suffix != ".py":
        return
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, FunctionNode):
            if path.parts[0] == "src":
                lengths.append(span(node))
            if span(node) > FUNCTION_LINES:
                yield f"{path}:{node.lineno}: {node.name} has {span(node)} lines, at most {FUNCTION_LINES}"
        elif isinstance(node, ast.ClassDef):
            yield from class_violations(path, node)


def package_violations(paths: list[Path]) -> Iterator[str]:
    """Modules of each package under src/, `__init__` apart."""
    counts = Counter(path.parent for path in paths if path.parts[0] == "src" and path.stem != "__init__")
    for folder, count in sorted(counts.items()):
        if count > PACKAGE_FILES:
            yield f"{folder}: {count} files, at most {PACKAGE_FILES}: part it into packages"


def distribution_violations(lengths: list[int]) -> Iterator[str]:
    if not lengths:
        return
    p90 = sorted(lengths)[int(len(lengths) * 0.9)]
    if median(lengths) > FUNCTION_LINES_MEDIAN:
        yield f"median function has {median(lengths)} lines, at most {FUNCTION_LINES_MEDIAN}"
    if p90 > FUNCTION_LINES_P90:
        yield f"the 90th percentile of functions has {p90} lines, at most {FUNCTION_LINES_P90}"


def main() -> int:
    lengths: list[int] = []
    paths = tracked_files()
    problems = [problem for path in paths for problem in file_violations(path, lengths)]
    problems += package_violations(paths)
    problems += distribution_violations(lengths)
    for problem in problems:
        print(problem)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
