"""`fita model run` on real MicroPython processes: outputs, figures, and errors that say what to do."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from fita.base.errors import ConfigurationError, FitaError
from fita.cli.main import app
from fita.cli.model.run import emulated_devices
from fita.tinyml.errors import NoPlanError

DIGITS = Path(__file__).parents[3] / "models" / "digits.tflite"


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["model", "run", *arguments])
    if isinstance(result.exception, FitaError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def test_a_held_out_digit_is_recognised_in_two_parts(tmp_path: Path) -> None:
    with np.load(DIGITS.with_suffix(".npz")) as samples:
        image, label = samples["inputs"][0], int(samples["labels"][0])
    np.save(tmp_path / "digit.npy", image.reshape(1, 8, 8, 1))
    said = json.loads(run(str(DIGITS), "--devices", "48k*2", "--input", str(tmp_path / "digit.npy"), "--json"))
    (output,) = said["outputs"].values()
    assert int(np.argmax(output)) == label
    assert said["exact"]
    assert [segment["segment"] for segment in said["segments"]] == [0, 1]
    assert all(segment["allocated_bytes"] == 0 for segment in said["segments"])
    for device in said["devices"]:
        assert device["heap"]["peak_bytes"] <= device["promised_bytes"] <= 1.1 * device["heap"]["peak_bytes"]


def test_tables_for_people() -> None:
    said = run(str(DIGITS), "--devices", "64k")
    assert "PROMISED" in said
    assert "the same bytes as the whole model" in said


@pytest.mark.parametrize("text", ["", "512", "8k", "128k*0", "128k**2", "128q", "2G", "128k*65"])
def test_devices_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        emulated_devices(text)
    assert caught.value.hint


def test_devices_are_sizes_and_counts() -> None:
    found = emulated_devices("512k, 1M,128K*3")
    assert [device.ram_bytes for device in found] == [512 * 1024, 1024 * 1024, *[128 * 1024] * 3]
    assert all(device.weights_in_ram for device in found)


def test_too_little_memory_is_refused_with_a_hint() -> None:
    with pytest.raises(NoPlanError) as caught:
        run(str(DIGITS), "--devices", "32k")
    assert caught.value.hint


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"no array", "nothing.npy"), (None, "nothing.npy"), (np.zeros((1, 8, 8, 1), np.float32), "float32")],
)
def test_inputs_that_are_none_are_refused(content: bytes | np.ndarray | None, says: str, tmp_path: Path) -> None:
    path = tmp_path / "nothing.npy"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        np.save(path, content)
    with pytest.raises(FitaError, match=says):
        run(str(DIGITS), "--input", str(path))


def test_a_model_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FitaError, match="No such file"):
        run(str(tmp_path / "nothing.tflite"))
