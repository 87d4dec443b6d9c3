"""The device runtime's source with fewer and shorter names, because names cost a device memory for ever.

MicroPython keeps every identifier that it has seen. Three changes that alter no behaviour and no line number:

- constants (``NAME = const(1)``, ``NAME = "text"``) are written where they are used, in other files too, so that
  their names vanish; mpy-cross does that by itself with integers within one file, and knows `const` without its
  import
- private names become ``_a``, ``_b``, ... afresh in each file, so that all files share a few
- parameters become ``a``, ``b``, ... afresh in each function, but for those that are passed by name and those of
  the files that services call

Source: https://docs.micropython.org/en/latest/develop/qstr.html
"""

from __future__ import annotations

import ast
import io
import itertools
import re
import string
import tokenize
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field
from tokenize import TokenInfo

_CALLED_BY_SERVICES = ("service", "board", "log")
_IMPORT_OF_CONST = "from micropython import const\n"
_PRIVATE = re.compile(r"_[A-Za-z]\w*")

Constants = dict[str, dict[str, str]]
"""What stands for a constant, by file and name."""


@dataclass(slots=True)
class _Edits:
    """Replacements on single lines, by line number."""

    by_line: dict[int, list[tuple[int, int, str]]] = field(default_factory=dict)

    def replace(self, first: TokenInfo, last: TokenInfo, text: str) -> None:
        self.by_line.setdefault(first.start[0], []).append((first.start[1], last.end[1], text))

    def replace_at(self, line: int, column: int, old: str, new: str) -> None:
        self.by_line.setdefault(line, []).append((column, column + len(old), new))

    def apply(self, source: str) -> str:
        lines = source.split("\n")
        for number, edits in self.by_line.items():
            for start, end, text in sorted(edits, reverse=True):
                line = lines[number - 1]
                lines[number - 1] = line[:start] + text + line[end:]
        return "\n".join(lines)


def shrink(sources: Mapping[str, str]) -> dict[str, str]:
    """All files of the runtime, by name without ``.py``. They refer to each other by ``import`` only."""
    passed_by_name = {
        keyword.arg
        for source in sources.values()
        for call in ast.walk(ast.parse(source))
        if isinstance(call, ast.Call)
        for keyword in call.keywords
        if keyword.arg is not None
    }
    sources = {
        name: source if name in _CALLED_BY_SERVICES else _shorten_parameters(source, passed_by_name)
        for name, source in sources.items()
    }
    constants = {name: _constants(source) for name, source in sources.items()}
    return {name: _shrink_file(name, source, constants) for name, source in sources.items()}


def _constants(source: str) -> dict[str, str]:
    """The integers and texts that are defined at the top level, by upper-case names."""
    return {name: repr(value) for name, value, _ in _definitions(source)}


def _definitions(source: str) -> Iterator[tuple[str, int | str, range]]:
    """Name, value and lines of each constant."""
    for node in ast.parse(source).body:
        match node:
            case ast.Assign(
                targets=[ast.Name(id=name)],
                value=ast.Call(func=ast.Name(id="const"), args=[ast.Constant(value=int() as value)]),
            ) if name.isupper():
                yield name, value, range(node.lineno, (node.end_lineno or node.lineno) + 1)
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant(value=str() as value)) if (
                name.isupper()
            ):
                yield name, value, range(node.lineno, (node.end_lineno or node.lineno) + 1)
            case _:
                pass


def _shrink_file(name: str, source: str, constants: Constants) -> str:
    modules, imported = _imports(source, constants)
    known = imported | constants[name]
    edits = _Edits()
    short: dict[str, str] = {}
    names = _short_names()
    tokens = list(tokenize.generate_tokens(io.StringIO(source).readline))
    for index, token in enumerate(tokens):
        if token.type != tokenize.NAME:
            continue
        attribute = index > 0 and tokens[index - 1].string == "."
        text = token.string
        if text in modules and not attribute and tokens[index + 1].string == ".":
            member = tokens[index + 2]
            if member.string in constants[text]:
                edits.replace(token, member, constants[text][member.string])
        elif text in known and not attribute:
            if not _defines(token) and not _imports_names(token):
                edits.replace(token, token, known[text])
        elif _PRIVATE.fullmatch(text):
            if text not in short:
                short[text] = next(names)
            edits.replace(token, token, short[text])
    return _drop(edits.apply(source), known, [line for _, _, lines in _definitions(source) for line in lines])


def _defines(token: TokenInfo) -> bool:
    return token.start[1] == 0


def _shorten_parameters(source: str, kept: Set[str]) -> str:
    """`source` with short names for the parameters of its outermost functions and methods."""
    edits = _Edits()
    used = set(re.findall(r"\w+", source))
    names = [name for name in string.ascii_lowercase if name not in used]
    for function in _outermost_functions(ast.parse(source)):
        parameters = [argument.arg for argument in function.args.args if argument.arg not in kept | {"self"}]
        short = dict(zip(parameters, names, strict=False))
        for node in ast.walk(function):
            match node:
                case ast.arg(arg=name) | ast.Name(id=name) if name in short:
                    edits.replace_at(node.lineno, node.col_offset, name, short[name])
                case _:
                    pass
    return edits.apply(source)


def _outermost_functions(tree: ast.Module) -> Iterator[ast.FunctionDef]:
    for node in tree.body:
        for inner in node.body if isinstance(node, ast.ClassDef) else [node]:
            if isinstance(inner, ast.FunctionDef):
                yield inner


def _imports(source: str, constants: Constants) -> tuple[set[str], dict[str, str]]:
    """The files that `source` imports whole, and the constants that it imports by name."""
    modules: set[str] = set()
    imported: dict[str, str] = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.Import):
            modules.update(alias.name for alias in node.names if alias.name in constants)
        elif isinstance(node, ast.ImportFrom) and node.module in constants:
            found = constants[node.module]
            imported.update({alias.name: found[alias.name] for alias in node.names if alias.name in found})
    return modules, imported


def _imports_names(token: TokenInfo) -> bool:
    return token.line.startswith("from ")


def _drop(source: str, names: Mapping[str, str], definitions: Iterable[int]) -> str:
    """`source` without the lines `definitions`, and without `names` and `const` in ``from`` lines.

    All lines stay, perhaps empty.
    """

    def keep(match: re.Match[str]) -> str:
        kept = [name.strip() for name in match[2].split(",") if name.strip() not in names]
        return f"from {match[1]} import {', '.join(kept)}" if kept else ""

    lines = source.replace(_IMPORT_OF_CONST, "\n").split("\n")
    for number in definitions:
        lines[number - 1] = ""
    return re.sub(r"^from (\w+) import ([\w, ]+)$", keep, "\n".join(lines), flags=re.MULTILINE)


def _short_names() -> Iterator[str]:
    for length in itertools.count(1):
        for letters in itertools.product(string.ascii_lowercase, repeat=length):
            yield "_" + "".join(letters)
