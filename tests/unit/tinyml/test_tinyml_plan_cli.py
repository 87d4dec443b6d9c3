"""`fita model plan` and `fita model inspect` as typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fita.base.errors import FitaError
from fita.base.resource import resource_folder
from fita.cli.model.app import app

MODELS = resource_folder("models")


def call(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_plan_prints_what_runs_where_and_draws_it(tmp_path: Path) -> None:
    picture = tmp_path / "plan.svg"
    shown = call(
        "plan", str(MODELS / "pedestrians.tflite"), "--devices", "512k,256k,128k*4", "--svg", str(picture)
    )
    assert "device1" in shown
    assert "frames/s" in shown
    assert "picture:" in shown
    assert picture.read_text(encoding="utf-8").startswith("<svg")


def test_plan_as_json_is_one_document() -> None:
    document = json.loads(call("plan", str(MODELS / "digits.tflite"), "--devices", "64k*2", "--json"))
    assert document["version"] == 1
    assert document["segments"][0]["first"] == 0
    assert document["segments"][-1]["last"] == 8
    assert all(device["ram_bytes"] <= device["free_ram_bytes"] for device in document["devices"])


def test_plan_tells_what_a_loss_would_mean() -> None:
    shown = call("plan", str(MODELS / "pedestrians.tflite"), "--lost", "--objective", "devices")
    assert "without device2:" in shown


def test_losses_are_part_of_the_document() -> None:
    arguments = ("plan", str(MODELS / "digits.tflite"), "--devices", "64k*2,48k", "--json")
    assert "losses" not in json.loads(call(*arguments))
    document = json.loads(call(*arguments, "--lost"))
    used = {device["device"] for device in document["devices"]}
    assert set(document["losses"]) == used
    for name, loss in document["losses"].items():
        assert loss["plan"]["segments"]
        assert name not in {device["device"] for device in loss["plan"]["devices"]}
    (alone,) = json.loads(call("plan", str(MODELS / "digits.tflite"), "--devices", "96k", "--json", "--lost"))[
        "losses"
    ].values()
    assert alone["plan"] is None
    assert alone["reason"]


def test_a_model_that_does_not_fit_says_what_would_help() -> None:
    with pytest.raises(FitaError, match="weights of 'pedestrians'") as caught:
        call("plan", str(MODELS / "pedestrians.tflite"), "--devices", "128k")
    assert "enough would be" in caught.value.hint


@pytest.mark.parametrize("option", [("--objective", "speed"), ("--link", "string"), ("--input-at", "lamp")])
def test_unknown_words_are_refused_with_the_known_ones(option: tuple[str, str]) -> None:
    with pytest.raises(FitaError) as caught:
        call("plan", str(MODELS / "digits.tflite"), *option)
    assert caught.value.hint


def test_inspect_lists_every_operator() -> None:
    shown = call("inspect", str(MODELS / "digits.tflite"))
    assert "FULLY_CONNECTED" in shown
    assert "every operator runs" in shown
    document = json.loads(call("inspect", str(MODELS / "digits.tflite"), "--json"))
    assert len(document["operators"]) == 8
    assert document["macs"] == sum(o["units"] for o in document["operators"] if o["class"] in ("conv", "dense"))
