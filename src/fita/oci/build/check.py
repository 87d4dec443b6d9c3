"""What can be seen in a service's code before it is on a device: errors that it would fail with there, and advice.

Names are followed only where they are written out: what this page does not find may still go wrong on a device.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import msgspec

from fita.model.service import ServiceManifest
from fita.oci.build.source import CODE_FILE_NAME
from fita.oci.errors import ServiceBuildError

# Entry points and their parameters (docs/device-protocol.md, service API version 1).
_ENTRY_POINTS = {
    "setup": ("service",),
    "loop": ("service",),
    "on_input": ("service", "key", "value"),
    "on_quit": ("service",),
}
# Modules of MicroPython's ports (docs.micropython.org, "MicroPython libraries" and the ports' own).
_MODULES = frozenset((
    "_thread", "array", "asyncio", "binascii", "bluetooth", "btree", "builtins", "cmath", "collections",
    "cryptolib", "deflate", "errno", "esp", "esp32", "framebuf", "gc", "hashlib", "heapq", "io", "json", "machine",
    "math", "micropython", "neopixel", "network", "os", "platform", "pyb", "random", "re", "rp2", "select",
    "socket", "ssl", "stm", "struct", "sys", "time", "tls", "uctypes", "vfs", "zephyr", "zlib",
))  # fmt: skip
_MAX_FINDINGS = 50


class Finding(msgspec.Struct, frozen=True):
    """Advice about a line of ``main.py``; the service can be built all the same."""

    line: int
    problem: str
    hint: str

    def __str__(self) -> str:
        return f"{CODE_FILE_NAME}:{self.line}: {self.problem} ({self.hint})"


def check_code(path: Path, code: str, manifest: ServiceManifest) -> list[Finding]:
    """Findings about `code`, which stands in `path`, in the order of lines, at most `_MAX_FINDINGS`.

    Raises `ServiceBuildError` for what cannot run: wrong syntax, no usable entry point, another file's code.
    """
    tree = _parse(path, code)
    functions = {node.name: node for node in tree.body if isinstance(node, _FUNCTIONS)}
    _require_entry_points(path, functions)
    nodes = list(ast.walk(tree))
    _require_one_module(path, nodes)
    found = [finding for node in nodes for finding in _check_node(node, manifest)]
    found.extend(_check_inputs(functions, manifest))
    return sorted(found, key=lambda finding: finding.line)[:_MAX_FINDINGS]


_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def _parse(path: Path, code: str) -> ast.Module:
    """MicroPython's syntax is part of Python's, so Python's own messages can be used."""
    try:
        return ast.parse(code, filename=str(path))
    except SyntaxError as error:
        raise ServiceBuildError(path, f"SyntaxError: {error.msg}", line=error.lineno or 0) from error
    except (RecursionError, MemoryError) as error:
        raise ServiceBuildError(path, "is nested too deeply", hint="write it in simpler steps") from error
    except ValueError as error:
        raise ServiceBuildError(path, f"is not Python: {error}") from error


def _require_entry_points(path: Path, functions: dict[str, ast.FunctionDef | ast.AsyncFunctionDef]) -> None:
    if "setup" not in functions and "loop" not in functions:
        raise ServiceBuildError(
            path, "has neither setup nor loop", hint="define setup(service) or loop(service) at the top level"
        )
    for name, parameters in _ENTRY_POINTS.items():
        function = functions.get(name)
        if function is None:
            continue
        written = f"{name}({', '.join(parameters)})"
        if isinstance(function, ast.AsyncFunctionDef):
            raise ServiceBuildError(
                path,
                f"{name} is a coroutine, which nobody would await",
                line=function.lineno,
                hint=f"write def {written}",
            )
        if not _takes(function.args, len(parameters)):
            raise ServiceBuildError(
                path, f"{name} is called as {written}", line=function.lineno, hint=f"write def {written}"
            )


def _takes(arguments: ast.arguments, count: int) -> bool:
    """Whether a call with `count` positional arguments fits."""
    positional = len(arguments.posonlyargs) + len(arguments.args)
    required = positional - len(arguments.defaults)
    keyword_required = any(default is None for default in arguments.kw_defaults)
    return required <= count and (count <= positional or arguments.vararg is not None) and not keyword_required


def _require_one_module(path: Path, nodes: list[ast.AST]) -> None:
    """A service is one module: only ``main.py`` goes to the device."""
    for node, name in _imports(nodes):
        relative = isinstance(node, ast.ImportFrom) and node.level > 0
        if relative or _is_beside(path, name):
            raise ServiceBuildError(
                path,
                f"imports {name or 'a package'}, which does not go to the device with it",
                line=node.lineno,
                hint=f"a service is one module: put the code into {CODE_FILE_NAME}",
            )


def _is_beside(path: Path, name: str) -> bool:
    """Whether the folder of `path` has a module or a package called `name`."""
    return (path.parent / f"{name}.py").is_file() or (path.parent / name / "__init__.py").is_file()


def _imports(nodes: list[ast.AST]) -> Iterator[tuple[ast.Import | ast.ImportFrom, str]]:
    for node in nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node, alias.name.partition(".")[0]
        elif isinstance(node, ast.ImportFrom):
            yield node, (node.module or "").partition(".")[0]


def _check_node(node: ast.AST, manifest: ServiceManifest) -> Iterator[Finding]:
    match node:
        case ast.ExceptHandler():
            yield from _check_handler(node)
        case ast.Import() | ast.ImportFrom():
            yield from _check_import(node)
        case ast.Call(func=ast.Attribute(attr=method), args=[ast.Constant(value=str(name)), *_]):
            yield from _check_call(node, method, name, manifest)


def _check_handler(handler: ast.ExceptHandler) -> Iterator[Finding]:
    """A runtime stops a service that does not return by an exception that derives from BaseException only."""
    caught = handler.type
    names = caught.elts if isinstance(caught, ast.Tuple) else [caught]
    broad = [name for name in names if name is None or (isinstance(name, ast.Name) and name.id == "BaseException")]
    if broad and not any(isinstance(node, ast.Raise) for node in ast.walk(handler)):
        yield Finding(
            handler.lineno,
            "catches everything, also the interrupt that stops the service",
            "write `except Exception`, or raise again",
        )


def _check_import(node: ast.Import | ast.ImportFrom) -> Iterator[Finding]:
    for _, name in _imports([node]):
        if name == "_thread":
            yield Finding(
                node.lineno, "threads cannot be stopped with the service", "do the work in steps in loop"
            )
        elif name not in _MODULES:
            yield Finding(
                node.lineno, f"imports {name}, which MicroPython does not bring", "the device's board must have it"
            )


def _check_call(node: ast.Call, method: str, name: str, manifest: ServiceManifest) -> Iterator[Finding]:
    if method == "output" and name not in {port.key for port in manifest.outputs}:
        yield Finding(
            node.lineno, f"writes the output {name!r}, which is not declared", "add [[outputs]] to service.toml"
        )
    if method == "sensor" and name not in manifest.sensors:
        yield Finding(
            node.lineno, f"uses the sensor {name!r}, which is not declared", "add it to `sensors` in service.toml"
        )


def _check_inputs(
    functions: dict[str, ast.FunctionDef | ast.AsyncFunctionDef], manifest: ServiceManifest
) -> Iterator[Finding]:
    if manifest.inputs and "on_input" not in functions:
        keys = ", ".join(port.key for port in manifest.inputs)
        yield Finding(1, f"never takes its inputs ({keys})", "define on_input(service, key, value)")
    if not manifest.inputs and "on_input" in functions:
        yield Finding(
            functions["on_input"].lineno, "on_input is never called", "declare [[inputs]] in service.toml"
        )
