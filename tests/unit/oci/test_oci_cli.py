"""`fita service` as a person uses it."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from oci_fake_registry import FakeRegistry
from oci_sample import MAIN_PY, write_folder
from typer.testing import CliRunner, Result

from fita.base.errors import FitaError
from fita.cli.service import app


def run(*arguments: str | Path) -> Result:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit | FitaError):
        raise result.exception
    return result


def refusal(*arguments: str | Path) -> FitaError:
    error = run(*arguments).exception
    assert isinstance(error, FitaError)
    assert error.hint
    return error


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A service folder; all state lies beside it."""
    monkeypatch.setenv("FITA_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(tmp_path / "no-logins.json"))
    return write_folder(tmp_path / "service")


@pytest.fixture
def registry() -> Iterator[str]:
    """The name of a registry that runs in another thread, because commands have loops of their own."""
    started, name = threading.Event(), []
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    async def serve() -> None:
        async with FakeRegistry().serving() as fake:
            name.append(fake.name)
            started.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    assert started.wait(10)
    yield name[0]
    loop.call_soon_threadsafe(stop.set)
    thread.join(10)
    loop.close()


def test_builds_lists_and_inspects(folder: Path) -> None:
    built = run("build", folder, "--json")
    answer = json.loads(built.stdout)
    assert answer["reference"] == "fita.local/average:3"
    assert answer["platforms"] == ["micropython/any/v6"]
    assert answer["warnings"] == []
    listed = json.loads(run("list", "--json").stdout)["items"]
    assert [(item["reference"], item["digest"]) for item in listed] == [("fita.local/average:3", answer["digest"])]
    shown = json.loads(run("inspect", "average:3", "--json").stdout)
    assert shown["digest"] == answer["digest"]
    (service,) = shown["platforms"]
    assert service["code_bytes"] == answer["size_bytes"]
    assert service["sensors"] == ["temperature_sensor"]
    assert service["outputs"][0] == {
        "key": "average",
        "type": "float",
        "data_model_mapping": "lwm2m:3303/x/5700",
        "unit": "Cel",
    }


def test_tells_people_the_same(folder: Path) -> None:
    assert "No services yet" in run("list").stdout
    digest = json.loads(run("build", folder, "--json").stdout)["digest"]
    assert digest in run("build", folder).stdout
    assert "fita.local/average:3" in run("list").stdout
    text = run("inspect", "average:3").stdout
    for part in (
        digest,
        "average, version 3",
        "micropython/any/v6",
        "8Ki",
        "temperature_sensor",
        "lwm2m:3303/x/5700",
    ):
        assert part in text


def test_the_name_the_platform_and_the_store_can_be_chosen(folder: Path, tmp_path: Path) -> None:
    native = "\n@micropython.native\ndef add(a, b):\n    return a + b\n"
    (folder / "main.py").write_text(MAIN_PY + native)
    platforms = ("--platform", "micropython/armv7em/v6", "--platform", "micropython/x64/v6")
    built = run("build", folder, "--tag", "r.example/a:b", "--store", tmp_path / "s", *platforms, "--json")
    assert json.loads(built.stdout)["reference"] == "r.example/a:b"
    shown = json.loads(run("inspect", "r.example/a:b", "--store", tmp_path / "s", "--json").stdout)
    assert [service["platform"] for service in shown["platforms"]] == list(platforms[1::2])
    assert "cannot be compiled for" in refusal("build", folder, "--platform", "linux/amd64").message


def test_advice_does_not_stop_a_build(folder: Path) -> None:
    (folder / "main.py").write_text("import numpy\n" + MAIN_PY)
    built = run("build", folder, "--json")
    assert "imports numpy" in built.stderr
    assert "imports numpy" in json.loads(built.stdout)["warnings"][0]


def test_pushes_pulls_and_inspects_from_a_registry(folder: Path, registry: str, tmp_path: Path) -> None:
    digest = json.loads(run("build", folder, "--json").stdout)["digest"]
    assert digest in run("push", "average:3", "--to", f"{registry}/team/average:3").stdout
    other = ("--store", tmp_path / "other")
    assert json.loads(run("inspect", f"{registry}/team/average:3", "--json", *other).stdout)["digest"] == digest
    assert json.loads(run("list", "--json", *other).stdout) == {"items": []}
    assert digest in run("pull", f"{registry}/team/average:3", *other).stdout
    assert digest in run("push", f"{registry}/team/average:3", *other).stdout


def test_refuses_with_a_hint(folder: Path, registry: str) -> None:
    assert "no such file" in refusal("build", folder / "nothing").message
    assert "not in the local store" in refusal("inspect", "average:3").message
    run("build", folder)
    for command in ("push", "pull"):
        error = refusal(command, "average:3")
        assert "of no registry" in error.message
        assert "registry.example:5000/average:3" in error.hint
    assert "does not have" in refusal("pull", f"{registry}/team/average:9").message
    assert "does not have" in refusal("inspect", f"{registry}/team/average:9").message
    assert "not in the local store" in refusal("push", f"{registry}/team/average:9").message


def test_a_registry_that_is_slow_is_given_up(folder: Path) -> None:
    run("build", folder)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # connects, and never answers
        port = silent.getsockname()[1]
        error = refusal("push", "average:3", "--to", f"127.0.0.1:{port}/a", "--timeout", "0.1")
    assert "longer than 0.1 s" in error.message
    assert "--timeout" in error.hint
