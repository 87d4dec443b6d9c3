"""`fita model measure`, and the speeds that `plan` and `run` take from it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fita.base.errors import ConfigurationError, FitaError
from fita.base.resource import resource_folder
from fita.cli.main import app
from fita.simulator.errors import SimulatorError
from fita.tinyml.operator import OperatorClass
from fita.tinyml.plan.device import speed_table
from fita.tinyml.plan.link import Link
from fita.tinyml.plan.speed import Kernels, Speeds, decode_speeds, encode_speeds

DIGITS = str(resource_folder("models") / "digits.tflite")
PIPE = Link(name="pipe", bandwidth_bytes_per_s=1e8, latency_s=1e-5)


def call(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["model", *arguments])
    if isinstance(result.exception, FitaError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def write(path: Path, *, kernels: Kernels = "viper", ns: float = 1.0, link: Link | None = PIPE) -> str:
    speeds = Speeds(
        name="", kernels=kernels, ns_per_unit=speed_table(ns), operator_ns=500, segment_ns=50_000, link=link
    )
    path.write_bytes(encode_speeds(speeds))
    return str(path)


def test_measured_speeds_are_shown_written_and_used(tmp_path: Path) -> None:
    path = tmp_path / "speeds.json"
    shown = call("measure", "--output", str(path))
    assert "pointwise" in shown
    assert "pipe:" in shown
    assert set(decode_speeds(path.read_bytes()).ns_per_unit) == set(OperatorClass)
    said = json.loads(call("run", DIGITS, "--devices", "64k*2", "--speeds", str(path), "--frames", "2", "--json"))
    assert said["exact"]
    assert said["frames"] == 2
    assert said["latency_ms"] > 0
    assert said["simulated_ms"] > 0


def test_measured_speeds_as_json_are_the_file() -> None:
    assert decode_speeds(call("measure", "--json").encode()).kernels == "viper"


def test_plans_follow_the_speeds(tmp_path: Path) -> None:
    def latency_ms(*options: str) -> float:
        document = json.loads(call("plan", DIGITS, "--devices", "128k", "--json", *options))
        return float(document["latency_ms"])

    fast, slow = write(tmp_path / "fast.json", ns=1.0), write(tmp_path / "slow.json", ns=1000.0)
    assert latency_ms("--speeds", fast) < latency_ms() < latency_ms("--speeds", slow)


def test_the_link_of_the_speeds_is_known_by_its_name(tmp_path: Path) -> None:
    path = write(tmp_path / "speeds.json")
    document = json.loads(call("plan", DIGITS, "--link", "pipe", "--speeds", path, "--json"))
    assert document["link"] == "pipe"
    with pytest.raises(ConfigurationError, match="pipe"):
        call("plan", DIGITS, "--link", "pipe")


def test_run_shows_real_and_simulated_latency(tmp_path: Path) -> None:
    shown = call("run", DIGITS, "--devices", "64k", "--speeds", write(tmp_path / "speeds.json"))
    assert "medians of 5" in shown
    assert "ms simulated" in shown
    assert "fita model measure" in call("run", DIGITS, "--devices", "64k", "--frames", "1")


def test_speeds_of_other_kernels_are_refused(tmp_path: Path) -> None:
    viper, native = write(tmp_path / "viper.json"), write(tmp_path / "native.json", kernels="native")
    for command in ("run", "plan"):
        with pytest.raises(ConfigurationError, match="holds for viper kernels") as caught:
            call(command, DIGITS, "--speeds", viper, "--native")
        assert caught.value.hint
    assert "frames/s" in call("plan", DIGITS, "--speeds", native)


def test_a_run_needs_the_link_of_the_speeds(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="describes no link"):
        call("run", DIGITS, "--speeds", write(tmp_path / "speeds.json", link=None))


@pytest.mark.parametrize("command", ["plan", "run"])
def test_files_that_hold_no_speeds_are_refused(command: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="No such file"):
        call(command, DIGITS, "--speeds", str(tmp_path / "nothing.json"))
    (tmp_path / "broken.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"broken\.json"):
        call(command, DIGITS, "--speeds", str(tmp_path / "broken.json"))


def test_a_path_that_cannot_be_written_is_refused_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")  # measuring would fail
    with pytest.raises(SimulatorError, match="gcc is not installed"):
        call("measure", "--native", "--output", str(tmp_path / "speeds.json"))
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ConfigurationError, match="nowhere"):
        call("measure", "--native", "--output", str(tmp_path / "nowhere" / "speeds.json"))
