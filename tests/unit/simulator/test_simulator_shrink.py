"""Fewer and shorter names, the same behaviour."""

from __future__ import annotations

import ast
import re

import pytest

from fita.base.resource import resource_folder
from fita.simulator.firmware import runtime_files
from fita.simulator.shrink import shrink

CODES = '''"""Codes."""

from micropython import const

GET = const(1)
POST = const(2)
NAME = (
    "text"
)
_MASK = const(0x0F)
TABLE = (1, 2)


class Codes:
    def _masked(self, value):
        self._last = value & _MASK
        return self._last == GET or value == POST

    def ask(self, value, other=1):
        return [self._masked(value) for value in (value, other)], NAME
'''
USER = '''"""Uses codes."""

import codes
from codes import GET, TABLE, Codes


def run(codes_of_run):
    GETTER = GET
    return GETTER, codes.POST, codes.NAME, TABLE, Codes().ask(2, other=codes_of_run)


def _hidden(first, second):
    return lambda third: first - second + third


class Parent:
    def visible(self, amount):
        return _hidden(amount, second_amount(amount))(GET)


def second_amount(amount):
    return amount * 2
'''


def run(sources: dict[str, str]) -> tuple[object, object]:
    """What the example gives."""
    import sys
    from types import ModuleType

    micropython = ModuleType("micropython")
    micropython.const = lambda value: value  # type: ignore[attr-defined]
    modules = {"micropython": micropython, "codes": ModuleType("codes"), "user": ModuleType("user")}
    before = {name: sys.modules.get(name) for name in modules}
    sys.modules.update(modules)
    try:
        for name in ("codes", "user"):
            code = sources[name].replace("const(", "(")
            exec(compile(code, name, "exec"), modules[name].__dict__)
        user = modules["user"]
        return user.run(1), user.Parent().visible(5)
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


@pytest.fixture
def shrunk() -> dict[str, str]:
    return shrink({"codes": CODES, "user": USER})


def test_behaviour_stays(shrunk: dict[str, str]) -> None:
    assert run(shrunk) == run({"codes": CODES, "user": USER})


def test_lines_stay(shrunk: dict[str, str]) -> None:
    for name, source in (("codes", CODES), ("user", USER)):
        assert shrunk[name].count("\n") == source.count("\n")
        definitions = re.compile(r"^ *(?:class|def) ", re.MULTILINE)
        assert [shrunk[name][: found.start()].count("\n") for found in definitions.finditer(shrunk[name])] == [
            source[: found.start()].count("\n") for found in definitions.finditer(source)
        ]


def test_constants_are_written_where_they_are_used(shrunk: dict[str, str]) -> None:
    names = set(re.findall(r"\w+", shrunk["codes"] + shrunk["user"]))
    assert not names & {"GET", "POST", "NAME", "const"}
    assert {"TABLE", "GETTER", "Codes"} <= names
    assert "from codes import TABLE, Codes" in shrunk["user"]


def test_private_names_and_parameters_are_short(shrunk: dict[str, str]) -> None:
    names = set(re.findall(r"\w+", shrunk["codes"] + shrunk["user"]))
    assert not names & {"_masked", "_last", "_hidden", "first", "second", "amount", "codes_of_run"}
    assert {"visible", "ask", "second_amount"} <= names


def test_parameters_that_are_passed_by_name_stay(shrunk: dict[str, str]) -> None:
    assert "other=" in shrunk["codes"]
    assert "other=" in shrunk["user"]


def test_the_runtime_itself() -> None:
    sources = {path.stem: path.read_text(encoding="utf-8") for path in runtime_files(resource_folder("device"))}
    shrunk = shrink(sources)
    assert set(shrunk) == set(sources)
    for name, source in shrunk.items():
        ast.parse(source)
        assert source.count("\n") == sources[name].count("\n")
    assert "def output(self, key, value)" in shrunk["service"]  # services may pass these by name
