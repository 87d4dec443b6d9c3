"""What is said of packages that only extras bring."""

from __future__ import annotations

import subprocess
import sys

import pytest

from fita.base.extra import missing_extra

WITHOUT = """
import sys
from importlib.abc import MetaPathFinder

class Missing(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"numpy", "tflite"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
from fita.cli.main import main
main()
"""


@pytest.mark.parametrize(
    ("name", "extra"), [("numpy", "models"), ("tflite.Model", "models"), ("highspy", "solve")]
)
def test_an_extra_is_named_with_the_way_to_install_it(name: str, extra: str) -> None:
    found = missing_extra(ModuleNotFoundError(name=name))
    assert found is not None
    assert f"-e '.[{extra}]'" in found.hint
    assert "make .venv/.dev" in found.hint


@pytest.mark.parametrize("error", [ModuleNotFoundError(name="fita.nothing"), ModuleNotFoundError(), ValueError()])
def test_other_errors_are_none_of_it(error: Exception) -> None:
    assert missing_extra(error) is None


@pytest.mark.parametrize("command", ["plan", "run", "inspect"])
def test_model_commands_without_the_extra_end_in_one_sentence(command: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, "model", command, "nothing.tflite"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "is not installed" in done.stderr
    assert "'.[models]'" in done.stderr
