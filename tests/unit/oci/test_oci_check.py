from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oci_sample import MAIN_PY, manifest_of

from fita.model.service import Port, ServiceManifest, ValueType
from fita.oci.build.check import check_code
from fita.oci.errors import ServiceBuildError

PATH = Path("/nowhere/main.py")


def findings(code: str, manifest: ServiceManifest | None = None) -> list[str]:
    return [str(finding) for finding in check_code(PATH, code, manifest or manifest_of())]


def test_a_good_service_has_no_findings() -> None:
    assert findings(MAIN_PY) == []


@pytest.mark.parametrize(
    ("code", "line", "says"),
    [
        ("def setup(service)\n    pass\n", 1, "SyntaxError"),
        ("def loop(service):\n    x = (1,\n", 2, "SyntaxError"),
        ("def loop(service):\n  return '\0'\n", 0, ""),
        ("x = 1\n", 0, "has neither setup nor loop"),
        ("class A:\n    def setup(self, service): pass\n", 0, "has neither setup nor loop"),
        ("def on_quit(service): pass\n", 0, "has neither setup nor loop"),
        ("def setup(): pass\n", 1, "setup is called as setup(service)"),
        ("def setup(service, more): pass\n", 1, "setup is called as setup(service)"),
        ("def setup(service, *, more): pass\n", 1, "setup is called as setup(service)"),
        ("def loop(service): pass\ndef on_input(key, value): pass\n", 2, "on_input(service, key, value)"),
        ("x = 1\nasync def loop(service): pass\n", 2, "loop is a coroutine"),
        ("from . import part\ndef loop(service): pass\n", 1, "imports a package"),
        ("from .part import f\ndef loop(service): pass\n", 1, "imports part"),
        ("(" * 5000 + ")" * 5000, 0, ""),
    ],
)
def test_refuses_what_cannot_run(code: str, line: int, says: str) -> None:
    with pytest.raises(ServiceBuildError) as caught:
        findings(code)
    assert says in caught.value.message
    assert caught.value.line == line or not says
    assert caught.value.path == PATH


@pytest.mark.parametrize(
    "code",
    [
        "def setup(service, more=1): pass\n",
        "def setup(*all): pass\n",
        "def loop(service, /): pass\n",
        "def loop(service, *, more=1): pass\n",
    ],
)
def test_accepts_every_way_to_take_the_parameters(code: str) -> None:
    assert findings(code) == []


def test_refuses_code_in_other_files(tmp_path: Path) -> None:
    (tmp_path / "filters.py").write_text("")
    code = "import json\nfrom filters import mean\n\ndef loop(service): pass\n"
    with pytest.raises(ServiceBuildError, match="imports filters") as caught:
        check_code(tmp_path / "main.py", code, manifest_of())
    assert caught.value.line == 2
    assert "main.py" in caught.value.hint


LOOP = "def loop(service):\n    try:\n        work()\n"


@pytest.mark.parametrize(
    ("code", "lines"),
    [
        (LOOP + "    except:\n        pass\n", [4]),
        (LOOP + "    except BaseException as error:\n        print(error)\n", [4]),
        (LOOP + "    except (OSError, BaseException):\n        pass\n", [4]),
        (LOOP + "    except:\n        close()\n        raise\n", []),
        (LOOP + "    except Exception:\n        pass\n", []),
        (LOOP + "    except (OSError, ValueError):\n        pass\n", []),
    ],
)
def test_warns_of_handlers_that_swallow_the_interrupt(code: str, lines: list[int]) -> None:
    found = check_code(PATH, code, manifest_of())
    assert [finding.line for finding in found] == lines
    assert all("interrupt" in finding.problem for finding in found)


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        ("service.output('averag', 1)", "writes the output 'averag'"),
        ("service.output('average', 1)", ""),
        ("service.sensor('accelerometer')", "uses the sensor 'accelerometer'"),
        ("service.sensor('temperature_sensor')", ""),
        ("service.sensor(name)", ""),
        ("import numpy", "imports numpy"),
        ("import json, math", ""),
        ("from os.path import join", ""),
        ("import _thread", "threads"),
    ],
)
def test_warns_of_what_the_device_will_refuse(statement: str, says: str) -> None:
    found = findings(f"def loop(service):\n    {statement}\n")
    assert [says in text and text.startswith("main.py:2: ") for text in found] == ([True] if says else [])


def test_warns_when_inputs_and_code_do_not_fit() -> None:
    level = Port(key="level", type=ValueType.INTEGER)
    with_input = ServiceManifest(name="lamp", version=1, inputs=(level,))
    assert "never takes its inputs (level)" in findings("def setup(service): pass\n", with_input)[0]
    taking = "def setup(service): pass\ndef on_input(service, key, value): pass\n"
    assert findings(taking, with_input) == []
    assert "on_input is never called" in findings(taking)[0]


def test_shows_a_bounded_number_of_findings_in_order() -> None:
    code = "def loop(service):\n" + "    service.output('x', 1)\n" * 500
    lines = [finding.line for finding in check_code(PATH, code, manifest_of())]
    assert lines == list(range(2, 52))


@given(st.text(max_size=80) | st.text(alphabet="def loop(service):\n\t x=*,'\"\\@", max_size=80))
@settings(max_examples=200)
def test_any_text_is_checked_or_refused_by_nothing_but_a_named_error(code: str) -> None:
    with suppress(ServiceBuildError):
        check_code(PATH, code, manifest_of())
