"""`fita model run` on real MicroPython processes: outputs, figures, and errors that say what to do."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from fita.base.errors import ConfigurationError, FitaError
from fita.cli.main import app
from fita.cli.model.run import emulated_devices, with_median_times
from fita.simulator.inference.split import InferenceRun, SegmentRun
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
    assert "1 device at work at once" in said
    assert "medians of 5" in said


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


def test_an_archive_of_arrays_says_how_to_take_one_out(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="archive of arrays") as caught:
        run(str(DIGITS), "--input", str(DIGITS.with_suffix(".npz")))
    assert "numpy.save" in caught.value.hint


@pytest.mark.parametrize("kind", ["missing", "text", "empty", "cut", "objects"])
def test_files_without_an_array_are_refused_in_our_own_words(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "input.npy"
    np.save(path, np.array([{}]) if kind == "objects" else np.zeros((1, 8, 8, 1), np.int8), allow_pickle=True)
    whole = path.read_bytes()
    path.write_bytes({"text": b"0 1 2", "empty": b"", "cut": whole[:-9], "objects": whole}.get(kind, b""))
    if kind == "missing":
        path.unlink()
    with pytest.raises(ConfigurationError) as caught:
        run(str(DIGITS), "--input", str(path))
    assert str(path) in caught.value.message
    assert not {"Errno", "pickle", "NumPy"} & set(caught.value.message.replace("_", " ").split())
    assert "numpy.save" in caught.value.hint


def speeds_file(path: Path, kernels: str) -> str:
    link = {"name": "pipe", "bandwidth_bytes_per_s": 1e9, "latency_s": 0}
    path.write_text(
        json.dumps({"version": 1, "kernels": kernels, "ns_per_unit": {"conv": 9}, "operator_ns": 1, "link": link})
    )
    return str(path)


def test_a_segments_time_is_its_median_in_the_frames() -> None:
    def frame(*times_us: int) -> InferenceRun:
        segments = tuple(
            SegmentRun(
                segment=number, device="d", run_us=time_us, allocated_bytes=0, received_bytes=1, sent_bytes=1
            )
            for number, time_us in enumerate(times_us)
        )
        return InferenceRun(outputs=(), segments=segments, latency_us=1, most_at_once=1)

    found = with_median_times(frame(900, 900).segments, [frame(3, 70), frame(1, 80), frame(2, 600)])
    assert [(segment.segment, segment.run_us) for segment in found] == [(0, 2), (1, 80)]


def test_the_file_of_speeds_decides_about_kernels(tmp_path: Path) -> None:
    native = speeds_file(tmp_path / "native.json", "native")
    said = json.loads(run(str(DIGITS), "--devices", "80k", "--speeds", native, "--json"))
    assert [device["native"] for device in said["devices"]] == [True]
    viper = speeds_file(tmp_path / "viper.json", "viper")
    with pytest.raises(ConfigurationError, match="viper kernels"):
        run(str(DIGITS), "--speeds", viper, "--native")


def test_a_model_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FitaError, match="No such file"):
        run(str(tmp_path / "nothing.tflite"))
